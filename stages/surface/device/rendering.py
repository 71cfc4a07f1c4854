"""Volume rendering in torch, as volume_rendering.py; autograd gives its gradient."""

from __future__ import annotations

import torch

_TINY = 1e-6


def render(sdf: torch.Tensor, rgb: torch.Tensor, steepness: float) -> torch.Tensor:
    """sdf (R, S) along each ray from the camera, rgb (R, S - 1, 3) of the intervals -> (R, 3) colours."""
    s = (steepness * sdf).clamp(-30, 30).sigmoid()
    alpha = ((s[:, :-1] - s[:, 1:]) / (s[:, :-1] + _TINY)).clamp(0, 1 - 1e-4)
    clear = torch.cat([torch.ones_like(alpha[:, :1]), (1 - alpha[:, :-1]).cumprod(1)], 1)
    weight = clear * alpha
    return (weight[..., None] * rgb).sum(1) / (weight.sum(1, keepdim=True) + _TINY)
