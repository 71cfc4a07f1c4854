"""The field artifact of `method: fusion`: a plain grid of signed distances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stages.surface.shape.grid import Grid


def save_grid(folder: Path, grid: Grid, distance: np.ndarray) -> None:
    """field.safetensors with `distance` (I, J, K) float16 in voxels, and field.json with where the voxels lie."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    parts = {"distance": np.ascontiguousarray(distance / grid.voxel).astype(np.float16)}
    (folder / "field.safetensors").write_bytes(save(parts))  # its own save_file hides that a disk is full
    about = {
        "schema_version": 1,
        "kind": "grid",
        "origin_m": grid.origin.tolist(),
        "voxel_m": grid.voxel,
        "shape": list(grid.shape),
        "meaning": "signed distance in voxels at x_object = origin_m + voxel_m * (i, j, k), positive outside",
    }
    (folder / "field.json").write_text(json.dumps(about, indent=1))
