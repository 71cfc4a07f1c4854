"""The cameras of a placed walk made to agree with one another: each was placed against a few others, and the errors of a chain add up.

Every feature of a frame is a point; it is found again in the frames that see the scene from nearby, near where the poses put it, and all
poses and points are adjusted together. A walk that ends where it began is closed by that.
"""

from __future__ import annotations

import numpy as np

from stages.core.adjust.adjustment import AdjustOptions, adjust
from stages.core.adjust.rig_problem import Observations
from stages.core.geometry.rigid import inverse, transform
from stages.masks.scenes.motion import SceneMotion, matched_near

POINTS_OF_ONE = 300
"""features of a frame that become points"""
PARTNERS = 6
"""frames in which they are sought"""
OPTIONS = AdjustOptions(rounds=3, max_iterations=15, robust_sigmas=2.0, outlier_sigmas=4.0, outlier_floor_px=2.0)
SIGMA_PX = 0.8


def adjusted(motion: SceneMotion) -> dict[int, np.ndarray]:
    """scene_from_left of all frames of `motion` that are kept, as far as features tie them; the first keeps its place."""
    frames = list(motion.kept)
    at = {f: k for k, f in enumerate(frames)}
    rows, count = [], 0
    for frame in frames:
        chosen = _chosen(len(motion.kept[frame].features.uv))
        rows.append(_rows(count, at[frame], _uvr(motion, frame, chosen)))
        for partner in motion.partners(frame, motion.scene_from_left[frame], PARTNERS):
            here, there = _found_again(motion, frame, chosen, partner)
            rows.append(_rows(count + here, at[partner], _uvr(motion, partner, there)))
        count += len(chosen)
    table = np.concatenate(rows)
    seen = Observations(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:], np.full(len(table), SIGMA_PX))
    poses = np.stack([inverse(motion.scene_from_left[f]) for f in frames])
    found = adjust(motion.rig, poses, count, seen, OPTIONS, lambda *_: None)
    return {} if found is None else {f: inverse(pose) for f, pose in zip(frames, found.left_from_object, strict=True)}


def _chosen(count: int) -> np.ndarray:
    return (
        np.unique(np.linspace(0, count - 1, min(count, POINTS_OF_ONE)).round().astype(int))
        if count
        else np.zeros(0, int)
    )


def _rows(points: np.ndarray | int, frame: int, uvr: np.ndarray) -> np.ndarray:
    """(N, 5): point, position of the frame, uvr; `points` may be the number of the first."""
    points = points + np.arange(len(uvr)) if np.isscalar(points) else points
    return np.column_stack([points, np.full(len(uvr), frame), uvr])


def _uvr(motion: SceneMotion, frame: int, which: np.ndarray) -> np.ndarray:
    found = motion.kept[frame].features
    return np.column_stack([found.uv[which], found.uv[which, 0] - motion.rig.disparity_from_depth(found.xyz[which, 2])])


def _found_again(motion: SceneMotion, frame: int, chosen: np.ndarray, partner: int) -> tuple[np.ndarray, np.ndarray]:
    own = motion.kept[frame].features
    there = transform(motion.scene_from_left[frame], own.xyz[chosen])
    return matched_near(
        motion.rig, motion.scene_from_left[partner], there, own.descriptors[chosen], motion.kept[partner].features
    )
