"""A field on disk: field.safetensors (parameters) and field.json (sizes: enough to evaluate it anywhere).

Order of the parameters, for other backends: `grid (entries, 2)` is tiny-cuda-nn's HashGrid parameter vector, level by level (see
hash_grid.py). `sdf_weights` and `colour_weights` are row-major (outputs, inputs) matrices one after another, which is the order of a
tiny-cuda-nn network too; it pads the last layer to 16 outputs with rows that are ignored, and inputs to a multiple of 16 with ones where
this program pads to a multiple of 4: columns for the extra ones are zero.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from stages.core.errors import StageError
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.field.hash_grid import FEATURES, aligned_zeros

SCHEMA_VERSION = 1


def save_field(field: Field, folder: Path) -> None:
    """Write the two files into `folder` (made if need be)."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    parts = {"grid": field.grid, "sdf_weights": field.sdf_weights, "colour_weights": field.colour_weights}
    (folder / "field.safetensors").write_bytes(save(parts))  # its own save_file hides that a disk is full
    shape, layout = field.shape, field.layout
    about = {
        "schema_version": SCHEMA_VERSION,
        "shape": asdict(shape),
        "sphere_radius": field.radius,
        "active_levels": field.active_levels,
        "activation": "squareplus, K = 10",
        "sdf_widths": shape.sdf_mlp.widths,
        "colour_widths": shape.colour_mlp.widths,
        "level_scale": layout.scale.tolist(),
        "level_offset": layout.offset.tolist(),
        "level_size": layout.size.tolist(),
    }
    (folder / "field.json").write_text(json.dumps(about, indent=1))


def load_field(folder: Path, threads: int = 2) -> Field:
    """Read what `save_field` wrote. Raises StageError if a file is missing or the two do not agree."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        about, parts = json.loads((folder / "field.json").read_text()), load_file(folder / "field.safetensors")
    except (OSError, ValueError, SafetensorError) as e:
        raise StageError(f"cannot read the field in {folder}: {e}", "run the surface stage again") from e
    if about.get("schema_version") != SCHEMA_VERSION:
        found = about.get("schema_version")
        raise StageError(
            f"{folder}: field schema {found}, this program reads {SCHEMA_VERSION}", "run the surface stage again"
        )
    shape = FieldShape(**about["shape"])
    expected = {"grid": (shape.grid().entries, FEATURES)}
    expected |= {"sdf_weights": (shape.sdf_mlp.count,), "colour_weights": (shape.colour_mlp.count,)}
    for name, size in expected.items():
        if name not in parts or parts[name].shape != size:
            raise StageError(
                f"{folder}: {name} is not of shape {size}", "the field is damaged; run the surface stage again"
            )
    grid = aligned_zeros(expected["grid"])
    grid[:] = parts["grid"]
    field = Field(
        shape,
        about["sphere_radius"],
        grid,
        parts["sdf_weights"],
        colour_weights=parts["colour_weights"],
        threads=threads,
    )
    field.active_levels = about["active_levels"]
    return field
