"""What belongs to a twin folder, by name: everything else in it is the user's and stays."""

from __future__ import annotations

from pathlib import Path

from stages.core.errors import StoreError

OWN_FILES = (
    "mesh.ply",
    "twin.glb",
    "twin.obj",
    "twin.mtl",
    "twin.png",
    "twin.ply",
    "twin_roughness.png",
    "probe.hdr",
    "twin.usdz",
    "textured_mesh.obj",
    "material.mtl",
    "material_0.png",
    "provenance.png",
    "validation.json",
    "poses.json",
    "rig.json",
    "sessions.json",
    "report.html",
    "run.json",
    "run.log",
    "evaluation.json",
    "removed.txt",
)
OWN_FOLDERS = ("masks", "disparity", "previews", "sim", "lod", "novel_views", "generated")
PROGRESS = "progress"
"""pictures that a run writes before there is a twin; they stay as files of the user do"""


def refuse_foreign(out_dir: Path) -> None:
    """Raises StoreError where `out_dir` is a file, or a folder that holds files but no twin."""
    if not out_dir.exists():
        return
    if not out_dir.is_dir():
        raise StoreError(f"{out_dir} is a file", "name a folder with --out")
    found = sorted(p for p in out_dir.iterdir() if p.name != PROGRESS)
    if found and not any((out_dir / name).exists() for name in ("run.json", "mesh.ply")):
        raise StoreError(
            f"{out_dir} holds {found[0].name} and more, but no twin", "name an empty or a new folder with --out"
        )


def strangers(out_dir: Path) -> list[Path]:
    """Files of the user in an existing twin folder. Raises as `refuse_foreign`."""
    refuse_foreign(out_dir)
    return [p for p in sorted(out_dir.iterdir()) if p.name not in OWN_FILES + OWN_FOLDERS] if out_dir.exists() else []
