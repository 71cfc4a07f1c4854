"""Smooth surfaces through noisy, unevenly informed disparities: a thin plate cut at depth edges.

Minimises over the disparity map d (Terzopoulos, "Multilevel computational processes for visual surface reconstruction", 1983)

    sum information * (d - target)^2  +  stiffness * sum (d_xx^2 + 2 d_xy^2 + d_yy^2)

where a second difference counts only if it crosses no depth edge. Read as statistics: `information` is the inverse variance of each
pixel's measurement, 1 / stiffness the variance of the curvature of surfaces. A pixel with no information takes the smooth
continuation of its neighbours; `posterior_sigma` says what that is worth. Solved coarse to fine with conjugate gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np

_ITERATIONS = (8, 12, 20, 40, 60, 80, 80, 80)
"""Conjugate-gradient steps from the finest level to the coarsest: a level only mends what its coarser neighbour could not see."""
_LEVELS = 6
_TETHER = np.float32(1e-6)
"""Information that holds a pixel cut off from everything at its target."""


@nb.njit(nogil=True, cache=True)
def link_weights(link_x: np.ndarray, link_y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Links to the right and lower neighbour (0 = depth edge) -> weights of d_xx, d_yy (centred) and d_xy (of the pixel's lower right)."""
    h, w = link_x.shape
    xx, yy, xy = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    for y in range(h):
        for x in range(1, w - 1):
            xx[y, x] = link_x[y, x - 1] * link_x[y, x]
    for y in range(1, h - 1):
        for x in range(w):
            yy[y, x] = link_y[y - 1, x] * link_y[y, x]
    for y in range(h - 1):
        for x in range(w - 1):
            xy[y, x] = link_x[y, x] * link_x[y + 1, x] * link_y[y, x] * link_y[y, x + 1]
    return xx, yy, xy


@nb.njit(nogil=True, cache=True, fastmath=True)
def apply_plate(
    d: np.ndarray,
    information: np.ndarray,
    lx: np.ndarray,
    ly: np.ndarray,
    xx: np.ndarray,
    yy: np.ndarray,
    xy: np.ndarray,
    tension: float,
    stiffness: float,
    out: np.ndarray,
) -> None:
    """out = half the gradient of the energy's quadratic part at d: information * d + stiffness * D'CD d. All (H, W) float32."""
    h, w = d.shape
    k, tau = np.float32(stiffness), np.float32(tension)
    two = np.float32(2)
    for y in range(h):
        row, target, info = d[y], out[y], information[y]
        for x in range(w):
            target[x] = info[x] * row[x]
    bend = np.empty(w, np.float32)
    for y in range(h):
        row, target, weight, link = d[y], out[y], xx[y], lx[y]
        for x in range(w - 1):
            bend[x] = tau * link[x] * (row[x + 1] - row[x])
        for x in range(w - 1):
            target[x] -= bend[x]
        for x in range(w - 1):
            target[x + 1] += bend[x]
        bend[0] = 0
        bend[w - 1] = 0
        for x in range(1, w - 1):
            bend[x] = k * weight[x] * (row[x - 1] - two * row[x] + row[x + 1])
        for x in range(1, w - 1):
            target[x] += bend[x - 1] - two * bend[x] + bend[x + 1]
        if w > 1:
            target[0] += bend[1]
            target[w - 1] += bend[w - 2]
    for y in range(1, h - 1):
        above, row, below, weight = d[y - 1], d[y], d[y + 1], yy[y]
        to_above, to_row, to_below = out[y - 1], out[y], out[y + 1]
        for x in range(w):
            bend[x] = k * weight[x] * (above[x] - two * row[x] + below[x])
        for x in range(w):
            to_above[x] += bend[x]
        for x in range(w):
            to_row[x] -= two * bend[x]
        for x in range(w):
            to_below[x] += bend[x]
    for y in range(h - 1):
        row, below, weight = d[y], d[y + 1], xy[y]
        to_row, to_below, link = out[y], out[y + 1], ly[y]
        for x in range(w):
            bend[x] = tau * link[x] * (below[x] - row[x])
        for x in range(w):
            to_row[x] -= bend[x]
        for x in range(w):
            to_below[x] += bend[x]
        for x in range(w - 1):
            bend[x] = two * k * weight[x] * (row[x] - row[x + 1] - below[x] + below[x + 1])
        for x in range(w - 1):
            to_row[x] += bend[x]
            to_below[x] -= bend[x]
        for x in range(w - 1):
            to_row[x + 1] -= bend[x]
            to_below[x + 1] += bend[x]


