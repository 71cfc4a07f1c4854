"""The project's own stereo network: small, made for CPUs, with a predicted standard deviation per pixel.

Input: left and right (B, 3, H, W) float in 0..1, RGB, rectified, H and W multiples of 32. Output at full size, (B, 1, H, W) each: the
disparity in px (0 to 4 * levels) and the log of the Laplace scale of its error in px; the standard deviation is sqrt(2) times that scale.

Shared residual pyramid to 1/32 and back to 1/4; grouped correlation at 1/4 size (Guo et al., GwcNet, CVPR 2019) aggregated by a small 3-D
hourglass that left features gate (Bangunharcana et al., CoEx, IROS 2021): convolutions along disparity treat near and far alike, so few
scenes teach much, and the number of levels is free after training. The expectation over the peak's neighbourhood is then corrected by a
recurrent step that looks the costs up around the current disparity (Lipson et al., RAFT-Stereo, 3DV 2021), and by one at 1/2 size on
the warped right features, which also predicts sigma and the weights of a convex upsampling (Teed and Deng, RAFT, ECCV 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

LEVELS = 48
"""Disparities of the volume, 4 px apart, when none are given."""
GROUPS = 4
RADIUS = 4
"""Costs looked up on either side of the current disparity, in levels."""
ROUNDS = 2
HALF_OFFSETS = (-2, -1, 0, 1, 2)


@dataclass(frozen=True)
class Prediction:
    """What training needs; (B, 1, ., .) except where said. `disparity_px` and `log_scale` are the result."""

    disparity_px: torch.Tensor
    log_scale: torch.Tensor
    quarters: list[torch.Tensor]
    """disparities at 1/4 size in px of that size: the peak's, then after each round"""
    half: torch.Tensor
    """at 1/2 size, px of that size"""
    similarity: torch.Tensor
    """(B, levels, H/4, W/4) logits of the features alone"""
    logits: torch.Tensor
    """(B, levels, H/4, W/4) after aggregation"""


