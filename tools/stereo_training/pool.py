"""Turns few scenes into many training pairs: crops, other sizes and disparities, flips, mirrored eyes, and fresh camera faults."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from tools.stereo_training.camera import CameraPair
from tools.stereo_training.scenes import Batch, SceneMaker

SCENE_HEIGHT, SCENE_WIDTH = 320, 512


@dataclass(frozen=True)
class Scene:
    """(H, W, 3) uint8 pictures before any camera, (H, W) float32 disparity px and bool "seen by both eyes" of each eye."""

    left: np.ndarray
    right: np.ndarray
    disparity: tuple[np.ndarray, np.ndarray]
    visible: tuple[np.ndarray, np.ndarray]


def make_scene(maker: SceneMaker, seed: int) -> Scene:
    """The scene of this seed."""
    clean = maker.clean(1, seed)
    left, right = ((255 * i[0]).round().byte().permute(1, 2, 0).cpu().numpy() for i in (clean.left, clean.right))
    disparity, visible = (tuple(v[0, 0].cpu().numpy() for v in pair) for pair in (clean.disparities, clean.seen))
    return Scene(left, right, disparity, visible)


@dataclass(frozen=True)
class Sizes:
    """Of what the network is trained on."""

    height: int = 192
    width: int = 320
    levels: int = 32


class Pool:
    """The newest `capacity` scenes; a new one joins every `renew_every` steps. What a step gets depends on seed, rank and step only."""

    def __init__(
        self,
        maker: SceneMaker,
        seed: int,
        rank: int,
        sizes: Sizes,
        capacity: int = 48,
        renew_every: int = 6,
        first: int = 12,
    ):
        self.maker, self.seed, self.rank, self.sizes = maker, seed, rank, sizes
        self.capacity, self.renew_every, self.first = capacity, renew_every, first
        self._scenes: deque[tuple[int, Scene]] = deque(maxlen=capacity)

    def batch(self, size: int, step: int) -> Batch:
        """`size` pairs as cameras would deliver them."""
        self._renew(step)
        rng = np.random.default_rng([self.seed, self.rank, step])
        return collate(
            [training_pair(self._scenes[int(rng.integers(len(self._scenes)))][1], self.sizes, rng) for _ in range(size)]
        )

    def _renew(self, step: int) -> None:
        end = self.first + step // self.renew_every
        known = self._scenes[-1][0] + 1 if self._scenes else 0
        for i in range(max(known, end - self.capacity), end):
            self._scenes.append((i, make_scene(self.maker, scene_seed(self.seed, self.rank, i))))


def scene_seed(seed: int, rank: int, index: int) -> int:
    """Seeds of training scenes: even ones; held-back scenes have odd ones."""
    return 2 * int(np.random.default_rng([seed, rank, index]).integers(2**40))


def training_pair(
    scene: Scene, sizes: Sizes, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(h, w, 3) uint8 left and right, (h, w) float32 disparity px and bool visible."""
    left, right, d, seen = scene.left, scene.right, scene.disparity[0], scene.visible[0]
    if rng.random() < 0.5:  # the pair in a mirror, eyes exchanged
        left, right, d, seen = (i[:, ::-1] for i in (scene.right, scene.left, scene.disparity[1], scene.visible[1]))
    if rng.random() < 0.5:
        left, right, d, seen = (i[::-1] for i in (left, right, d, seen))
    order = rng.permutation(3)
    parts = _cut(left[..., order], right[..., order], d, seen, sizes=sizes, rng=rng)
    left, right = CameraPair.draw(rng).take(parts[0], parts[1], rng)
    return left, right, parts[2], parts[3]


def _cut(left, right, d, seen, sizes: Sizes, rng: np.random.Generator):
    """A piece of the scene at another size; the right eye's piece lies further left, which takes the same from all disparities."""
    height, width = d.shape
    least = max(sizes.height / height, sizes.width / width)
    scale = float(np.exp(rng.uniform(np.log(max(least, 0.65)), np.log(1.6))))
    h, w = min(height, round(sizes.height / scale)), min(width, round(sizes.width / scale))
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    inside = d[y : y + h, x : x + w]
    low, high = float(np.percentile(inside, 1)), float(np.percentile(inside, 99))
    most = max(0, min(x, int(low)))
    shift = int(rng.integers(min(most, max(0, int(high - 4 * sizes.levels / scale * 0.95))), most + 1))
    size = (sizes.width, sizes.height)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pieces = left[y : y + h, x : x + w], right[y : y + h, x - shift : x - shift + w]
    a, b = (cv2.resize(np.ascontiguousarray(i), size, interpolation=how) for i in pieces)
    known = (
        cv2.resize(
            np.ascontiguousarray(seen[y : y + h, x : x + w]).view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT
        )
        > 0
    )
    out = ((resized_disparity(inside, size) - shift) * (sizes.width / w)).astype(np.float32)
    match = np.arange(sizes.width, dtype=np.float32)[None] - out
    return a, b, out, known & (match >= 0) & (match <= sizes.width - 1)


def resized_disparity(d: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values unchanged; linear within a surface, nearest beside depth edges."""
    d = np.ascontiguousarray(d)
    spread = cv2.dilate(d, np.ones((3, 3))) - cv2.erode(d, np.ones((3, 3)))
    smooth = cv2.resize((spread < 2).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    linear = cv2.resize(d, size, interpolation=cv2.INTER_LINEAR)
    return np.where(smooth, linear, cv2.resize(d, size, interpolation=cv2.INTER_NEAREST_EXACT))


def collate(pairs: list) -> Batch:
    """Pairs of one size as tensors."""
    left, right = (torch.from_numpy(np.stack([p[k] for p in pairs])).permute(0, 3, 1, 2).float() / 255 for k in (0, 1))
    return Batch(left, right, *(torch.from_numpy(np.stack([p[k] for p in pairs]))[:, None] for k in (2, 3)))
