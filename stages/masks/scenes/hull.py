"""A voxel hull of an object that keeps still in the scene: what no frame has seen to be background (Laurentini 1994), with votes.

Each mask votes against the voxels it sees outside its outline. One frame's mistake does not carve: a voxel goes when more than a
share of the frames that see it, and at least `MIN_VOTES`, vote against it. The projected hull predicts the outline in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from scipy import ndimage

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse
from stages.masks.cut.outline import signed_distance

VOTE_SHARE = 0.12
MIN_VOTES = 2
LEAST_POINTS = 0.02
"""share of the object's known points that a piece of it holds"""


@dataclass
class Hull:
    """Voxel centres (N, 3) metres in the scene's frame, their cells in a grid of `shape`, votes against and frames that saw each."""

    centres: np.ndarray
    cell: np.ndarray
    shape: tuple[int, int, int]
    edge_m: float
    against: np.ndarray
    seen: np.ndarray
    certain: np.ndarray
    """one vote of these frames is enough (the prompt frame's)"""
    _shell: np.ndarray | None = None

    @staticmethod
    def box(low: np.ndarray, high: np.ndarray, voxels: int) -> Hull:
        """A full box with about `voxels` voxels."""
        size = np.maximum(np.asarray(high, float) - low, 1e-6)
        edge = float((size.prod() / voxels) ** (1 / 3))
        axes = [np.arange(low[i] + edge / 2, high[i], edge, dtype=np.float32) for i in range(3)]
        centres = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        n = len(centres)
        shape = tuple(len(a) for a in axes)
        return Hull(
            np.ascontiguousarray(centres), np.arange(n), shape, edge, *(np.zeros(n, np.uint16) for _ in range(3))
        )

    def keep(self, where: np.ndarray) -> None:
        """Drop the voxels not in `where` (N,) bool."""
        self._shell = None
        self.centres, self.cell, self.against, self.seen, self.certain = (
            np.ascontiguousarray(a[where]) for a in (self.centres, self.cell, self.against, self.seen, self.certain)
        )

    def vote(
        self, mask: np.ndarray, scene_from_left: np.ndarray, rig: Rig, slack_px: float = 1.0, certain: bool = False
    ) -> None:
        """Let the outline of one frame (H, W) bool vote; voxels up to `slack_px` outside of it are spared."""
        self._shell = None
        _vote(
            self.centres,
            inverse(scene_from_left).astype(np.float32),
            *_camera(rig),
            signed_distance(mask),
            np.float32(slack_px),
            self.certain if certain else self.against,
            self.seen,
        )

    @property
    def alive(self) -> np.ndarray:
        """(N,) bool."""
        return (self.certain == 0) & (self.against < np.maximum(MIN_VOTES, VOTE_SHARE * self.seen))

    def _surface(self) -> np.ndarray:
        """(M,) indices of the surviving voxels that have a dead neighbour: they alone make the silhouette."""
        alive = np.flatnonzero(self.alive)
        full = np.zeros([n + 2 for n in self.shape], bool)
        core = full[1:-1, 1:-1, 1:-1]
        at = np.unravel_index(self.cell[alive], self.shape)
        core[at] = True
        inner = core.copy()
        for axis in range(3):
            for shift in (0, 2):
                s = [slice(1, -1)] * 3
                s[axis] = slice(shift, shift + self.shape[axis])
                inner &= full[tuple(s)]
        return alive[~inner[at]]

    def pieces_with(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: voxels, of those that survive, in the pieces that hold at least `LEAST_POINTS` of the (M, 3) `points`, which lie on
        the object; all where no piece does. Other things that stand beside it leave pieces of their own."""
        alive = np.flatnonzero(self.alive)
        grid = np.zeros(self.shape, np.uint8)
        grid.ravel()[self.cell[alive]] = 1
        labels = np.zeros(self.shape, np.int32)
        ndimage.label(grid, np.ones((3, 3, 3), int), output=labels)
        place = np.floor((points - self._origin()) / self.edge_m).astype(int)
        place = place[((place >= 0) & (place < self.shape)).all(1)]
        # a point of the surface may lie a voxel outside
        near = ndimage.grey_dilation(labels, (3, 3, 3))[tuple(place.T)]
        share = np.bincount(near, minlength=labels.max() + 1) / max(1, len(points))
        share[0] = 0
        out = np.ones(len(self.cell), bool)
        if (share >= LEAST_POINTS).any():
            out[alive] = (share >= LEAST_POINTS)[labels.ravel()[self.cell[alive]]]
        return out

    def _origin(self) -> np.ndarray:
        """(3,) metres: the corner of the first cell."""
        at = np.array(np.unravel_index(self.cell[:1], self.shape))[:, 0]
        return self.centres[0] - (at + 0.5) * self.edge_m

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box round the surviving voxels."""
        x = self.centres[self.alive]
        return x.min(0) - self.edge_m, x.max(0) + self.edge_m

    @property
    def centre(self) -> np.ndarray:
        """(3,) metres: the middle of the surviving voxels."""
        return self.centres[self.alive].mean(0).astype(float)

    def silhouette(self, scene_from_left: np.ndarray, rig: Rig) -> tuple[np.ndarray, tuple[float, float] | None]:
        """(H, W) bool prediction and the range of disparities (px) the surviving voxels span; None when none is in view."""
        depth, near, far = self._depth(scene_from_left, rig)
        mask = np.isfinite(depth)
        if not mask.any():
            return np.zeros((rig.height, rig.width), bool), None
        # voxels leave pinholes where they project to less than they are apart
        closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        full = cv2.resize(closed.astype(np.float32), (rig.width, rig.height), interpolation=cv2.INTER_LINEAR) > 0.5
        return full, (float(rig.fx * rig.baseline_m / far), float(rig.fx * rig.baseline_m / near))

    def front(self, scene_from_left: np.ndarray, rig: Rig) -> np.ndarray:
        """(H, W) float32 px: no point of the object has a larger disparity, but for the size of a voxel; NaN beside the silhouette."""
        depth = self._depth(scene_from_left, rig)[0]
        # the nearest of nine: a pinhole shows the far side
        near = cv2.erode(depth, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
        full = cv2.resize(near, (rig.width, rig.height), interpolation=cv2.INTER_NEAREST)
        with np.errstate(divide="ignore"):
            return np.where(np.isfinite(full), rig.fx * rig.baseline_m / (full - self.edge_m), np.nan).astype(
                np.float32
            )

    def _depth(self, scene_from_left: np.ndarray, rig: Rig) -> tuple[np.ndarray, float, float]:
        """(h, w) metres of the nearest voxel, at about 640 px width (inf = none), and the nearest and farthest of all."""
        if self._shell is None:
            self._shell = self.centres[self._surface()]
        small = rig.scaled(1 / max(1, rig.width // 640))
        pose = inverse(scene_from_left).astype(np.float32)
        return _splat(self._shell, pose, *_camera(small), small.height, small.width, np.float32(self.edge_m))


def _camera(rig: Rig) -> tuple[np.float32, ...]:
    return np.float32(rig.fx), np.float32(rig.fy), np.float32(rig.cx), np.float32(rig.cy)


@njit(nogil=True, cache=True)
def _vote(x, pose, fx, fy, cx, cy, distance, slack, against, seen):  # pragma: no cover - compiled
    h, w = distance.shape
    for i in range(len(x)):
        z = pose[2, 0] * x[i, 0] + pose[2, 1] * x[i, 1] + pose[2, 2] * x[i, 2] + pose[2, 3]
        if z <= 0:
            continue
        u = fx * (pose[0, 0] * x[i, 0] + pose[0, 1] * x[i, 1] + pose[0, 2] * x[i, 2] + pose[0, 3]) / z + cx
        v = fy * (pose[1, 0] * x[i, 0] + pose[1, 1] * x[i, 1] + pose[1, 2] * x[i, 2] + pose[1, 3]) / z + cy
        a, b = int(u + np.float32(0.5)), int(v + np.float32(0.5))
        if u > -0.5 and v > -0.5 and a < w and b < h:
            seen[i] += 1
            if distance[b, a] < -slack:
                against[i] += 1


@njit(nogil=True, cache=True)
def _splat(x, pose, fx, fy, cx, cy, h, w, edge):  # pragma: no cover - compiled
    depth = np.full((h, w), np.float32(np.inf))
    near, far = np.float32(np.inf), np.float32(0)
    for i in range(len(x)):
        z = pose[2, 0] * x[i, 0] + pose[2, 1] * x[i, 1] + pose[2, 2] * x[i, 2] + pose[2, 3]
        if z <= 0:
            continue
        u = fx * (pose[0, 0] * x[i, 0] + pose[0, 1] * x[i, 1] + pose[0, 2] * x[i, 2] + pose[0, 3]) / z + cx
        v = fy * (pose[1, 0] * x[i, 0] + pose[1, 1] * x[i, 1] + pose[1, 2] * x[i, 2] + pose[1, 3]) / z + cy
        half = np.float32(0.5) * edge * fx / z
        x0, x1 = max(0, int(np.ceil(u - half))), min(w - 1, int(np.floor(u + half)))
        y0, y1 = max(0, int(np.ceil(v - half))), min(h - 1, int(np.floor(v + half)))
        for b in range(y0, y1 + 1):
            for a in range(x0, x1 + 1):
                depth[b, a] = min(depth[b, a], z)
        if x0 <= x1 and y0 <= y1:
            near, far = min(near, z), max(far, z)
    return depth, near, far
