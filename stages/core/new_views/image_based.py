"""A new view through the surface: each of its pixels looks at a point of the mesh, and takes that point's colour from the nearest pictures
that see it (unstructured lumigraph, Buehler et al. 2001, with the angle at the point as the penalty).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.directions import unit
from stages.core.new_views.nearest import nearest
from stages.core.render import Caster

MORE = 6
"""pictures beyond the blended ones that fill what those do not see"""
ROW = 4096
DEPTH_PIXELS = 400_000
"""of an input's depth map"""
SLACK = 0.01
"""a point counts as seen when it lies within this share of its depth behind what the input sees, plus two pixels"""
EDGE_PX, STEEPEST = 1, 12.0
"""pixels of an input so near to a step in its depth, of so many pixel footprints, show two things at once"""


@dataclass
class ImageBased:
    """Renders from the pictures `read` gives. `colours` (V, 3) uint8 of the mesh fill what no picture shows."""

    caster: Caster
    rig: Rig
    poses: Mapping[int, np.ndarray]
    read: Callable[[int], np.ndarray]
    mask: Callable[[int], np.ndarray]
    colours: np.ndarray
    blended: int = 4
    _sights: dict[int, tuple[Rig, np.ndarray]] = field(default_factory=dict)
    _pictures: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def centre(self) -> np.ndarray:
        """(3,) middle of the mesh's box."""
        return (self.caster.vertices.max(0) + self.caster.vertices.min(0)).astype(float) / 2

    def render(self, pose: np.ndarray, rig: Rig, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """((H, W, 3) float32 grey levels, (H, W) bool where the mesh is). `without`: an input that must not be used."""
        return self.look(pose, rig, without)[:2]

    def look(self, pose: np.ndarray, rig: Rig, without: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `render`, and (H, W) bool where the colour is that of pictures, and not of the mesh."""
        hit = self.caster.view(pose, rig)
        there = np.isfinite(hit["t"])
        v, u = np.nonzero(there)
        points = rig.backproject(np.stack([u, v], -1), hit["t"][v, u]) @ pose[:3, :3].T + pose[:3, 3]
        colour, weight = self._gather(points, pose, {k: p for k, p in self.poses.items() if k != without})
        filling = self.caster.interpolate(hit, self.colours.astype(float))[v, u]
        out = np.full((*there.shape, 3), 255, np.float32)
        out[v, u] = np.where(weight[:, None] > 0, colour / np.maximum(weight, 1e-9)[:, None], filling)
        shown = np.zeros_like(there)
        shown[v, u] = weight > 0
        return out, there, shown

    def _gather(
        self, points: np.ndarray, pose: np.ndarray, inputs: Mapping[int, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(sum of weighted colours (N, 3), sum of weights (N,)) over the nearest inputs; later ones only fill what has none."""
        colour, weight = np.zeros((len(points), 3), np.float32), np.zeros(len(points), np.float32)
        here = unit(pose[:3, 3] - points)
        for rank, near in enumerate(nearest(pose, inputs, self.centre)[: self.blended + MORE]):
            wanted = np.arange(len(points)) if rank < self.blended else np.flatnonzero(weight == 0)
            if len(wanted) == 0:
                break
            seen, uv = self._seen(near.frame, points[wanted])
            index = wanted[seen]
            picture = self._picture(near.frame)[0]
            flat = sampled(picture, uv[seen])
            angle = np.arccos(
                np.clip(np.einsum("ij,ij->i", here[index], unit(inputs[near.frame][:3, 3] - points[index])), -1, 1)
            )
            w = (1 / np.maximum(angle, 0.01) ** 2).astype(np.float32)
            colour[index] += w[:, None] * flat
            weight[index] += w
        return colour, weight

    def _seen(self, frame: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((N,) bool: the input shows the point, (N, 2) float32 px)."""
        pose, (small, depth) = self.poses[frame], self._sight(frame)
        x = (points - pose[:3, 3]) @ pose[:3, :3]
        uv = self.rig.project(x)
        inside = (
            (x[:, 2] > 0)
            & (uv[:, 0] >= 0)
            & (uv[:, 1] >= 0)
            & (uv[:, 0] <= self.rig.width - 1)
            & (uv[:, 1] <= self.rig.height - 1)
        )
        uv = np.where(inside[:, None], uv, 0).astype(np.float32)
        scale = np.array([small.width / self.rig.width, small.height / self.rig.height])
        at = np.rint((uv + 0.5) * scale - 0.5).astype(int)
        first = depth[np.clip(at[:, 1], 0, small.height - 1), np.clip(at[:, 0], 0, small.width - 1)]
        free = x[:, 2] <= first * (1 + SLACK) + 2 * x[:, 2] / small.fx
        own = np.rint(uv).astype(int)
        return inside & free & self._picture(frame)[1][own[:, 1], own[:, 0]], uv

    def _sight(self, frame: int) -> tuple[Rig, np.ndarray]:
        """Depth of the mesh in an input: 0 next to a step."""
        if frame not in self._sights:
            small = self.rig.scaled(min(1.0, float(np.sqrt(DEPTH_PIXELS / (self.rig.width * self.rig.height)))))
            depth = self.caster.view(self.poses[frame], small)["t"].astype(np.float32)
            hit = np.isfinite(depth)
            kernel = np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)
            farthest = cv2.dilate(np.where(hit, depth, 0).astype(np.float32), kernel)
            first = cv2.erode(np.where(hit, depth, np.float32(1e30)), kernel)
            step = hit & (farthest - first > STEEPEST * farthest / small.fx)
            self._sights[frame] = small, np.where(step | ~hit, 0, depth).astype(np.float32)
        return self._sights[frame]

    def _picture(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Kept for the last few inputs: views that follow each other share them."""
        if frame not in self._pictures:
            while len(self._pictures) >= 2 * (self.blended + MORE):
                self._pictures.pop(next(iter(self._pictures)))
            self._pictures[frame] = self.read(frame), self.mask(frame)
        return self._pictures[frame]


def sampled(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(N, 3) float32: bilinear colours of (h, w, 3) uint8 at (N, 2) px. In rows, because OpenCV's maps end at 32767."""
    if len(uv) == 0:
        return np.empty((0, 3), np.float32)
    rows = -(-len(uv) // ROW)
    padded = np.zeros((rows * ROW, 2), np.float32)
    padded[: len(uv)] = uv
    parts = [
        cv2.remap(picture, block, None, cv2.INTER_LINEAR)
        for block in np.split(padded.reshape(rows, ROW, 2), range(ROW, rows, ROW))
    ]
    return np.concatenate(parts).reshape(-1, 3)[: len(uv)].astype(np.float32)


def psnr_inside(picture: np.ndarray, rendered: np.ndarray, mask: np.ndarray) -> float:
    """dB over the pixels of `mask`, of grey levels 0-255."""
    error = float(np.mean((picture[mask].astype(np.float64) - np.clip(rendered[mask], 0, 255)) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def filled(rendered: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The picture with what lies beside the mesh in the colour of its nearest pixel: an outline that misses by a pixel is no white hole."""
    if not there.any():
        return rendered
    _, labels = cv2.distanceTransformWithLabels(
        (~there).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((labels.max() + 1, 3), rendered.dtype)
    colours[labels[there]] = rendered[there]
    return np.where(there[..., None], rendered, colours[labels])
