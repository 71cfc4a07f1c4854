"""What a rough surface mirrors of the light: GGX with Smith's masking, dielectric or metal, as glTF describes it.

    radiance = base (1 - m) E / pi + F0 A + B,    F0 = 0.04 (1 - m) + m base

E is the irradiance; A and B, which do not depend on the base colour, are integrals of the light over the lobe of the micro-mirrors. They
are sums over directions drawn by the visible normals of the half sphere (Heitz 2018) from a fixed sequence: same bits every time, and
linear in the light. Where the object itself stands before the light, it mirrors the colour that was seen there.
"""

from __future__ import annotations

import numba
import numpy as np

from stages.material.light import four_cells

F0 = 0.04
LEVELS = np.array([0.08, 0.14, 0.2, 0.27, 0.35, 0.45, 0.57, 0.72, 0.9], np.float64)
"""roughness values that are tried; finer is decided between them"""
MIRRORS = 32


@numba.njit(cache=True, nogil=True)
def _sequence(count):
    out = np.empty((count, 2))
    for k in range(count):
        out[k, 0] = (k + 0.5) / count
        bits, value, base = k, 0.0, 0.5
        while bits:
            value += base * (bits & 1)
            bits >>= 1
            base *= 0.5
        out[k, 1] = value
    return out


DRAWS = _sequence(MIRRORS)


@numba.njit(cache=True, nogil=True)
def mirrored(normal, to_view, roughness, draws, ways, weight_a, weight_b):
    """Directions (K, 3) from which a point mirrors light to the viewer, with their weights in A and B, in place. Weights of directions
    below the surface are 0. normal, to_view: unit."""
    alpha = max(roughness * roughness, 1e-3)
    cos_view = max(normal[0] * to_view[0] + normal[1] * to_view[1] + normal[2] * to_view[2], 0.05)
    # frame: x along the part of the view that lies in the surface
    tx, ty, tz = to_view[0] - cos_view * normal[0], to_view[1] - cos_view * normal[1], to_view[2] - cos_view * normal[2]
    length = np.sqrt(tx * tx + ty * ty + tz * tz)
    if length < 1e-4:
        axis = 0 if abs(normal[0]) < 0.6 else 1
        tx, ty, tz = -normal[axis] * normal[0], -normal[axis] * normal[1], -normal[axis] * normal[2]
        if axis == 0:
            tx += 1.0
        else:
            ty += 1.0
        length = np.sqrt(tx * tx + ty * ty + tz * tz)
    tx, ty, tz = tx / length, ty / length, tz / length
    bx = normal[1] * tz - normal[2] * ty
    by = normal[2] * tx - normal[0] * tz
    bz = normal[0] * ty - normal[1] * tx
    sin_view = np.sqrt(max(1 - cos_view * cos_view, 0.0))
    vx, vz = alpha * sin_view, cos_view
    length = np.sqrt(vx * vx + vz * vz)
    vx, vz = vx / length, vz / length
    masked = 0.5 * (np.sqrt(1 + alpha * alpha * (sin_view / cos_view) ** 2) - 1)
    for k in range(draws.shape[0]):
        r, phi = np.sqrt(draws[k, 0]), 2 * np.pi * draws[k, 1]
        p, q = r * np.cos(phi), r * np.sin(phi)
        s = 0.5 * (1 + vz)
        q = (1 - s) * np.sqrt(max(1 - p * p, 0.0)) + s * q
        up = np.sqrt(max(1 - p * p - q * q, 0.0))
        # p along (0, 1, 0) x .. : for a view in the x-z plane the base is y and (-vz, 0, vx)
        hx, hy, hz = alpha * (up * vx - q * vz), alpha * p, max(up * vz + q * vx, 1e-6)
        length = np.sqrt(hx * hx + hy * hy + hz * hz)
        hx, hy, hz = hx / length, hy / length, hz / length
        along = sin_view * hx + cos_view * hz
        lx, ly, lz = 2 * along * hx - sin_view, 2 * along * hy, 2 * along * hz - cos_view
        if lz <= 1e-4:
            weight_a[k], weight_b[k] = 0.0, 0.0
            continue
        shadow = 0.5 * (np.sqrt(1 + alpha * alpha * (1 - lz * lz) / (lz * lz)) - 1)
        w = (1 + masked) / (1 + masked + shadow) / draws.shape[0]
        grazing = (1 - min(max(along, 0.0), 1.0)) ** 5
        weight_a[k], weight_b[k] = w * (1 - grazing), w * grazing
        for c in range(3):
            t, b = (tx, ty, tz)[c], (bx, by, bz)[c]
            ways[k, c] = lx * t + ly * b + lz * normal[c]


@numba.njit(cache=True, nogil=True)
def mirror_light(normal, to_view, roughness, draws, light, hit, colours, scratch, a, b):
    """A and B (3,) of one point and view, in place. light (H, 2H, 3); hit (2 H^2,) int32: vertex that stands in a direction, -1 = none;
    colours (N, 3) radiance of the vertices."""
    height = light.shape[0]
    ways, weight_a, weight_b = scratch[:, :3], scratch[:, 3], scratch[:, 4]
    mirrored(normal, to_view, roughness, draws, ways, weight_a, weight_b)
    a[:] = 0
    b[:] = 0
    for k in range(draws.shape[0]):
        wa, wb = weight_a[k], weight_b[k]
        if wa + wb == 0:
            continue
        r0, r1, c0, c1, fr, fc = four_cells(ways[k, 0], ways[k, 1], ways[k, 2], height)
        vertex = hit[(r1 if fr > 0.5 else r0) * 2 * height + (c1 if fc > 0.5 else c0)]
        for c in range(3):
            if vertex >= 0:
                value = colours[vertex, c]
            else:
                value = (1 - fr) * ((1 - fc) * light[r0, c0, c] + fc * light[r0, c1, c]) + fr * (
                    (1 - fc) * light[r1, c0, c] + fc * light[r1, c1, c]
                )
            a[c] += wa * value
            b[c] += wb * value
