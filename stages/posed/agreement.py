"""Do the silhouettes of all pictures fit one object? They do when their visual hull, seen from each camera, fills that camera's mask.

The hull is a grid of cells; a camera's agreement is the intersection over union of its mask with the cells' shadow. A picture that was
turned or mirrored cuts the hull for all cameras, so that the worst of them is mostly not the guilty one: every single repair is tried, and
the one that brings the mean back is named. A wrong field of view lowers the mean too, and is found by trying others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

CELLS = 96
PIXELS_A_CELL, CLOSING = 2.0, np.ones((5, 5), np.uint8)
"""of a shadow, at the object's middle, at most; and what fills the gaps between the cells of the nearest part"""
MOST_CANDIDATES = 6
"""of many pictures only so many are tried: those without which the others agree best"""
CLEARLY = 3e-4
"""a repair is named when it raises the mean agreement by so much: of pictures that are right, none does"""
Turn = Callable[[np.ndarray], np.ndarray]
AS_IT_IS = "as it is"
REPAIRS: dict[str, Turn] = {
    AS_IT_IS: lambda m: m,
    "turn by 90 degrees": lambda m: np.rot90(m, 1),
    "turn by 180 degrees": lambda m: np.rot90(m, 2),
    "turn by 270 degrees": lambda m: np.rot90(m, 3),
    "mirror left and right": lambda m: m[:, ::-1],
    "mirror left and right, then turn by 90 degrees": lambda m: np.rot90(m[:, ::-1], 1),
    "mirror left and right, then turn by 180 degrees": lambda m: np.rot90(m[:, ::-1], 2),
    "mirror left and right, then turn by 270 degrees": lambda m: np.rot90(m[:, ::-1], 3),
}
"""{what to do to the picture (turns are counterclockwise): how}"""


@dataclass(frozen=True)
class Silhouette:
    """mask (H, W) bool, K (3, 3) px, world_from_camera (4, 4)."""

    name: str
    mask: np.ndarray
    K: np.ndarray
    world_from_camera: np.ndarray

    def with_focal(self, factor: float) -> Silhouette:
        """The focal length times `factor`."""
        K = self.K.copy()
        K[:2, :2] *= factor
        return replace(self, K=K)


@dataclass(frozen=True)
class Repair:
    """What would restore agreement: do `what` to the picture `name`; mean agreement before and after."""

    name: str
    what: str
    before: float
    after: float


class Agreement:
    """The cells that each silhouette leaves, and where their shadows fall. `scores()` is (N,), one per silhouette."""

    def __init__(self, views: Sequence[Silhouette], cells: int = CELLS) -> None:
        self.views = views
        low, high = hull_box(views)
        self.cell = float((high - low).max()) / (cells - 1)
        axes = [np.arange(a, b + 0.5 * self.cell, self.cell) for a, b in zip(low, high, strict=True)]
        self.points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
        self.pixels = [_project(v, self.points) for v in views]
        middle = (low + high) / 2
        self.inside = np.stack([_look_up(v.mask, uv) for v, uv in zip(views, self.pixels, strict=True)])
        self.missing = (~self.inside).sum(0).astype(np.int16)
        self.shadows = [_Shadow(v, uv, self.cell, middle) for v, uv in zip(views, self.pixels, strict=True)]

    def scores(self) -> np.ndarray:
        """As the pictures are."""
        return self._scores(np.flatnonzero(self.missing == 0), {})

    def repaired(self, index: int, turn: Turn) -> np.ndarray:
        """With `turn` done to the picture `index`."""
        mask = np.ascontiguousarray(turn(self.views[index].mask))
        others = np.flatnonzero(self.missing - ~self.inside[index] == 0)
        left = others[_look_up(mask, self.pixels[index][others])]
        return self._scores(left, {index: mask})

    def without(self, index: int) -> float:
        """Mean agreement of the others without the picture `index`."""
        left = np.flatnonzero(self.missing - ~self.inside[index] == 0)
        return float(np.delete(self._scores(left, {}), index).mean())

    def _scores(self, cells: np.ndarray, other_masks: dict[int, np.ndarray]) -> np.ndarray:
        return np.array([s.score(cells, other_masks.get(i)) for i, s in enumerate(self.shadows)])


class _Shadow:
    """Where the cells' shadows fall in one picture, made smaller until a cell is `PIXELS_A_CELL` wide."""

    def __init__(self, view: Silhouette, uv: np.ndarray, cell: float, middle: np.ndarray) -> None:
        z = float((middle - view.world_from_camera[:3, 3]) @ view.world_from_camera[:3, 2])
        pixels_a_cell = view.K[0, 0] * cell / max(z, 1e-9)
        self.scale = min(1.0, PIXELS_A_CELL / pixels_a_cell)
        h, w = view.mask.shape
        self.size = max(2, round(w * self.scale)), max(2, round(h * self.scale))
        self.mask = self._small(view.mask)
        col, row = ((uv[:, a] + 0.5) * (self.size[a] / (w, h)[a]) for a in (0, 1))
        ok = (col >= 0) & (row >= 0) & (col < self.size[0]) & (row < self.size[1])
        self.at = np.where(ok, np.floor(np.nan_to_num(row)) * self.size[0] + np.floor(np.nan_to_num(col)), -1).astype(
            np.int32
        )

    def _small(self, mask: np.ndarray) -> np.ndarray:
        return cv2.resize(mask.astype(np.float32), self.size, interpolation=cv2.INTER_AREA) >= 0.5

    def score(self, cells: np.ndarray, mask: np.ndarray | None) -> float:
        """Intersection over union of the cells' shadow and the mask."""
        wanted = self.mask if mask is None else self._small(mask)
        shadow = np.zeros(self.size[0] * self.size[1] + 1, bool)
        shadow[self.at[cells]] = True  # -1, outside the picture, is the last one
        points = shadow[:-1].reshape(self.size[1], self.size[0]).astype(np.uint8)
        shadow = cv2.morphologyEx(points, cv2.MORPH_CLOSE, CLOSING) > 0
        union = int((shadow | wanted).sum())
        return float((shadow & wanted).sum()) / union if union else 1.0


