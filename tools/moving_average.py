"""The moving average of a network's weights, which does better than the network itself while that still learns (Polyak, Juditsky 1992)."""

from __future__ import annotations

import torch
from torch import nn


def follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """`average` keeps the share `keep` of what it was and takes the rest from `net`; counts are copied."""
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            a.lerp_(b, 1 - keep) if a.is_floating_point() else a.copy_(b)
