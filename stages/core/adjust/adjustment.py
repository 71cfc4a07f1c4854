"""Bundle adjustment in rounds: triangulate, leave out what does not fit, solve, and ask everything again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stages.core.adjust.rig_problem import Observations, Solution, solve
from stages.core.camera import Rig
from stages.core.geometry.stereo_points import stereo_residuals, triangulate

RAYLEIGH_MEDIAN = 1.177
"""median length of an error whose two coordinates have deviation 1"""
WIDE_START = 1.5
"""errors may be this much wider than promised before limits are widened: sigmas are estimates"""


@dataclass(frozen=True)
class AdjustOptions:
    """See BundleConfig."""

    rounds: int
    max_iterations: int
    robust_sigmas: float
    outlier_sigmas: float
    outlier_floor_px: float


@dataclass(frozen=True)
class Adjusted:
    """left_from_object (F, 4, 4), xyz (P, 3) (NaN = dropped), residual (M, 3) px, use_left and use_right (M,) bool, rounds solved."""

    left_from_object: np.ndarray
    xyz: np.ndarray
    residual: np.ndarray
    use_left: np.ndarray
    use_right: np.ndarray
    cost: float
    iterations: int


def adjust(
    rig: Rig,
    left_from_object: np.ndarray,
    count: int,
    observations: Observations,
    options: AdjustOptions,
    progress: Callable[[int, int, str], None],
) -> Adjusted | None:
    """The refined poses and points of `count` points; None when no round could be solved.

    From a poor start, errors are first judged by their own median (graduated: wide limits and a wide loss, then narrow ones).
    """
    poses, solution, iterations, done, last = left_from_object, None, 0, 0, 2 * options.rounds
    while done < last:
        xyz = triangulate(
            rig,
            poses,
            observations.frame,
            observations.point,
            uvr=observations.uvr,
            sigma_px=observations.sigma_px,
            count=count,
        )
        width = start_width(rig, poses, xyz, observations)
        use = fitting(rig, poses, xyz, observations, options=options, width=width)
        if use[0].sum() < 6:
            return None
        solution = solve(rig, poses, xyz, observations, *use, options.robust_sigmas * width, options.max_iterations)
        if solution is None:
            return None
        poses, iterations, done = solution.left_from_object, iterations + solution.iterations, done + 1
        if width == 1.0 and last > options.rounds:
            last = max(options.rounds, done)
        progress(done, last, "adjusting")
    return _finished(rig, solution, observations, use, iterations=iterations)


def start_width(rig: Rig, left_from_object: np.ndarray, xyz: np.ndarray, observations: Observations) -> float:
    """By how much errors exceed what their sigmas promise (median, of two coordinates), at least 1."""
    residual = stereo_residuals(
        rig, left_from_object, observations.frame, xyz[observations.point], uvr=observations.uvr
    )
    ratio = np.hypot(residual[:, 0], residual[:, 1]) / observations.sigma_px
    ratio = ratio[np.isfinite(ratio)]
    width = float(np.median(ratio)) / RAYLEIGH_MEDIAN if len(ratio) else 1.0
    return width if width > WIDE_START else 1.0


def fitting(
    rig: Rig,
    left_from_object: np.ndarray,
    xyz: np.ndarray,
    observations: Observations,
    options: AdjustOptions,
    width: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """(use_left, use_right), each (M,) bool: observations near their point, of points that two frames or more agree on."""
    residual = stereo_residuals(
        rig, left_from_object, observations.frame, xyz[observations.point], uvr=observations.uvr
    )
    limit = np.maximum(options.outlier_sigmas * width * observations.sigma_px, options.outlier_floor_px)
    with np.errstate(invalid="ignore"):
        left, right = np.hypot(residual[:, 0], residual[:, 1]) < limit, np.abs(residual[:, 2]) < limit
    seen = np.bincount(observations.point[left], minlength=len(xyz))
    left &= seen[observations.point] >= 2
    return left, right & left


def evenly_chosen(adjusted: Adjusted, observations: Observations, most: int) -> tuple[np.ndarray, Observations]:
    """About `most` of the observations that were used, of evenly chosen points, all weighted alike: ((M,) bool which, they)."""
    stride = 1 + int(adjusted.use_left.sum()) // most
    keep = adjusted.use_left & (observations.point % stride == 0)
    sigma = np.full(int(keep.sum()), float(np.median(observations.sigma_px[keep]))) if keep.any() else np.zeros(0)
    return keep, Observations(observations.point[keep], observations.frame[keep], observations.uvr[keep], sigma)


def focal_check(
    rig: Rig, adjusted: Adjusted, observations: Observations, robust_sigmas: float, max_observations: int
) -> tuple[float, float] | None:
    """(focal_change, cost_change): what a free focal length would become (share) and how much less the cost would be (share).

    On evenly chosen points with all observations weighted alike. Only a hint: the calibration is never changed.
    """
    keep, chosen = evenly_chosen(adjusted, observations, max_observations)
    frames = np.unique(chosen.frame)
    if len(frames) < 3 or len(chosen.point) < 200:
        return None
    chosen = replace(chosen, frame=np.searchsorted(frames, chosen.frame))
    problem = (
        rig,
        adjusted.left_from_object[frames],
        adjusted.xyz,
        chosen,
        np.ones(len(chosen.point), bool),
        adjusted.use_right[keep],
    )
    held = solve(*problem, robust_sigmas, 10, row_weight=1.0)
    free = solve(*problem, robust_sigmas, 20, free_focal=True, row_weight=1.0)
    if held is None or free is None or held.cost <= 0:
        return None
    return free.focal_change, 1 - free.cost / held.cost


def _finished(
    rig: Rig, solution: Solution, observations: Observations, use: tuple[np.ndarray, np.ndarray], iterations: int
) -> Adjusted:
    residual = stereo_residuals(
        rig, solution.left_from_object, observations.frame, solution.xyz[observations.point], uvr=observations.uvr
    )
    # a solution may have moved a point behind a camera: there it has no place in the picture any more
    use_left = use[0] & np.isfinite(residual[:, :2]).all(1)
    use_right = use[1] & use_left & np.isfinite(residual[:, 2])
    seen = np.bincount(observations.point[use_left], minlength=len(solution.xyz))
    xyz = np.where((seen > 0)[:, None], solution.xyz, np.nan)
    return Adjusted(
        solution.left_from_object,
        xyz,
        residual,
        use_left,
        use_right=use_right,
        cost=solution.cost,
        iterations=iterations,
    )


def at_poses(rig: Rig, adjusted: Adjusted, left_from_object: np.ndarray, observations: Observations) -> Adjusted:
    """The same observations with other poses (F, 4, 4): points where they say now, and what is left over there."""
    use, right = adjusted.use_left, adjusted.use_right[adjusted.use_left]
    uvr = observations.uvr[use].copy()
    uvr[~right, 2] = np.nan
    chosen = (observations.frame[use], observations.point[use], uvr, observations.sigma_px[use])
    xyz = triangulate(rig, left_from_object, *chosen, len(adjusted.xyz))
    seen = {"x_object": xyz[observations.point], "uvr": observations.uvr}
    residual = stereo_residuals(rig, left_from_object, observations.frame, **seen)
    use_left = use & np.isfinite(residual[:, :2]).all(1)
    return replace(
        adjusted,
        left_from_object=left_from_object,
        xyz=xyz,
        residual=residual,
        use_left=use_left,
        use_right=adjusted.use_right & use_left & np.isfinite(residual[:, 2]),
    )


def pose_sigmas(
    rig: Rig, adjusted: Adjusted, observations: Observations, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation of each pose with the points held: rotation (F,) radians, and position of `centre` (3,) in the camera (F,) metres.

    Inverse normal matrix of each frame's own observations; the points' own errors are small beside it where tracks are long.
    """
    rotation, position = (
        np.full(len(adjusted.left_from_object), np.nan),
        np.full(len(adjusted.left_from_object), np.nan),
    )
    for k, pose in enumerate(adjusted.left_from_object):
        rows = np.flatnonzero((observations.frame == k) & adjusted.use_left)
        if len(rows) < 6:
            continue
        x = adjusted.xyz[observations.point[rows]] @ pose[:3, :3].T + pose[:3, 3]
        middle = pose[:3, :3] @ centre + pose[:3, 3]
        z, zero = x[:, 2], np.zeros(len(x))
        by_x = np.stack(
            [
                np.stack([rig.fx / z, zero, -rig.fx * x[:, 0] / z**2], 1),
                np.stack([zero, rig.fy / z, -rig.fy * x[:, 1] / z**2], 1),
                np.stack([rig.fx / z, zero, -rig.fx * (x[:, 0] - rig.baseline_m) / z**2], 1),
            ],
            1,
        )
        j = np.concatenate([np.cross((x - middle)[:, None], by_x), by_x], 2)
        weight = (
            np.stack([np.ones(len(x)), np.ones(len(x)), adjusted.use_right[rows]], 1)
            / observations.sigma_px[rows, None] ** 2
        )
        normal = np.einsum("nri,nrj,nr->ij", j, j, weight)
        if np.linalg.cond(normal / np.sqrt(np.outer(np.diag(normal), np.diag(normal)))) > 1e12:
            continue
        covariance = np.linalg.inv(normal)
        rotation[k], position[k] = np.sqrt(np.trace(covariance[:3, :3])), np.sqrt(np.trace(covariance[3:, 3:]))
    return rotation, position


def in_new_frame(adjusted: Adjusted, new_from_old: np.ndarray) -> Adjusted:
    """The same result after one rigid change of the object frame."""
    from stages.core.geometry.rigid import inverse, transform

    return replace(
        adjusted,
        left_from_object=adjusted.left_from_object @ inverse(new_from_old),
        xyz=transform(new_from_old, adjusted.xyz),
    )
