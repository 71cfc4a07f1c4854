"""Which of the adjusted poses are in doubt, and what is done about it: their surfaces are asked as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.bundle.drift import (
    LEAST_SHARED,
    LEAST_SIGMA_PX,
    OF_ROLLING,
    OF_SCENE,
    Sightings,
    may_be_off,
    may_drift_m,
    ties,
)
from stages.bundle.problem import Problem
from stages.bundle.soundness import NEAR, apart, apart_in_scene
from stages.bundle.surfaces import on_surfaces
from stages.core.adjust.adjustment import Adjusted, at_poses
from stages.core.adjust.rig_problem import Observations
from stages.core.camera import Rig
from stages.core.dense.view import DenseView, close_view_of, small_view_of
from stages.core.frames import FrameReader
from stages.core.geometry.rigid import inverse
from stages.core.parallel import ordered_map


@dataclass(frozen=True)
class Doubt:
    """why {frame: reason} of the poses in doubt; drift_m (F,) metres that points leave open; views by frame, {} where none were asked."""

    why: Mapping[int, str]
    drift_m: np.ndarray
    views: Mapping[int, DenseView]


def doubt(rig: Rig, problem: Problem, adjusted: Adjusted, row_share: float, reader: FrameReader, workers: int) -> Doubt:
    """Of the poses that what the frames show does not bear out (of the object, where it alone tells the motion; else of the scene), or
    that may have drifted."""
    seen, by_object = _of_object(problem, adjusted), problem.scope == "object"
    object_from_left = inverse(adjusted.left_from_object)
    drift = may_be_off(rig, object_from_left, _sightings(problem, adjusted), _asked(problem, adjusted))
    if len(problem.frames) < 2 or not len(seen) or (problem.aside.any() and not by_object):
        return Doubt({}, drift, {})  # two sessions of one object have two scenes round it
    view_of = close_view_of if by_object else small_view_of
    views = dict(ordered_map(lambda f: (f, view_of(rig, reader, f)), problem.frames, workers))
    poses = dict(zip(problem.frames, object_from_left, strict=True))
    size = float(np.ptp(np.percentile(seen, (2, 98), axis=0), axis=0).max())
    limit = may_drift_m(size) * (1.0 if by_object else OF_SCENE * (OF_ROLLING if row_share else 1.0))
    why = "the points that tie it to the others leave open whether it is off by"
    drifted = {f: f"{why} {1000 * off:.1f} mm" for f, off in zip(problem.frames, drift, strict=True) if off > limit}
    if by_object:
        return Doubt(drifted | apart(views, poses, size, workers), drift, views)
    parted = apart_in_scene(views, poses, size, workers, _near_ties(problem, adjusted, seen))
    return Doubt(drifted | parted, drift, views)


def settled(
    rig: Rig, problem: Problem, adjusted: Adjusted, doubt: Doubt, observations: Observations, workers: int
) -> Adjusted:
    """Where poses of an object that moves by itself are in doubt, the same refined on its surfaces too. The doubt stays: what surfaces gain
    they cannot confirm themselves."""
    if problem.scope != "object" or not doubt.why or not doubt.views:
        return adjusted
    poses, asked = inverse(adjusted.left_from_object), _asked(problem, adjusted)
    tied = ties(rig, poses, _sightings(problem, adjusted), asked.mean(0))
    refined = on_surfaces([doubt.views[f] for f in problem.frames], poses, tied, workers)
    return adjusted if refined is None else at_poses(rig, adjusted, inverse(refined), observations)


def _of_object(problem: Problem, adjusted: Adjusted) -> np.ndarray:
    """(N, 3) the object's points."""
    return adjusted.xyz[problem.inside & np.isfinite(adjusted.xyz).all(1)]


def _asked(problem: Problem, adjusted: Adjusted) -> np.ndarray:
    """(N, 3) the object's points, all where none are known to be."""
    own = _of_object(problem, adjusted)
    return own if len(own) else adjusted.xyz[np.isfinite(adjusted.xyz).all(1)]


def _sightings(problem: Problem, adjusted: Adjusted) -> Sightings:
    """Of the points that were used; an error of a frame's own size is granted to each of its own."""
    use = adjusted.use_left & np.isfinite(adjusted.xyz[problem.point]).all(1) & ~problem.aside[problem.point]
    frame = problem.frame[use]
    pose = adjusted.left_from_object[frame]
    xyz = np.einsum("nij,nj->ni", pose[:, :3, :3], adjusted.xyz[problem.point[use]]) + pose[:, :3, 3]
    square, count = (adjusted.residual[use, :2] ** 2).mean(1), np.bincount(frame, minlength=len(problem.frames))
    rms = np.sqrt(np.bincount(frame, square, len(problem.frames)) / np.maximum(count, 1))
    return Sightings(problem.point[use], frame, xyz, np.maximum(rms[frame], LEAST_SIGMA_PX), adjusted.use_right[use])


def _near_ties(
    problem: Problem, adjusted: Adjusted, seen: np.ndarray
) -> Callable[[Sequence[int], Sequence[int]], bool]:
    """Whether two groups of frames have enough points in common that are hardly farther from their cameras than the object."""
    poses = adjusted.left_from_object[problem.frame]
    depth = np.einsum("nj,nj->n", poses[:, 2, :3], adjusted.xyz[problem.point]) + poses[:, 2, 3]
    middle = seen.mean(0) @ adjusted.left_from_object[:, 2, :3].T + adjusted.left_from_object[:, 2, 3]
    near = adjusted.use_left & (depth < NEAR * middle[problem.frame])
    number = np.asarray(problem.frames)[problem.frame]

    def tied(one: Sequence[int], other: Sequence[int]) -> bool:
        points = [np.unique(problem.point[near & np.isin(number, group)]) for group in (one, other)]
        return len(np.intersect1d(*points, assume_unique=True)) >= LEAST_SHARED

    return tied
