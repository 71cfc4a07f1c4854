"""What `bundle` is given: frames, their first poses, and the tracks that tie them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.core.frames import FramePose, posed, read_poses
from stages.core.geometry.rigid import inverse
from stages.core.store import ArtifactRef


@dataclass(frozen=True)
class Problem:
    """Observation m is of point `point[m]` by frame `frames[frame[m]]`; uvr (M, 3) px, sigma_px (M,); xyz (P, 3) metres."""

    rows: list[FramePose]
    frames: list[int]
    poses: np.ndarray
    """left_from_object (F, 4, 4) of the frames that have a pose"""
    point: np.ndarray
    frame: np.ndarray
    """position in `frames` of each observation"""
    uvr: np.ndarray
    sigma_px: np.ndarray
    xyz: np.ndarray
    inside: np.ndarray
    aside: np.ndarray
    """points that steady poses, but are no part of the scene: what stood round the object in another session"""
    scope: str


def load(inputs: Mapping[str, ArtifactRef]) -> Problem:
    """From `track`'s files."""
    rows = read_poses(inputs["poses_initial.json"].path)
    known = posed(rows)
    frames = sorted(known)
    with np.load(inputs["tracks.npz"].path, allow_pickle=False) as t:
        keep = np.isin(t["frame"], frames)
        uvr = np.stack([t["u"], t["v"], t["u_right"]], 1).astype(np.float64)[keep]
        return Problem(
            rows,
            frames,
            inverse(np.stack([known[f] for f in frames])),
            t["point_id"][keep].astype(np.int64),
            np.searchsorted(frames, t["frame"][keep]),
            uvr,
            t["sigma_px"][keep].astype(np.float64),
            t["point_xyz"].astype(np.float64),
            t["inside"].astype(bool),
            t["aside"].astype(bool) if "aside" in t else np.zeros(len(t["inside"]), bool),
            str(t["scope"]),
        )
