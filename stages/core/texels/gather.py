"""Looking up surface points in a view: is the point seen, how well, and in what colour. The hot loop of the stage.

All kernels are serial and release the interpreter lock: the caller gives each thread its own range of points, so results do not
depend on the number of threads. A view's camera is passed as one float64 vector (`camera_vector`).
"""

from __future__ import annotations

import numba
import numpy as np

from stages.core.camera import Rig
from stages.core.texels.views import Sight, View, Window

_BIAS_FOOTPRINTS = 1.5
"""a point may lie this many pixel footprints behind the depth map and still count as seen (on top of the slope between pixels)"""


def camera_vector(view: View, rig: Rig, seen: Sight, picture: Window, low: Window) -> np.ndarray:
    """(28,) float64: R 9, t 3, centre 3, fx fy cx cy of the picture, then (scale, offset u, offset v) of depth map, picture, low band."""
    c = view.camera_from_object
    maps = [
        x
        for w in (seen.window, picture, low)
        for x in (w.scale, (0.5 - w.x0) * w.scale - 0.5, (0.5 - w.y0) * w.scale - 0.5)
    ]
    return np.array([*c[:3, :3].ravel(), *c[:3, 3], *view.centre, rig.fx, rig.fy, rig.cx, rig.cy, *maps])


@numba.njit(cache=True, nogil=True, inline="always")
def _look(px, py, pz, nx, ny, nz, cam, depth, border, limits):
    """(u, v, weight) of a point in the whole picture; weight 0 = not seen. limits = (min_facing, border px, ramp px)."""
    dx, dy, dz = cam[12] - px, cam[13] - py, cam[14] - pz
    facing = (nx * dx + ny * dy + nz * dz) / np.sqrt(dx * dx + dy * dy + dz * dz)
    if facing < limits[0]:
        return 0.0, 0.0, 0.0
    z = cam[6] * px + cam[7] * py + cam[8] * pz + cam[11]
    if z <= 1e-6:
        return 0.0, 0.0, 0.0
    u = cam[15] * (cam[0] * px + cam[1] * py + cam[2] * pz + cam[9]) / z + cam[17]
    v = cam[16] * (cam[3] * px + cam[4] * py + cam[5] * pz + cam[10]) / z + cam[18]
    a, b = u * cam[19] + cam[20], v * cam[19] + cam[21]
    i, j = int(np.floor(b)), int(np.floor(a))
    if i < 0 or j < 0 or i + 1 >= depth.shape[0] or j + 1 >= depth.shape[1]:
        return 0.0, 0.0, 0.0
    fy, fx = b - i, a - j
    above, below = (
        border[i, j] * (1 - fx) + border[i, j + 1] * fx,
        border[i + 1, j] * (1 - fx) + border[i + 1, j + 1] * fx,
    )
    gap = (above * (1 - fy) + below * fy) / 8
    if gap <= limits[1]:
        return 0.0, 0.0, 0.0
    # the farthest of the four depths around: on a slope the surface lies between them
    far = max(max(depth[i, j], depth[i, j + 1]), max(depth[i + 1, j], depth[i + 1, j + 1]))
    if z > far + _BIAS_FOOTPRINTS * z / (cam[15] * cam[19]):
        return 0.0, 0.0, 0.0
    ramp = min((gap - limits[1]) / limits[2], 1.0)
    # pixels per area of surface (f^2 cos / z^2), times cos again: a grazing view also suffers most from errors of shape and pose
    return u, v, facing * facing * (cam[15] / z) ** 2 * ramp * ramp * (3 - 2 * ramp)


@numba.njit(cache=True, nogil=True, inline="always")
def _cubic(f):
    """Catmull-Rom weights (Keys 1981, a = -0.5) of the four samples round a position `f` past the second."""
    return (
        ((-0.5 * f + 1.0) * f - 0.5) * f,
        (1.5 * f - 2.5) * f * f + 1.0,
        ((-1.5 * f + 2.0) * f + 0.5) * f,
        (0.5 * f - 0.5) * f * f,
    )


