"""How far along its normal each surface point should move so that all cameras agree on its colours, and how sure that is.

A square patch in the tangent plane is moved along the normal; at each offset every camera's colours on the patch are normalised (zero
mean per channel, unit length), and the score is the mean correlation of each camera with the mean of the others, over the better part
of the cameras (plane sweeping with a local tangent plane, after Collins 1996 and Furukawa and Ponce 2010). Wide baselines over many
frames resolve far below a pixel of stereo disparity; a flat patch gives a flat score and therefore a large sigma: it does not vote.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from stages.core.parallel import ordered_map
from stages.surface.views.cameras import Cameras

PATCH = 7
MAX_CAMERAS = 10
SAMPLES = 20.0
"""independent samples of a patch: neighbouring pixels and the three channels share their noise"""
RIVAL = 0.57
"""a second peak is ruled out at three standard deviations: SAMPLES / 2 log((doubt + fall) / doubt) > 3^2 / 2"""
GREY_LEVEL = 1.0
"""that pictures always differ by: rounding, compression, shading"""


@dataclass(frozen=True)
class Sweep:
    """Offsets tried: `steps` to each side, `step` metres apart; `spacing` metres between the samples of a patch."""

    step: float
    steps: int
    spacing: float


def choose_cameras(cosine: np.ndarray, points: np.ndarray, centres: np.ndarray, workers: int) -> np.ndarray:
    """(N, MAX_CAMERAS) int32 cameras (-1 = none) that see each point from well spread directions; `cosine` from `cameras.visible`."""
    out = np.full((len(points), MAX_CAMERAS), -1, np.int32)
    _in_blocks(lambda a, b: _choose(cosine[a:b], points[a:b], centres, out[a:b]), len(points), workers)
    return out


def sweep_offsets(
    points: np.ndarray, normals: np.ndarray, chosen: np.ndarray, cameras: Cameras, sweep: Sweep, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offset (N,) metres, sigma (N,) metres, score (N,)); sigma is NaN where the colours decide nothing."""
    n = len(points)
    offset, sigma, score = np.zeros(n, np.float32), np.full(n, np.nan, np.float32), np.zeros(n, np.float32)
    points, normals = np.ascontiguousarray(points, np.float64), np.ascontiguousarray(normals, np.float64)
    _in_blocks(
        lambda a, b: _sweep(
            points[a:b],
            normals[a:b],
            chosen[a:b],
            cameras.camera_from_object,
            intrinsics=cameras.intrinsics,
            size=cameras.size,
            start=cameras.start,
            pixels=cameras.pixels,
            step=sweep.step,
            steps=sweep.steps,
            spacing=sweep.spacing,
            offset=offset[a:b],
            sigma=sigma[a:b],
            score=score[a:b],
        ),
        n,
        workers,
    )
    return offset, sigma, score


def _in_blocks(work, count: int, workers: int, block: int = 2048) -> None:
    list(ordered_map(lambda a: work(a, min(count, a + block)), range(0, count, block), workers))


@numba.njit(nogil=True, cache=True)
def _choose(cosine, points, centres, out):
    """Best facing camera first, then always the one whose direction is farthest from those taken, weighted by how well it faces."""
    count = centres.shape[0]
    direction = np.empty((count, 3))
    gap = np.empty(count)
    for n in range(points.shape[0]):
        best, best_cosine = -1, 0.0
        for c in range(count):
            if cosine[n, c] > best_cosine:
                best, best_cosine = c, cosine[n, c]
            d = centres[c] - points[n]
            direction[c] = d / np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            gap[c] = 4.0
        for k in range(out.shape[1]):
            if best < 0:
                break
            out[n, k] = best
            taken, best, best_score = best, -1, 1e-6
            for c in range(count):
                if cosine[n, c] <= 0:
                    continue
                e = direction[c] - direction[taken]
                gap[c] = min(gap[c], e[0] * e[0] + e[1] * e[1] + e[2] * e[2])
                s = gap[c] * cosine[n, c] ** 2
                if s > best_score:
                    best, best_score = c, s


