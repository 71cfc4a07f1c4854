"""A ball of two paints, seen from the front only: what the stages before hand over, and the truth from any side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from stages.core.camera import Rig
from stages.core.camera_service import look_at
from stages.core.frames import FramePose, write_poses, write_table
from stages.core.images import write_mask, write_rgb
from stages.core.meshes import SurfaceMesh, TexturedMesh, write_ply, write_textured
from stages.core.store import ArtifactRef
from stages.generate.scene import Room, square_rig

RADIUS, AWAY, PX = 0.4, 2.0, 96
UP = np.array([0.0, -1.0, 0.0])
TOP, BOTTOM = np.array([210.0, 60, 50]), np.array([40.0, 90, 200])
VIEWS = 9


def paint(points: np.ndarray) -> np.ndarray:
    """(..., 3) grey levels: one paint above, one below."""
    return np.where(points[..., 1:2] < 0, TOP, BOTTOM)


def front_poses() -> list[np.ndarray]:
    """All within 40 degrees of the front (-z), at the height of the ball and a little above and below."""
    out = []
    for k in range(VIEWS):
        a, e = np.radians(-35 + 70 * k / (VIEWS - 1)), np.radians(-15 + 5 * k)
        d = np.array([np.sin(a) * np.cos(e), -np.sin(e), -np.cos(a) * np.cos(e)])
        out.append(look_at(AWAY * d, (0, 0, 0), UP))
    return out


def picture(pose: np.ndarray, rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """((H, W, 3) uint8 on white, (H, W) bool) as it truly looks."""
    v, u = np.mgrid[: rig.height, : rig.width]
    rays = rig.rays(np.stack([u, v], -1)) @ pose[:3, :3].T
    eye = pose[:3, 3]
    a, b, c = (rays**2).sum(-1), rays @ eye, eye @ eye - RADIUS**2
    inside = b * b - a * c > 0
    t = (-b - np.sqrt(np.maximum(b * b - a * c, 0))) / a
    return np.where(inside[..., None], paint(eye + t[..., None] * rays), 255).astype(np.uint8), inside


def seen_from_front(points: np.ndarray) -> np.ndarray:
    """(N,) bool of points of the ball: some camera looks at them, and not too slantingly."""
    normal = points / np.linalg.norm(points, axis=1, keepdims=True)
    toward = np.stack([p[:3, 3] - points for p in front_poses()])
    cosine = np.einsum("kij,ij->ki", toward / np.linalg.norm(toward, axis=2, keepdims=True), normal)
    return (cosine > 0.15).any(0)


def inputs(out: Path, back: bool = True) -> dict[str, ArtifactRef]:
    """{kind: reference}; the mesh is the ball, with confidence 0 where no camera looked. `back` False: flat there, as a surface stage
    closes what nobody saw."""
    square_rig(1.9 * PX, PX).save(out / "rig.json")
    rig, rows = Rig.load(out / "rig.json"), []
    for k, pose in enumerate(front_poses()):
        shown, mask = picture(pose, rig)
        write_rgb(out / f"pairs/left/{k:06d}.png", shown)
        write_mask(out / f"masks_final/{k:06d}.png", mask)
        rows.append(
            {
                "frame": k,
                "status": "ok",
                "reason": "",
                "left": f"left/{k:06d}.png",
                "right": "",
                "sharpness": 1.0,
                "exposure_ratio": 1.0,
                "row_offset_px": 0.0,
            }
        )
    write_table(out / "frames.parquet", rows)
    write_poses(out / "poses_refined.json", [FramePose(k, p, "ok") for k, p in enumerate(front_poses())])
    ball = trimesh.creation.icosphere(4, RADIUS)
    points = np.asarray(ball.vertices)
    seen = seen_from_front(points)
    if not back:
        points = np.c_[points[:, :2], np.minimum(points[:, 2], points[seen, 2].max())]
    mesh = SurfaceMesh(
        points, np.asarray(ball.faces), paint(points).astype(np.uint8), np.where(seen, 0.9, 0).astype(np.float32)
    )
    write_ply(out / "mesh.ply", mesh)
    _textured(out / "textured", mesh)
    kinds = ("pairs", "frames.parquet", "rig.json", "masks_final", "poses_refined.json", "mesh.ply", "textured")
    return {k: ArtifactRef(k, out / k, f"ball {back} {k}") for k in kinds}


def _textured(folder: Path, mesh: SurfaceMesh) -> None:
    from stages.core.texels.atlas import texels
    from stages.core.texels.unwrap import unwrap

    size = 256
    found = unwrap(mesh.vertices, mesh.faces, size, 2)
    normals = np.asarray(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).vertex_normals)
    texture = np.full((size, size, 3), 128, np.uint8)
    t = texels(mesh.vertices, mesh.faces, normals, found.uv, found.faces_uv, size)
    texture.reshape(-1, 3)[t.index] = paint(t.position)
    made = TexturedMesh(mesh.vertices, mesh.faces, found.uv, found.faces_uv, normals, texture)
    write_textured(folder, made, np.full((size, size), 5, np.uint8))


def room() -> Room:
    """Of the whole ball."""
    return Room.about(np.array([[-RADIUS] * 3, [RADIUS] * 3]))