@numba.njit(cache=True, nogil=True)
def sample_cubic(image, a, b):
    """Catmull-Rom interpolation of (h, w, 3) uint8 at column a, row b, edge pixels repeated -> three grey levels 0-255."""
    h, w = image.shape[0], image.shape[1]
    i, j = int(np.floor(b)), int(np.floor(a))
    wy, wx = _cubic(b - i), _cubic(a - j)
    red, green, blue = 0.0, 0.0, 0.0
    for k in range(4):
        r = min(max(i + k - 1, 0), h - 1)
        for m in range(4):
            col = min(max(j + m - 1, 0), w - 1)
            weight = wy[k] * wx[m]
            red += weight * image[r, col, 0]
            green += weight * image[r, col, 1]
            blue += weight * image[r, col, 2]
    return min(max(red, 0.0), 255.0), min(max(green, 0.0), 255.0), min(max(blue, 0.0), 255.0)


@numba.njit(cache=True, nogil=True, inline="always")
def _sample_linear(image, a, b, channel):
    h, w = image.shape[0], image.shape[1]
    a, b = min(max(a, 0.0), w - 1.001), min(max(b, 0.0), h - 1.001)
    i, j = int(b), int(a)
    fy, fx = b - i, a - j
    i1, j1 = min(i + 1, h - 1), min(j + 1, w - 1)
    top = image[i, j, channel] * (1 - fx) + image[i, j1, channel] * fx
    return top * (1 - fy) + (image[i1, j, channel] * (1 - fx) + image[i1, j1, channel] * fx) * fy


@numba.njit(cache=True, nogil=True, inline="always")
def _apply(table, value):
    """A 257-entry table at a fractional grey level."""
    k = int(value)
    return table[k] + (value - k) * (table[k + 1] - table[k])


@numba.njit(cache=True, nogil=True)
def observe(points, normals, cam, depth, border, limits, image, colour, weight):
    """Colours (N, 3) and weights (N,) of `points` in one picture, written in place: bicubic, grey levels as they are; 0 = not seen."""
    for n in range(points.shape[0]):
        u, v, w = _look(
            points[n, 0],
            points[n, 1],
            points[n, 2],
            normals[n, 0],
            normals[n, 1],
            normals[n, 2],
            cam,
            depth,
            border,
            limits,
        )
        weight[n] = w
        if w > 0:
            colour[n, 0], colour[n, 1], colour[n, 2] = sample_cubic(image, u * cam[22] + cam[23], v * cam[22] + cam[24])


@numba.njit(cache=True, nogil=True)
def offer(
    points, normals, cam, depth, border, limits, view_weight, image, low, tables, best_weight, best_colour, best_low
):
    """Offer one view to every texel: it replaces the texel's weakest candidate if it is better.

    image, low: picture (h, w, 3) uint8 and its low band; tables (3, 257): grey level -> exposure-compensated grey level.
    best_weight (N, K) float32, best_colour and best_low (N, K, 3) uint8, changed in place.
    """
    for n in range(points.shape[0]):
        u, v, w = _look(
            points[n, 0],
            points[n, 1],
            points[n, 2],
            normals[n, 0],
            normals[n, 1],
            normals[n, 2],
            cam,
            depth,
            border,
            limits,
        )
        w *= view_weight
        slot = 0
        for k in range(1, best_weight.shape[1]):
            if best_weight[n, k] < best_weight[n, slot]:
                slot = k
        if w <= best_weight[n, slot]:
            continue
        best_weight[n, slot] = w
        levels = sample_cubic(image, u * cam[22] + cam[23], v * cam[22] + cam[24])
        for c in range(3):
            full = _apply(tables[c], levels[c])
            coarse = _apply(tables[c], _sample_linear(low, u * cam[25] + cam[26], v * cam[25] + cam[27], c))
            best_colour[n, slot, c] = np.uint8(min(max(full, 0.0), 255.0) + 0.5)
            best_low[n, slot, c] = np.uint8(min(max(coarse, 0.0), 255.0) + 0.5)
