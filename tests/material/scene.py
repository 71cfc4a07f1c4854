"""A glossy ball with known colours and roughness under a known light, shaded by plain sums over a fine grid of directions: the truth for
tests, which shares no code with the solver. Twin axes unless said otherwise."""

from __future__ import annotations

import numba
import numpy as np

RADIUS = 0.05
BASES = np.array([[0.8, 0.75, 0.6], [0.15, 0.3, 0.55], [0.55, 0.12, 0.1]])
ROUGH = np.array([0.3, 0.55, 0.3])


def grid(height: int) -> tuple[np.ndarray, np.ndarray]:
    """(D, 3) directions and (D,) solid angles of a lat-long grid, in the layout of probe.hdr."""
    theta, phi = np.pi * (np.arange(height) + 0.5) / height, np.pi * (np.arange(2 * height) + 0.5) / height
    t, p = np.meshgrid(theta, phi, indexing="ij")
    ways = np.stack([np.sin(p) * np.sin(t), np.cos(t), -np.cos(p) * np.sin(t)], -1).reshape(-1, 3)
    return ways, (np.sin(t) * (np.pi / height) ** 2).ravel()


def light(ways: np.ndarray, seed: int = 0) -> np.ndarray:
    """(D, 3) radiance from directions: a sky, a ground and three lamps of about 20 degrees."""
    rng = np.random.default_rng(seed)
    out = np.where(ways[:, 1:2] > 0, [[0.35, 0.4, 0.5]], [[0.15, 0.12, 0.1]]) * np.ones((len(ways), 3))
    for _ in range(3):
        at = rng.normal(size=3)
        at /= np.linalg.norm(at)
        out += (
            np.exp((ways @ at - 1) / (1 - np.cos(np.radians(rng.uniform(15, 25)))))[:, None]
            * rng.uniform(2, 6)
            * rng.uniform(0.8, 1, 3)
        )
    return out


def kinds(normals: np.ndarray) -> np.ndarray:
    """(N,) which of the three materials a point of the ball has: patches."""
    wave = np.sin(5 * normals[:, 0] + 1) + np.sin(6 * normals[:, 1]) + np.sin(5.5 * normals[:, 2] + 2)
    return np.digitize(wave, [-0.5, 0.6])


@numba.njit(cache=True, fastmath=True)
def shaded(normals, to_view, base, rough, ways, power):
    """(N, 3) radiance of points by glTF's model, sums over the directions: base / pi and GGX with Smith's masking, F0 = 0.04.
    power (D, 3): radiance times solid angle."""
    out = np.zeros((len(normals), 3))
    for i in range(len(normals)):
        n, v, a2 = normals[i], to_view[i], rough[i] ** 4
        nv = max(n[0] * v[0] + n[1] * v[1] + n[2] * v[2], 1e-3)
        for d in range(len(ways)):
            w = ways[d]
            nl = n[0] * w[0] + n[1] * w[1] + n[2] * w[2]
            if nl <= 0:
                continue
            hx, hy, hz = w[0] + v[0], w[1] + v[1], w[2] + v[2]
            length = np.sqrt(hx * hx + hy * hy + hz * hz)
            nh, vh = (hx * n[0] + hy * n[1] + hz * n[2]) / length, (hx * v[0] + hy * v[1] + hz * v[2]) / length
            spread = a2 / (np.pi * (nh * nh * (a2 - 1) + 1) ** 2)
            masks = 0.5 / (nl * np.sqrt(nv * nv * (1 - a2) + a2) + nv * np.sqrt(nl * nl * (1 - a2) + a2))
            gloss = spread * masks * (0.04 + 0.96 * (1 - max(vh, 0.0)) ** 5)
            for c in range(3):
                out[i, c] += (base[i, c] / np.pi + gloss) * nl * power[d, c]
    return out


def ball_points(count: int, seed: int = 0) -> np.ndarray:
    """(count, 3) unit normals of points drawn on the ball."""
    n = np.random.default_rng(seed).normal(size=(count, 3))
    return n / np.linalg.norm(n, axis=1, keepdims=True)


def view_points(count: int, distance: float = 0.25) -> np.ndarray:
    """(count, 3) places of cameras round the ball."""
    k = np.arange(count)
    y = 0.8 * (1 - 2 * (k + 0.5) / count)
    ring = np.sqrt(1 - y * y)
    phi = k * np.pi * (3 - np.sqrt(5))
    return distance * np.stack([ring * np.cos(phi), y, ring * np.sin(phi)], 1)


def camera(place: np.ndarray) -> np.ndarray:
    """(4, 4) twin_from_camera, OpenCV axes, that looks at the ball."""
    z = -place / np.linalg.norm(place)
    x = np.cross(z, [0.0, 1.0, 0.0])
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.stack([x, np.cross(z, x), z], 1), place
    return out


def picture(pose: np.ndarray, size: int, focal: float, exposure: float, seed: int = 0) -> np.ndarray:
    """(size, size, 4) uint8 sRGB with alpha of the ball from `pose`."""
    ways, angles = grid(24)
    v, u = np.mgrid[:size, :size]
    rays = (
        np.stack([(u - (size - 1) / 2) / focal, (v - (size - 1) / 2) / focal, np.ones_like(u)], -1).reshape(-1, 3)
        @ pose[:3, :3].T
    )
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    b = rays @ pose[:3, 3]
    root = b * b - (pose[:3, 3] @ pose[:3, 3] - RADIUS**2)
    there = np.flatnonzero(root > 0)
    n = (pose[:3, 3] + rays[there] * (-b - np.sqrt(np.maximum(root, 0)))[there, None]) / RADIUS
    kind = kinds(n)
    seen = shaded(n, -rays[there], BASES[kind], ROUGH[kind], ways, light(ways, seed) * angles[:, None]) * exposure
    x = np.clip(seen, 0, 1)
    out = np.zeros((size * size, 4), np.uint8)
    out[there, :3] = np.rint(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055))
    out[there, 3] = 255
    return out.reshape(size, size, 4)
