"""What a drop is, which there are, and what makes one a failure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ENGINES = {"mujoco": "mujoco", "pybullet": "pybullet"}
"""engine: module"""
HEIGHT_M = 0.05
LONGEST_S = 10.0
REST_S = 0.25
"""so long it has to be still"""
STILL_M_S, STILL_RAD_S = 0.01, 0.1
MOST_SUNK_MM = 1.0
MOST_ENERGY_GAIN = 0.01
"""of the energy of the fall: what integrating in steps may add"""
LAND_M = 1.0
"""farther from where it fell is an explosion"""


@dataclass(frozen=True)
class Drop:
    """One drop. sunk_mm: how far its lowest point lies below the ground at rest; energy_gain: largest gain over the energy that it began
    with, in shares of m g h; tilted_deg: between its z axis before and after; moved_m: along the ground; path (T, 7): place of the
    file's origin and quaternion w x y z, every 20 ms."""

    engine: str
    pose: str
    rests: bool
    seconds: float
    sunk_mm: float
    energy_gain: float
    tilted_deg: float
    moved_m: float
    path: np.ndarray

    @property
    def fault(self) -> str:
        """ "" for a drop as it should be."""
        if not np.isfinite(self.path).all() or self.moved_m > LAND_M:
            return "it flew away"
        if self.energy_gain > MOST_ENERGY_GAIN:
            return f"energy grew by {100 * self.energy_gain:.0f} % of the fall's"
        if not self.rests:
            return f"no rest within {LONGEST_S:g} s"
        return f"it sank by {self.sunk_mm:.1f} mm" if self.sunk_mm > MOST_SUNK_MM else ""


def failures(drops: Iterable[Drop]) -> list[str]:
    """One line for each drop that is not as it should be."""
    return [f"{d.engine}, {d.pose}: {d.fault}" for d in drops if d.fault]


def engines_here() -> list[str]:
    """Those that are installed."""
    return [name for name, module in ENGINES.items() if find_spec(module) is not None]


def poses() -> dict[str, np.ndarray]:
    """world_from_file rotations (3, 3): as it stands, upside down, on four sides, and tilted."""

    def turn(axis, degrees):
        return _rotation(axis, np.radians(degrees))

    return {
        "support": np.eye(3),
        "upside down": turn("x", 180),
        "x up": turn("y", -90),
        "x down": turn("y", 90),
        "y up": turn("x", 90),
        "y down": turn("x", -90),
        "tilted": turn("x", 35) @ turn("y", 25),
    }


def _rotation(axis: str, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) if axis == "x" else np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def collider_points(folder: Path, files: Iterable[str]) -> np.ndarray:
    """(N, 3) vertices of OBJ files in `folder`, metres."""
    lines = (
        line.split() for name in files for line in (folder / name).read_text().splitlines() if line.startswith("v ")
    )
    return np.array([[float(x) for x in words[1:4]] for words in lines])


@dataclass(frozen=True)
class Fall:
    """What an engine made of a drop: places (7,) of the file's frame, seconds, whether it came to rest, energy gained in shares of m g h,
    rotations (3, 3) before and after."""

    path: list[np.ndarray]
    seconds: float
    rests: bool
    gain: float
    before: np.ndarray
    after: np.ndarray


def judged(engine: str, pose: str, points: np.ndarray, fall: Fall) -> Drop:
    """What is to be said of it; points (N, 3) of the colliders."""
    places, before, after = np.array(fall.path), fall.before, fall.after
    sunk = -1000 * float((points @ after.T + places[-1, :3])[:, 2].min())
    tilt = (
        float(np.degrees(np.arccos(np.clip((before.T @ after)[2, 2], -1, 1))))
        if np.isfinite(after).all()
        else float("nan")
    )
    return Drop(
        engine,
        pose,
        fall.rests,
        fall.seconds,
        sunk_mm=sunk,
        energy_gain=fall.gain,
        tilted_deg=tilt,
        moved_m=float(np.linalg.norm(places[-1, :2] - places[0, :2])),
        path=places,
    )
