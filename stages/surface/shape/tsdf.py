"""TSDF fusion by Open3D as a baseline: what the common tool makes of the same depth, masks and poses. The only file here that imports it.

Every depth pixel counts the same, whatever its standard deviation, and what no camera saw stays open: no hull, no colours, no smoothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.errors import StageError
from stages.surface.shape.grid import Grid
from stages.surface.views.views import View

TRUNCATION_VOXELS = 4.0
"""as Open3D's own examples have it"""
PIXELS_PER_VIEW = 4000
"""of the readings by which the mesh's confidence is rated"""
MARGIN_VOXELS = 6
SAMPLED_FACES = 2000
MOST_RESOLUTION = 512
"""of the cube's side: Open3D keeps about 30 bytes a voxel, 4 GB here"""


@dataclass(frozen=True)
class TsdfSurface:
    """vertices (V, 3) metres and faces (F, 3), outward; the grid of `distance` (metres, positive outside); places (N, 3) of depth readings
    and their sigma (N,), metres."""

    vertices: np.ndarray
    faces: np.ndarray
    grid: Grid
    distance: np.ndarray
    read_at: np.ndarray
    read_sigma: np.ndarray


def fuse_tsdf(views: Sequence[View], voxel: float) -> TsdfSurface:
    """All views in one cube of voxels of `voxel` metres, larger where a side would have more than MOST_RESOLUTION. Raises StageError."""
    import open3d as o3d

    points, sigma = _readings(views)
    low, high = np.percentile(points, 0.5, axis=0), np.percentile(points, 99.5, axis=0)
    side = float((high - low).max())
    voxel = max(voxel, side / (MOST_RESOLUTION - 2 * MARGIN_VOXELS))
    resolution = int(np.ceil(side / voxel)) + 2 * MARGIN_VOXELS
    origin = (low + high) / 2 - resolution * voxel / 2
    kinds = o3d.pipelines.integration
    volume = kinds.UniformTSDFVolume(
        resolution * voxel,
        resolution,
        TRUNCATION_VOXELS * voxel,
        kinds.TSDFVolumeColorType.NoColor,
        origin.reshape(3, 1),
    )
    for view in views:
        volume.integrate(_picture(view), _camera(view), view.left_from_object)
    mesh = volume.extract_triangle_mesh()
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.triangles, np.int64)
    if len(faces) == 0:
        raise StageError(
            "TSDF fusion made no surface", "see the reports of depth and masks, or use surface.method=auto"
        )
    values = np.asarray(volume.extract_volume_tsdf(), np.float32).reshape(resolution, resolution, resolution, 2)
    distance = np.where(values[..., 1] > 0, values[..., 0], 1.0) * TRUNCATION_VOXELS * voxel
    grid = Grid(origin + voxel / 2, voxel, (resolution, resolution, resolution))
    return TsdfSurface(vertices, _outward(vertices, faces, views), grid, distance, read_at=points, read_sigma=sigma)


def _picture(view: View):
    import open3d as o3d

    depth = np.ascontiguousarray(np.nan_to_num(view.depth, nan=0.0), np.float32)
    colour = o3d.geometry.Image(np.zeros(depth.shape, np.uint8))
    far = float(depth.max()) + 1.0
    return o3d.geometry.RGBDImage.create_from_color_and_depth(colour, o3d.geometry.Image(depth), 1.0, far, False)


def _camera(view: View):
    import open3d as o3d

    r = view.rig
    return o3d.camera.PinholeCameraIntrinsic(r.width, r.height, r.fx, r.fy, r.cx, r.cy)


def _readings(views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """A bounded number of depth pixels of each view in the object frame, evenly spread, with their sigma."""
    points, sigmas = [], []
    for view in views:
        v, u = np.nonzero(np.isfinite(view.depth))
        step = max(1, len(v) // PIXELS_PER_VIEW)
        v, u = v[::step], u[::step]
        z, r = view.depth[v, u].astype(np.float64), view.rig
        at = np.stack([(u - r.cx) / r.fx * z, (v - r.cy) / r.fy * z, z], 1)
        points.append(at @ view.object_from_left[:3, :3].T + view.object_from_left[:3, 3])
        sigmas.append(view.sigma[v, u].astype(np.float64))
    return np.concatenate(points), np.concatenate(sigmas)


def _outward(vertices: np.ndarray, faces: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Faces so that most look at the camera nearest to them."""
    some = faces[:: max(1, len(faces) // SAMPLED_FACES)]
    a, b, c = (vertices[some[:, k]] for k in range(3))
    cameras = np.array([v.object_from_left[:3, 3] for v in views])
    nearest = cameras[np.argmin(np.linalg.norm(a[:, None] - cameras[None], axis=2), axis=1)]
    towards = np.einsum("fi,fi->f", np.cross(b - a, c - a), nearest - a)
    return faces if np.sign(towards).sum() >= 0 else faces[:, ::-1].copy()
