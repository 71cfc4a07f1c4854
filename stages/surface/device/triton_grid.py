"""Triton kernels of the hash grid: features, their adjoints to the table and to the points, and the second order of each.

Every derivative is a sum over the eight corners of a cell with other weights, so three kernels serve six operations. With w_c(x) the
trilinear weight of corner c, v_c its table entry, d the gradient of the features and u a direction (LINEAR: without, TANGENT: with u):

    gather   LINEAR  sum_c w_c v_c                        features                    TANGENT  sum_c (grad w_c . u) v_c
    scatter  LINEAR  v_c += w_c d                         gradient of the table       TANGENT  v_c += (grad w_c . u) d
    pull     LINEAR  sum_c grad w_c (v_c . d)             gradient of the points      TANGENT  sum_c Hessian(w_c) u (v_c . d)

Rows (2 * levels, N) as in hash_grid.py; the table (entries, 2) float32 is the numba grid's own. A program works on one block of points at
one level (level in the slow grid axis, so that one level's table stays in the second-level cache), `pull` on all levels of a block.
Sums into the table are atomic: their order, and so the last bits of a training, differ from run to run on a GPU.

Importing this file needs triton; running it a CUDA or ROCm device, or TRITON_INTERPRET=1 set before the import (slow; for tests).
"""

# pyright: reportGeneralTypeIssues=false
# kernels are not run as Python: a type checker cannot know what triton makes of their loops

from __future__ import annotations

import torch
import triton
import triton.language as tl

from stages.core.field.hash_grid import PRIME_Y, PRIME_Z
from stages.surface.device.grid import DeviceLayout

BLOCK = 256
INTERPRETED = bool(triton.knobs.runtime.interpret)
_PRIME_Y, _PRIME_Z = tl.constexpr(PRIME_Y), tl.constexpr(PRIME_Z)


@triton.jit
def _side(fraction, scale, bit: tl.constexpr):
    """Weight along one axis of the corner's side, and its derivative by the coordinate."""
    return (fraction, scale) if bit else (1.0 - fraction, -scale)


@triton.jit
def _cell(x, k, n, axis: tl.constexpr, scale, resolution):
    """(index of the cell, fraction inside it) along an axis; what is no number or outside falls into a cell of the grid."""
    at = tl.load(x + k * 3 + axis, mask=k < n, other=0.5) * scale + 0.5
    cell = tl.minimum(tl.maximum(at.to(tl.int32), 0), resolution)
    return cell, at - cell.to(tl.float32)


@triton.jit
def _entry(x, y, z, size, resolution, hashed):
    """Entry of a corner within its level."""
    ux, uy, uz = x.to(tl.uint32), y.to(tl.uint32), z.to(tl.uint32)
    scattered = (ux ^ (uy * _PRIME_Y) ^ (uz * _PRIME_Z)).to(tl.int32, bitcast=True) & (size - 1)
    dense = x + y * resolution + z * resolution * resolution
    dense = tl.where(dense >= size, dense - size, dense)
    return tl.where(hashed != 0, scattered, dense)


