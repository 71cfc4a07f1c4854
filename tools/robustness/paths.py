"""Where camera, object, hand and passers-by are at any time t of a capture (0 = first frame, 1 = just after the last).

World frame: y DOWN, the object's place in the origin. `orbit`: the camera goes round an object that rests. `inhand`: the camera stands
and the object turns before it. `turntable`: the camera stands and the object turns about the vertical with what it stands on. `both`:
the camera goes round while the object is moved. `two_stage`: the camera goes round all the time; in the middle the object is taken,
turned and put down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import cv2
import numpy as np

from stages.core.geometry.rigid import transform
from stages.core.synthetic.render import look_at
from tools.robustness.drawn import Drawn

Path = Callable[[float], np.ndarray]
TURNED = (0.44, 0.56)
"""when the object of `two_stage` is turned"""
TOUCHED = (0.3, 0.5)
"""when a hand touches what it does not move"""
_LIFT = 0.35
"""how far the object is lifted while it is turned, in extents"""


class Motion:
    """The paths of one capture; `vertices` (V, 3): of the object, which must stay above the table."""

    def __init__(self, drawn: Drawn, vertices: np.ndarray) -> None:
        self._drawn, self._vertices = drawn, vertices[:: max(1, len(vertices) // 2000)]
        self._phase = drawn.rng("motion").uniform(0, 2 * np.pi, 8)
        self._shake = drawn.rng("shake").uniform(0, 2 * np.pi, (6, 3))
        self.level_m = float(vertices[:, 1].max())
        """y of the table's top"""

    def world_from_left(self, t: float) -> np.ndarray:
        """(4, 4)."""
        moves = self._drawn.motion in ("orbit", "both", "two_stage")
        return self._look(t if moves else 0.0, moves)

    def world_from_object(self, t: float) -> np.ndarray:
        """(4, 4)."""
        kind = self._drawn.motion
        if kind == "orbit":
            return np.eye(4)
        if kind == "turntable":
            return _pose(_turn([0, np.radians(self._drawn.turn_deg) * t, 0]), np.zeros(3))
        if kind == "inhand":
            return self._inhand(t)
        if kind == "both":
            return self._moved_about(t)
        return self._put_down_again(t)

    def _look(self, t: float, moves: bool) -> np.ndarray:
        d = self._drawn
        a = (np.radians(d.turn_deg) * t if moves else 0.0) + self._phase[0]
        low, high = np.radians(d.elevation_deg) if d.motion != "inhand" else np.radians([12.0, 12.0])
        elevation = (low + high) / 2 - (high - low) / 2 * np.cos(2 * np.pi * d.swings * t)
        shake = d.shake if moves else 0.0
        r = d.distance_m * (1 + 0.06 * shake * np.sin(11 * t + self._phase[1]))
        eye = r * np.array([np.sin(a) * np.cos(elevation), -np.sin(elevation), -np.cos(a) * np.cos(elevation)])
        aim = d.distance_m * (0.03 * np.sin(self._phase[4:7]) + shake * self._wobble(t, 0.02))
        return look_at(eye, aim, np.array([0.0, 1.0, 0.0]) + shake * self._wobble(t + 9, 0.05))

    def _wobble(self, t: float, size: float) -> np.ndarray:
        waves = np.array([3.0, 7.0, 13.0, 29.0, 61.0, 97.0])[:, None]
        return size * (np.sin(waves * t + self._shake) / waves**0.5).sum(0)

    def _inhand(self, t: float) -> np.ndarray:
        d = self._drawn
        low, high = np.radians(d.elevation_deg)
        tilt = (low + high) / 2 - (high - low) / 2 * np.cos(2 * np.pi * d.swings * t)
        towards = _turn([0, -self._phase[0], 0])
        turn = (
            towards
            @ _turn([-tilt, 0, 0.3 * np.sin(np.pi * d.swings * t)])
            @ _turn([0, np.radians(d.turn_deg) * t + self._phase[2], 0])
        )
        return _pose(turn, d.extent_m * (0.15 * np.sin([6 * t + 1, 8 * t, 7 * t]) + self._wobble(t, 0.01)))

    def _moved_about(self, t: float) -> np.ndarray:
        """Slides and turns on the table."""
        way = self._drawn.extent_m * np.array(
            [0.5 * np.sin(4 * t + self._phase[1]), 0, 0.5 * np.sin(5 * t + self._phase[2])]
        )
        start = self._drawn.extent_m * np.array([0.5 * np.sin(self._phase[1]), 0, 0.5 * np.sin(self._phase[2])])
        return _pose(_turn([0, 1.8 * t * np.sign(np.sin(self._phase[3])), 0]), way - start)

    def _put_down_again(self, t: float) -> np.ndarray:
        share = float(np.clip((t - TURNED[0]) / (TURNED[1] - TURNED[0]), 0, 1))
        smooth = share**2 * (3 - 2 * share)
        turn = cv2.Rodrigues(smooth * self._second_turn)[0]
        rest = self.level_m - float((self._vertices @ turn.T)[:, 1].max())
        slide = 0.25 * self._drawn.extent_m * smooth * np.sin(self._phase[5:8]) * [1, 0, 1]
        lift = _LIFT * self._drawn.extent_m * np.sin(np.pi * share)
        return _pose(turn, slide + np.array([0, rest - lift, 0]))

    @cached_property
    def _second_turn(self) -> np.ndarray:
        """(3,) rotation vector: on its side, on its head, or only round."""
        rng = self._drawn.rng("second turn")
        round_up = np.array([0, rng.uniform(0.8, 2.5), 0])
        lying = np.array([np.cos(self._phase[3]), 0, np.sin(self._phase[3])]) * rng.choice([np.pi / 2, np.pi])
        return round_up if rng.random() < 0.4 else lying


def _pose(turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = turn, shift
    return out


def _turn(rotation: list[float]) -> np.ndarray:
    return cv2.Rodrigues(np.array(rotation, float))[0]


def highest(vertices: np.ndarray, pose: np.ndarray) -> float:
    """Smallest y (y is down) of `vertices` (V, 3) at `pose`."""
    return float(transform(pose, vertices)[:, 1].min())
