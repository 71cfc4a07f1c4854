"""ALIKED's network in plain torch: score map and descriptors (Zhao et al. 2023, "ALIKED: A Lighter Keypoint and Descriptor Extraction
Network via Deformable Transformation"). Written anew; the names of modules are those of the published state dict.

Two things differ from the authors' code in how, not in what, they compute. Deformable convolution is bilinear sampling (grid_sample with
zeros outside) followed by a matrix product, since torchvision may not be there. And the 128-channel feature map is never made at full
size: a 1x1 convolution commutes with bilinear upsampling, so the score head's first layer runs on the small maps, and descriptors look up
only the pixels they need. That takes a fifth of the memory and time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

MULTIPLE = 32
"""height and width are padded to multiples of this"""
LEVEL_STEPS = (1, 2, 8, 32)
"""px of the picture per cell of each of the four maps"""


class DeformableConv(nn.Module):
    """3x3 convolution whose nine samples are moved by offsets it predicts, (dy, dx) for each, px of the map (Dai et al. 2017)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(inputs, 18, 3, padding=1)
        self.regular_conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        b, c, h, w = x.shape
        limit = max(h, w) / 4
        offset = self.offset_conv(x).clamp(-limit, limit).view(b, 9, 2, h, w)
        kernel = torch.arange(9, device=x.device)
        rows = (
            torch.arange(h, device=x.device, dtype=x.dtype)[:, None]
            + (kernel // 3 - 1)[:, None, None]
            + offset[:, :, 0]
        )
        columns = torch.arange(w, device=x.device, dtype=x.dtype) + (kernel % 3 - 1)[:, None, None] + offset[:, :, 1]
        grid = torch.stack([_unit(columns, w), _unit(rows, h)], -1).view(b, 9 * h, w, 2)
        samples = F.grid_sample(x, grid, align_corners=True).view(b, c, 9, h * w)
        weight = self.regular_conv.weight.view(-1, c * 9)
        return (weight @ samples.reshape(b, c * 9, h * w)).view(b, -1, h, w)


class Block(nn.Module):
    """Two convolutions with batch norm and SELU; with a shortcut where `residual`."""

    def __init__(self, inputs: int, outputs: int, residual: bool, deformable: bool) -> None:
        super().__init__()
        make = DeformableConv if deformable else _conv3
        self.conv1, self.bn1 = make(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = make(outputs, outputs), nn.BatchNorm2d(outputs)
        self.downsample = nn.Conv2d(inputs, outputs, 1) if residual else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        y = self.bn2(self.conv2(F.selu(self.bn1(self.conv1(x)))))
        return F.selu(y if self.downsample is None else y + self.downsample(x))


class DescriptorHead(nn.Module):
    """Descriptors from features at positions that a 3x3 patch round the key point decides (SDDH in the paper)."""

    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.offset_conv = nn.Sequential(
            nn.Conv2d(width, 2 * positions, 3), nn.SELU(), nn.Conv2d(2 * positions, 2 * positions, 1)
        )
        self.sf_conv = nn.Conv2d(width, width, 1, bias=False)
        self.agg_weights = nn.Parameter(torch.rand(positions, width, width))

    def forward(self, features: FeatureMaps, uv: torch.Tensor) -> torch.Tensor:
        """(N, 2) px -> (N, D), length 1."""
        n, limit = len(uv), max(features.height, features.width) / 4
        offset = self.offset_conv(features.patches(uv)).clamp(-limit, limit)
        at = uv[:, None] + offset.view(n, 2, self.positions).transpose(1, 2)
        samples = features.bilinear(at.reshape(-1, 2)).view(n, self.positions, -1)
        samples = F.selu(samples @ self.sf_conv.weight[:, :, 0, 0].T)
        return F.normalize(torch.einsum("npc,pcd->nd", samples, self.agg_weights), dim=1)


class Aliked(nn.Module):
    """`widths`: channels of the four blocks (the last is the descriptor's length); `positions`: samples per descriptor."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128), positions: int = 16) -> None:
        super().__init__()
        a, b, c, d = widths
        self.block1, self.block2 = Block(3, a, False, False), Block(a, b, True, False)
        self.block3, self.block4 = Block(b, c, True, True), Block(c, d, True, True)
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv2d(n, d // 4, 1, bias=False) for n in (a, b, c, d))
        self.score_head = nn.Sequential(
            nn.Conv2d(d, 8, 1, bias=False), nn.SELU(), _conv3(8, 4), nn.SELU(), _conv3(4, 4), nn.SELU(), _conv3(4, 1)
        )
        self.desc_head = DescriptorHead(d, positions)

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Aliked:
        """The network whose shape the state dict tells. Raises KeyError, RuntimeError for another network's state dict."""
        widths = [len(state[f"block{i}.bn2.weight"]) for i in (1, 2, 3, 4)]
        made = cls(widths, len(state["desc_head.agg_weights"]))
        made.load_state_dict(state)
        return made.eval()

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, FeatureMaps]:
        """(1, 3, H, W) RGB in 0..1 -> score map (H, W) in 0..1, and the maps that descriptors are read from."""
        height, width = picture.shape[2:]
        down, right = -height % MULTIPLE, -width % MULTIPLE
        margin = (right // 2, down // 2)
        x = F.pad(picture, (margin[0], right - margin[0], margin[1], down - margin[1]), mode="replicate")
        x1 = self.block1(x)
        x2 = self.block2(F.avg_pool2d(x1, 2))
        x3 = self.block3(F.avg_pool2d(x2, 4))
        x4 = self.block4(F.avg_pool2d(x3, 4))
        maps = [F.selu(conv(x)) for conv, x in ((self.conv1, x1), (self.conv2, x2), (self.conv3, x3), (self.conv4, x4))]
        parts = self.score_head[0].weight.chunk(4, 1)
        small = [F.conv2d(m, part) for m, part in zip(maps, parts, strict=True)]
        mixed = small[0] + sum(F.interpolate(s, x.shape[2:], mode="bilinear", align_corners=True) for s in small[1:])
        score = torch.sigmoid(self.score_head[1:](mixed))[0, 0]
        score = score[margin[1] : margin[1] + height, margin[0] : margin[0] + width]
        return score, FeatureMaps(maps, margin, (height, width))


class FeatureMaps:
    """The picture's features, (D,) of length 1 at every pixel, made where they are asked for: each map upsampled, joined, normalised."""

    def __init__(self, maps: Sequence[torch.Tensor], margin: tuple[int, int], size: tuple[int, int]) -> None:
        self._maps, self._margin, (self.height, self.width) = maps, margin, size

    def at(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """(N,) whole pixels each -> (N, D)."""
        full = self._maps[0].shape[2:]
        grid = torch.stack([_unit(x + self._margin[0], full[1]), _unit(y + self._margin[1], full[0])], -1).to(
            self._maps[0].dtype
        )
        found = [
            F.grid_sample(m, grid[None, None], align_corners=True, padding_mode="border")[0, :, 0].T for m in self._maps
        ]
        return F.normalize(torch.cat(found, 1), dim=1)

    def patches(self, uv: torch.Tensor) -> torch.Tensor:
        """(N, D, 3, 3) round each point; at the border the nearest patch that lies inside."""
        corner = (uv.long() - 0.5).long()
        x0, y0 = corner[:, 0].clamp(0, self.width - 4), corner[:, 1].clamp(0, self.height - 4)
        step = torch.arange(3, device=uv.device)
        x, y = (x0[:, None, None] + step).expand(-1, 3, 3), (y0[:, None, None] + step[:, None]).expand(-1, 3, 3)
        return self.at(x.reshape(-1), y.reshape(-1)).view(len(uv), 3, 3, -1).permute(0, 3, 1, 2)

    def bilinear(self, uv: torch.Tensor) -> torch.Tensor:
        """(N, 2) px -> (N, D) between the four pixels round each, zero outside the picture."""
        low = uv.floor()
        out = uv.new_zeros(len(uv), sum(m.shape[1] for m in self._maps))
        for dx in (0, 1):
            for dy in (0, 1):
                x, y = low[:, 0] + dx, low[:, 1] + dy
                inside = (x >= 0) & (y >= 0) & (x < self.width) & (y < self.height)
                weight = (1 - (uv[:, 0] - x).abs()) * (1 - (uv[:, 1] - y).abs()) * inside
                out += weight[:, None] * self.at(x.clamp(0, self.width - 1), y.clamp(0, self.height - 1))
        return out


def detect(
    score: torch.Tensor, least: float, radius: int = 2, temperature: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Key points (N, 2) px, sub-pixel, and their scores (N,): maxima of their neighbourhood above `least`, moved to the centre of the
    softmax of the scores round them (DKD in the paper)."""
    side = 2 * radius + 1
    peak = (score == F.max_pool2d(score[None, None], side, 1, radius)[0, 0]) & (score > least)
    peak[:radius] = peak[-radius:] = False
    peak[:, :radius] = peak[:, -radius:] = False
    y, x = peak.nonzero(as_tuple=True)
    step = torch.arange(-radius, radius + 1, device=score.device)
    window = score[y[:, None, None] + step[:, None], x[:, None, None] + step]
    weight = torch.softmax(window.reshape(len(y), -1) / temperature, 1).view(-1, side, side)
    shift = torch.stack([(weight.sum(1) * step).sum(1), (weight.sum(2) * step).sum(1)], 1)
    return torch.stack([x, y], 1) + shift, score[y, x]


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def _unit(px: torch.Tensor, size: int) -> torch.Tensor:
    """Pixel centres 0 .. size - 1 to -1 .. 1."""
    return 2 * px / max(size - 1, 1) - 1
