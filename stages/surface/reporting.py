"""What the surface stage says of its mesh: figures, warnings, small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages.core.images import thumbnail_jpeg
from stages.core.render import Caster
from stages.surface.pictures import confidence_colours, depth_pair, four_sides
from stages.surface.shape.meshing import Mesh
from stages.surface.views.views import View


def mesh_metrics(mesh: Mesh) -> dict[str, Any]:
    """Size, and how much of it was seen how well."""
    extent = 1000 * (mesh.vertices.max(0) - mesh.vertices.min(0))
    return {
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "unseen_share": round(float((mesh.seen == 0).mean()), 4),
        "confidence_median": round(float(np.median(mesh.confidence)), 4),
        **{f"extent_{a}_mm": round(float(e), 2) for a, e in zip("xyz", extent, strict=True)},
    }


def warnings(mesh: Mesh, frames_used: int) -> list[str]:
    """What a user should know about this surface."""
    said, unseen = [], float((mesh.seen == 0).mean())
    if unseen > 0.25:
        said.append(
            f"{100 * unseen:.0f} % of the surface was never seen and is closed by the outlines alone: its shape there is a guess"
        )
    if (vague := float((mesh.confidence[mesh.seen > 0] < 0.4).mean()) if (mesh.seen > 0).any() else 1.0) > 0.3:
        said.append(
            f"{100 * vague:.0f} % of the seen surface has no texture that fixes it: it is interpolated smoothly"
        )
    if frames_used < 8:
        said.append(f"only {frames_used} frames have a pose and a trusted mask: expect a coarse shape")
    return said


def write_pictures(out: Path, mesh: Mesh, colours: np.ndarray, views: list[View]) -> list[tuple[str, str]]:
    """Small JPEGs for the report; `colours` (V, 3) of the vertices."""
    caster = Caster(mesh.vertices, mesh.faces)
    shown = {
        "mesh": ("Surface from four sides", four_sides(caster)),
        "colours": ("The same with the colour of each vertex", four_sides(caster, colours)),
        "confidence": (
            "Confidence: green measured, red interpolated, grey never seen",
            four_sides(caster, confidence_colours(mesh.confidence)),
        ),
        "depth": (
            "Depth as measured, as the surface has it, and the difference in standard deviations (full colour: 3)",
            depth_pair(caster, views[len(views) // 2]),
        ),
    }
    for name, (_, picture) in shown.items():
        thumbnail_jpeg(out / "pictures" / f"{name}.jpg", picture, 1280 if name != "depth" else 960)
    return [(caption, f"pictures/{name}.jpg") for name, (caption, _) in shown.items()]
