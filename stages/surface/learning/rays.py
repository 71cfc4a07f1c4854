"""Rays of all pictures, drawn at random: where they start and go in the field's cube, their colour, whether they met the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.surface.learning.placed import Placed
from stages.surface.views.views import View

UNSURE_PX = 0.5
"""a pixel whose middle is nearer to the outline shows object and background"""


@dataclass(frozen=True)
class Rays:
    """eye (N, 3), ray (N, 3) unit, in the cube, float32; colour (N, 3) float32 0-1; inside (N,) bool: in the mask; camera (N,) int32."""

    eye: np.ndarray
    ray: np.ndarray
    colour: np.ndarray
    inside: np.ndarray
    camera: np.ndarray

    def __len__(self) -> int:
        return len(self.eye)

    def taken(self, index: np.ndarray) -> Rays:
        """Those at `index`."""
        return Rays(*(np.ascontiguousarray(getattr(self, k)[index]) for k in self.__dataclass_fields__))


class RaySource:
    """The pixels of the views' crops, each view as often as its crop is large. Holds 4 bytes a pixel."""

    def __init__(self, views: Sequence[View], placed: Placed) -> None:
        self._colours = np.concatenate([v.left.reshape(-1, 3) for v in views])
        self._label = np.concatenate([_label(v) for v in views])
        sizes = np.array([v.outline.size for v in views])
        self._start = np.cumsum(sizes) - sizes
        self._width = np.array([v.rig.width for v in views])
        self._lens = np.array([(v.rig.fx, v.rig.fy, v.rig.cx, v.rig.cy) for v in views])
        self._placed = placed

    @property
    def cameras(self) -> int:
        """How many pictures there are."""
        return len(self._start)

    def draw(self, count: int, rng: np.random.Generator) -> Rays:
        """Rays through the middles of so many pixels, without those whose pixel says nothing sure."""
        flat = rng.integers(0, len(self._label), count)
        flat = flat[self._label[flat] >= 0]
        camera = np.searchsorted(self._start, flat, side="right") - 1
        at = flat - self._start[camera]
        v, u = np.divmod(at, self._width[camera])
        fx, fy, cx, cy = self._lens[camera].T
        ray = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(len(flat))], -1)
        ray = np.einsum("nij,nj->ni", self._placed.turn[camera], ray)
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        colour = self._colours[flat].astype(np.float32) / 255
        eye, inside = self._placed.eye[camera].astype(np.float32), self._label[flat] > 0
        return Rays(eye, ray.astype(np.float32), colour, inside, camera=camera.astype(np.int32))


def _label(view: View) -> np.ndarray:
    """(h * w,) int8: 1 object, 0 background, -1 not to be used."""
    out = (view.outline > 0).astype(np.int8)
    out[np.abs(view.outline) < UNSURE_PX] = -1
    if view.hidden is not None:
        out[view.hidden] = -1
    if view.trust <= 0:
        out[out == 0] = -1
    return out.ravel()
