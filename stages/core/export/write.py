"""`twin export`: a folder in the format of another program, made beside its place and moved there when it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.core.errors import ConfigError, StoreError
from stages.core.export import bop, colmap, nerf, nerfstudio
from stages.core.export.twin_views import twin_views
from stages.core.store import Store

WRITERS = {"nerf": nerf.write, "colmap": colmap.write, "bop": bop.write, "nerfstudio": nerfstudio.write}


def export_twin(twin: Path, format: str, out: Path, store: Store) -> int:
    """Write `out`, which must not exist or be empty; returns the number of pictures. Raises ConfigError, StoreError."""
    if format not in WRITERS:
        raise ConfigError(f"there is no export format {format}", f"choose one of {', '.join(WRITERS)}")
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} is there already", "name a new folder")
    views = twin_views(twin, store)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        WRITERS[format](views, partial)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as e:
        raise StoreError(
            f"{out} cannot be written: {e.strerror or e}", "free space, or name a folder on another disk"
        ) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(views.cameras)
