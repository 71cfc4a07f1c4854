"""Planes as they appear in a disparity map: a plane in space is d = a u + b v + c, linear in the pixel (u, v).

Fits are robust (RANSAC, then re-weighted least squares on its inliers), in pixels of disparity, with the per-pixel sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_SHARE = 0.08
"""a plane that explains less of all samples is taken for noise"""
SIGMA_PX = (0.3, 1.5)
"""bounds on the standard deviation of a disparity when planes are fitted"""
ROUGH = 1.2
"""scatter of disparities about a plane, in standard deviations of theirs, from which it may be none: what is curved fills its tolerance"""
SURE_PX = 1.0
"""standard deviation up to which a disparity is sure: over a bare table or wall, matching copies the disparity of the object beside it"""

FAR_BEFORE = 0.5
"""share of the first plane's disparity by which another lies before it, from which it may be a thing that stands there. Of 31 planes round
the first boxes of random and given captures, tables before walls lie up to 0.2 before them, the one through a hand 2.5"""
BESIDE_SHARE = 0.1
"""of what is known left and right of the box, that such a plane takes if it is a table's or a wall's"""


@dataclass(frozen=True)
class DisparityPlane:
    """d = a u + b v + c; `share` of the samples it explains; `sigma_px` their robust scatter about it."""

    a: float
    b: float
    c: float
    share: float
    sigma_px: float

    def disparity(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Disparity of the plane at pixels; what is not in front of the camera comes out negative."""
        return self.a * u + self.b * v + self.c


def fit_plane(
    u: np.ndarray,
    v: np.ndarray,
    d: np.ndarray,
    sigma: np.ndarray,
    rng: np.random.Generator,
    trials: int = 200,
    samples: int = 4000,
) -> DisparityPlane | None:
    """The plane that most of the (N,) samples agree with; None for fewer than 50 samples or no plane that explains 15 % of them."""
    if len(d) < 50:
        return None
    pick = rng.choice(len(d), min(samples, len(d)), replace=False)
    A, t = np.stack([u[pick], v[pick], np.ones(len(pick))], 1).astype(float), d[pick].astype(float)
    tolerance = 2.5 * np.clip(sigma[pick], *SIGMA_PX)
    best, best_score = None, 0.0
    for _ in range(trials):
        i = rng.choice(len(pick), 3, replace=False)
        try:
            x = np.linalg.solve(A[i], t[i])
        except np.linalg.LinAlgError:
            continue
        score = np.mean(np.abs(A @ x - t) < tolerance)
        if score > best_score:
            best, best_score = x, score
    if best is None or best_score < 0.15:
        return None
    return _polished(best, A, t, tolerance)


def _polished(x: np.ndarray, A: np.ndarray, t: np.ndarray, tolerance: np.ndarray) -> DisparityPlane:
    for _ in range(4):
        inlier = np.abs(A @ x - t) < tolerance
        w = 1 / tolerance[inlier]
        x = np.linalg.lstsq(A[inlier] * w[:, None], t[inlier] * w, rcond=None)[0]
    r = np.abs(A @ x - t)
    return DisparityPlane(
        *map(float, x),
        share=float(np.mean(r < tolerance)),
        sigma_px=float(max(1.4826 * np.median(r[r < tolerance]), 0.1)),
    )


def fit_planes(
    u: np.ndarray,
    v: np.ndarray,
    d: np.ndarray,
    sigma: np.ndarray,
    rng: np.random.Generator,
    count: int = 2,
    trials: int = 200,
) -> list[DisparityPlane]:
    """Up to `count` planes, the largest first, each from what the ones before left unexplained; `trials` of each."""
    out: list[DisparityPlane] = []
    left = np.isfinite(d)
    total = max(int(left.sum()), 1)
    for _ in range(count):
        plane = fit_plane(u[left], v[left], d[left], sigma[left], rng, trials)
        if plane is None or plane.share * left.sum() < MIN_SHARE * total:
            break
        out.append(plane)
        left &= np.abs(plane.disparity(u, v) - d) > 3 * np.clip(sigma, *SIGMA_PX)
    return out


