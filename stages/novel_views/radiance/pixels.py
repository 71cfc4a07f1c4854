"""The pixels of the pictures that a field learns from, as rays drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.novel_views.radiance.space import Frame

MOST_PIXELS = 40_000_000
"""of all pictures: larger ones are made smaller, 4 bytes a pixel are held"""


@dataclass(frozen=True)
class Rays:
    """eye, ray (N, 3) float32 in the space, colour (N, 3) float32 0-1, inside (N,) bool: the pixel shows the object."""

    eye: np.ndarray
    ray: np.ndarray
    colour: np.ndarray
    inside: np.ndarray


def directions(rig: Rig, pose: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(N, 3) unit rays of the world through (N, 2) px."""
    ray = rig.rays(uv) @ pose[:3, :3].T
    return ray / np.linalg.norm(ray, axis=1, keepdims=True)


class PixelBank:
    """All pixels that say something sure. `add` the pictures one by one, then `draw`."""

    def __init__(self, rig: Rig, frame: Frame, count: int) -> None:
        scale = min(1.0, float(np.sqrt(MOST_PIXELS / (rig.width * rig.height * max(count, 1)))))
        self.rig, self.frame = rig if scale == 1 else rig.scaled(scale), frame
        self._colours: list[np.ndarray] = []
        self._where: list[np.ndarray] = []
        self._poses: list[np.ndarray] = []

    def add(self, pose: np.ndarray, picture: np.ndarray, mask: np.ndarray | None, unseen: np.ndarray | None) -> None:
        """(H, W, 3) uint8; `mask`: the object, None = all of it is wanted; `unseen`: pixels that show something before it."""
        size = (self.rig.width, self.rig.height)
        if picture.shape[1::-1] != size:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

            def shrunk(m):
                return cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5

            mask, unseen = None if mask is None else shrunk(mask), None if unseen is None else shrunk(unseen)
        label = np.ones(picture.shape[:2], np.int8) if mask is None else mask.astype(np.int8)
        if unseen is not None:
            label[unseen] = -1
        at = np.flatnonzero(label.ravel() >= 0)
        kept = np.empty((len(at), 4), np.uint8)
        kept[:, :3], kept[:, 3] = picture.reshape(-1, 3)[at], label.ravel()[at]
        self._colours.append(kept)
        self._where.append(at.astype(np.int32))
        self._poses.append(pose)

    def close(self) -> None:
        """No more pictures."""
        self._start = np.cumsum([0, *(len(w) for w in self._where)])
        self._kept, self._at = np.concatenate(self._colours), np.concatenate(self._where)
        self._turn = np.stack([p[:3, :3] for p in self._poses])
        self._eye = np.stack([p[:3, 3] for p in self._poses])
        self._colours, self._where = [], []

    def __len__(self) -> int:
        return len(self._at)

    def draw(self, count: int, rng: np.random.Generator) -> Rays:
        """Rays through so many pixels."""
        pick = rng.integers(0, len(self._at), count)
        camera = np.searchsorted(self._start, pick, side="right") - 1
        v, u = np.divmod(self._at[pick], self.rig.width)
        ray = np.einsum("nij,nj->ni", self._turn[camera], self.rig.rays(np.stack([u, v], -1)))
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        eye, ray = self.frame.rays(self._eye[camera], ray)
        kept = self._kept[pick]
        return Rays(eye, ray, kept[:, :3].astype(np.float32) / 255, kept[:, 3] > 0)
