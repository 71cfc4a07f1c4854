"""The twin folder: what a run leaves for its user, copied out of the store (the store's own files stay as they are).

The folder is built beside its destination and swapped in, so a kill leaves the old twin or the new one, never half of one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.frames import read_poses, write_poses
from stages.core.meshes import read_ply, write_ply
from stages.core.report import write_report, write_run_json
from stages.core.store import ArtifactRef, store_error
from stages.core.twin_folder import strangers
from stages.core.twin_frame import TWIN_AXES, TWIN_FROM_OBJECT, TWIN_POSES, poses_in_twin_frame, turned_mesh

COPIES = {
    "rig.json": ("rig.json",),
    "masks": ("masks_final",),
    "disparity": ("disparity_final", "disparity"),
}
"""file or folder of the twin: the outputs that it may be, best first (a run that stopped early has only the later ones)"""


def assemble_twin(
    out_dir: Path, refs: Mapping[str, ArtifactRef], manifests: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any] | None = None
) -> Path:
    """Fill `out_dir` from the outputs of the stages (`refs` by kind), with run.json and report.html of their `manifests` (by stage
    name, in pipeline order) and return it. `extra`: see `write_run_json`.

    Kinds that are not among `refs` (a run that stopped early) are left out. Files that are not part of a twin are kept; a folder
    that holds files but no twin is refused (StoreError).
    """
    out_dir = Path(out_dir).absolute()
    partial, old = (out_dir.with_name(f".{out_dir.name}.{word}-{os.getpid()}") for word in ("partial", "old"))
    try:
        _remove_leftovers(out_dir)
        kept = strangers(out_dir)
        partial.mkdir(parents=True)
        _copy_outputs(partial, refs)
        write_run_json(partial, manifests, extra or {})
        write_report(partial, manifests, stage_folders(refs, manifests), partial, extra or {})
        for path in kept:
            _copy(path, partial / path.name)
        if out_dir.exists():
            out_dir.rename(old)
        partial.rename(out_dir)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as e:
        raise store_error(e, out_dir) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out_dir


def stage_folders(refs: Mapping[str, ArtifactRef], manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Path]:
    """{stage name: its folder in the store}, where its pictures lie."""
    return {name: refs[kind].path.parent for name, m in manifests.items() for kind in list(m["outputs"])[:1] if kind in refs}


def _copy_outputs(folder: Path, refs: Mapping[str, ArtifactRef]) -> None:
    if "twin" in refs:
        for path in sorted(refs["twin"].path.iterdir()):
            _copy(path, folder / path.name)
    elif "mesh.ply" in refs:
        write_ply(folder / "mesh.ply", turned_mesh(read_ply(refs["mesh.ply"].path), TWIN_FROM_OBJECT), TWIN_AXES)
    if "poses_refined.json" in refs:
        write_poses(folder / "poses.json", poses_in_twin_frame(read_poses(refs["poses_refined.json"].path)), TWIN_POSES)
    for name, kinds in COPIES.items():
        if kind := next((k for k in kinds if k in refs), None):
            _copy(refs[kind].path, folder / name, without=("sigma",))


def _copy(source: Path, target: Path, without: tuple[str, ...] = ()) -> None:
    """Copy a file or a folder's tree but for the names `without`; never a link, because users edit what they are given."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without))
    else:
        shutil.copy2(source, target)


def _remove_leftovers(out_dir: Path) -> None:
    """Folders of earlier runs that were killed; an old twin that was moved aside but not replaced is put back first."""
    olds = sorted(out_dir.parent.glob(f".{out_dir.name}.old-*"))
    if olds and not out_dir.exists():
        olds.pop().rename(out_dir)
    for path in olds + sorted(out_dir.parent.glob(f".{out_dir.name}.partial-*")):
        shutil.rmtree(path, ignore_errors=True)
