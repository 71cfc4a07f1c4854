"""The twin folder: what a run leaves for its user, copied out of the store (the store's own files stay as they are).

The folder is built beside its destination and swapped in, so a kill leaves the old twin or the new one, never half of one. All of it
is synced before the old one goes: a power cut leaves one of them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.core.disk import THE_DISK, Disk
from stages.core.disk_errors import room_error, store_error
from stages.core.frames import read_poses, write_poses
from stages.core.meshes import read_ply, write_ply
from stages.core.report import left_out, write_report, write_run_json
from stages.core.store import ArtifactRef
from stages.core.twin_folder import strangers
from stages.core.twin_frame import TWIN_AXES, TWIN_FROM_OBJECT, TWIN_POSES, poses_in_twin_frame, turned_mesh
from stages.core.verdict import judge, read_facts

COPIES = {
    "rig.json": ("rig.json",),
    "masks": ("masks_final",),
    "disparity": ("disparity_final", "disparity"),
    "novel_views": ("novel_views",),
    "sessions.json": ("sessions.json",),
    "generated": ("generated",),
}
"""file or folder of the twin: the outputs that it may be, best first (a run that stopped early has only the later ones)"""
MAPS = ("masks", "disparity")
"""of these, those that package.maps=off leaves out"""
MAKE_ROOM = "free space there, or name a folder on a larger disk with --out; every stage is done and kept, only this copy is missing"
REPORT_BYTES = 4_000_000
"""about what is written and not copied: report.html, run.json, poses.json"""
NOT_COPIED = ("sigma", "hidden_right")
"""names within these that are for the stages alone"""


def assemble_twin(
    out_dir: Path,
    refs: Mapping[str, ArtifactRef],
    manifests: Mapping[str, Mapping[str, Any]],
    extra: Mapping[str, Any] | None = None,
    disk: Disk = THE_DISK,
) -> Path:
    """Fill `out_dir` from the outputs of the stages (`refs` by kind), with run.json and report.html of their `manifests` (by stage
    name, in pipeline order) and return it. `extra`: see `write_run_json`.

    Kinds that are not among `refs` (a run that stopped early) are left out. Files that are not part of a twin are kept; a folder
    that holds files but no twin is refused (StoreError).
    """
    out_dir = Path(out_dir).absolute()
    partial, needed = out_dir.with_name(f".{out_dir.name}.partial-{os.getpid()}"), 0
    try:
        _remove_leftovers(out_dir, disk)
        kept = strangers(out_dir)
        wanted = _wanted(manifests)
        needed = _bytes_needed(refs, wanted, kept)
        if error := room_error(out_dir, needed, MAKE_ROOM):
            raise error
        disk.make_folders(partial)
        _copy_outputs(partial, refs, wanted, disk)
        told = {
            **(extra or {}),
            **_verdict(partial, manifests),
            **_physics(refs),
            **_generated(refs),
            "left_out": left_out(manifests),
        }
        write_run_json(partial, manifests, told)
        write_report(partial, manifests, stage_folders(refs, manifests), partial, extra=told)
        for path in kept:
            disk.copy_tree(path, partial / path.name)
        disk.sync_tree(partial)
        _swap_in(partial, out_dir, disk)
    except OSError as e:
        raise store_error(e, out_dir, needed, MAKE_ROOM) from e
    finally:
        disk.remove(partial)
    return out_dir


def _swap_in(partial: Path, out_dir: Path, disk: Disk) -> None:
    """The old twin is removed only once the names of the new one are on the disk: a power cut must not leave neither."""
    old = out_dir.with_name(f".{out_dir.name}.old-{os.getpid()}")
    if out_dir.exists():
        disk.move(out_dir, old)
    try:
        disk.move(partial, out_dir)
    except OSError:
        if old.exists():
            disk.move(old, out_dir)
        raise
    disk.sync(out_dir.parent)
    disk.remove(old)


def stage_folders(refs: Mapping[str, ArtifactRef], manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Path]:
    """{stage name: its folder in the store}, where its pictures lie."""
    return {
        name: refs[kind].path.parent for name, m in manifests.items() for kind in list(m["outputs"])[:1] if kind in refs
    }


def _verdict(folder: Path, manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    facts = read_facts(folder, manifests)
    return {} if facts is None else {"verdict": judge(facts).record()}


def _physics(refs: Mapping[str, ArtifactRef]) -> dict[str, Any]:
    """What the files for simulators say, or why there are none."""
    path = refs["physics"].path / "physics.json" if "physics" in refs else None
    return {} if path is None or not path.is_file() else {"physics": json.loads(path.read_text())}


def _generated(refs: Mapping[str, ArtifactRef]) -> dict[str, Any]:
    """What of the folder is invented, by which model: it is beside the twin and in none of its figures."""
    return (
        {"generated": json.loads((refs["generated"].path / "generated.json").read_text())}
        if "generated" in refs
        else {}
    )


def _wanted(manifests: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Of COPIES."""
    maps = manifests.get("package", {}).get("settings", {}).get("maps", True)
    return tuple(name for name in COPIES if maps or name not in MAPS)


def _parts(refs: Mapping[str, ArtifactRef], wanted: tuple[str, ...]) -> dict[str, Path]:
    """{name in the twin folder: where it lies in the store}, of what is copied as it is."""
    parts = {path.name: path for path in sorted(refs["twin"].path.iterdir())} if "twin" in refs else {}
    for name in wanted:
        if kind := next((k for k in COPIES[name] if k in refs), None):
            parts[name] = refs[kind].path
    return parts


def _copy_outputs(folder: Path, refs: Mapping[str, ArtifactRef], wanted: tuple[str, ...], disk: Disk) -> None:
    """Copies, never links, because users edit what they are given."""
    if "mesh.ply" in refs and "twin" not in refs:
        write_ply(folder / "mesh.ply", turned_mesh(read_ply(refs["mesh.ply"].path), TWIN_FROM_OBJECT), TWIN_AXES)
    if poses := next((refs[k] for k in ("poses_refined.json", "poses.json") if k in refs), None):
        write_poses(folder / "poses.json", poses_in_twin_frame(read_poses(poses.path)), TWIN_POSES)
    for name, path in _parts(refs, wanted).items():
        disk.copy_tree(path, folder / name, without=NOT_COPIED)
    if (folder / "sim/twin.usda").is_file():  # SimReady's sidecar; the stage's own files know no date
        (folder / "sim/twin.json").write_text(json.dumps({"usd_date_generated": datetime.now(UTC).date().isoformat()}))


def _bytes_needed(refs: Mapping[str, ArtifactRef], wanted: tuple[str, ...], kept: list[Path]) -> int:
    return REPORT_BYTES + sum(_bytes_of(path, without=NOT_COPIED) for path in (*_parts(refs, wanted).values(), *kept))


def _bytes_of(path: Path, without: tuple[str, ...] = ()) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(_bytes_of(p) for p in path.iterdir() if p.name not in without)


def _remove_leftovers(out_dir: Path, disk: Disk) -> None:
    """Folders of earlier runs that were killed; an old twin that was moved aside but not replaced is put back first."""
    olds = sorted(out_dir.parent.glob(f".{out_dir.name}.old-*"))
    if olds and not out_dir.exists():
        disk.move(olds.pop(), out_dir)
        disk.sync(out_dir.parent)
    for path in olds + sorted(out_dir.parent.glob(f".{out_dir.name}.partial-*")):
        disk.remove(path)
