"""Nothing is known of the scene (no depth, or all of it moves): the mask before, carried along by optical flow, is what is expected,
and the frames before, carried along by the background's own motion, show what lies behind the object."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.masks.cut.evidence import prior_llr
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.frame_cut import FrameCut
from stages.masks.cut.outline import Window, signed_distance
from stages.masks.cut.planes import as_surfaces
from stages.masks.cut.seed import Seed, surrounding_planes
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.ground_motion import at_scale, background_homography, motion_llr, seen_behind

FLOW_WIDTH = 640
"""px; flow and background motion are computed at this width at most"""
RING = 0.35
"""how far round the object this frame's planes are looked for, as a share of its size"""
REMEMBERED = 9
"""frames kept; every fourth of them shows the background"""


@dataclass
class _Memory:
    """An earlier frame: rgb and mask at the working size, small grey picture, and now_from_it (3, 3) small, None = unknown."""

    rgb: np.ndarray
    mask: np.ndarray
    gray: np.ndarray
    now_from_it: np.ndarray | None = field(default_factory=lambda: np.eye(3))


@dataclass
class FlowScene:
    """Expectations from the frames before; the last one that had a mask is carried along by flow."""

    seed: Seed
    description: str = "no usable depth or scene motion: colour and optical flow"
    may_leap: bool = True
    _past: deque[_Memory] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _step: tuple[np.ndarray, np.ndarray | None] | None = None

    def start(self, view: WorkingFrame, mask: np.ndarray) -> None:
        """(Re)start from a frame whose mask is known."""
        self._past.clear()
        self._past.append(_Memory(view.rgb, mask, _gray(view)))

    def expect(self, view: WorkingFrame, previous: FrameCut | None, second_pass: bool = False) -> Expectation:
        """The last mask warped into this frame, and the background behind it; without a last mask (lost): no prior."""
        near_range = _widened(
            self.seed.near_range if previous is None or previous.near_range is None else previous.near_range
        )
        if not self._past or previous is None or not previous.mask.any():
            return Expectation(near_range=near_range)
        last, gray = self._past[-1], _gray(view)
        self._step = gray, _step(last, gray)
        predicted = warp_mask(last.mask, last.gray, gray)
        if predicted.sum() < 30:
            return Expectation(near_range=near_range)
        surfaces = _surfaces(view, predicted)
        behind, scatter = self._behind(view.shape, gray.shape[1] / view.shape[1])
        distance = signed_distance(predicted)
        sigma = 0.012 * float(np.sqrt(predicted.sum())) + 1.5
        # beyond what flow can be wrong about, nothing but the object's motion may pull the outline outwards
        prior = prior_llr(distance, sigma, 2.0, 3.5) - np.maximum(-distance / sigma - 1.5, 0) * 3
        if (layered := self._moves_as_object(predicted)) is not None:
            prior = prior + np.minimum(
                layered, 0
            )  # may take away what stays behind, never add what moves alike (a shadow)
        return Expectation(
            prior=prior,
            anchor=distance > 0,
            predicted=predicted,
            near_range=near_range,
            surfaces=surfaces,
            background=behind,
            background_sigma=scatter,
        )

    def learn(self, view: WorkingFrame, cut: FrameCut) -> None:
        """Remember the frame for the next ones."""
        if not cut.mask.any():
            return
        gray, step = self._step if self._step is not None else (_gray(view), None)
        for past in self._past:
            past.now_from_it = None if step is None or past.now_from_it is None else step @ past.now_from_it
        self._past.append(_Memory(view.rgb, cut.mask, gray))

    def _moves_as_object(self, predicted: np.ndarray) -> np.ndarray | None:
        assert self._step is not None
        gray, step = self._step
        last = self._past[-1]
        if step is None:
            return None
        size = (gray.shape[1], gray.shape[0])
        inside = cv2.resize(last.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        llr = motion_llr(last.gray, gray, inside, step)
        return (
            None
            if llr is None
            else cv2.resize(llr, (predicted.shape[1], predicted.shape[0]), interpolation=cv2.INTER_LINEAR)
        )

    def _behind(self, shape: tuple[int, int], scale: float) -> tuple[np.ndarray | None, np.ndarray | None]:
        step = self._step[1]
        if step is None:
            return None, None
        chosen = [p for p in list(self._past)[::-4] if p.now_from_it is not None]
        return seen_behind([(p.rgb, p.mask, at_scale(step @ p.now_from_it, scale)) for p in chosen], shape)


def _surfaces(view: WorkingFrame, predicted: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """The planes that this frame's own depth shows round the object, as `depth_llr` takes them."""
    if not np.isfinite(view.disparity).any():
        return []
    ring = Window.around(predicted, round(RING * float(np.sqrt(predicted.sum()))))
    found = surrounding_planes(view, ring, predicted, np.random.default_rng(view.frame))
    return as_surfaces(found, view.shape)


def _step(last: _Memory, gray: np.ndarray) -> np.ndarray | None:
    small = cv2.resize(last.mask.astype(np.uint8), (gray.shape[1], gray.shape[0]), interpolation=cv2.INTER_NEAREST)
    return background_homography(last.gray, gray, cv2.dilate(small, np.ones((9, 9), np.uint8)) == 0)


def _widened(near_range: tuple[float, float] | None) -> tuple[float, float] | None:
    if near_range is None:
        return None
    slack = 0.25 * max(near_range[1] - near_range[0], 0.1 * near_range[1])
    return near_range[0] - slack, near_range[1] + slack


def _gray(view: WorkingFrame) -> np.ndarray:
    gray = cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, FLOW_WIDTH / gray.shape[1])
    return cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray


def warp_mask(mask: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(H, W) bool mask of `now`: the object's pixels pushed along the flow before -> now (dense inverse search, Kroeger et al. 2016).

    Pushing, not pulling: background that comes into view behind the object flows back to where the object was, and would inherit its label.
    """
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(before, now, None)
    h, w = now.shape
    small = cv2.resize(mask.astype(np.uint8), (w, h), interpolation=cv2.INTER_AREA)
    y, x = np.nonzero(small)
    tx, ty = np.rint(x + flow[y, x, 0]).astype(int), np.rint(y + flow[y, x, 1]).astype(int)
    ok = (tx >= 0) & (ty >= 0) & (tx < w) & (ty < h)
    pushed = np.zeros((h, w), np.uint8)
    pushed[ty[ok], tx[ok]] = 1
    pushed = cv2.morphologyEx(pushed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))  # a growing object leaves pinholes
    return cv2.resize(pushed.astype(np.float32), (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_LINEAR) > 0.5