@nb.njit(nogil=True, cache=True, fastmath=True)
def _diagonal(information, lx, ly, xx, yy, xy, tension, stiffness):
    """Diagonal of the system, the preconditioner."""
    h, w = information.shape
    out = information.copy()
    k, tau = np.float32(stiffness), np.float32(tension)
    for y in range(h):
        for x in range(w):
            a = 4 * xx[y, x] + 4 * yy[y, x] + 2 * xy[y, x]
            if x > 0:
                a += xx[y, x - 1] + 2 * xy[y, x - 1]
            if x < w - 1:
                a += xx[y, x + 1]
            if y > 0:
                a += yy[y - 1, x] + 2 * xy[y - 1, x]
            if y < h - 1:
                a += yy[y + 1, x]
            if x > 0 and y > 0:
                a += 2 * xy[y - 1, x - 1]
            b = lx[y, x] + ly[y, x]
            if x > 0:
                b += lx[y, x - 1]
            if y > 0:
                b += ly[y - 1, x]
            out[y, x] += k * a + tau * b
    return out


@nb.njit(nogil=True, cache=True, fastmath=True)
def relax(
    start: np.ndarray,
    target: np.ndarray,
    information: np.ndarray,
    lx: np.ndarray,
    ly: np.ndarray,
    xx: np.ndarray,
    yy: np.ndarray,
    xy: np.ndarray,
    tension: float,
    stiffness: float,
    iterations: int,
) -> np.ndarray:
    """Conjugate gradients with a diagonal preconditioner from `start`; (H, W) float32. Exact after enough iterations."""
    h, w = start.shape
    info = information + _TETHER
    inverse = np.float32(1) / _diagonal(info, lx, ly, xx, yy, xy, tension, stiffness)
    d = start.copy()
    residual, product = np.empty((h, w), np.float32), np.empty((h, w), np.float32)
    apply_plate(d, info, lx, ly, xx, yy, xy, tension, stiffness, product)
    direction = np.empty((h, w), np.float32)
    rho = 0.0
    for y in range(h):
        part = np.float32(0)
        for x in range(w):
            r = info[y, x] * target[y, x] - product[y, x]
            residual[y, x] = r
            direction[y, x] = inverse[y, x] * r
            part += r * direction[y, x]
        rho += part
    for _ in range(iterations):
        if rho <= 1e-20:
            break
        apply_plate(direction, info, lx, ly, xx, yy, xy, tension, stiffness, product)
        curvature = 0.0
        for y in range(h):
            part = np.float32(0)
            for x in range(w):
                part += direction[y, x] * product[y, x]
            curvature += part
        alpha = np.float32(rho / curvature)
        before, rho = rho, 0.0
        for y in range(h):
            part = np.float32(0)
            for x in range(w):
                d[y, x] += alpha * direction[y, x]
                r = residual[y, x] - alpha * product[y, x]
                residual[y, x] = r
                part += r * r * inverse[y, x]
            rho += part
        beta = np.float32(rho / before)
        for y in range(h):
            for x in range(w):
                direction[y, x] = inverse[y, x] * residual[y, x] + beta * direction[y, x]
    return d


