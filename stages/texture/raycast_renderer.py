"""Where pixels look in the texture, without a GPU library: faces by ray casting, weights of their corners by algebra in torch.

The faces are those of the poses at the start (refinement moves poses by less than a pixel); the weights follow the pose differentiably:
a corner projects to homogeneous pixel coordinates p_i = (x z, y z, z), and a pixel q = sum w_i p_i up to scale, so w is proportional to
(p_1 x p_2, p_2 x p_0, p_0 x p_1) . q, perspective included (Olano and Greer 1997). nvdiffrast's gradient is the same.
"""

from __future__ import annotations

import numpy as np
import torch

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse
from stages.core.meshes import TexturedMesh
from stages.core.render import Caster
from stages.texture.refine import Shown, pixels_of


class RaycastRenderer:
    """See refine.Renderer."""

    def __init__(self, mesh: TexturedMesh, views: list[Shown], device: torch.device) -> None:
        self.device, caster = device, Caster(mesh.vertices, mesh.faces)
        self._views = [_seen(caster, mesh, v, device) for v in views]

    def coordinates(self, view: int, camera_from_object: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See refine.Renderer."""
        pixel, corner, uv, matrix, hit = self._views[view]
        at = corner @ camera_from_object[:3, :3].T + camera_from_object[:3, 3]
        p0, p1, p2 = (at @ matrix.T).unbind(1)
        weight = torch.stack([(torch.linalg.cross(a, b) * pixel).sum(1) for a, b in ((p1, p2), (p2, p0), (p0, p1))], 1)
        weight = weight / weight.sum(1, keepdim=True)
        return (weight[..., None] * uv).sum(1), hit

    def look_up(self, texture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
        """See refine.Renderer."""
        grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], 1)[None, :, None]
        sampled = torch.nn.functional.grid_sample(
            texture.permute(2, 0, 1)[None], grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return sampled[0, :, :, 0].T


def _seen(caster: Caster, mesh: TexturedMesh, view: Shown, device: torch.device) -> tuple[torch.Tensor, ...]:
    """(pixels (n, 3) homogeneous, corners (n, 3, 3) of their faces, uv (n, 3, 2), camera matrix, hit (n,))."""
    face = caster.view(inverse(view.camera_from_object), view.camera)["face"].reshape(-1)[pixels_of(view)]
    row, column = np.divmod(pixels_of(view), view.camera.width)
    hit = face >= 0
    face = np.maximum(face, 0)
    arrays = (
        np.stack([column, row, np.ones_like(row)], 1),
        mesh.vertices[mesh.faces[face]],
        mesh.uv[mesh.faces_uv[face]],
        view.camera.K,
    )
    return (*(torch.tensor(np.asarray(a, np.float32), device=device) for a in arrays), torch.tensor(hit, device=device))


def clip_from_camera(camera: Rig, near: float, far: float) -> np.ndarray:
    """(4, 4) of a rasteriser's clip space in which x and y run from -1 at the edge of the first pixel to 1 at the edge of the last.

    y is not turned over: row 0 of the rasteriser's picture is row 0 of ours. Depth from -1 at `near` to 1 at `far`.
    """
    w, h = camera.width, camera.height
    return np.array(
        [
            [2 * camera.fx / w, 0, 2 * (camera.cx + 0.5) / w - 1, 0],
            [0, 2 * camera.fy / h, 2 * (camera.cy + 0.5) / h - 1, 0],
            [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )
