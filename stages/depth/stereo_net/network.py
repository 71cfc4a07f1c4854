"""The project's own stereo network: small, for CPU inference, with a predicted standard deviation per pixel.

Input: left and right (B, 3, H, W) float in 0..1, RGB, rectified, H and W multiples of 16. Output at full size, (B, 1, H, W) each: the
disparity in px (0 to 4 * LEVELS) and the log of the Laplace scale of its error in px; the standard deviation is sqrt(2) times that scale.

Shared inverted-residual pyramid to 1/16 and back to 1/4 (after Sandler et al., MobileNetV2, CVPR 2018); grouped correlation at 1/4 size
(Guo et al., GwcNet, CVPR 2019) aggregated in 2-D with the disparities as channels; the expectation over the peak's neighbourhood; a
residual step at 1/2 size on the warped right features; convex upsampling (Teed and Deng, RAFT, ECCV 2020).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

LEVELS = 64
GROUPS = 4
SIZE_MULTIPLE = 16


def _conv(i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


class Inverted(nn.Module):
    """Expand, depth-wise 3x3, project; with a shortcut where the shape allows one."""

    def __init__(self, i: int, o: int, stride: int = 1, expand: int = 3) -> None:
        super().__init__()
        m = i * expand
        self.body = nn.Sequential(_conv(i, m, 1), _conv(m, m, 3, stride, m), _conv(m, o, 1, act=False))
        self.shortcut = stride == 1 and i == o

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class Pyramid(nn.Module):
    """(B, 3, H, W) -> features at 1/2 (16 channels) and 1/4 (48 channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 16, 3, 2), Inverted(16, 16, 1, 2))
        self.stage4 = nn.Sequential(Inverted(16, 32, 2), Inverted(32, 32), Inverted(32, 32))
        self.eighth = nn.Sequential(Inverted(32, 48, 2), Inverted(48, 48), Inverted(48, 48))
        self.sixteenth = nn.Sequential(Inverted(48, 80, 2), Inverted(80, 80), Inverted(80, 80))
        self.lift16, self.lift8 = _conv(80, 48, 1), _conv(48, 48, 1)
        self.lift4 = _conv(32, 48, 1)
        self.join8, self.join4 = Inverted(48, 48, 1, 2), Inverted(48, 48, 1, 2)
        self.head = nn.Conv2d(48, 48, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = self.stem(x)
        quarter = self.stage4(half)
        eighth = self.eighth(quarter)
        up8 = self.join8(self.lift8(eighth) + _twice(self.lift16(self.sixteenth(eighth))))
        up4 = self.join4(self.lift4(quarter) + _twice(up8))
        return half, self.head(up4)


class Aggregation(nn.Module):
    """Correlation volume and left features at 1/4 size -> LEVELS logits and a context of 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(_conv(LEVELS * GROUPS, 96, 1), Inverted(96, 96, 1, 2))
        self.guide = _conv(48, 32, 1)
        self.first = nn.Sequential(Inverted(128, 96, 1, 2), Inverted(96, 96, 1, 2))
        self.down = nn.Sequential(Inverted(96, 128, 2, 2), Inverted(128, 128, 1, 2), Inverted(128, 128, 1, 2))
        self.deep = nn.Sequential(Inverted(128, 144, 2, 2), Inverted(144, 144, 1, 2), Inverted(144, 144, 1, 2))
        self.up8, self.join8 = _conv(144, 128, 1), Inverted(128, 128, 1, 2)
        self.up4, self.join4 = _conv(128, 96, 1), Inverted(96, 96, 1, 2)
        self.logits = nn.Conv2d(96, LEVELS, 1)
        self.context = _conv(96, 32, 1)

    def forward(self, volume: torch.Tensor, left: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.first(torch.cat([self.enter(volume), self.guide(left)], 1))
        eighth = self.down(x)
        eighth = self.join8(eighth + _twice(self.up8(self.deep(eighth))))
        x = self.join4(x + _twice(self.up4(eighth)))
        return self.logits(x), self.context(x)


class Refinement(nn.Module):
    """One residual step at 1/2 size: warped right features against left ones, and the weights of the convex upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = _conv(16 * 2 + 32 + 5 + 1, 48, 1)
        self.body = nn.Sequential(Inverted(48, 48, 1, 2), Inverted(48, 48, 1, 2), Inverted(48, 48, 1, 2))
        self.residual = nn.Conv2d(48, 1, 3, 1, 1)
        self.log_sigma = nn.Conv2d(48, 1, 3, 1, 1)
        self.weights = nn.Conv2d(48, 9 * 4, 1)

    def forward(self, disparity: torch.Tensor, left: torch.Tensor, right: torch.Tensor, context: torch.Tensor):
        """`disparity` (B, 1, H/2, W/2) in px of that size -> the refined one, log sigma and upsampling weights."""
        costs, warped = [], None
        for offset in (-2, -1, 0, 1, 2):
            moved = warp(right, disparity + offset)
            costs.append((left * moved).mean(1, keepdim=True))
            warped = moved if offset == 0 else warped
        x = self.body(self.enter(torch.cat([left, warped, context, *costs, disparity / 32], 1)))
        return disparity + self.residual(x), self.log_sigma(x), self.weights(x)


class StereoNet(nn.Module):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid, self.aggregation, self.refinement = Pyramid(), Aggregation(), Refinement()
        self.temperature = nn.Parameter(torch.tensor(8.0))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(disparity, log sigma) at full size, and the coarse disparity at 1/4 size in full-size px (for the training loss)."""
        left_half, left_quarter = self.pyramid(left * 2 - 1)
        right_half, right_quarter = self.pyramid(right * 2 - 1)
        logits, context = self.aggregation(correlate(left_quarter, right_quarter), left_quarter)
        coarse = peak_expectation(logits.float())
        start = 2 * _twice(coarse)
        half, log_sigma, weights = self.refinement(start, left_half, right_half, _twice(context))
        disparity = upsample(2 * half.float(), weights.float())
        return disparity, upsample(log_sigma.float(), weights.float()), 4 * coarse


def correlate(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) twice -> (B, GROUPS * LEVELS, H, W): cosine similarity of each group for shifts 0..LEVELS-1."""
    b, _, h, w = left.shape
    a, other = (_unit_groups(x).contiguous() for x in (left, right))
    padded = F.pad(other, (LEVELS - 1, 0))
    shifts = [(a * padded[..., LEVELS - 1 - d : LEVELS - 1 - d + w]).sum(1) for d in range(LEVELS)]
    return torch.stack(shifts, 1).reshape(b, GROUPS * LEVELS, h, w)


def _unit_groups(x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    return F.normalize(x.float().reshape(b * GROUPS, c // GROUPS, h, w), dim=1).to(x.dtype)


def peak_expectation(logits: torch.Tensor, radius: int = 2) -> torch.Tensor:
    """(B, LEVELS, H, W) -> (B, 1, H, W): mean over the neighbourhood of the highest peak, so that two peaks are never averaged."""
    levels = torch.arange(LEVELS, device=logits.device, dtype=logits.dtype).view(1, -1, 1, 1)
    best = logits.argmax(1, keepdim=True).to(logits.dtype)
    near = (levels - best).abs() <= radius
    p = torch.softmax(logits.masked_fill(~near, -1e4), 1)
    return (p * levels).sum(1, keepdim=True)


def warp(right: torch.Tensor, disparity: torch.Tensor) -> torch.Tensor:
    """Sample (B, C, H, W) at x - disparity (B, 1, H, W), linear; 0 outside."""
    b, _, h, w = right.shape
    x = torch.arange(w, device=right.device, dtype=torch.float32).view(1, 1, w) - disparity.float()[:, 0]
    y = torch.arange(h, device=right.device, dtype=torch.float32).view(1, h, 1).expand(b, h, w)
    grid = torch.stack([2 * x / (w - 1) - 1, 2 * y / (h - 1) - 1], -1)
    return F.grid_sample(right.float(), grid, align_corners=True, padding_mode="zeros").to(right.dtype)


def upsample(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(B, 1, h, w) -> (B, 1, 2h, 2w): each fine pixel a convex mix of its 3x3 coarse neighbours, weights (B, 36, h, w)."""
    b, _, h, w = values.shape
    mix = torch.softmax(weights.view(b, 9, 4, h, w), 1)
    neighbours = F.unfold(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3).view(b, 9, 1, h, w)
    return F.pixel_shuffle((mix * neighbours).sum(1), 2)


def _twice(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
