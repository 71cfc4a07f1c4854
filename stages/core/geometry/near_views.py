"""Which frames look at a thing from much the same side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.core.geometry.directions import unit


def near_pairs(
    poses: Mapping[int, np.ndarray], centre: np.ndarray, max_angle_rad: float, per_frame: int
) -> list[tuple[int, int]]:
    """For every posed frame the `per_frame` others with the most similar view, as sorted unique (a, b)."""
    frames = list(poses)
    stack = np.stack([poses[f] for f in frames])
    sight = unit(stack[:, :3, 3] - centre)
    out: set[tuple[int, int]] = set()
    for i, f in enumerate(frames):
        trace = np.einsum("ij,nij->n", stack[i, :3, :3], stack[:, :3, :3])
        angle = np.maximum(np.arccos(np.clip((trace - 1) / 2, -1, 1)), np.arccos(np.clip(sight @ sight[i], -1, 1)))
        angle[i] = np.inf
        for j in np.argsort(angle, kind="stable")[:per_frame]:
            if angle[j] < max_angle_rad:
                out.add((min(f, frames[j]), max(f, frames[j])))
    return sorted(out)