@nb.njit(nogil=True, cache=True)
def coarsen(target: np.ndarray, information: np.ndarray, link_x: np.ndarray, link_y: np.ndarray) -> tuple:
    """Half the grid: information summed, targets averaged by it; a coarse pixel that holds a depth edge has no links and no information."""
    h, w = (target.shape[0] + 1) // 2, (target.shape[1] + 1) // 2
    t, info = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    lx, ly = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    whole = np.ones((h, w), np.float32)
    last_y, last_x = target.shape[0] - 1, target.shape[1] - 1
    for y in range(h):
        for x in range(w):
            y0, x0 = 2 * y, 2 * x
            y1, x1 = min(y0 + 1, last_y), min(x0 + 1, last_x)
            weight = total = np.float32(0)
            for b in (y0, y1):
                for a in (x0, x1):
                    weight += information[b, a] + np.float32(1e-9)
                    total += (information[b, a] + np.float32(1e-9)) * target[b, a]
            t[y, x] = total / weight
            info[y, x] = weight
            if x1 > x0:
                whole[y, x] = min(whole[y, x], link_x[y0, x0], link_x[y1, x0])
            if y1 > y0:
                whole[y, x] = min(whole[y, x], link_y[y0, x0], link_y[y0, x1])
            info[y, x] *= whole[y, x]
    for y in range(h):
        for x in range(w):
            y0, x0 = 2 * y, 2 * x
            y1, x1 = min(y0 + 1, last_y), min(x0 + 1, last_x)
            if x < w - 1:
                lx[y, x] = min(link_x[y0, x1], link_x[y1, x1], whole[y, x], whole[y, x + 1])
            if y < h - 1:
                ly[y, x] = min(link_y[y1, x0], link_y[y1, x1], whole[y, x], whole[y + 1, x])
    return t, info, lx, ly, whole


@nb.njit(nogil=True, cache=True)
def prolong(
    coarse: np.ndarray, whole: np.ndarray, link_x: np.ndarray, link_y: np.ndarray, fine: np.ndarray
) -> np.ndarray:
    """Bilinear start for the finer grid along coarse links; pixels whose coarse pixel holds a depth edge keep their value of `fine`."""
    out = fine.copy()
    ch, cw = coarse.shape
    for y in range(fine.shape[0]):
        for x in range(fine.shape[1]):
            cy, cx = y // 2, x // 2
            if whole[cy, cx] < 0.5:
                continue
            nx = cx + 1 if x % 2 else cx - 1
            ny = cy + 1 if y % 2 else cy - 1
            value = coarse[cy, cx]
            open_x = 0 <= nx < cw and link_x[cy, min(cx, nx)] > 0.5
            open_y = 0 <= ny < ch and link_y[min(cy, ny), cx] > 0.5
            if open_x:
                value += 0.25 * (coarse[cy, nx] - coarse[cy, cx])
            if open_y:
                value += 0.25 * (coarse[ny, cx] - coarse[cy, cx])
            out[y, x] = value
    return out


@dataclass(frozen=True)
class Plate:
    """What the surface resists: slopes by `tension`, curvature by `stiffness` times `bend_weight` (H, W), which is below 1 at creases."""

    tension: float
    stiffness: float
    bend_weight: np.ndarray | None = None

    def coarser(self) -> Plate:
        """The same plate on a grid twice as coarse: curvature weighs (1/4)^2 per second difference, times 4 pixels."""
        return Plate(self.tension, self.stiffness / 4, None if self.bend_weight is None else halve(self.bend_weight))


def solve(
    target: np.ndarray, information: np.ndarray, link_x: np.ndarray, link_y: np.ndarray, plate: Plate, depth: int = 0
) -> np.ndarray:
    """(H, W) float32 minimiser. `link_x`, `link_y`: 0 at depth edges, else 1. `depth`: how many grids there are above this one."""
    xx, yy, xy = link_weights(link_x, link_y)
    if plate.bend_weight is not None:
        xx, yy, xy = (w * plate.bend_weight for w in (xx, yy, xy))
    start = target
    if depth + 1 < _LEVELS and min(target.shape) >= 16:
        t, info, lx, ly, whole = coarsen(target, information, link_x, link_y)
        coarse = solve(t, info, lx, ly, plate=plate.coarser(), depth=depth + 1)
        start = prolong(coarse, whole, lx, ly, fine=target)
    return relax(
        start,
        target,
        information,
        link_x,
        ly=link_y,
        xx=xx,
        yy=yy,
        xy=xy,
        tension=plate.tension,
        stiffness=plate.stiffness,
        iterations=_ITERATIONS[min(depth, len(_ITERATIONS) - 1)],
    )


def halve(image: np.ndarray) -> np.ndarray:
    """Least of each 2x2 block: a crease stays a crease."""
    h, w = image.shape
    padded = np.pad(image, ((0, h % 2), (0, w % 2)), mode="edge")
    return padded.reshape((h + 1) // 2, 2, (w + 1) // 2, 2).min((1, 3))
