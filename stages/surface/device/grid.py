"""The hash grid on any torch device: its levels as tensors, and encoding in plain torch (CPU, CUDA, ROCm, MPS).

Same table, same levels, same order of corners as hash_grid.py; features come in rows (2 * levels, N), feature 0 first, as there. Autograd
gives every derivative, the second order too. triton_grid.py does the same with kernels of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from stages.core.field.hash_grid import FEATURES, PRIME_Y, PRIME_Z, GridLayout


@dataclass(frozen=True)
class DeviceLayout:
    """`scale (L,)` float32 and `place (L, 4)` int32 = first entry, entries, resolution, 1 where hashed; `layout` as on the host."""

    layout: GridLayout
    scale: torch.Tensor
    place: torch.Tensor

    @staticmethod
    def of(layout: GridLayout, device: torch.device) -> DeviceLayout:
        """The layout's tensors on a device."""
        place = np.stack([layout.offset, layout.size, layout.resolution, layout.hashed.astype(np.int64)], 1)
        return DeviceLayout(
            layout,
            torch.tensor(layout.scale, device=device),
            torch.tensor(place.astype(np.int32), device=device).contiguous(),
        )

    @property
    def levels(self) -> int:
        """Number of levels."""
        return self.layout.levels


def encode(x: torch.Tensor, table: torch.Tensor, active: torch.Tensor, grid: DeviceLayout) -> torch.Tensor:
    """(N, 3) points in the unit cube, `table (entries, 2)`, weights `active (L,)` of the levels -> (2 L, N) trilinear features."""
    at = x[:, None] * grid.scale[:, None] + 0.5  # N, L, 3
    cell = at.detach().floor()
    fraction = at - cell
    corner = torch.arange(8, device=x.device)
    side = torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], 1)  # 8, 3
    part = torch.where(side.bool(), fraction[:, :, None], 1 - fraction[:, :, None])
    weight = part[..., 0] * part[..., 1] * part[..., 2] * active[:, None]  # N, L, 8
    index = _entries(cell.long()[:, :, None] + side, grid)
    found = table[index.flatten()].reshape(*index.shape, FEATURES)
    return (found * weight[..., None]).sum(2).flatten(1).T


def _entries(corner: torch.Tensor, grid: DeviceLayout) -> torch.Tensor:
    """Entry of each corner (N, L, 8, 3) int64 -> (N, L, 8)."""
    first, size, resolution, hashed = (column[:, None] for column in grid.place.long().unbind(1))
    x, y, z = corner.unbind(3)
    scattered = (x ^ (y * PRIME_Y) ^ (z * PRIME_Z)) & (size - 1)
    dense = x + y * resolution + z * resolution**2
    dense = torch.where(dense >= size, dense - size, dense)
    return first + torch.where(hashed.bool(), scattered, dense)
