"""What a twin folder and the stages' reports say that decides whether the twin can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.file_units import scale_is_unknown
from stages.core.frames import posed, read_poses
from stages.core.meshes import SurfaceMesh, read_ply
from stages.core.verdict.error import summary_mm
from stages.core.verdict.shape import areas, directions_unseen, hole_area, rim_of

Manifests = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Facts:
    """Shares are 0 to 1; None = not known."""

    frames: int
    """that could be used: whole pairs, not repeated, not blurred"""
    posed: int
    """with a pose that the stages stand by ("ok")"""
    uncertain: int
    mask_trust: float | None
    """median over the frames"""
    masks_doubtful_share: float | None
    """frames whose mask is uncertain or lost"""
    size_mm: float
    """longest side of the box round the mesh"""
    open_edges: int
    rim_mm: float
    hole_share: float
    """surface that is missing for the mesh to be closed, at least"""
    unseen_share: float
    """of the surface that is there"""
    directions_unseen_share: float
    uncovered_share: float | None
    """of the masks: where the pictures show the object and the twin, seen from there, does not"""
    disagreement_ratio: float | None
    """how much more the worst pairs of pictures differ on the surface than usual ones do (stages/core/texels/disagreement.py)"""
    psnr_db: float | None
    psnr_held_out: bool
    pixel_mm: float | None
    error_median_mm: float | None
    error_p95_mm: float | None
    unseen_direction: tuple[float, float, float] | None
    """middle of the directions that no camera looked at, twin frame"""
    up_is_known: bool
    metric: bool = True
    """false: nobody gave the scale, so what is named mm is a thousandth of a unit of the camera file"""

    @property
    def missing_share(self) -> float:
        """Surface of the object that the twin does not have or nobody looked at, by what is worst of three ways to see it."""
        absent = max(self.hole_share, self.uncovered_share or 0.0)
        return max(absent + (1 - absent) * self.unseen_share, self.directions_unseen_share)


def read_facts(twin_dir: Path, manifests: Manifests) -> Facts | None:
    """From mesh.ply and poses.json in the twin frame, and the manifests by stage name; None where there is no mesh to judge."""
    if not ((twin_dir / "mesh.ply").is_file() and (twin_dir / "poses.json").is_file()):
        return None
    mesh, rows = read_ply(twin_dir / "mesh.ply"), read_poses(twin_dir / "poses.json")
    if len(mesh.faces) == 0:
        return None

    def metric(stage, key):
        return manifests.get(stage, {}).get("report", {}).get("metrics", {}).get(key)

    masks = dict(manifests.get("masks", {}).get("report", {}).get("frames", {}))
    doubtful = (
        sum(v for k, v in masks.items() if k not in ("ok", "given")) / sum(masks.values())
        if sum(masks.values())
        else None
    )
    covered = metric("texture", "mask_covered_share")
    eyes = np.array([p[:3, 3] for p in posed(rows).values()]).reshape(-1, 3)
    return Facts(
        frames=sum(p.status != "unusable" for p in rows),
        posed=sum(p.status == "ok" for p in rows),
        uncertain=sum(p.status == "uncertain" for p in rows),
        mask_trust=metric("masks", "trust_median"),
        masks_doubtful_share=doubtful,
        uncovered_share=None if covered is None else max(0.0, 1 - covered),
        disagreement_ratio=metric("texture", "pair_disagreement_ratio"),
        psnr_db=metric("texture", "psnr_db"),
        psnr_held_out=metric("texture", "measured_on") == "frames left out",
        up_is_known=str(metric("bundle", "object_frame") or metric("turntable", "object_frame") or "").startswith(
            "y points down"
        ),
        metric=not scale_is_unknown(manifests),
        **_of_mesh(mesh, eyes, metric("surface", "pixel_on_object_mm")),
    )


def _of_mesh(mesh: SurfaceMesh, eyes: np.ndarray, pixel_mm: float | None) -> dict[str, Any]:
    area, rim = areas(mesh.vertices, mesh.faces), rim_of(mesh.vertices, mesh.faces)
    hole = hole_area(mesh.vertices, mesh.faces) if len(rim.segments) else 0.0
    corner = mesh.confidence[mesh.faces]
    weight = np.bincount(mesh.faces.ravel(), np.repeat(area / 3, 3), len(mesh.vertices))
    extent = mesh.vertices.max(0) - mesh.vertices.min(0)
    share, middle = (
        directions_unseen(eyes, (mesh.vertices.max(0) + mesh.vertices.min(0)) / 2) if len(eyes) else (1.0, None)
    )
    error = summary_mm(mesh.confidence, weight, pixel_mm / 1000) if pixel_mm else None
    return {
        "size_mm": 1000 * float(extent.max()),
        "open_edges": len(rim.segments),
        "rim_mm": 1000 * rim.length_m,
        "hole_share": hole / max(hole + float(area.sum()), 1e-12),
        "unseen_share": float((area * (corner == 0).mean(1)).sum() / max(area.sum(), 1e-12)),
        "directions_unseen_share": share,
        "pixel_mm": pixel_mm,
        "error_median_mm": None if error is None else error[0],
        "error_p95_mm": None if error is None else error[1],
        "unseen_direction": None if middle is None else tuple(float(x) for x in middle),
    }