def seen_through(plane: DisparityPlane, u: np.ndarray, v: np.ndarray, d: np.ndarray, sigma: np.ndarray) -> bool:
    """Whether more of what is sure, (N,) disparities `d` px with `sigma`, lies behind the plane than on it, though it is rough: a plane
    laid through a hand or the object, and no table or wall, which would hide what is behind."""
    beyond = plane.disparity(u, v) - d
    sure, reach = np.isfinite(d) & (sigma < SURE_PX), 3 * plane.sigma_px
    on = sure & (np.abs(beyond) < reach)
    if not on.any() or plane.sigma_px < ROUGH * np.clip(np.median(sigma[on]), *SIGMA_PX):
        return False
    return bool((beyond[sure] > reach).sum() > on.sum())


def thing_before(
    plane: DisparityPlane, first: DisparityPlane, u: np.ndarray, v: np.ndarray, d: np.ndarray, columns: tuple[int, int]
) -> bool:
    """Whether what lies on the plane, of (N,) disparities `d` px, is a thing far before the first plane, such as the hand below an object:
    it is seen neither left nor right of the box, which takes the `columns` from and to."""
    on, behind = _lies_on(plane, u, v, d), first.disparity(u, v)
    if not on.any() or np.median((d - behind)[on]) < FAR_BEFORE * np.median(behind[on]):
        return False
    return not seen_beside(plane, u, v, d, columns)


def seen_beside(plane: DisparityPlane, u: np.ndarray, v: np.ndarray, d: np.ndarray, columns: tuple[int, int]) -> bool:
    """Whether the plane is seen left or right of the box."""
    on = _lies_on(plane, u, v, d)
    sides = [on[where] for where in (u < columns[0], u > columns[1])]
    return any(side.size > 0 and side.mean() >= BESIDE_SHARE for side in sides)


def _lies_on(plane: DisparityPlane, u: np.ndarray, v: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.abs(plane.disparity(u, v) - d) < 3 * max(plane.sigma_px, SIGMA_PX[0])


def plane_map(plane: DisparityPlane, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 disparity of the plane, NaN where it is not in front of the camera."""
    d = plane.disparity(np.arange(shape[1], dtype=np.float32)[None], np.arange(shape[0], dtype=np.float32)[:, None])
    return np.where(d > 0, d, np.nan).astype(np.float32)


def as_surfaces(planes: Sequence[DisparityPlane], shape: tuple[int, int]) -> list[tuple[np.ndarray, float]]:
    """Maps (H, W) and scatter of planes as `depth_llr` takes them; no plane is known better than SIGMA_PX allows."""
    return [(plane_map(p, shape), max(p.sigma_px, SIGMA_PX[0])) for p in planes]


def standing_out(disparity: np.ndarray, sigma: np.ndarray, surfaces: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """(H, W) bool: clearly nearer than every known surface at its pixel; False everywhere when nothing is known."""
    if not surfaces:
        return np.zeros(disparity.shape, bool)
    farthest = np.fmax.reduce([np.where(np.isfinite(e), e + 3 * s, np.nan) for e, s in surfaces])
    return np.isfinite(disparity) & np.isfinite(farthest) & (disparity - farthest > np.maximum(3 * sigma, 1.0))


def plane_in_space(
    plane: DisparityPlane, fx: float, baseline_m: float, cx: float, cy: float, fy: float
) -> tuple[np.ndarray, float]:
    """The same plane in the camera's frame: (unit normal n, offset h) with n . x = h, metres. d / (fx B) = 1 / z is linear in the ray."""
    scale = 1 / (fx * baseline_m)
    n = np.array([plane.a * fx, plane.b * fy, plane.a * cx + plane.b * cy + plane.c]) * scale
    length = float(np.linalg.norm(n))
    return n / length, 1 / length
