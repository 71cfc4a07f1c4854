"""Pose and surface scores; see `stages.core.metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import fit_rigid, inverse, rotation_angle, transform
from stages.core.images import read_disparity, read_mask

Poses = Mapping[int, np.ndarray]
_TRUTH_SAMPLES = 300_000
_TWIN_SAMPLES = 100_000
_DEPTH_AGREES_M = 0.0015
_SPURIOUS_M = 0.005
_PLANE_WITHIN_M = 0.002


@dataclass(frozen=True)
class SurfaceTruth:
    """Points sampled on the true surface: points, normals (N, 3) and seen (N,) bool, by at least two left cameras."""

    points: np.ndarray
    normals: np.ndarray
    seen: np.ndarray

    @staticmethod
    def sample(mesh: Any, object_from_left: Poses, rig: Rig, truth: Path) -> SurfaceTruth:
        """A point counts as seen by a camera when the true depth picture agrees within 1.5 mm inside the true mask."""
        import trimesh

        points, face = trimesh.sample.sample_surface(mesh, _TRUTH_SAMPLES, seed=0)
        views = np.zeros(len(points), int)
        for frame, pose in object_from_left.items():
            depth = rig.depth_from_disparity(read_disparity(truth / "disparity" / f"{frame:06d}.png"))
            depth[~read_mask(truth / "masks" / f"{frame:06d}.png")] = np.nan
            views += _agrees(points, pose, rig, depth)
        return SurfaceTruth(np.asarray(points), np.asarray(mesh.face_normals)[face], views >= 2)


def _agrees(points: np.ndarray, object_from_left: np.ndarray, rig: Rig, depth_m: np.ndarray) -> np.ndarray:
    x = transform(inverse(object_from_left), points)
    uv = rig.project(x)
    inside = np.isfinite(uv).all(1) & (uv > -0.5).all(1) & (uv[:, 0] < rig.width - 0.5) & (uv[:, 1] < rig.height - 0.5)
    out = np.zeros(len(points), bool)
    column, row = np.rint(uv[inside]).astype(int).T
    out[inside] = np.abs(depth_m[row, column] - x[inside, 2]) < _DEPTH_AGREES_M
    return out


def align_by_poses(true: Poses, found: Poses, points: np.ndarray) -> np.ndarray:
    """true_from_twin (4, 4): the rigid motion that best maps surface points, as each found camera places them, onto where they are.

    Weighted by 1 / distance (iterated), so that a few lost frames do not drag the fit.
    """
    some = points[:: max(1, len(points) // 500)]
    common = sorted(set(true) & set(found))
    placed = np.concatenate([transform(found[k] @ inverse(true[k]), some) for k in common])
    target = np.tile(some, (len(common), 1))
    weight = np.ones(len(target))
    for _ in range(20):
        true_from_twin = fit_rigid(placed, target, weight)
        weight = 1 / np.maximum(np.linalg.norm(transform(true_from_twin, placed) - target, axis=1), 1e-4)
    return true_from_twin


def icp(
    mesh: Any, truth: SurfaceTruth, true_from_twin: np.ndarray, iterations: int = 30, cutoff_m: float = 0.01
) -> np.ndarray:
    """Point-to-plane refinement of `true_from_twin` on the surfaces (Chen and Medioni 1992), robustly weighted."""
    import trimesh
    from scipy.spatial import cKDTree
    from scipy.spatial.transform import Rotation

    some = slice(None, None, 5)
    points, normals = truth.points[some], truth.normals[some]
    tree = cKDTree(points)
    moved = transform(true_from_twin, np.asarray(trimesh.sample.sample_surface(mesh, 20_000, seed=4)[0]))
    total = true_from_twin
    for _ in range(iterations):
        distance, near = tree.query(moved, distance_upper_bound=cutoff_m)
        ok = np.isfinite(distance)
        n = normals[near[ok]]
        residual = np.einsum("ij,ij->i", points[near[ok]] - moved[ok], n)
        root = np.sqrt(1 / np.maximum(np.abs(residual), 2e-4))
        jacobian = np.concatenate([np.cross(moved[ok], n), n], 1)
        step = np.linalg.lstsq(jacobian * root[:, None], residual * root, rcond=None)[0]
        delta = np.eye(4)
        delta[:3, :3], delta[:3, 3] = Rotation.from_rotvec(step[:3]).as_matrix(), step[3:]
        moved, total = transform(delta, moved), delta @ total
        if np.abs(step).max() < 1e-7:
            break
    return total


def surface_scores(mesh: Any, truth: SurfaceTruth, true_from_twin: np.ndarray) -> dict[str, float]:
    """Accuracy (twin to truth) and completeness (truth to twin) on the part of the surface that the cameras saw.

    Closest pairs below 2 mm are measured along the normal, which removes the floor that the gaps between samples would add.
    """
    import trimesh
    from scipy.spatial import cKDTree

    points, face = trimesh.sample.sample_surface(mesh, _TWIN_SAMPLES, seed=2)
    points = transform(true_from_twin, np.asarray(points))
    normals = np.asarray(mesh.face_normals)[face] @ true_from_twin[:3, :3].T
    accuracy, near = cKDTree(truth.points).query(points)
    spurious = float((accuracy > _SPURIOUS_M).mean())
    accuracy = _along_normal(accuracy, points - truth.points[near], truth.normals[near])
    keep = truth.seen[near]
    angle = np.degrees(
        np.arccos(np.clip(np.abs(np.einsum("ij,ij->i", normals[keep], truth.normals[near[keep]])), 0, 1))
    )
    accuracy = accuracy[keep]
    seen = truth.points[truth.seen]
    completeness, near = cKDTree(points).query(seen)
    completeness = _along_normal(completeness, seen - points[near], normals[near])
    return {
        **_summary(accuracy, completeness),
        "spurious_share": spurious,
        "normal_error_median_deg": float(np.median(angle)),
    }


def _along_normal(distance: np.ndarray, offset: np.ndarray, normal: np.ndarray) -> np.ndarray:
    plane = np.abs(np.einsum("ij,ij->i", offset, normal))
    return np.where(distance < _PLANE_WITHIN_M, np.minimum(distance, plane), distance)


def _summary(accuracy: np.ndarray, completeness: np.ndarray) -> dict[str, float]:
    out = {"chamfer_mm": 500 * (accuracy.mean() + completeness.mean())}
    for name, values in (("accuracy", accuracy), ("completeness", completeness)):
        out[f"{name}_median_mm"], out[f"{name}_p95_mm"] = 1000 * np.percentile(values, [50, 95])
    for limit_mm in (0.5, 1.0, 2.0):
        precision, recall = ((v < limit_mm / 1000).mean() for v in (accuracy, completeness))
        out[f"fscore_{limit_mm}mm"] = 2 * precision * recall / max(precision + recall, 1e-9)
    return {k: float(v) for k, v in out.items()}


def pose_scores(
    true: Poses, found: Poses, true_from_twin: np.ndarray, points: np.ndarray, frames: list[int]
) -> dict[str, float | int | None]:
    """ADD (mean distance of surface points, Hinterstoisser 2012), the area under its curve, rotation, translation; lost frames fail."""
    some = points[:: max(1, len(points) // 2000)]
    add, rotation, translation = [], [], []
    for k in frames:
        if k not in found:
            add.append(np.inf)
            continue
        a = transform(inverse(true[k]), some)
        b = transform(inverse(true_from_twin @ found[k]), some)
        add.append(np.linalg.norm(a - b, axis=1).mean())
        rotation.append(np.degrees(rotation_angle(inverse(true[k]) @ true_from_twin @ found[k])))
        translation.append(1000 * np.linalg.norm(a.mean(0) - b.mean(0)))
    e = np.array(add)

    def auc(limit):
        return 100 * float(np.mean(1 - np.minimum(e, limit) / limit))

    return {
        "frames": len(frames),
        "frames_posed": int(np.isfinite(e).sum()),
        "rotation_median_deg": float(np.median(rotation)),
        "translation_median_mm": float(np.median(translation)),
        "add_auc_5mm": auc(0.005),
        "add_auc_20mm": auc(0.02),
        "add_auc_100mm": auc(0.1),
        "add_max_mm": float(1000 * e.max()) if np.isfinite(e).all() else None,
    }
