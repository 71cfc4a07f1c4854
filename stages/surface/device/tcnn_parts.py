"""tiny-cuda-nn (Mueller, 2021) as encoding and fully fused perceptrons: the only file that imports tinycudann, and only when it is used.

It wants CUDA tensors, points (N, 3) float32 in the unit cube, and gives (N, features) float16. Its perceptrons have no second order
(its issues 58, 131, 303), so losses on the exact gradient cannot be trained with it; train.py takes differences instead.
"""

from __future__ import annotations

import importlib

import numpy as np
import torch

from stages.core.errors import StageError
from stages.core.field.field import Field
from stages.core.field.hash_grid import FEATURES
from stages.surface.device import tcnn_layout


class TcnnParts:
    """See device.field.Parts."""

    def __init__(self, field: Field, device: torch.device) -> None:
        shape = field.shape
        tcnn_layout.check_layout(shape)
        configs = [tcnn_layout.network_config(mlp) for mlp in (shape.sdf_mlp, shape.colour_mlp)]
        try:
            tcnn = importlib.import_module("tinycudann")
        except (ImportError, OSError) as e:
            raise StageError(
                f"tiny-cuda-nn does not import: {e}", "WITH_TINY_CUDA_NN=1 bash deploy/build_cuda_kits.sh"
            ) from e
        self._shape = shape
        self._encoding = tcnn.Encoding(3, tcnn_layout.encoding_config(shape))
        self._sdf = tcnn.Network(shape.sdf_mlp.widths[0], 1 + shape.geo_features, configs[0])
        self._colour = tcnn.Network(shape.colour_mlp.widths[0], 3, configs[1])
        _fill(self._encoding, field.grid.reshape(-1), device)
        _fill(self._sdf, tcnn_layout.to_padded(shape.sdf_mlp, field.sdf_weights), device)
        _fill(self._colour, tcnn_layout.to_padded(shape.colour_mlp, field.colour_weights), device)
        self.grid = self._encoding.params
        self.networks = [self._sdf.params, self._colour.params]

    def encode(self, x: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """See device.field.Parts."""
        return self._encoding(x).float().T * active.repeat_interleave(FEATURES)[:, None]

    def sdf(self, rows: torch.Tensor) -> torch.Tensor:
        """See device.field.Parts."""
        return _with_ones(self._sdf, rows, self._shape.sdf_mlp.widths[0])

    def colour(self, rows: torch.Tensor) -> torch.Tensor:
        """See device.field.Parts."""
        return _with_ones(self._colour, rows, self._shape.colour_mlp.widths[0])

    def arrays(self) -> dict[str, np.ndarray]:
        """See device.field.Parts."""
        grid, sdf, colour = (p.detach().float().cpu().numpy() for p in (self.grid, *self.networks))
        return {
            "grid": grid.reshape(-1, FEATURES),
            "sdf_weights": tcnn_layout.from_padded(self._shape.sdf_mlp, sdf),
            "colour_weights": tcnn_layout.from_padded(self._shape.colour_mlp, colour),
        }


def _with_ones(network: torch.nn.Module, rows: torch.Tensor, inputs: int) -> torch.Tensor:
    """Our own columns of ones; tiny-cuda-nn adds its padding by itself."""
    full = torch.cat([rows, rows.new_ones(inputs - len(rows), rows.shape[1])])
    return network(full.T.contiguous()).float().T


def _fill(module: torch.nn.Module, values: np.ndarray, device: torch.device) -> None:
    """Raises StageError if the module has another number of parameters: a version of tiny-cuda-nn with another layout."""
    if module.params.numel() != values.size:
        raise StageError(
            f"tiny-cuda-nn has {module.params.numel()} parameters where this program has {values.size}: its layout is another",
            "build the commit of deploy/Dockerfile.cuda, or use surface.backend=triton",
        )
    with torch.no_grad():
        module.params.copy_(torch.as_tensor(values, device=device))
