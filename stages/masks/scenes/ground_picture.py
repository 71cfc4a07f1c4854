"""What the ground under the object looks like, put together from all frames: its shadows keep still on it, the object does not.

Every placed frame is drawn onto the support plane. At a place of the ground most frames agree, whatever the object covers in the others;
drawn back into a frame it is the background that this frame must show wherever the object does not cover it. A shadow is then as well
known as paint, and a part of the object that has nearly the table's grey stands out from what the other frames show behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from stages.core.camera import Rig
from stages.core.parallel import ordered_map
from stages.masks.frame.working_frame import WorkingFrame, noise_level
from stages.masks.scenes import background as bg
from stages.masks.scenes.support import GroundGrid, Support, ground_grid

LARGEST = 900
"""px; most pixels a side of the ground's picture, which has as many as the frames are wide"""
LAYERS = ((1.0, 1.1), (0.45, 5.0))
"""pixels, as a share of that, and width, in pictures' widths at the object: the ground near it, and coarsely what low views show behind"""
FRAMES = 24
"""frames that it is put together from"""
LEAST_FRAMES, LEAST_SHARE = 3, 0.2
"""frames that must have shown a place outside their masks: so many, and this share of those that had it in the picture"""
AGREEING_FRAMES, AGREEING_SHARE = 4, 0.45
"""the same without masks: frames that must agree on a place's colour; beside a box nearly half of a round trip sees it, under it none"""
ALL_ROUND = 0.8
"""length of the mean of the agreeing frames' directions, at most: from one side only, a white object hides the same places from all"""
LEAST_SHADE = 0.005
"""shadows keep still on the ground while the camera goes round: what is left is the exposure's error"""
LARGEST_SCATTER = 25.0
"""grey levels; what differs more from frame to frame is not on the plane"""


@dataclass(frozen=True)
class LayerSamples:
    """Frames drawn onto a grid: rgb (N, S, S, 3) uint8, seen (N, S, S) bool where the place is in the picture."""

    grid: GroundGrid
    rgb: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class GroundSamples:
    """The frames' numbers, places in the scene and exposures (N, 3), the noise of the first, and what they show of each layer."""

    frames: list[int]
    poses: list[np.ndarray]
    gain: np.ndarray
    noise: float
    layers: list[LayerSamples]


@dataclass(frozen=True)
class GroundPicture:
    """The ground's colour and scatter on each grid (NaN = unknown), the nearest and finest first, and its shade."""

    layers: list[tuple[GroundGrid, np.ndarray]]
    shade: float

    def seen_from(
        self, scene_from_left: np.ndarray, rig: Rig, window: tuple[slice, slice]
    ) -> tuple[np.ndarray, np.ndarray]:
        """rgb (h, w, 3) and sigma (h, w) float32 in the window of that left camera, NaN where the ground is unknown or out of sight."""
        out = None
        for grid, picture in self.layers:
            drawn = _back(grid, picture, scene_from_left, rig, window)
            out = drawn if out is None else np.where(np.isfinite(out), out, drawn)
        return out[..., :3], out[..., 3]


def ground_grids(support: Support, centre: np.ndarray, cameras: np.ndarray, rig: Rig) -> list[GroundGrid]:
    """The layers' grids round the foot of the object's `centre` (3,)."""
    size = min(LARGEST, rig.width)
    return [ground_grid(support, centre, cameras, rig, round(share * size), width) for share, width in LAYERS]


