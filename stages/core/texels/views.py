"""The pictures a texture is made from: which ones, where their cameras stand, and which of their pixels show which depth.

Pixel coordinates below are those of the whole rectified picture; every map covers a crop of it at its own scale (`Window`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse
from stages.core.render import Caster

MAX_RAYS = 400_000
"""depth maps are cast at most this large: visibility needs no more, and 0.1 us a ray adds up over 100 views"""
_CROP_MARGIN_PX = 12
_STEEPEST = 6.0
"""a depth step of more than this many pixel footprints is an edge (a surface seen at 80 degrees makes 5.7)"""


@dataclass(frozen=True)
class View:
    """One picture: frame, side ("left", "right"), camera_from_object (4, 4), relative sharpness (1 = as its neighbours)."""

    frame: int
    side: str
    camera_from_object: np.ndarray
    sharpness: float = 1.0

    @property
    def centre(self) -> np.ndarray:
        """(3,) camera centre in the object frame, metres."""
        return inverse(self.camera_from_object)[:3, 3]


@dataclass(frozen=True)
class Window:
    """A crop of the picture resized by `scale`: pixel (u, v) of the picture lies at ((u - x0 + 0.5) * scale - 0.5, ...) of the map."""

    x0: int
    y0: int
    width: int
    height: int
    scale: float

    def rig(self, rig: Rig) -> Rig:
        """The pinhole camera of the map."""
        s, w, h = self.scale, max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale))
        return Rig(
            w,
            h,
            rig.fx * s,
            rig.fy * s,
            cx=(rig.cx - self.x0 + 0.5) * s - 0.5,
            cy=(rig.cy - self.y0 + 0.5) * s - 0.5,
            baseline_m=rig.baseline_m,
        )

    def cut(self, reduced: np.ndarray) -> np.ndarray:
        """The map's part of a picture decoded at 1 / `reduce` (scale must be 1 / reduce, see `picture_window`), contiguous."""
        rows = slice(round(self.y0 * self.scale), round((self.y0 + self.height) * self.scale))
        columns = slice(round(self.x0 * self.scale), round((self.x0 + self.width) * self.scale))
        return np.ascontiguousarray(reduced[rows, columns])


@dataclass(frozen=True)
class Sight:
    """What a view can see: depth (h, w) float32 metres (inf = nothing), border (h, w) uint8 distance in eighths of a picture pixel to the
    nearest pixel that must not be used, both of `window`."""

    window: Window
    depth: np.ndarray
    border: np.ndarray


def stereo_views(
    poses: dict[int, np.ndarray], rig: Rig, sides: tuple[str, ...], sharpness: dict[int, float]
) -> list[View]:
    """A View per frame and side; poses are object_from_left."""
    out = []
    for frame, object_from_left in sorted(poses.items()):
        left = inverse(object_from_left)
        for side in sides:
            out.append(
                View(frame, side, left if side == "left" else rig.right_from_left @ left, sharpness.get(frame, 1.0))
            )
    return out


def spread(views: list[View], count: int) -> list[View]:
    """At most `count` views, chosen one after the other as far as possible from those chosen (camera centres); order is kept."""
    if len(views) <= count:
        return views
    centres = np.array([v.centre for v in views])
    chosen, far = [0], np.linalg.norm(centres - centres[0], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(far)))
        far = np.minimum(far, np.linalg.norm(centres - centres[chosen[-1]], axis=1))
    return [views[k] for k in sorted(chosen)]


def picture_window(window: Window, reduce: int) -> Window:
    """`window` widened to whole pixels of the picture decoded at 1 / `reduce`."""
    x0, y0 = window.x0 // reduce * reduce, window.y0 // reduce * reduce
    return Window(x0, y0, window.x0 + window.width - x0, window.y0 + window.height - y0, scale=1 / reduce)


def object_window(view: View, rig: Rig, vertices: np.ndarray) -> Window | None:
    """The part of the picture that the mesh covers, with a margin; None when it lies outside."""
    x = vertices @ view.camera_from_object[:3, :3].T + view.camera_from_object[:3, 3]
    if not (x[:, 2] > 0).any():
        return None
    uv = rig.project(x[x[:, 2] > 0])
    low = np.maximum(np.floor(uv.min(0)).astype(int) - _CROP_MARGIN_PX, 0)
    high = np.minimum(np.ceil(uv.max(0)).astype(int) + _CROP_MARGIN_PX + 1, [rig.width, rig.height])
    if (high - low < 4).any():
        return None
    return Window(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]), scale=1.0)


def sight(
    view: View, rig: Rig, caster: Caster, window: Window, left_mask: np.ndarray, hidden_right: np.ndarray | None = None
) -> Sight:
    """Depth and usable pixels of a view. `left_mask` (H, W) bool of the same frame; for the right picture, which has no mask of its own,
    a pixel is usable where the surface point it shows lies inside the left one and nothing stands before it (`hidden_right`, None =
    nowhere)."""
    scale = min(1.0, float(np.sqrt(MAX_RAYS / (window.width * window.height))))
    window = Window(window.x0, window.y0, window.width, window.height, scale=scale)
    camera = window.rig(rig)
    depth = caster.view(inverse(view.camera_from_object), camera)["t"].astype(np.float32)
    usable = (
        np.isfinite(depth)
        & _masked(view, rig, window, camera, depth=depth, left_mask=left_mask, hidden_right=hidden_right)
        & ~_edges(depth, camera)
    )
    padded = cv2.copyMakeBorder(usable.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] / scale
    return Sight(window, depth, np.clip(distance * 8, 0, 255).astype(np.uint8))


def _masked(
    view: View,
    rig: Rig,
    window: Window,
    camera: Rig,
    depth: np.ndarray,
    left_mask: np.ndarray,
    hidden_right: np.ndarray | None,
) -> np.ndarray:
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float32)
    u, v = (u + 0.5) / window.scale - 0.5 + window.x0, (v + 0.5) / window.scale - 0.5 + window.y0
    hidden = None
    if view.side == "right":
        hidden = None if hidden_right is None else _look_up(hidden_right, u, v)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = u + np.float32(rig.fx * rig.baseline_m) / depth
    inside = _look_up(left_mask, u, v)
    return inside if hidden is None else inside & ~hidden


def _look_up(mask: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """`mask` (H, W) bool at pixels u, v of any shape; False outside the picture."""
    u, v = (np.ascontiguousarray(a, np.float32) for a in (u, v))
    return cv2.remap(mask.astype(np.uint8), u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0) > 0


def _edges(depth: np.ndarray, camera: Rig) -> np.ndarray:
    """Pixels next to a step in depth (either side of it)."""
    z = np.where(np.isfinite(depth), depth, 1e3).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(z, kernel) - cv2.erode(z, kernel) > _STEEPEST * 2 * z / camera.fx


def relative_sharpness(sharpness: dict[int, float]) -> dict[int, float]:
    """Each frame's sharpness over the median of its four neighbours, at most 1: content changes slowly along a capture, blur does not."""
    frames = sorted(sharpness)
    values = np.array([sharpness[k] for k in frames], float)
    out = {}
    for i, frame in enumerate(frames):
        near = values[max(0, i - 2) : i + 3]
        typical = float(np.median(near[np.isfinite(near)])) if np.isfinite(near).any() else 0.0
        out[frame] = float(np.clip(values[i] / typical, 0.0, 1.0)) if typical > 0 and np.isfinite(values[i]) else 1.0
    return out