def _project(view: Silhouette, points: np.ndarray) -> np.ndarray:
    """(N, 3) -> (N, 2) float32 px, NaN behind the camera."""
    R, t = view.world_from_camera[:3, :3], view.world_from_camera[:3, 3]
    P = (view.K @ R.T).astype(np.float32)
    x = points @ P.T + (-view.K @ R.T @ t).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x[:, 2:] > 0, x[:, :2] / x[:, 2:], np.float32(np.nan))


def _look_up(mask: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(N,) bool; False outside the picture."""
    h, w = mask.shape
    ok = (uv[:, 0] > -0.5) & (uv[:, 1] > -0.5) & (uv[:, 0] < w - 0.5) & (uv[:, 1] < h - 0.5)
    at = np.rint(np.where(ok[:, None], uv, 0)).astype(np.int32)
    return ok & mask[at[:, 1], at[:, 0]]


def hull_box(views: Sequence[Silhouette], cells: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of what all but one of the silhouettes leave, a tenth wider. Raises ValueError where they leave nothing."""
    centre, half = _start(views)
    low, high = centre - half, centre + half
    for _ in range(3):
        axes = [np.linspace(a, b, cells) for a, b in zip(low, high, strict=True)]
        x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
        kernel = np.ones((2 * max(1, round(_pixels(views[0], half / cells, centre))) + 1,) * 2, np.uint8)
        wide = [cv2.dilate(v.mask.astype(np.uint8), kernel) > 0 for v in views]
        votes = sum(_look_up(m, _project(v, x)).astype(np.int16) for v, m in zip(views, wide, strict=True))
        kept = x[votes >= max(2, len(views) - 1)]
        if len(kept) == 0:
            raise ValueError("the silhouettes have no common part in space")
        step = (high - low) / (cells - 1)
        found = kept.min(0) - step, kept.max(0) + step
        if ((found[0] > low) & (found[1] < high)).all():
            low, high = found
            break
        low, high = centre - 1.6 * (centre - low), centre + 1.6 * (high - centre)
    slack = 0.03 * (high - low).max()
    return low - slack, high + slack


def _pixels(view: Silhouette, length: float, at: np.ndarray) -> float:
    z = float((at - view.world_from_camera[:3, 3]) @ view.world_from_camera[:3, 2])
    return float(np.clip(view.K[0, 0] * length / max(z, 1e-9), 1, 60))


def _start(views: Sequence[Silhouette]) -> tuple[np.ndarray, float]:
    eyes = np.array([v.world_from_camera[:3, 3] for v in views])
    axes = np.array([v.world_from_camera[:3, 2] for v in views])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    A = across.sum(0) + 1e-6 * len(views) * np.eye(3)
    centre = np.linalg.solve(A, (across @ eyes[:, :, None]).sum(0)[:, 0] + 1e-6 * eyes.sum(0))
    spans = []
    for v, eye in zip(views, eyes, strict=True):
        rows, cols = np.nonzero(v.mask)
        if len(rows):
            off = np.abs(np.array([[cols.min(), cols.max()], [rows.min(), rows.max()]]) - v.K[:2, 2:]).max()
            spans.append(1.3 * off / v.K[0, 0] * np.linalg.norm(centre - eye))
    if not spans:
        raise ValueError("all silhouettes are empty")
    return centre, float(np.median(spans))


def small(view: Silhouette, most_px: int = 320) -> Silhouette:
    """The silhouette at no more than `most_px` a side: the cells are larger than its pixels still."""
    h, w = view.mask.shape
    scale = min(1.0, most_px / max(h, w))
    if scale == 1.0:
        return view
    size = max(2, round(w * scale)), max(2, round(h * scale))
    sx, sy = size[0] / w, size[1] / h
    K = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]]) @ view.K
    return replace(view, mask=cv2.resize(view.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5, K=K)


def proposed_repair(
    views: Sequence[Silhouette], cells: int = CELLS, focal_factors: Sequence[float] = (1.0,)
) -> Repair | None:
    """The single repair of one picture that restores agreement; None where nothing has to be repaired. Tried with each of the focal
    factors: a wrong field of view hides what a mirrored picture changes."""
    found = [r for r in (_repair(views, f, cells) for f in sorted(set(focal_factors))) if r is not None]
    best = max(found, key=lambda r: r.after, default=None)
    return best if best is not None and best.what != AS_IT_IS else None


def _repair(views: Sequence[Silhouette], focal_factor: float, cells: int) -> Repair | None:
    try:
        agreement = Agreement([v.with_focal(focal_factor) for v in views], cells)
    except ValueError:
        return None
    before = float(agreement.scores().mean())
    best: tuple[float, int, str] = (before + CLEARLY, -1, AS_IT_IS)
    for i in _candidates(agreement):
        for what, turn in list(REPAIRS.items())[1:]:
            if turn(views[i].mask).shape == views[i].mask.shape:
                best = max(best, (float(agreement.repaired(i, turn).mean()), i, what), key=lambda b: b[0])
    after, index, what = best
    return Repair(views[index].name, what, before, after) if index >= 0 else Repair("", AS_IT_IS, before, before)


def _candidates(agreement: Agreement) -> list[int]:
    count = len(agreement.views)
    if count <= 2 * MOST_CANDIDATES:
        return list(range(count))
    return sorted(range(count), key=agreement.without)[-MOST_CANDIDATES:]
