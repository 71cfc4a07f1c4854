"""Whether an object rests, told by its surface: where features tell nothing (a dull or bare thing), its shape still does.

At rest every point that one frame shows lies, after the camera's own motion, on what another frame sees there. A thing that was turned
floats before it or falls behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform

FACING = 0.3
"""cosine between a surface and the line to a camera below which it is too slanted to be seen again there: a sheet shows its other side"""
SLOPE_WINDOW = 9
STRIDE, LEAST_POINTS = 3, 300
ON_SURFACE = 0.03
"""share of the distance by which a point may be off the seen surface that it lies on"""


@dataclass(frozen=True)
class NearSurface:
    """Of the part of a picture that shows the object: disparity (h, w) px from pixel `corner` (x, y) on, and of the object's points in it
    xyz (N, 3) metres and normals (N, 3), both in the left camera."""

    disparity: np.ndarray
    corner: tuple[int, int]
    xyz: np.ndarray
    normals: np.ndarray


def near_surface(
    disparity: np.ndarray, corner: tuple[int, int], ours: np.ndarray, normals: np.ndarray, rig: Rig
) -> NearSurface:
    """`ours` (h, w) bool: the object's; normals (h, w, 3)."""
    some = np.zeros(ours.shape, bool)
    some[::STRIDE, ::STRIDE] = ours[::STRIDE, ::STRIDE]
    v, u = np.nonzero(some)
    xyz = rig.backproject(np.column_stack([u, v]) + np.array(corner), rig.depth_from_disparity(disparity[v, u]))
    return NearSurface(disparity.astype(np.float32), corner, xyz, normals[v, u])


def share_on(a: NearSurface, b: NearSurface, b_from_a: np.ndarray, rig: Rig, tolerance: float) -> float | None:
    """Share of the points of frame a that b could see which lie, to a `tolerance` of the distance, on what b sees
    there; None = too few."""
    x = transform(b_from_a, a.xyz[facing(a.xyz, a.normals, inverse(b_from_a)[:3, 3])])
    x = x[x[:, 2] > 0.05]
    u, v = (np.rint(rig.project(x)).astype(int) - np.array(b.corner)).T
    height, width = b.disparity.shape
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    there = rig.depth_from_disparity(b.disparity[v[inside], u[inside]])
    z = x[inside, 2][np.isfinite(there)]
    if len(z) < LEAST_POINTS:
        return None
    return float((np.abs(there[np.isfinite(there)] - z) < tolerance * z).mean())


def facing(xyz: np.ndarray, normals: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a `camera` (3,) sees the surface at xyz (N, 3) from its front; True where the normal (N, 3) is not known."""
    line = camera - xyz
    return ~(np.einsum("ij,ij->i", normals, line) < FACING * np.linalg.norm(line, axis=1))


def normals_of(disparity: np.ndarray, corner: tuple[int, int], rig: Rig) -> np.ndarray:
    """(h, w, 3), unit, towards the camera, of the picture's part from `corner` on: the disparity of a plane is linear in the pixels."""
    known, window = np.isfinite(disparity), (SLOPE_WINDOW, SLOPE_WINDOW)
    count = cv2.blur(known.astype(np.float64), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        smooth = np.where(
            count > 0, cv2.blur(np.where(known, disparity, 0.0).astype(np.float64), window) / count, np.nan
        )
    down, right = np.gradient(smooth)
    v, u = np.indices(disparity.shape) + np.array(corner[::-1])[:, None, None]
    level = smooth - right * (u - rig.cx) - down * (v - rig.cy)
    normal = -np.stack([right * rig.fx, down * rig.fy, level], -1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)
