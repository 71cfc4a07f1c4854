"""The network that looks at a frame's evidence as a whole: an hourglass of a few convolutions with shortcuts (Ronneberger et al. 2015)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from stages.masks.cut.mask_net import CHANNELS

WIDTHS = (20, 32, 48, 64)
"""channels at each size, the first half the picture's and each further half the one before"""


class MaskNet(nn.Module):
    """(N, CHANNELS, S, S) -> (N, 1, S, S) log odds for the object; S a multiple of 16."""

    def __init__(self) -> None:
        super().__init__()
        first = _convolution(CHANNELS, WIDTHS[0], 4, 2)
        self.down = nn.ModuleList([nn.Sequential(first, _convolution(WIDTHS[0], WIDTHS[0]))])
        self.down += [nn.Sequential(_convolution(a, b), _convolution(b, b)) for a, b in pairwise(WIDTHS)]
        self.join = nn.ModuleList([_convolution(a + b, b) for a, b in zip(WIDTHS[1:], WIDTHS, strict=False)])
        self.last = nn.ConvTranspose2d(WIDTHS[0], 1, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = []
        for k, step in enumerate(self.down):
            x = step(x if k == 0 else F.max_pool2d(x, 2))
            seen.append(x)
        for k in range(len(self.join))[::-1]:
            x = self.join[k](torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), seen[k]], 1))
        return self.last(x)


def _convolution(a: int, b: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, size, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
