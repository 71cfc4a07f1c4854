"""nvdiffrast in plain torch, by the conventions of its manual, so that its adapter runs without a GPU. Tiny meshes only."""

from __future__ import annotations

import torch


class RasterizeCudaContext:
    """Remembers what it was made with."""

    def __init__(self, device: torch.device) -> None:
        self.device = device


def rasterize(
    context: RasterizeCudaContext, pos: torch.Tensor, tri: torch.Tensor, resolution: list[int], grad_db: bool
):
    """(1, V, 4) clip positions, (F, 3) int32 -> ((1, H, W, 4): weights of corners 0 and 1, z/w, face + 1; 0 = none), None)."""
    assert isinstance(context, RasterizeCudaContext) and tri.dtype == torch.int32 and not grad_db
    height, width = resolution
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) * 2 / height - 1, (torch.arange(width) + 0.5) * 2 / width - 1, indexing="ij"
    )
    pixel = torch.stack([x, y, torch.ones_like(x)], -1).reshape(-1, 3)
    corner = pos[0][tri.long()]  # F, 3, 4
    a, b, c = corner[..., [0, 1, 3]].unbind(1)
    weight = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1) @ pixel.T
    weight = weight / weight.sum(1, keepdim=True)  # F, 3, H W
    depth = (weight * corner[..., 2:3]).sum(1) / (weight * corner[..., 3:4]).sum(1)
    inside = (weight >= 0).all(1) & (depth.abs() <= 1)
    nearest = torch.where(inside, depth, torch.inf).min(0)
    face = torch.where(nearest.values < torch.inf, nearest.indices, -1)
    chosen = weight.permute(2, 0, 1)[torch.arange(len(pixel)), face.clamp(min=0)]
    rows = (
        torch.stack([chosen[:, 0], chosen[:, 1], nearest.values, (face + 1).float()], 1)
        * (face >= 0)[:, None].float().nan_to_num()
    )
    return torch.where((face >= 0)[:, None], rows, torch.zeros_like(rows)).reshape(1, height, width, 4), None


def interpolate(attr: torch.Tensor, rast: torch.Tensor, tri: torch.Tensor):
    """(1, T, C) attributes at the raster's faces -> ((1, H, W, C), None)."""
    face = (rast[0, ..., 3].long() - 1).clamp(min=0)
    value = attr[0][tri.long()[face]]  # H, W, 3, C
    u, v = rast[0, ..., 0:1], rast[0, ..., 1:2]
    return (value[..., 0, :] * u + value[..., 1, :] * v + value[..., 2, :] * (1 - u - v))[None], None


def texture(tex: torch.Tensor, uv: torch.Tensor, filter_mode: str, boundary_mode: str) -> torch.Tensor:
    """(1, h, w, C) looked up at (1, H, W, 2), (0, 0) = corner of the first texel of the first row."""
    assert filter_mode == "linear" and boundary_mode == "clamp" and tex.is_contiguous() and uv.is_contiguous()
    height, width = tex.shape[1:3]
    at = uv[0] * torch.tensor([width, height]) - 0.5
    low = at.detach().floor()
    f, i = at - low, low.long()

    def pick(dx, dy):
        return tex[0][(i[..., 1] + dy).clamp(0, height - 1), (i[..., 0] + dx).clamp(0, width - 1)]

    top = pick(0, 0) * (1 - f[..., :1]) + pick(1, 0) * f[..., :1]
    low_row = pick(0, 1) * (1 - f[..., :1]) + pick(1, 1) * f[..., :1]
    return (top * (1 - f[..., 1:]) + low_row * f[..., 1:])[None]
