"""The environment light: a lat-long picture of radiance.

Twin axes (x right, y up, z to the front). Pixel (row r, column c) of H rows and 2 H columns looks along theta = pi (r + 0.5) / H from
+y and phi = pi (c + 0.5) / H: (sin phi sin theta, cos theta, -cos phi sin theta). The middle column looks along +z; it is the layout of
Mitsuba's `envmap`.
"""

from __future__ import annotations

import numba
import numpy as np


def directions(height: int) -> np.ndarray:
    """(2 height^2, 3) float64 unit vectors of the pixels, row by row."""
    theta = np.pi * (np.arange(height) + 0.5) / height
    phi = np.pi * (np.arange(2 * height) + 0.5) / height
    ring = np.sin(theta)[:, None]
    up = np.broadcast_to(np.cos(theta)[:, None], (height, 2 * height))
    return np.stack([np.sin(phi) * ring, up, -np.cos(phi) * ring], -1).reshape(-1, 3)


def solid_angles(height: int) -> np.ndarray:
    """(2 height^2,) steradians of the pixels; they sum to 4 pi."""
    edge = np.cos(np.pi * np.arange(height + 1) / height)
    return np.repeat((edge[:-1] - edge[1:]) * np.pi / height, 2 * height)


@numba.njit(cache=True, nogil=True, inline="always")
def cell_at(x, y, z, height):
    """Row and column, with fractions, of a unit direction."""
    row = np.arccos(min(max(y, -1.0), 1.0)) / np.pi * height - 0.5
    column = np.arctan2(x, -z) / np.pi * height
    if column < 0:
        column += 2 * height
    return row, column - 0.5


@numba.njit(cache=True, nogil=True, inline="always")
def four_cells(x, y, z, height):
    """The four pixels round a direction: indices of two rows and two columns, and the weights of the second ones."""
    row, column = cell_at(x, y, z, height)
    r0, c0 = int(np.floor(row)), int(np.floor(column))
    fr, fc = row - r0, column - c0
    r1, c1 = min(r0 + 1, height - 1), (c0 + 1) % (2 * height)
    return max(r0, 0), r1, c0 % (2 * height), c1, fr, fc


def neighbour_differences(height: int) -> np.ndarray:
    """(D, D) float64 matrix of the quadratic form that sums squared differences of neighbouring pixels, each weighted by what the
    sphere makes of its edge: rows near a pole have short edges between columns."""
    count, width = 2 * height * height, 2 * height
    out = np.zeros((count, count))
    ring = np.sin(np.pi * (np.arange(height) + 0.5) / height)
    border = np.sin(np.pi * np.arange(1, height) / height)
    index = np.arange(count).reshape(height, width)

    def tie(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> None:
        np.add.at(out, (a, a), weight)
        np.add.at(out, (b, b), weight)
        np.add.at(out, (a, b), -weight)
        np.add.at(out, (b, a), -weight)

    tie(index.ravel(), np.roll(index, -1, 1).ravel(), np.repeat(1 / ring, width))
    tie(index[:-1].ravel(), index[1:].ravel(), np.repeat(border, width))
    return out
