"""Bundle adjustment in rounds: triangulate, leave out what does not fit, solve, and ask everything again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stages.bundle.rig_problem import Observations, Solution, solve
from stages.core.camera import Rig
from stages.core.geometry.stereo_points import stereo_residuals, triangulate


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
    """The refined poses and points of `count` points; None when no round could be solved."""
    poses, solution, iterations = left_from_object, None, 0
    for done in range(options.rounds):
        xyz = triangulate(rig, poses, observations.frame, observations.point, observations.uvr, observations.sigma_px, count)
        use = fitting(rig, poses, xyz, observations, options)
        if use[0].sum() < 6:
            return None
        solution = solve(rig, poses, xyz, observations, *use, options.robust_sigmas, options.max_iterations)
        if solution is None:
            return None
        poses, iterations = solution.left_from_object, iterations + solution.iterations
        progress(done + 1, options.rounds, "adjusting")
    return _finished(rig, solution, observations, use, iterations)


def fitting(
    rig: Rig, left_from_object: np.ndarray, xyz: np.ndarray, observations: Observations, options: AdjustOptions
) -> tuple[np.ndarray, np.ndarray]:
    """(use_left, use_right), each (M,) bool: observations near their point, of points that two frames or more agree on."""
    residual = stereo_residuals(rig, left_from_object, observations.frame, xyz[observations.point], observations.uvr)
    limit = np.maximum(options.outlier_sigmas * observations.sigma_px, options.outlier_floor_px)
    with np.errstate(invalid="ignore"):
        left, right = np.hypot(residual[:, 0], residual[:, 1]) < limit, np.abs(residual[:, 2]) < limit
    seen = np.bincount(observations.point[left], minlength=len(xyz))
    left &= seen[observations.point] >= 2
    return left, right & left


def focal_check(
    rig: Rig, adjusted: Adjusted, observations: Observations, robust_sigmas: float, max_frames: int
) -> tuple[float, float] | None:
    """(focal_change, residual_change): what a free focal length would become (share) and how much less the cost would be (share).

    On a subset of frames with all observations weighted alike. Only a hint: the calibration is never changed.
    """
    frames = np.unique(np.linspace(0, len(adjusted.left_from_object) - 1, max_frames).round().astype(int))
    keep = adjusted.use_left & np.isin(observations.frame, frames)
    kept = np.bincount(observations.point[keep], minlength=len(adjusted.xyz))
    keep &= kept[observations.point] >= 2
    if len(frames) < 3 or keep.sum() < 200:
        return None
    sigma = float(np.median(observations.sigma_px[keep]))
    chosen = Observations(
        observations.point[keep], np.searchsorted(frames, observations.frame[keep]), observations.uvr[keep], np.full(int(keep.sum()), sigma)
    )
    use = np.ones(len(chosen.point), bool), adjusted.use_right[keep]
    held = solve(rig, adjusted.left_from_object[frames], adjusted.xyz, chosen, *use, robust_sigmas, 10, row_weight=1.0)
    free = solve(rig, adjusted.left_from_object[frames], adjusted.xyz, chosen, *use, robust_sigmas, 20, free_focal=True, row_weight=1.0)
    if held is None or free is None or held.cost <= 0:
        return None
    return free.focal_change, 1 - free.cost / held.cost


def _finished(rig: Rig, solution: Solution, observations: Observations, use: tuple[np.ndarray, np.ndarray], iterations: int) -> Adjusted:
    residual = stereo_residuals(rig, solution.left_from_object, observations.frame, solution.xyz[observations.point], observations.uvr)
    seen = np.bincount(observations.point[use[0]], minlength=len(solution.xyz))
    xyz = np.where((seen > 0)[:, None], solution.xyz, np.nan)
    return Adjusted(solution.left_from_object, xyz, residual, use[0], use[1], solution.cost, iterations)


def pose_sigmas(rig: Rig, adjusted: Adjusted, observations: Observations, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation of each pose with the points held: rotation (F,) radians, and position of `centre` (3,) in the camera (F,) metres.

    Inverse normal matrix of each frame's own observations; the points' own errors are small beside it where tracks are long.
    """
    rotation, position = np.full(len(adjusted.left_from_object), np.nan), np.full(len(adjusted.left_from_object), np.nan)
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
        weight = np.stack([np.ones(len(x)), np.ones(len(x)), adjusted.use_right[rows]], 1) / observations.sigma_px[rows, None] ** 2
        normal = np.einsum("nri,nrj,nr->ij", j, j, weight)
        if np.linalg.cond(normal / np.sqrt(np.outer(np.diag(normal), np.diag(normal)))) > 1e12:
            continue
        covariance = np.linalg.inv(normal)
        rotation[k], position[k] = np.sqrt(np.trace(covariance[:3, :3])), np.sqrt(np.trace(covariance[3:, 3:]))
    return rotation, position


def in_new_frame(adjusted: Adjusted, new_from_old: np.ndarray) -> Adjusted:
    """The same result after one rigid change of the object frame."""
    from stages.core.geometry.rigid import inverse, transform

    return replace(adjusted, left_from_object=adjusted.left_from_object @ inverse(new_from_old), xyz=transform(new_from_old, adjusted.xyz))