def _conv(i: int, o: int, k: int = 3, s: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


def _conv3(i: int, o: int, s: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(i, o, 3, s, 1, bias=False), nn.BatchNorm3d(o), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(c, c), _conv(c, c, act=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.body(x))


@dataclass(frozen=True)
class Features:
    """Of one picture, by size."""

    half: torch.Tensor
    quarter: torch.Tensor
    eighth: torch.Tensor
    sixteenth: torch.Tensor
    thirtysecond: torch.Tensor


class Pyramid(nn.Module):
    """(B, 3, H, W) -> features with 32, 48, 64, 96 and 128 channels, each informed by the coarser ones (but the first)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 32, 3, 2)
        self.down4 = nn.Sequential(_conv(32, 48, 3, 2), Residual(48))
        self.down8 = nn.Sequential(_conv(48, 64, 3, 2), Residual(64))
        self.down16 = nn.Sequential(_conv(64, 96, 3, 2), Residual(96))
        self.down32 = nn.Sequential(_conv(96, 128, 3, 2), Residual(128))
        self.lift32, self.lift16, self.lift8 = (
            _conv(128, 96, 1, act=False),
            _conv(96, 64, 1, act=False),
            _conv(64, 48, 1, act=False),
        )
        self.join16, self.join8, self.join4 = _conv(96, 96), _conv(64, 64), _conv(48, 48)

    def forward(self, x: torch.Tensor) -> Features:
        half = self.stem(x)
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        sixteenth = self.down16(eighth)
        thirtysecond = self.down32(sixteenth)
        sixteenth = self.join16(F.relu(sixteenth + _twice(self.lift32(thirtysecond))))
        eighth = self.join8(F.relu(eighth + _twice(self.lift16(sixteenth))))
        quarter = self.join4(F.relu(quarter + _twice(self.lift8(eighth))))
        return Features(half, quarter, eighth, sixteenth, thirtysecond=thirtysecond)


class Gate(nn.Module):
    """Scales a volume's channels by what the left picture shows at each place."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.weights = nn.Conv2d(features, channels, 1)

    def forward(self, volume: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        return volume * (2 * torch.sigmoid(self.weights(features)))[:, :, None]


class Hourglass(nn.Module):
    """(B, GROUPS, D, H/4, W/4) correlation and left features -> (B, D, H/4, W/4) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(_conv3(GROUPS, 16, 2), _conv3(16, 16))
        self.down16 = nn.Sequential(_conv3(16, 32, 2), _conv3(32, 32))
        self.down32 = nn.Sequential(_conv3(32, 48, 2), _conv3(48, 48))
        self.gate8, self.gate16, self.gate32 = Gate(64, 16), Gate(96, 32), Gate(128, 48)
        self.lift32, self.lift16, self.lift8 = nn.Conv3d(48, 32, 1), nn.Conv3d(32, 16, 1), nn.Conv3d(16, 8, 1)
        self.join16, self.join8 = _conv3(32, 32), _conv3(16, 16)
        self.fine, self.join4 = _conv3(GROUPS, 8), _conv3(8, 8)
        self.gate4 = Gate(48, 8)
        self.logits = nn.Conv3d(8, 1, 3, 1, 1)

    def forward(self, volume: torch.Tensor, left: Features) -> torch.Tensor:
        eighth = self.gate8(self.enter(volume), left.eighth)
        sixteenth = self.gate16(self.down16(eighth), left.sixteenth)
        deep = self.gate32(self.down32(sixteenth), left.thirtysecond)
        sixteenth = self.join16(F.relu(sixteenth + _twice3(self.lift32(deep))))
        eighth = self.join8(F.relu(eighth + _twice3(self.lift16(sixteenth))))
        fine = self.gate4(F.relu(self.fine(volume) + _twice3(self.lift8(eighth))), left.quarter)
        return self.logits(self.join4(fine))[:, 0]


class Update(nn.Module):
    """One round at 1/4 size: costs around the current disparity and a hidden state -> a correction and a new state."""

    def __init__(self) -> None:
        super().__init__()
        self.motion = nn.Conv2d((GROUPS + 1) * (2 * RADIUS + 1) + 1, 48, 1)
        self.body = nn.Sequential(nn.Conv2d(64 + 48, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU())
        self.change = nn.Conv2d(64, 64, 3, 1, 1)
        self.delta = nn.Conv2d(64, 1, 3, 1, 1)

    def forward(
        self, hidden: torch.Tensor, costs: torch.Tensor, disparity: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        motion = F.relu(self.motion(torch.cat([costs, disparity / 16], 1)))
        hidden = torch.tanh(hidden + self.change(self.body(torch.cat([hidden, motion], 1))))
        return hidden, self.delta(hidden)


class HalfStep(nn.Module):
    """The last correction, at 1/2 size, with the log scale of its error and the weights of the convex upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.hidden = nn.Conv2d(32, 16, 1), nn.Conv2d(64, 32, 1)
        self.body = nn.Sequential(_conv(32 + 32 + len(HALF_OFFSETS) + 1, 32), _conv(32, 32))
        self.delta, self.log_scale = nn.Conv2d(32, 1, 3, 1, 1), nn.Conv2d(32, 1, 3, 1, 1)
        self.weights = nn.Conv2d(32, 9 * 4, 1)

    def forward(self, disparity: torch.Tensor, left: torch.Tensor, right: torch.Tensor, hidden: torch.Tensor):
        """`disparity` (B, 1, H/2, W/2) in px of that size -> the corrected one, log scale and upsampling weights."""
        a, b = F.normalize(self.key(left), dim=1), F.normalize(self.key(right), dim=1)
        costs = warped_similarity(a, b.detach(), disparity)
        x = self.body(
            torch.cat([left, _twice(self.hidden(hidden)), costs.to(left.dtype), disparity.to(left.dtype) / 32], 1)
        )
        return disparity + self.delta(x).float(), self.log_scale(x).float(), self.weights(x).float()


class StereoNet(nn.Module):
    """See the module's docstring. `levels`: a multiple of 8, may differ between training and use."""

    def __init__(self, levels: int = LEVELS) -> None:
        super().__init__()
        self.levels = levels
        self.pyramid, self.hourglass, self.update, self.half_step = Pyramid(), Hourglass(), Update(), HalfStep()
        self.describe = nn.Conv2d(48, 64, 3, 1, 1)
        self.start = nn.Conv2d(48 + 1, 64, 3, 1, 1)
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(disparity px, log Laplace scale) at full size."""
        p = self.predict(left, right)
        return p.disparity_px, p.log_scale

    def predict(self, left: torch.Tensor, right: torch.Tensor) -> Prediction:
        """All that training looks at."""
        a, b = self.pyramid(left * 2 - 1), self.pyramid(right * 2 - 1)
        volume = correlate(self.describe(a.quarter), self.describe(b.quarter), self.levels)
        similarity = self.sharpness * volume.float().mean(1)
        logits = self.hourglass(volume, a).float() + similarity
        peak, certainty = peak_expectation(logits)
        hidden = torch.tanh(self.start(torch.cat([a.quarter, certainty.to(a.quarter.dtype)], 1)))
        table = torch.cat([volume, 0.1 * logits[:, None].to(volume.dtype)], 1).permute(0, 3, 4, 1, 2)
        quarters = [peak]
        for _ in range(ROUNDS):
            now = quarters[-1].detach()
            hidden, delta = self.update(hidden, look_up(table, now), now.to(volume.dtype))
            quarters.append(now + delta.float())
        start = 2 * _twice(quarters[-1].detach())
        half, log_scale, weights = self.half_step(start, a.half, b.half, hidden)
        return Prediction(
            2 * upsample(half, weights),
            upsample(log_scale, weights),
            quarters,
            half,
            similarity=similarity,
            logits=logits,
        )


def correlate(left: torch.Tensor, right: torch.Tensor, levels: int) -> torch.Tensor:
    """(B, C, H, W) twice -> (B, GROUPS, levels, H, W): cosine similarity of each group for shifts 0..levels-1; 0 outside the picture.

    All pairs of a row are one matrix product; reading it with a row length one longer lines the diagonals up.
    """
    b, c, h, w = left.shape
    rows = [
        F.normalize(x.permute(0, 2, 3, 1).reshape(b, h, w, GROUPS, c // GROUPS).transpose(2, 3), dim=-1)
        for x in (left, right)
    ]
    padded = F.pad(rows[1], (0, 0, levels - 1, 0))
    wide = w + levels - 1
    pairs = (rows[0] @ padded.transpose(-1, -2)).reshape(b, h, GROUPS, w * wide)
    volume = F.pad(pairs, (0, w)).reshape(b, h, GROUPS, w, wide + 1)[..., :levels].flip(-1)
    return volume.permute(0, 4, 1, 3, 2).contiguous().permute(0, 4, 1, 2, 3)  # channels last in memory


def peak_expectation(logits: torch.Tensor, radius: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, D, H, W) -> mean over the neighbourhood of the highest peak, so that two peaks are never averaged, and that peak's share."""
    levels = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype).view(1, -1, 1, 1)
    best = logits.argmax(1, keepdim=True).to(logits.dtype)
    p = torch.softmax(logits, 1) * ((levels - best).abs() <= radius).to(logits.dtype)
    share = p.sum(1, keepdim=True)
    return (p * levels).sum(1, keepdim=True) / (share + 1e-6), share


def look_up(table: torch.Tensor, disparity: torch.Tensor) -> torch.Tensor:
    """(B, H, W, K, D) at (B, 1, H, W) levels, linear -> (B, K * (2 RADIUS + 1), H, W) around them; edges repeat."""
    b, h, w, k, levels = table.shape
    low = torch.floor(disparity[:, 0]).clamp(0, levels - 1)
    share = (disparity[:, 0] - low).clamp(0, 1).to(table.dtype)[..., None, None]
    steps = torch.arange(-RADIUS, RADIUS + 2, device=table.device)
    index = (low.long()[..., None] + steps).clamp(0, levels - 1)[..., None, :].expand(b, h, w, k, 2 * RADIUS + 2)
    found = torch.gather(table, 4, index)
    found = found[..., :-1] * (1 - share) + found[..., 1:] * share
    return found.reshape(b, h, w, -1).permute(0, 3, 1, 2)


def warped_similarity(left: torch.Tensor, right: torch.Tensor, disparity: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) features, (B, 1, H, W) px -> (B, len(HALF_OFFSETS), H, W): cosine at the disparity plus each offset, linear."""
    b, c, h, w = left.shape
    rows = right.permute(0, 2, 3, 1).reshape(b * h * w, c)
    x = torch.arange(w, device=left.device).view(1, 1, w) - disparity[:, 0]
    low = torch.floor(x)
    share = (x - low)[..., None].to(left.dtype)
    first = (torch.arange(b * h, device=left.device) * w).view(b, h, 1)
    query = left.permute(0, 2, 3, 1)
    ends = range(-max(HALF_OFFSETS), max(HALF_OFFSETS) + 2)
    similar = [
        (query * F.embedding(first + (low.long() + k).clamp(0, w - 1), rows)).sum(-1, keepdim=True) for k in ends
    ]
    # a larger disparity looks further to the left: offset o is at x - d - o
    between = [similar[i] * (1 - share) + similar[i + 1] * share for i in range(len(similar) - 1)]
    return torch.cat(between[::-1], -1).permute(0, 3, 1, 2)


def upsample(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(B, 1, h, w) -> (B, 1, 2h, 2w): each fine pixel a convex mix of its 3x3 coarse neighbours, weights (B, 36, h, w)."""
    b, _, h, w = values.shape
    mix = torch.softmax(weights.view(b, 9, 4, h, w), 1)
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    near = torch.stack([padded[..., y : y + h, x : x + w] for y in range(3) for x in range(3)], 1)
    return F.pixel_shuffle((mix * near).sum(1), 2)


def _twice(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _twice3(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def channels_last(net: nn.Module) -> nn.Module:
    """The same network with its weights in the memory order in which CPUs and GPUs convolve fastest."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.to(memory_format=torch.channels_last if isinstance(module, nn.Conv2d) else torch.channels_last_3d)
    return net
