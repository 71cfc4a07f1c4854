"""What tiny-cuda-nn's HashGrid and fully fused perceptron expect, and exact conversion of this program's parameters to theirs and back.

Checked against its sources (encodings/grid.h, common_device.h, encodings/identity.h, networks/fully_fused_mlp.h):

- Points and hash: x * scale + 0.5, primes 1, 2654435761, 805459861; tables level by level, each min(resolution^3 rounded up to 8,
  2^log2_hashmap_size) entries; two features of an entry side by side: the numba grid's memory as it is.
- scale = exp2f(level * log2f(growth)) * base - 1, all in float32. Ours is computed in float64 and rounded. They differ by some 1e-6 of the
  scale, a thousandth of a cell where it is finest; `float32_layout` is theirs, so the twin can render by either. If rounding changes a
  level's resolution, and with it the place of every later entry, the field is refused (`check_layout`).
- Points are not clamped; the adapter does it. Levels are weighted after encoding.
- Perceptrons: row-major matrices in order, no biases. Inputs are padded to a multiple of 16 with ones, outputs to 16 with rows that are
  ignored; widths 16, 32, 64 or 128. Our inputs end in ones as well, so the extra columns are zero on the way there, and on the way back
  they are added to our column of ones, which is exact.
- Parameters are kept in float32 by its torch module and used in float16: values are rounded to 11 bits whenever they are used, and so are
  hidden activations and outputs.
"""

from __future__ import annotations

import math

import numpy as np

from stages.core.errors import StageError
from stages.core.field.field_shape import FieldShape
from stages.core.field.hash_grid import GridLayout
from stages.core.field.mlp import MlpShape

ALIGNMENT = 16
WIDTHS = (16, 32, 64, 128)


def growth(shape: FieldShape) -> float:
    """`per_level_scale`: factor of the resolution from level to level."""
    steps = shape.levels - 1
    return (shape.finest_resolution / shape.base_resolution) ** (1 / steps) if steps else 1.0


def encoding_config(shape: FieldShape) -> dict[str, object]:
    """For tinycudann.Encoding."""
    return {
        "otype": "HashGrid",
        "n_levels": shape.levels,
        "n_features_per_level": shape.features,
        "log2_hashmap_size": shape.log2_entries,
        "base_resolution": shape.base_resolution,
        "per_level_scale": growth(shape),
        "interpolation": "Linear",
    }


def network_config(mlp: MlpShape) -> dict[str, object]:
    """For tinycudann.Network. Raises StageError for widths that the fused kernels do not have."""
    _, *hidden, _ = mlp.widths
    if len(set(hidden)) > 1 or hidden[0] not in WIDTHS:
        raise StageError(
            f"tiny-cuda-nn's fused perceptron has no hidden layers of width {hidden}",
            f"one width of {', '.join(map(str, WIDTHS))}; or surface.backend=triton",
        )
    return {
        "otype": "FullyFusedMLP",
        "activation": "Squareplus",
        "output_activation": "None",
        "n_neurons": hidden[0],
        "n_hidden_layers": len(hidden),
    }


def float32_layout(shape: FieldShape) -> GridLayout:
    """The levels as tiny-cuda-nn computes them: every step rounded to float32."""
    log2_growth = np.float32(math.log2(np.float32(growth(shape))))
    level = np.arange(shape.levels, dtype=np.float32)
    scale = np.exp2(level * log2_growth).astype(np.float32) * np.float32(shape.base_resolution) - np.float32(1)
    return GridLayout.from_scales(scale, shape.log2_entries)


def check_layout(shape: FieldShape) -> None:
    """Raises StageError if a level may have another size there, or without hashing another resolution: entries would lie elsewhere.

    The device's exp2 may be off by two units in the last place, so the levels must be the same a little above and below.
    """
    ours, scale = shape.grid(), float32_layout(shape).scale
    slack = 4 * np.spacing(scale) * (np.arange(shape.levels) > 0)  # exp2(0) = 1 on every device
    wrong = np.zeros(shape.levels, bool)
    for theirs in (GridLayout.from_scales(s, shape.log2_entries) for s in (scale - slack, scale, scale + slack)):
        wrong |= (
            (theirs.size != ours.size)
            | (theirs.hashed != ours.hashed)
            | (~ours.hashed & (theirs.resolution != ours.resolution))
        )
    if wrong.any():
        level = int(np.flatnonzero(wrong)[0])
        raise StageError(
            f"level {level} of the grid has {ours.resolution[level]} points along an edge; tiny-cuda-nn may round to one more or less",
            "use surface.backend=triton, or change surface.field_log2_entries so that this level is hashed",
        )


def to_padded(mlp: MlpShape, weights: np.ndarray) -> np.ndarray:
    """This program's flat weights -> tiny-cuda-nn's."""
    matrices = [m.copy() for m in mlp.layers(weights)]
    first = np.zeros((len(matrices[0]), padded(matrices[0].shape[1])), np.float32)
    first[:, : matrices[0].shape[1]] = matrices[0]
    last = np.zeros((padded(len(matrices[-1])), matrices[-1].shape[1]), np.float32)
    last[: len(matrices[-1])] = matrices[-1]
    return np.concatenate([m.reshape(-1) for m in (first, *matrices[1:-1], last)])


def from_padded(mlp: MlpShape, flat: np.ndarray) -> np.ndarray:
    """tiny-cuda-nn's flat weights -> this program's; its extra columns, which meet ones, are added to our last, which does too."""
    inputs, *hidden, outputs = mlp.widths
    shapes = list(zip([*hidden, padded(outputs)], [padded(inputs), *hidden], strict=True))
    if flat.size != sum(a * b for a, b in shapes):
        raise ValueError(f"expected {sum(a * b for a, b in shapes)} weights of tiny-cuda-nn, found {flat.size}")
    cuts = np.cumsum([a * b for a, b in shapes])[:-1]
    matrices = [m.reshape(s) for m, s in zip(np.split(np.asarray(flat, np.float32), cuts), shapes, strict=True)]
    first = matrices[0][:, :inputs].copy()
    first[:, -1] += matrices[0][:, inputs:].sum(1)
    return np.concatenate([m.reshape(-1) for m in (first, *matrices[1:-1], matrices[-1][:outputs])])


def padded(n: int) -> int:
    """The next multiple of 16."""
    return -(-n // ALIGNMENT) * ALIGNMENT
