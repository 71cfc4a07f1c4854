"""The field on a torch device: the same function as field.py, to train on a GPU; `to_host` gives the parameters back.

What differs between the backends (encoding, perceptrons, layout of parameters) is in `Parts`: TorchParts below for `torch` and `triton`,
tcnn_parts.py for `tcnn`. Gradients come from autograd; torch_twin.py stays the oracle of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.field.hash_grid import FEATURES, aligned_zeros
from stages.surface.device import grid as device_grid
from stages.surface.device.grid import DeviceLayout
from stages.surface.device.mlp import perceptron
from stages.surface.field.torch_twin import harmonics

Encoder = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, DeviceLayout], torch.Tensor]


class Parts(Protocol):
    """Encoding and perceptrons of a backend."""

    grid: torch.nn.Parameter
    """rows of two features once viewed as (-1, 2)"""
    networks: list[torch.nn.Parameter]
    """signed distance, colour; flat"""

    def encode(self, x: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """(N, 3) points in the cube, (levels,) weights -> (2 * levels, N)."""
        ...

    def sdf(self, rows: torch.Tensor) -> torch.Tensor:
        """(inputs without ones, N) -> (1 + G, N) float32."""
        ...

    def colour(self, rows: torch.Tensor) -> torch.Tensor:
        """(inputs without ones, N) -> (3, N) float32 before the sigmoid."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """`grid (entries, 2)`, `sdf_weights`, `colour_weights` in the numba field's layout."""
        ...


class TorchParts:
    """The numba field's own layout; `encoder` device_grid.encode or triton_grid.encode."""

    def __init__(
        self, field: Field, device: torch.device, encoder: Encoder = device_grid.encode, mixed: bool = False
    ) -> None:
        self._encoder, self._mixed, self._shape = encoder, mixed, field.shape
        self._layout = DeviceLayout.of(field.layout, device)
        self.grid, *networks = (
            torch.nn.Parameter(torch.tensor(a, device=device))
            for a in (field.grid, field.sdf_weights, field.colour_weights)
        )
        self.networks = networks

    def encode(self, x: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """See Parts."""
        return self._encoder(x, self.grid, active, self._layout)

    def sdf(self, rows: torch.Tensor) -> torch.Tensor:
        """See Parts."""
        return perceptron(self.networks[0], self._shape.sdf_mlp, rows, self._mixed)

    def colour(self, rows: torch.Tensor) -> torch.Tensor:
        """See Parts."""
        return perceptron(self.networks[1], self._shape.colour_mlp, rows, self._mixed)

    def arrays(self) -> dict[str, np.ndarray]:
        """See Parts."""
        names = ("grid", "sdf_weights", "colour_weights")
        return {n: p.detach().cpu().numpy() for n, p in zip(names, (self.grid, *self.networks), strict=True)}


class DeviceField:
    """Signed distance, features and colour of points, by a backend's parts."""

    def __init__(self, shape: FieldShape, radius: float, parts: Parts, device: torch.device) -> None:
        self.shape, self.radius, self.parts, self.device = shape, radius, parts, device
        self.active = torch.ones(shape.levels, device=device)

    def set_levels(self, active_levels: float) -> None:
        """As `Field.active_levels`; changes the tensor in place, which a captured step reads."""
        weights = np.clip(active_levels - np.arange(self.shape.levels), 0, 1).astype(np.float32)
        self.active.copy_(torch.from_numpy(weights))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3) float32 points -> (N,) signed distance, (G, N) geometry features."""
        inside = x.clamp(0, 1)
        out = self.parts.sdf(torch.cat([self.parts.encode(inside, self.active), 2 * inside.T - 1]))
        return out[0] + (x - 0.5).norm(dim=1) - self.radius, out[1:]

    def gradient(self, x: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
        """(N, 3) exact d sdf / d x; with `create_graph` losses on it can be trained on (not with tcnn's perceptron)."""
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.forward(x)[0].sum(), x, create_graph=create_graph)[0]

    def colour(self, geo: torch.Tensor, normal: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """(G, N) features, (3, N) normals, (3, N) unit directions -> (3, N) RGB."""
        return self.parts.colour(torch.cat([geo, normal, harmonics(view.T).T])).sigmoid()

    def to_host(self, threads: int) -> Field:
        """The numba field with the same parameters."""
        arrays = self.parts.arrays()
        grid = aligned_zeros((self.shape.grid().entries, FEATURES))
        grid[:] = arrays["grid"]
        field = Field(
            self.shape,
            self.radius,
            grid,
            arrays["sdf_weights"].copy(),
            colour_weights=arrays["colour_weights"].copy(),
            threads=threads,
        )
        field.active_levels = float(self.active.sum())
        return field
