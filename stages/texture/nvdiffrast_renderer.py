"""nvdiffrast (Laine et al., 2020) as the renderer of the refinement: the only file that imports it, and only when texture.refine asks.

It wants CUDA tensors: positions (1, V, 4) in clip space, triangles (F, 3) int32; its pictures' first row is the one at y = -1, which
`clip_from_camera` makes our first row. Texture coordinates start at the first texel of the first row, ours at the bottom left.
Its licence permits research and evaluation only: `licence: commercial` refuses it, and nothing uses it by default.
"""

from __future__ import annotations

import importlib

import numpy as np
import torch

from stages.core.errors import StageError
from stages.core.meshes import TexturedMesh
from stages.texture.raycast_renderer import clip_from_camera
from stages.texture.refine import Shown, pixels_of


class NvdiffrastRenderer:
    """See refine.Renderer. Visibility follows the poses as they move."""

    def __init__(self, mesh: TexturedMesh, views: list[Shown], device: torch.device) -> None:
        self._kit = _kit()
        self.device = device
        self._context = self._kit.RasterizeCudaContext(device=device)
        self._corners = torch.tensor(np.asarray(mesh.vertices, np.float32), device=device)
        self._faces = torch.tensor(np.asarray(mesh.faces, np.int32), device=device)
        self._uv = torch.tensor(np.asarray(mesh.uv, np.float32), device=device)[None]
        self._faces_uv = torch.tensor(np.asarray(mesh.faces_uv, np.int32), device=device)
        self._views = [(*_place(v, mesh), torch.tensor(pixels_of(v), device=device)) for v in views]

    def coordinates(self, view: int, camera_from_object: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See refine.Renderer."""
        clip_from_here, size, pixels = self._views[view]
        clip = torch.tensor(clip_from_here, dtype=torch.float32, device=self._corners.device) @ camera_from_object
        at = torch.nn.functional.pad(self._corners, (0, 1), value=1.0) @ clip.T
        raster, _ = self._kit.rasterize(
            self._context, at[None].contiguous(), self._faces, resolution=list(size), grad_db=False
        )
        uv, _ = self._kit.interpolate(self._uv, raster, self._faces_uv)
        return uv[0].reshape(-1, 2)[pixels], raster[0, ..., 3].reshape(-1)[pixels] > 0

    def look_up(self, texture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
        """See refine.Renderer."""
        at = torch.stack([uv[:, 0], 1 - uv[:, 1]], 1)[None, :, None].contiguous()
        return self._kit.texture(texture[None].contiguous(), at, filter_mode="linear", boundary_mode="clamp")[0, :, 0]


def _kit():
    try:
        return importlib.import_module("nvdiffrast.torch")
    except (ImportError, OSError) as e:
        raise StageError(
            f"texture.refine=nvdiffrast, but nvdiffrast does not import: {e}",
            "WITH_NVDIFFRAST=1 bash deploy/build_cuda_kits.sh; or use texture.refine=raycast, which needs nothing",
        ) from e


def _place(view: Shown, mesh: TexturedMesh) -> tuple[np.ndarray, tuple[int, int]]:
    """(clip_from_camera, (rows, columns)); depth planes a tenth outside the mesh's own."""
    z = mesh.vertices @ view.camera_from_object[2, :3] + view.camera_from_object[2, 3]
    near, far = 0.9 * max(float(z.min()), 1e-4), 1.1 * float(z.max())
    return clip_from_camera(view.camera, near, far), view.usable.shape