def ground_samples(
    grids: list[GroundGrid], views: Iterable[tuple[WorkingFrame, np.ndarray]], rig: Rig
) -> GroundSamples | None:
    """From (frame, scene_from_left) of several frames; None for fewer than `AGREEING_FRAMES`."""
    frames, poses, noise = [], [], 1.5
    rgb, seen = [[] for _ in grids], [[] for _ in grids]
    for view, pose in views:
        noise = noise if frames else max(noise, noise_level(view.rgb))
        frames.append(view.frame)
        poses.append(pose)
        for i, grid in enumerate(grids):
            rgb[i].append(_drawn(grid, view.rgb, pose, rig, cv2.INTER_LINEAR))
            seen[i].append(_drawn(grid, np.full(view.shape, 255, np.uint8), pose, rig, cv2.INTER_NEAREST) > 0)
    if len(frames) < AGREEING_FRAMES:
        return None
    a = slice(None, None, 3)
    gain = [
        bg.frame_gain(p[a, a], rgb[0][0][a, a], (s & seen[0][0])[a, a]) for p, s in zip(rgb[0], seen[0], strict=True)
    ]
    layers = [LayerSamples(g, np.stack(p), np.stack(s)) for g, p, s in zip(grids, rgb, seen, strict=True)]
    return GroundSamples(frames, poses, np.stack(gain).astype(np.float32), noise, layers)


def agreed_picture(samples: GroundSamples, behind: list[np.ndarray | None], rig: Rig, workers: int) -> GroundPicture:
    """Without masks: the colour that most frames agree on at each place, where enough do.

    `behind`: where the object may stand in each of the frames, (H, W) bool, None = anywhere. Under an object of one colour all frames agree
    on that colour, so nothing is taken from there.
    """
    layers = []
    from_where = _directions(samples)
    for layer in samples.layers:
        size = layer.grid.size
        four = np.full((size, size, 4), np.nan, np.float32)
        seen = layer.seen.copy()
        for k, (place, pose) in enumerate(zip(behind, samples.poses, strict=True)):
            if place is not None:
                seen[k] &= _drawn(layer.grid, place.astype(np.uint8), pose, rig, cv2.INTER_NEAREST) == 0

        def rows(y: int, layer: LayerSamples = layer, four: np.ndarray = four, seen: np.ndarray = seen) -> None:
            s = slice(y, y + bg.ROWS)
            _agreed(layer.rgb[:, s], seen[:, s], samples.gain, from_where, np.float32(samples.noise), four[s])

        for _ in ordered_map(rows, range(0, size, bg.ROWS), workers):
            pass
        layers.append((layer.grid, four))
    return GroundPicture(layers, LEAST_SHADE)


def picture_outside(samples: GroundSamples, masks: list[np.ndarray], rig: Rig, workers: int) -> GroundPicture:
    """With the mask (H, W) bool of each of the frames: what lies outside of them."""
    layers, shade = [], LEAST_SHADE
    inside = [(~bg.outside_masks([m])[0]).astype(np.uint8) for m in masks]
    for layer in samples.layers:
        covered = [
            _drawn(layer.grid, m, p, rig, cv2.INTER_NEAREST) > 0 for m, p in zip(inside, samples.poses, strict=True)
        ]
        use = layer.seen & ~np.stack(covered)
        stack = bg.Samples(samples.frames, layer.rgb, np.broadcast_to(np.float16(np.nan), use.shape), samples.gain)
        found = bg.background_from(stack, use, samples.noise, workers)
        enough = use.sum(0) >= np.maximum(LEAST_FRAMES, LEAST_SHARE * layer.seen.sum(0))
        found.rgb[~enough | (found.sigma > LARGEST_SCATTER)] = np.nan
        shade = shade if layers else bg.shade_seen(stack, found, list(~use), LEAST_SHADE)
        layers.append((layer.grid, np.dstack([found.rgb, found.sigma])))
    return GroundPicture(layers, shade)


def _directions(samples: GroundSamples) -> np.ndarray:
    """(N, 2) float32 unit vectors on the ground from the foot of the object towards the cameras."""
    grid = samples.layers[0].grid
    foot = grid.origin + (grid.size - 1) / 2 * (grid.across + grid.along)
    towards = (np.array([p[:3, 3] for p in samples.poses]) - foot) @ np.stack([grid.across, grid.along], 1)
    return (towards / np.linalg.norm(towards, axis=1, keepdims=True)).astype(np.float32)


