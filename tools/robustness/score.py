"""What a run claims, frame by frame, against the truth of its capture.

A pose is wrong by the mean distance between the object's surface points as it places them and where they are. The object frame is free:
it is brought to the true one by the rigid motion that most of the claimed frames agree on, so that some wrong frames cannot drag it, nor
what the run itself doubts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.core.frames import FramePose, read_table
from stages.core.geometry.rigid import inverse, transform
from stages.core.images import read_mask
from stages.core.metrics_geometry import align_by_poses

POSE_LIMIT_M, POSE_LIMIT_SHARE = 0.002, 0.01
"""a pose is right within the larger of 2 mm and 1 % of the object's largest extent"""
NOTHING_SEEN_PX = 20
"""with fewer true pixels a frame shows no object: only an empty mask is right"""


@dataclass(frozen=True)
class FrameScore:
    """One frame. `J` per cent; `pose_error_mm` None = no pose; statuses as the run states them, "" = no row."""

    frame: int
    J: float
    trust: float
    mask_status: str
    mask_reason: str
    pose_status: str
    pose_error_mm: float | None
    pose_reason: str
    true_px: int
    found_px: int
    visible: float
    """share of the object's outline in the picture that nothing stands before"""

    def as_row(self) -> dict:
        """Plain data."""
        return asdict(self)


def surface_points(mesh: Path, count: int = 500) -> tuple[np.ndarray, float]:
    """(count, 3) points on the true surface and the object's largest extent, metres."""
    import trimesh

    loaded = trimesh.load(mesh, process=False, force="mesh")
    return np.asarray(trimesh.sample.sample_surface(loaded, count, seed=1)[0]), float(loaded.extents.max())


def pose_limit_m(extent_m: float) -> float:
    """See POSE_LIMIT_M."""
    return max(POSE_LIMIT_M, POSE_LIMIT_SHARE * extent_m)


def pose_errors_m(
    true: Mapping[int, np.ndarray],
    found: Mapping[int, np.ndarray],
    points: np.ndarray,
    limit_m: float,
    claimed: Collection[int] = (),
) -> dict[int, float]:
    """{frame: mean displacement of `points` in metres} of every frame that has both poses; see the module docstring. `claimed`: the frames
    whose poses the run does not doubt; all where there is none."""
    common = sorted(set(true) & set(found))
    if not common:
        return {}
    voters = [k for k in common if k in claimed] or common
    votes = [true[k] @ inverse(found[k]) for k in voters]
    errors = np.array([[_displacement(true[k], found[k], vote, points) for k in voters] for vote in votes])
    best = int(np.argmax((errors < limit_m).sum(1) - 1e-3 * np.median(errors, 1)))
    agreed = [k for k, e in zip(voters, errors[best], strict=True) if e < limit_m]
    true_from_found = align_by_poses({k: true[k] for k in agreed}, {k: found[k] for k in agreed}, points)
    return {k: _displacement(true[k], found[k], true_from_found, points) for k in common}


def _displacement(true: np.ndarray, found: np.ndarray, true_from_found: np.ndarray, points: np.ndarray) -> float:
    off = transform(inverse(true), points) - transform(inverse(true_from_found @ found), points)
    return float(np.linalg.norm(off, axis=1).mean())


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    """J of two (H, W) bool masks, per cent; 100 where both are empty."""
    if true.sum() < NOTHING_SEEN_PX:
        return 100.0 if found.sum() < NOTHING_SEEN_PX else 0.0
    return 100.0 * float((found & true).sum() / (found | true).sum())


def frame_scores(
    truth: Path, masks: Path, table: Path, poses: list[FramePose], errors_m: Mapping[int, float]
) -> list[FrameScore]:
    """One row per true frame; `masks` and `table` are the run's masks and masks.parquet, `poses` its rows (empty: it came not so far)."""
    said, placed = {r["frame"]: r for r in read_table(table)}, {p.frame: p for p in poses}
    out = []
    for path in sorted((truth / "masks").glob("*.png")):
        k, want = int(path.stem), read_mask(path)
        given = masks / path.name
        found = read_mask(given) if given.exists() else np.zeros_like(want)
        row, pose = said.get(k), placed.get(k)
        out.append(
            FrameScore(
                frame=k,
                J=round(overlap(found, want), 2),
                trust=float(row["trust"]) if row else 0.0,
                mask_status=row["status"] if row else "",
                mask_reason=row["reason"] if row else "not used",
                pose_status=pose.status if pose else "",
                pose_error_mm=None if k not in errors_m else round(1000 * errors_m[k], 3),
                pose_reason=pose.reason if pose else "",
                true_px=int(want.sum()),
                found_px=int(found.sum()),
                visible=round(float(want.sum() / max(_whole(truth, path.name, want).sum(), 1)), 3),
            )
        )
    return out


def _whole(truth: Path, name: str, visible: np.ndarray) -> np.ndarray:
    """What would be seen of the object if nothing stood before it; captures of other origin have no such picture."""
    path = truth / "whole" / name
    return read_mask(path) if path.exists() else visible