@triton.jit
def _pair(table, entry, mask):
    """Both features of an entry with one load of 8 bytes; `table` points to int64."""
    both = tl.load(table + entry, mask=mask, other=0)
    high = (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return both.to(tl.int32).to(tl.float32, bitcast=True), high


@triton.jit
def _place(places, scales, level):
    """(first entry, entries, resolution, hashed, scale) of a level."""
    row = places + level * 4
    return tl.load(row), tl.load(row + 1), tl.load(row + 2), tl.load(row + 3), tl.load(scales + level)


@triton.jit
def _direction(u, k, n):
    mask = k < n
    return (
        tl.load(u + k * 3, mask=mask, other=0.0),
        tl.load(u + k * 3 + 1, mask=mask, other=0.0),
        tl.load(u + k * 3 + 2, mask=mask, other=0.0),
    )


@triton.jit
def _gather(x, u, table, active, places, scales, out, n, TANGENT: tl.constexpr, BLOCK: tl.constexpr):
    k, level = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    mask = k < n
    first, size, resolution, hashed, scale = _place(places, scales, level)
    cx, fx = _cell(x, k, n, 0, scale, resolution)
    cy, fy = _cell(x, k, n, 1, scale, resolution)
    cz, fz = _cell(x, k, n, 2, scale, resolution)
    if TANGENT:
        ux, uy, uz = _direction(u, k, n)
    sum0, sum1 = tl.full((BLOCK,), 0.0, tl.float32), tl.full((BLOCK,), 0.0, tl.float32)
    for c in tl.static_range(8):
        wx, gx = _side(fx, scale, c & 1)
        wy, gy = _side(fy, scale, c >> 1 & 1)
        wz, gz = _side(fz, scale, c >> 2)
        v0, v1 = _pair(
            table + first, _entry(cx + (c & 1), cy + (c >> 1 & 1), cz + (c >> 2), size, resolution, hashed), mask
        )
        if TANGENT:
            weight = ux * gx * wy * wz + uy * wx * gy * wz + uz * wx * wy * gz
        else:
            weight = wx * wy * wz
        sum0 += weight * v0
        sum1 += weight * v1
    share = tl.load(active + level)
    row = out + (2 * level).to(tl.int64) * n + k
    tl.store(row, sum0 * share, mask=mask)
    tl.store(row + n, sum1 * share, mask=mask)


@triton.jit
def _scatter(x, u, d_enc, active, places, scales, d_table, n, TANGENT: tl.constexpr, BLOCK: tl.constexpr):
    k, level = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    mask = k < n
    first, size, resolution, hashed, scale = _place(places, scales, level)
    cx, fx = _cell(x, k, n, 0, scale, resolution)
    cy, fy = _cell(x, k, n, 1, scale, resolution)
    cz, fz = _cell(x, k, n, 2, scale, resolution)
    if TANGENT:
        ux, uy, uz = _direction(u, k, n)
    share = tl.load(active + level)
    row = d_enc + (2 * level).to(tl.int64) * n + k
    d0, d1 = tl.load(row, mask=mask, other=0.0) * share, tl.load(row + n, mask=mask, other=0.0) * share
    mask = mask & ((d0 != 0.0) | (d1 != 0.0))
    for c in tl.static_range(8):
        wx, gx = _side(fx, scale, c & 1)
        wy, gy = _side(fy, scale, c >> 1 & 1)
        wz, gz = _side(fz, scale, c >> 2)
        if TANGENT:
            weight = ux * gx * wy * wz + uy * wx * gy * wz + uz * wx * wy * gz
        else:
            weight = wx * wy * wz
        entry = first + _entry(cx + (c & 1), cy + (c >> 1 & 1), cz + (c >> 2), size, resolution, hashed)
        tl.atomic_add(d_table + 2 * entry, weight * d0, mask=mask, sem="relaxed")
        tl.atomic_add(d_table + 2 * entry + 1, weight * d1, mask=mask, sem="relaxed")


@triton.jit
def _pull(x, u, d_enc, table, active, places, scales, d_x, n, levels, TANGENT: tl.constexpr, BLOCK: tl.constexpr):
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = k < n
    if TANGENT:
        ux, uy, uz = _direction(u, k, n)
    dx, dy, dz = (
        tl.full((BLOCK,), 0.0, tl.float32),
        tl.full((BLOCK,), 0.0, tl.float32),
        tl.full((BLOCK,), 0.0, tl.float32),
    )
    for level in range(levels):
        first, size, resolution, hashed, scale = _place(places, scales, level)
        cx, fx = _cell(x, k, n, 0, scale, resolution)
        cy, fy = _cell(x, k, n, 1, scale, resolution)
        cz, fz = _cell(x, k, n, 2, scale, resolution)
        share = tl.load(active + level)
        row = d_enc + k + tl.full((1,), 2, tl.int64) * level * n
        d0, d1 = tl.load(row, mask=mask, other=0.0) * share, tl.load(row + n, mask=mask, other=0.0) * share
        for c in tl.static_range(8):
            wx, gx = _side(fx, scale, c & 1)
            wy, gy = _side(fy, scale, c >> 1 & 1)
            wz, gz = _side(fz, scale, c >> 2)
            v0, v1 = _pair(
                table + first, _entry(cx + (c & 1), cy + (c >> 1 & 1), cz + (c >> 2), size, resolution, hashed), mask
            )
            value = v0 * d0 + v1 * d1
            if TANGENT:
                dx += value * gx * (uy * gy * wz + uz * wy * gz)
                dy += value * gy * (ux * gx * wz + uz * wx * gz)
                dz += value * gz * (ux * gx * wy + uy * wx * gy)
            else:
                dx += value * gx * wy * wz
                dy += value * wx * gy * wz
                dz += value * wx * wy * gz
    tl.store(d_x + k * 3, dx, mask=mask)
    tl.store(d_x + k * 3 + 1, dy, mask=mask)
    tl.store(d_x + k * 3 + 2, dz, mask=mask)


def gather(
    x: torch.Tensor, table: torch.Tensor, active: torch.Tensor, grid: DeviceLayout, u: torch.Tensor | None = None
) -> torch.Tensor:
    """(2 L, N) features of (N, 3) points, or with `u` (N, 3) their derivative along u. float32, contiguous."""
    out = torch.empty((2 * grid.levels, len(x)), dtype=torch.float32, device=x.device)
    if len(x):
        _gather[(triton.cdiv(len(x), BLOCK), grid.levels)](
            x,
            x if u is None else u,
            table.view(torch.int64),
            active,
            grid.place,
            grid.scale,
            out,
            len(x),
            TANGENT=u is not None,
            BLOCK=BLOCK,
        )
    return out


def scatter(
    x: torch.Tensor,
    d_enc: torch.Tensor,
    table: torch.Tensor,
    active: torch.Tensor,
    grid: DeviceLayout,
    u: torch.Tensor | None = None,
) -> torch.Tensor:
    """The adjoint of `gather` in the table: (entries, 2)."""
    d_table = torch.zeros_like(table)
    if len(x):
        _scatter[(triton.cdiv(len(x), BLOCK), grid.levels)](
            x,
            x if u is None else u,
            d_enc,
            active,
            grid.place,
            grid.scale,
            d_table,
            len(x),
            TANGENT=u is not None,
            BLOCK=BLOCK,
        )
    return d_table


def pull(
    x: torch.Tensor,
    d_enc: torch.Tensor,
    table: torch.Tensor,
    active: torch.Tensor,
    grid: DeviceLayout,
    u: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N, 3): gradient of <d_enc, gather(x)> in x, or with `u` of <d_enc, gather(x, u)> in x."""
    d_x = torch.empty_like(x)
    if len(x):
        _pull[(triton.cdiv(len(x), BLOCK),)](
            x,
            x if u is None else u,
            d_enc,
            table.view(torch.int64),
            active,
            grid.place,
            grid.scale,
            d_x,
            len(x),
            grid.levels,
            TANGENT=u is not None,
            BLOCK=BLOCK,
        )
    return d_x


class _Encode(torch.autograd.Function):
    """Features; differentiable twice in points, table and upstream gradient."""

    @staticmethod
    def forward(ctx, x, table, active, grid):
        ctx.save_for_backward(x, table, active)
        ctx.grid = grid
        return gather(x, table, active, grid)

    @staticmethod
    def backward(ctx, d_enc):
        x, table, active = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        return (*_EncodeBackward.apply(d_enc.contiguous(), x, table, active, ctx.grid, wanted), None, None)


class _EncodeBackward(torch.autograd.Function):
    """(d x, d table) of <d_enc, features>, and the adjoint of that."""

    @staticmethod
    def forward(ctx, d_enc, x, table, active, grid, wanted):
        ctx.save_for_backward(d_enc, x, table, active)
        ctx.set_materialize_grads(False)
        ctx.grid = grid
        d_x = pull(x, d_enc, table, active, grid=grid) if wanted[0] else None
        return d_x, scatter(x, d_enc, table, active, grid=grid) if wanted[1] else None

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, u, v):
        """`u (N, 3)` and `v (entries, 2)`: d loss / d (d x) and d loss / d (d table), None where nothing depends on them."""
        d_enc, x, table, active = ctx.saved_tensors
        grid, wanted = ctx.grid, ctx.needs_input_grad
        parts: list[list[torch.Tensor]] = [[], [], []]
        if u is not None:
            u = u.contiguous()
            made = (
                lambda: gather(x, table, active, grid, u=u),
                lambda: pull(x, d_enc, table, active, grid=grid, u=u),
                lambda: scatter(x, d_enc, table, active, grid=grid, u=u),
            )
            for k, make in enumerate(made):
                parts[k] += [make()] if wanted[k] else []
        if v is not None:
            v = v.contiguous()
            for k, make in enumerate(
                (lambda: gather(x, v, active, grid), lambda: pull(x, d_enc, v, active, grid=grid))
            ):
                parts[k] += [make()] if wanted[k] else []
        return (*(sum(p[1:], p[0]) if p else None for p in parts), None, None, None)


def encode(x: torch.Tensor, table: torch.Tensor, active: torch.Tensor, grid: DeviceLayout) -> torch.Tensor:
    """As device.grid.encode, by the kernels."""
    return _Encode.apply(x.contiguous(), table, active, grid)
