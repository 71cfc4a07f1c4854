"""Frames of a run as the surface sees them: read from the files before, cut to views, and what hides the object in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.frames import FrameReader
from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.surface.config import SurfaceConfig
from stages.surface.views.hidden import (
    LEAST_CELLS,
    SeenObject,
    expected_depth,
    glance,
    hidden_pixels,
    right_hidden,
    seen_object,
)
from stages.surface.views.silhouettes import completed_disparity, refined, sight
from stages.surface.views.views import View, WholeFrame, make_view

NO_POSE = "mask kept, no pose"


@dataclass(frozen=True)
class Finished:
    """What the surface says of a frame, maps (H, W): mask bool and in words what became of it, disparity px (None: the frame has none), and
    where something stands before the object in either picture, bool (None = nowhere)."""

    mask: np.ndarray
    status: str
    disparity: np.ndarray | None = None
    hidden: np.ndarray | None = None
    hidden_right: np.ndarray | None = None


@dataclass(frozen=True)
class Frames:
    """The files, the cameras, {frame: object_from_left} and {frame: trust of its mask}; `seen`: where several of the frames saw the object,
    None where hidden parts are not looked for."""

    reader: FrameReader
    rig: Rig
    poses: dict[int, np.ndarray]
    trust: dict[int, float]
    config: SurfaceConfig
    seen: SeenObject | None = None

    def look_for_object(self, frames: list[int], workers: int) -> SeenObject | None:
        """Where these frames saw the object."""
        if not self.config.find_hidden or not self.reader.has_right:
            return None

        def look(k):
            return glance(self.poses[k], self.rig, self.reader.mask(k), *self.disparity(k))

        return seen_object(list(ordered_map(look, frames, workers)))

    def disparity(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(disparity, sigma), each (H, W) px."""
        return self.reader.disparity_px(frame), self.reader.sigma_px(frame)

    def view(self, frame: int) -> View | None:
        """Cropped and scaled; None where the mask is empty."""
        pair = self.reader.rgb(frame), self.reader.rgb(frame, "right") if self.reader.has_right else None
        mask, hidden, measured = self.reader.mask(frame), self.reader.hidden(frame), self.disparity(frame)
        if self.seen is not None:
            expected = expected_depth(self.seen, self.poses[frame], self.rig)
            hidden = self._with_found(hidden, expected, mask, measured)
        whole = WholeFrame(frame, self.poses[frame], pair, mask, self.trust[frame], *measured, hidden)
        return make_view(whole, self.rig, self.config.max_pixels, self.config.mask_margin_px)

    def finished(self, frame: int, caster: Caster, confidence: np.ndarray) -> Finished:
        """The frame by the surface of `caster`, whose vertices have `confidence`."""
        mask, hidden = self.reader.mask(frame), self.reader.hidden(frame)
        if frame not in self.reader.ids:
            return Finished(mask, NO_POSE)
        if frame not in self.poses:
            return Finished(mask, NO_POSE, self.reader.disparity_px(frame))
        seen, measured = sight(caster, confidence, self.poses[frame], self.rig), self.disparity(frame)
        if self.seen is not None:
            of = mask if frame in self.trust else np.zeros_like(mask)
            hidden = self._with_found(hidden, seen.depth, of, measured)
        if hidden is not None and not hidden.any():
            hidden = None
        mask, status = self._final_mask(frame, mask, seen.outline, hidden)
        disparity = measured[0]
        if self.config.complete_disparity:
            disparity = completed_disparity(disparity, seen, mask, self.rig)
        right = None if hidden is None else right_hidden(hidden, measured[0])
        return Finished(mask, status, disparity, hidden, hidden_right=right)

    def _with_found(
        self, hidden: np.ndarray | None, depth: np.ndarray, mask: np.ndarray, measured: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        assert self.seen is not None
        found = hidden_pixels(depth, LEAST_CELLS * self.seen.size, self.rig, mask, *measured)
        return found if hidden is None else found | hidden

    def _final_mask(
        self, frame: int, mask: np.ndarray, outline: np.ndarray, hidden: np.ndarray | None
    ) -> tuple[np.ndarray, str]:
        if frame not in self.trust or not mask.any():
            return outline if hidden is None else outline & ~hidden, "mask from silhouette"
        mask, changed = refined(mask, outline, self.reader.rgb(frame), self.config.mask_band_px, hidden=hidden)
        return mask, "mask refined" if changed else "mask kept"
