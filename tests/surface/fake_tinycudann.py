"""tiny-cuda-nn's torch module in plain torch, by its conventions as its sources state them, so that the adapter runs without a GPU.

Written from the other side than stages/surface/device/tcnn_layout.py: from the configuration that the adapter passes, in tiny-cuda-nn's own
terms. Parameters are rounded to float16 where they are used, encodings and outputs are float16, as there.
"""

from __future__ import annotations

import math

import numpy as np
import torch

PRIMES = (1, 2654435761, 805459861)


class Encoding(torch.nn.Module):
    """HashGrid, linear."""

    def __init__(self, n_input_dims: int, encoding_config: dict) -> None:
        super().__init__()
        c = encoding_config
        assert n_input_dims == 3 and c["otype"] == "HashGrid" and c["interpolation"] == "Linear"
        log2_growth = np.float32(math.log2(np.float32(c["per_level_scale"])))
        self.features, self.levels, offset = c["n_features_per_level"], [], 0
        for level in range(c["n_levels"]):
            scale = np.float32(
                np.exp2(np.float32(level * log2_growth)) * np.float32(c["base_resolution"]) - np.float32(1)
            )
            resolution = math.ceil(scale) + 1
            size = min(-(-(resolution**3) // 8) * 8, 1 << c["log2_hashmap_size"])
            self.levels.append((float(scale), resolution, offset, size))
            offset += size
        self.params = torch.nn.Parameter(torch.empty(offset * self.features).uniform_(-1e-4, 1e-4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3) -> (N, levels * features) float16."""
        table, out = rounded(self.params).view(-1, self.features), []
        for scale, resolution, offset, size in self.levels:
            at = x * scale + 0.5
            cell = at.detach().floor()
            inside, low, found = at - cell, cell.long(), 0
            for corner in range(8):
                bit = torch.tensor([corner >> k & 1 for k in range(3)])
                weight = torch.where(bit.bool(), inside, 1 - inside).prod(1)
                found = found + weight[:, None] * table[offset + index(low + bit, resolution, size)]
            out.append(found)
        return torch.cat(out, 1).half()


class Network(torch.nn.Module):
    """FullyFusedMLP behind an identity encoding, which pads inputs with ones."""

    def __init__(self, n_input_dims: int, n_output_dims: int, network_config: dict) -> None:
        super().__init__()
        c, self.outputs = network_config, n_output_dims
        assert c["otype"] == "FullyFusedMLP" and c["activation"] == "Squareplus" and c["output_activation"] == "None"
        width, multiple = c["n_neurons"], lambda n: -(-n // 16) * 16
        assert width in (16, 32, 64, 128)
        self.shapes = [
            (width, multiple(n_input_dims)),
            *[(width, width)] * (c["n_hidden_layers"] - 1),
            (multiple(n_output_dims), width),
        ]
        self.params = torch.nn.Parameter(0.1 * torch.randn(sum(a * b for a, b in self.shapes)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs) -> (N, outputs) float16."""
        x = rounded(torch.cat([x, x.new_ones(len(x), self.shapes[0][1] - x.shape[1])], 1))
        weights = rounded(self.params).split([a * b for a, b in self.shapes])
        for k, (w, shape) in enumerate(zip(weights, self.shapes, strict=True)):
            x = x @ w.view(shape).T
            if k < len(weights) - 1:
                scaled = 10 * x
                x = rounded(0.5 * (scaled + (scaled * scaled + 4).sqrt()) / 10)
        return x[:, : self.outputs].half()


def index(corner: torch.Tensor, resolution: int, size: int) -> torch.Tensor:
    """Entry of a corner within its level: dense while the strides fit, else hashed; one modulo at the end."""
    stride, dense = 1, 0
    for k in range(3):
        if stride <= size:
            dense = dense + corner[:, k] * stride
            stride *= resolution
    if size < stride:
        dense = (corner[:, 0] * PRIMES[0]) ^ (corner[:, 1] * PRIMES[1]) ^ (corner[:, 2] * PRIMES[2])
    return (dense & 0xFFFFFFFF) % size


def rounded(x: torch.Tensor) -> torch.Tensor:
    """float32 with float16's values; the gradient passes as it is."""
    return x + (x.detach().half().float() - x.detach())
