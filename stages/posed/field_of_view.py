"""The field of view from silhouettes: with the right one, every ray through an outline grazes an object that all other outlines admit.

Along the ray of an outline pixel the signed distances to all other outlines are looked up; the least of them says how deep a place lies in
the others' cones, and its largest value along the ray is 0 where the object touches the ray, more where a part is hidden, and negative by
as much as the cameras contradict each other. The mean square of what is negative is smallest for the true focal length. Sub-pixel, unlike
counting cells of a hull.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.posed.agreement import Silhouette, hull_box

RAYS = 70
"""of a picture's outline"""
STEPS, FINE_STEPS = 72, 17
LOG_RANGE, SCAN = 0.6, 13
"""factors of the focal length that are tried: 0.55 to 1.8"""


@dataclass(frozen=True)
class _Outline:
    """distance (H, W) float32 px, positive inside; uv (N, 2) px on the outline."""

    view: Silhouette
    distance: np.ndarray
    uv: np.ndarray


def best_focal_factor(views: Sequence[Silhouette]) -> float:
    """The factor of the focal length that contradicts least: a scan, then a golden section."""
    outlines = [_outline(v) for v in views]
    outlines = [o for o in outlines if len(o.uv)]
    tried = np.linspace(-LOG_RANGE, LOG_RANGE, SCAN)
    losses = [contradiction(outlines, float(np.exp(t))) for t in tried]
    top = int(np.argmin(losses))
    low, high = tried[max(0, top - 1)], tried[min(SCAN - 1, top + 1)]
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(8):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if contradiction(outlines, float(np.exp(a))) < contradiction(outlines, float(np.exp(b))):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def contradiction(outlines: Sequence[_Outline], factor: float) -> float:
    """Mean square of how far outline rays miss the other pictures' cones, px."""
    views = [o.view.with_focal(factor) for o in outlines]
    try:
        low, high = hull_box(views, 24)
    except ValueError:
        return np.inf
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    misses = [_misses(i, outlines, views, centre, radius=radius) for i in range(len(views))]
    return float(np.mean(np.concatenate(misses) ** 2))


def _misses(
    index: int, outlines: Sequence[_Outline], views: Sequence[Silhouette], centre: np.ndarray, radius: float
) -> np.ndarray:
    """(N,) px, 0 where the ray finds a place that all others admit."""
    view = views[index]
    rays = (
        np.linalg.solve(view.K, np.c_[outlines[index].uv, np.ones(len(outlines[index].uv))].T).T
        @ view.world_from_camera[:3, :3].T
    )
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    eye = view.world_from_camera[:3, 3]
    middle = (centre - eye) @ rays.T
    t = middle[:, None] + np.linspace(-radius, radius, STEPS)
    best = t[np.arange(len(t)), np.argmax(_admitted(index, outlines, views, eye, rays=rays, t=t), 1)]
    fine = best[:, None] + np.linspace(-1, 1, FINE_STEPS) * (2 * radius / (STEPS - 1))
    return np.minimum(_admitted(index, outlines, views, eye, rays=rays, t=fine).max(1), 0.0)


def _admitted(
    index: int,
    outlines: Sequence[_Outline],
    views: Sequence[Silhouette],
    eye: np.ndarray,
    rays: np.ndarray,
    t: np.ndarray,
) -> np.ndarray:
    """(N, T) least signed distance to the outlines of all other pictures, px."""
    points = (eye + t[..., None] * rays[:, None]).reshape(-1, 3)
    out = np.full(len(points), np.inf, np.float32)
    for j, (o, v) in enumerate(zip(outlines, views, strict=True)):
        if j == index:
            continue
        R, c = v.world_from_camera[:3, :3], v.world_from_camera[:3, 3]
        x = (points - c) @ R @ v.K.T
        uv = (x[:, :2] / np.maximum(x[:, 2:], 1e-9)).astype(np.float32)
        h, w = o.distance.shape
        inside = np.clip(uv, 0, (w - 1, h - 1)).astype(np.float32)
        value = cv2.remap(o.distance, inside.reshape(-1, 1, 2), None, cv2.INTER_LINEAR)[:, 0]
        away = np.linalg.norm(uv - inside, axis=1)
        out = np.minimum(out, np.where(x[:, 2] > 0, value - away, -1e3))
    return out.reshape(t.shape)


def _outline(view: Silhouette) -> _Outline:
    m = view.mask.astype(np.uint8)
    distance = (cv2.distanceTransform(m, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - m, cv2.DIST_L2, 5)).astype(
        np.float32
    )
    distance += np.where(view.mask, np.float32(-0.5), np.float32(0.5))
    contours = cv2.findContours(m, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    points = np.concatenate([c[:, 0] for c in contours]).astype(float) if contours else np.empty((0, 2))
    h, w = view.mask.shape
    inner = (points > 1).all(1) & (points[:, 0] < w - 2) & (points[:, 1] < h - 2)
    points = points[inner]
    return _Outline(view, distance, points[:: max(1, len(points) // RAYS)])
