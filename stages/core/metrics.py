"""Scores a twin folder against the truth of its capture (`gt/`): poses, surface, masks, disparity, texture-free.

No scale is fitted: a twin of the wrong size is wrong. The twin's object frame is brought to the true one by the single rigid motion
that best fits all camera poses ("pose-aligned"); "icp" adds a rigid fit of the surfaces, the kinder figure most papers quote.
Distances in millimetres unless the key says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.frames import posed, read_poses
from stages.core.images import read_disparity, read_mask
from stages.core.metrics_geometry import SurfaceTruth, align_by_poses, icp, pose_scores, surface_scores
from stages.core.plain_files import read_json


def evaluate(capture: Path, twin: Path) -> dict[str, Any]:
    """All scores of `twin` against `capture/gt`. Raises CaptureError when the capture has no truth or the twin is not one."""
    import trimesh

    truth = capture / "gt"
    for path, what in (
        (truth / "mesh.ply", "the capture has no ground truth"),
        (twin / "mesh.ply", "this is not a twin folder"),
    ):
        if not path.exists():
            raise CaptureError(
                f"{path} does not exist: {what}",
                "give a capture with gt/ (such as the one `twin demo` makes) and a folder that `twin reconstruct` wrote",
            )
    true_poses, poses = (posed(read_poses(p / "poses.json")) for p in (truth, twin))
    frames = sorted(true_poses)
    out: dict[str, Any] = {"capture": capture.name, "frames": len(frames)}
    if not set(true_poses) & set(poses):
        return {**out, "frames_posed": 0}
    true_mesh, mesh = (trimesh.load(p / "mesh.ply", process=False, force="mesh") for p in (truth, twin))
    surface = SurfaceTruth.sample(true_mesh, true_poses, _rig(capture, twin), truth)
    true_from_twin = align_by_poses(true_poses, poses, surface.points[surface.seen])
    fine = icp(mesh, surface, true_from_twin)
    return {
        **out,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "watertight": bool(mesh.is_watertight),
        "seen_share_of_surface": float(surface.seen.mean()),
        "pose": pose_scores(true_poses, poses, true_from_twin, surface.points[surface.seen], frames=frames),
        "surface_pose_aligned": surface_scores(mesh, surface, true_from_twin),
        "surface_icp": surface_scores(mesh, surface, fine),
        "mask": mask_scores(truth, twin, frames),
        "depth": depth_scores(truth, twin, frames, _rig(capture, twin)),
    }


def mask_scores(truth: Path, twin: Path, frames: list[int]) -> dict[str, float]:
    """J (intersection over union) and F (boundary agreement, DAVIS: within 0.8 % of the diagonal), per cent; a missing mask scores 0."""
    if not (twin / "masks").is_dir():
        return {}
    overlaps, edges = [], []
    for k in frames:
        path = twin / "masks" / f"{k:06d}.png"
        want = read_mask(truth / "masks" / f"{k:06d}.png")
        found = _at_size(read_mask(path), want.shape) if path.exists() else np.zeros_like(want)
        overlaps.append((found & want).sum() / max((found | want).sum(), 1))
        edges.append(boundary_agreement(found, want))
    return {
        "mask_J": 100 * float(np.mean(overlaps)),
        "mask_J_min": 100 * float(np.min(overlaps)),
        "mask_F": 100 * float(np.mean(edges)),
    }


def _at_size(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map of smaller pictures (rectify.max_width) enlarged to those that the truth is told in."""
    if found.shape == shape:
        return found
    kind = np.uint8 if found.dtype == bool else found.dtype
    return cv2.resize(found.astype(kind), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST).astype(found.dtype)


def boundary_agreement(found: np.ndarray, want: np.ndarray) -> float:
    """F-measure of two (H, W) bool outlines with a tolerance of 0.8 % of the picture's diagonal (Perazzi et al., CVPR 2016)."""
    radius = int(np.ceil(0.008 * np.hypot(*want.shape)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    a, b = (cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) for m in (found, want))
    precision = (a & cv2.dilate(b, disk)).sum() / max(a.sum(), 1)
    recall = (b & cv2.dilate(a, disk)).sum() / max(b.sum(), 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def depth_scores(truth: Path, twin: Path, frames: list[int], rig: Rig) -> dict[str, float]:
    """Disparity errors (px of the true `rig`) inside the true mask, and the share of it that has an estimate. A depth camera's twin has
    another baseline, which only stands for its noise."""
    errors, total = [], 0
    scale = _disparity_scale(twin, rig)
    for k in frames:
        path = twin / "disparity" / f"{k:06d}.png"
        if not path.exists():
            continue
        mask = read_mask(truth / "masks" / f"{k:06d}.png")
        found = scale * _at_size(read_disparity(path), mask.shape)
        error = np.abs(found - read_disparity(truth / "disparity" / f"{k:06d}.png"))[mask]
        total += int(mask.sum())
        errors.append(error[np.isfinite(error)])
    if not errors:
        return {}
    e = np.concatenate(errors)
    return {
        "disparity_mae_px": float(e.mean()),
        "disparity_median_px": float(np.median(e)),
        "bad1_percent": float(100 * (e > 1).mean()),
        "bad2_percent": float(100 * (e > 2).mean()),
        "density_percent": float(100 * len(e) / max(total, 1)),
    }


def _disparity_scale(twin: Path, rig: Rig) -> float:
    """What brings the twin's disparities to the true `rig`: for pairs, whose baseline was measured, the size of the pictures alone."""
    record = read_json(twin / "run.json", most=1 << 25) if (twin / "run.json").exists() else {}
    own = Rig.load(twin / "rig.json") if (twin / "rig.json").exists() else rig
    if "rgbd" not in record.get("stages", {}):
        return rig.width / own.width
    return rig.fx * rig.baseline_m / (own.fx * own.baseline_m)


def _rig(capture: Path, twin: Path) -> Rig:
    """The rectified camera that the truth is told in: gt/rig.json, a rectified calibration.json, or for a calibration of any other format
    the rig of the twin, as long as `rectify` left the left pictures as they were. Raises CaptureError."""
    truth, calibration = capture / "gt/rig.json", capture / "calibration.json"
    if truth.exists():
        return Rig.load(truth)
    if (
        calibration.exists()
        and isinstance(data := read_json(calibration, most=1 << 25), dict)
        and data.get("rectified") is True
    ):
        return Rig.load(calibration)
    record = read_json(twin / "run.json", most=1 << 25) if (twin / "run.json").exists() else {}
    method = record.get("stages", {}).get("rectify", {}).get("method")
    if method not in _LEFT_AS_CAPTURED or not (twin / "rig.json").exists():
        raise CaptureError(
            f"the calibration of {capture} is not rectified (rectify: {method or 'unknown'})",
            "ground truth is defined on rectified pictures: put the rig.json that it was made with into gt/",
        )
    return Rig.load(twin / "rig.json")


_LEFT_AS_CAPTURED = ("copied", "right view resampled")