def _drawn(grid: GroundGrid, picture: np.ndarray, scene_from_left: np.ndarray, rig: Rig, how: int) -> np.ndarray:
    """(S, S[, 3]) uint8: the picture of that left camera drawn onto the ground, 0 where it does not show it."""
    left_from_grid = grid.left_from_grid(scene_from_left, rig)
    out = cv2.warpPerspective(picture, left_from_grid, (grid.size,) * 2, flags=how | cv2.WARP_INVERSE_MAP)
    i, j = np.arange(grid.size)[None], np.arange(grid.size)[:, None]
    out[left_from_grid[2, 0] * i + left_from_grid[2, 1] * j + left_from_grid[2, 2] <= 0] = 0  # behind the camera
    return out


def _back(
    grid: GroundGrid, picture: np.ndarray, scene_from_left: np.ndarray, rig: Rig, window: tuple[slice, slice]
) -> np.ndarray:
    """(h, w, 4): the ground's picture (S, S, 4) drawn into the window of that left camera."""
    y, x = window
    size = (x.stop - x.start, y.stop - y.start)
    grid_from_window = np.linalg.inv(grid.left_from_grid(scene_from_left, rig)) @ np.array(
        [[1, 0, x.start], [0, 1, y.start], [0, 0, 1]], float
    )
    how = {
        "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        "borderMode": cv2.BORDER_CONSTANT,
        "borderValue": (np.nan,) * 4,
    }
    out = cv2.warpPerspective(picture, grid_from_window, size, **how)
    # the third coordinate is 1 / depth: not positive beyond the horizon
    u, v = np.arange(size[0])[None], np.arange(size[1])[:, None]
    out[grid_from_window[2, 0] * u + grid_from_window[2, 1] * v + grid_from_window[2, 2] <= 0] = np.nan
    return out


@njit(nogil=True, cache=True)
def _agreed(stack, seen, gain, from_where, noise, four):  # pragma: no cover - compiled
    """The fullest window of brightness among the samples of each place: their mean colour and its scatter."""
    n, h, w, _ = stack.shape
    light, order = np.empty(n, np.float32), np.empty(n, np.int64)
    for y in range(h):
        for x in range(w):
            m = 0
            for i in range(n):
                if seen[i, y, x]:
                    v = stack[i, y, x, 0] / gain[i, 0] + stack[i, y, x, 1] / gain[i, 1] + stack[i, y, x, 2] / gain[i, 2]
                    j = m - 1
                    while j >= 0 and light[j] > v:
                        light[j + 1], order[j + 1] = light[j], order[j]
                        j -= 1
                    light[j + 1], order[j + 1] = v, i
                    m += 1
            least = max(AGREEING_FRAMES, AGREEING_SHARE * m)
            first, best, a = 0, 0, 0
            for b in range(m):
                while light[b] - light[a] > 12 * noise + np.float32(0.05) * light[b]:
                    a += 1
                if b + 1 - a > best:
                    first, best = a, b + 1 - a
            if best < least:
                continue
            dx, dy = np.float32(0), np.float32(0)
            for k in range(first, first + best):
                dx, dy = dx + from_where[order[k], 0], dy + from_where[order[k], 1]
            if dx * dx + dy * dy > (ALL_ROUND * best) ** 2:
                continue
            scatter = np.float32(0)
            for c in range(3):
                total, square = np.float32(0), np.float32(0)
                for k in range(first, first + best):
                    v = stack[order[k], y, x, c] / gain[order[k], c]
                    total, square = total + v, square + v * v
                four[y, x, c] = total / best
                scatter += max(square / best - (total / best) ** 2, np.float32(0))
            four[y, x, 3] = max(np.sqrt(scatter / 3), noise) * (1 + 1 / np.sqrt(best))
