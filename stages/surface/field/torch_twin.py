"""The same field in plain torch: the oracle that every backend (numba, later tiny-cuda-nn and Triton) is tested against.

Written to be read, not to be fast; autograd gives every derivative, the second order too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stages.core.field.field import Field
from stages.core.field.hash_grid import PRIME_Y, PRIME_Z, GridLayout
from stages.core.field.mlp import SQUAREPLUS_C


class TorchTwin(torch.nn.Module):
    """A field with the parameters of `field` in `dtype`; x (N, 3), all outputs in the shapes of `Field`."""

    def __init__(self, field: Field, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        super().__init__()
        self.layout, self.radius, self.active = field.layout, field.radius, field.active_weights()

        def parameter(a: np.ndarray) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.tensor(a, dtype=dtype, device=device))

        self.grid = parameter(field.grid)
        self.sdf_layers = torch.nn.ParameterList(parameter(a) for a in field.shape.sdf_mlp.layers(field.sdf_weights))
        self.colour_layers = torch.nn.ParameterList(
            parameter(a) for a in field.shape.colour_mlp.layers(field.colour_weights)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,) signed distance, (G, N) geometry features."""
        inside = x.clamp(0, 1)
        out = perceptron(
            self.sdf_layers, torch.cat([encode(self.grid, self.layout, inside, self.active), 2 * inside - 1], 1)
        )
        return out[:, 0] + (x - 0.5).norm(dim=1) - self.radius, out[:, 1:].T

    def gradient(self, x: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
        """(N, 3) d sdf / d x."""
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self(x)[0].sum(), x, create_graph=create_graph)[0]

    def colour(self, geo: torch.Tensor, normal: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """(N, 3) RGB."""
        return perceptron(self.colour_layers, torch.cat([geo.T, normal, harmonics(view)], 1)).sigmoid()


def encode(grid: torch.Tensor, layout: GridLayout, x: torch.Tensor, active: Sequence[float]) -> torch.Tensor:
    """(N, 3) points in the unit cube -> (N, 2 * levels) trilinear features, level by level."""
    entries, weights = [], []
    for level in range(layout.levels):
        at = x * float(layout.scale[level]) + 0.5
        cell = at.detach().floor()
        fraction = at - cell
        for corner in range(8):
            side = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=x.device)
            weights.append(torch.where(side == 1, fraction, 1 - fraction).prod(1) * float(active[level]))
            entries.append(_entry(layout, level, cell.long() + side))
    # one look-up for all corners: the backward pass of each look-up writes a gradient as large as the grid
    found = torch.nn.functional.embedding(torch.stack(entries, 1), grid) * torch.stack(weights, 1)[..., None]
    return found.reshape(len(x), layout.levels, 8, -1).sum(2).flatten(1)


def _entry(layout: GridLayout, level: int, corner: torch.Tensor) -> torch.Tensor:
    x, y, z = corner.unbind(1)
    size, resolution = int(layout.size[level]), int(layout.resolution[level])
    inside = x ^ (y * PRIME_Y) ^ (z * PRIME_Z) if layout.hashed[level] else x + y * resolution + z * resolution**2
    return inside % size + int(layout.offset[level])


def perceptron(layers: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Squareplus between the layers; inputs are filled up with ones."""
    x = torch.cat([x, x.new_ones(len(x), layers[0].shape[1] - x.shape[1])], 1)
    for weights in list(layers)[:-1]:
        x = x @ weights.T
        x = 0.5 * (x + (x * x + 4 * SQUAREPLUS_C).sqrt())
    return x @ layers[-1].T


def harmonics(d: torch.Tensor) -> torch.Tensor:
    """(N, 3) unit directions -> (N, 9) real spherical harmonics up to degree 2, signs and order of tiny-cuda-nn."""
    x, y, z = d.unbind(1)
    rows = [
        torch.full_like(x, 0.28209479177387814),
        -0.48860251190291987 * y,
        0.48860251190291987 * z,
        -0.48860251190291987 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.94617469575756008 * z * z - 0.31539156525251999,
        -1.0925484305920792 * x * z,
        0.54627421529603959 * (x * x - y * y),
    ]
    return torch.stack(rows, 1)