@numba.njit(nogil=True, cache=True)
def _sweep(points, normals, chosen, poses, intrinsics, size, start, pixels, step, steps, spacing, offset, sigma, score):
    tries = 2 * steps + 1
    scores, contrast = np.empty(tries, np.float64), np.zeros(tries, np.float64)
    length = PATCH * PATCH * 3
    patches = np.empty((MAX_CAMERAS, length), np.float32)
    for n in range(points.shape[0]):
        a, b = _tangents(normals[n])
        for t in range(tries):
            x = points[n] + normals[n] * (step * (t - steps))
            count, energy = 0, 0.0
            for k in range(MAX_CAMERAS):
                c = chosen[n, k]
                if c < 0:
                    break
                power = _patch(x, a, b, spacing, poses[c], intrinsics[c], size[c], start[c], pixels, patches[count])
                if power > 0:
                    count += 1
                    energy += power
            scores[t] = _agreement(patches, count) if count >= 3 else -1.0
            contrast[t] = energy / max(count, 1)
        _locate(scores, contrast, step, steps, n, offset, sigma, score)


@numba.njit(nogil=True, cache=True)
def _locate(scores, contrast, step, steps, n, offset, sigma, score):
    """Sub-step maximum by a parabola. Nothing when it is at the end of the range or not unique.

    The doubt is the share of a patch's power on which the pictures differ: what they do differ on, and at least one grey level, which
    shading and compression change alike in neighbouring pixels. A correlation of independent samples has its peak known to
    variance = doubt / (curvature * number of them). The curvature is the lesser of that at the peak and of how far to either side the
    score must be followed until it has fallen by the doubt: a flat top is not sure because of a ripple on it.
    """
    top = 0
    for t in range(scores.shape[0]):
        if scores[t] > scores[top]:
            top = t
    score[n] = scores[top]
    if top == 0 or top == scores.shape[0] - 1 or scores[top] < 0.5 or scores[top - 1] <= -1 or scores[top + 1] <= -1:
        return
    doubt = 1.02 - scores[top] + GREY_LEVEL**2 / contrast[top]
    rival = scores[top] - max(0.05, RIVAL * doubt)
    for t in range(scores.shape[0]):
        if (
            abs(t - top) > 2
            and scores[t] > rival
            and scores[t] > scores[t - 1 if t > 0 else 0]
            and (t == scores.shape[0] - 1 or scores[t] > scores[t + 1])
        ):
            return
    bend = 2 * scores[top] - scores[top - 1] - scores[top + 1]
    if bend <= 0:
        return
    shift = 0.5 * (scores[top + 1] - scores[top - 1]) / bend
    offset[n] = step * (top - steps + shift)
    curvature = min(bend, _fall(scores, top, -1, doubt), _fall(scores, top, 1, doubt)) / (step * step)
    if curvature > 0:
        sigma[n] = np.sqrt(doubt / (curvature * SAMPLES))


@numba.njit(nogil=True, cache=True)
def _fall(scores, top, side, doubt):
    """Second difference per step of the parabola from the peak to where the score has fallen by `doubt`, or to the end of the range."""
    t = top + side
    while 0 < t < scores.shape[0] - 1 and scores[top] - scores[t] < doubt and scores[t + side] > -1:
        t += side
    return 2 * (scores[top] - scores[t]) / (t - top) ** 2


@numba.njit(nogil=True, cache=True)
def _tangents(normal):
    a = np.zeros(3)
    if abs(normal[0]) < 0.6:
        a[0] = 1.0
    else:
        a[1] = 1.0
    a = a - normal * (a[0] * normal[0] + a[1] * normal[1] + a[2] * normal[2])
    a = a / np.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])
    return a, np.cross(normal, a)


@numba.njit(nogil=True, cache=True)
def _patch(x, a, b, spacing, pose, intrinsics, size, start, pixels, out):
    """Normalised colours on the patch, the projection taken as affine over it; returns their mean square before that, grey levels,
    0 when the patch leaves the picture or is blank."""
    cx, cy, cz = 0.0, 0.0, 0.0
    px = pose[0, 0] * x[0] + pose[0, 1] * x[1] + pose[0, 2] * x[2] + pose[0, 3]
    py = pose[1, 0] * x[0] + pose[1, 1] * x[1] + pose[1, 2] * x[2] + pose[1, 3]
    pz = pose[2, 0] * x[0] + pose[2, 1] * x[1] + pose[2, 2] * x[2] + pose[2, 3]
    if pz <= 1e-6:
        return 0.0
    fu, fv = intrinsics[0] / pz, intrinsics[1] / pz
    u0, v0 = fu * px + intrinsics[2], fv * py + intrinsics[3]
    au, av = _slope(pose, a, px / pz, py / pz, fu, fv, spacing)
    bu, bv = _slope(pose, b, px / pz, py / pz, fu, fv, spacing)
    half = PATCH // 2
    reach_u, reach_v = half * (abs(au) + abs(bu)), half * (abs(av) + abs(bv))
    height, width = size
    if u0 - reach_u < 0 or v0 - reach_v < 0 or u0 + reach_u >= width - 1 or v0 + reach_v >= height - 1:
        return 0.0
    m = 0
    for i in range(-half, half + 1):
        for j in range(-half, half + 1):
            u, v = u0 + au * i + bu * j, v0 + av * i + bv * j
            iu, iv = int(u), int(v)
            ru, rv = np.float32(u - iu), np.float32(v - iv)
            at = start + 3 * (iv * width + iu)
            below = at + 3 * width
            w00, w01, w10, w11 = (1 - ru) * (1 - rv), ru * (1 - rv), (1 - ru) * rv, ru * rv
            r = w00 * pixels[at] + w01 * pixels[at + 3] + w10 * pixels[below] + w11 * pixels[below + 3]
            g = w00 * pixels[at + 1] + w01 * pixels[at + 4] + w10 * pixels[below + 1] + w11 * pixels[below + 4]
            e = w00 * pixels[at + 2] + w01 * pixels[at + 5] + w10 * pixels[below + 2] + w11 * pixels[below + 5]
            out[m], out[m + 1], out[m + 2] = r, g, e
            cx += r
            cy += g
            cz += e
            m += 3
    samples = PATCH * PATCH
    cx, cy, cz = cx / samples, cy / samples, cz / samples
    total = 0.0
    for m in range(0, 3 * samples, 3):
        out[m] -= cx
        out[m + 1] -= cy
        out[m + 2] -= cz
        total += out[m] * out[m] + out[m + 1] * out[m + 1] + out[m + 2] * out[m + 2]
    if total < 3 * samples * 0.25:  # half a grey level: blank
        return 0.0
    scale = np.float32(1 / np.sqrt(total))
    for m in range(3 * samples):
        out[m] *= scale
    return total / (3 * samples)


@numba.njit(nogil=True, cache=True)
def _slope(pose, a, x, y, fu, fv, spacing):
    """px per patch step along the tangent `a`."""
    dx = pose[0, 0] * a[0] + pose[0, 1] * a[1] + pose[0, 2] * a[2]
    dy = pose[1, 0] * a[0] + pose[1, 1] * a[1] + pose[1, 2] * a[2]
    dz = pose[2, 0] * a[0] + pose[2, 1] * a[1] + pose[2, 2] * a[2]
    return fu * (dx - x * dz) * spacing, fv * (dy - y * dz) * spacing


@numba.njit(nogil=True, cache=True, fastmath=True)
def _agreement(patches, count):
    """Mean correlation of each patch with the sum of the others, over the best 3 in 4 patches."""
    length = patches.shape[1]
    total = np.zeros(length, np.float32)
    for k in range(count):
        for m in range(length):
            total[m] += patches[k, m]
    power = np.float32(0)
    for m in range(length):
        power += total[m] * total[m]
    each = np.empty(count)
    for k in range(count):
        dot = np.float32(0)
        for m in range(length):
            dot += patches[k, m] * total[m]
        rest = power - 2 * dot + 1
        each[k] = (dot - 1) / np.sqrt(rest) if rest > 1e-6 else -1.0
    each.sort()
    first = count // 4
    return each[first:].mean()
