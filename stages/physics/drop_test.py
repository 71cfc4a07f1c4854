"""The drop test where MuJoCo is installed: verdicts for the record, and a small animation for the report."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.drop import Drop, engines_here, failures
from stages.core.meshes import TexturedMesh
from stages.core.render import Caster, turntable_rig
from stages.core.render_textured import mip_levels, render_textured
from stages.physics.asset import SimAsset
from stages.physics.support import Z_UP_FROM_OBJECT

ENGINE = "mujoco"
SHOWN = ("support", "tilted", "upside down")
SIDE_PX, ELEVATION_DEG = 200, 20.0
EVERY, FRAME_MS, HOLD_MS = 2, 40, 900
"""of the path's steps of 20 ms every second one; the end stays for a while"""
MOST_FRAMES = 60
SQUARE_OF_SIZE = 0.15
LIGHT, DARK, SHADE = 244, 228, 0.78
ABSENT = "not dropped: mujoco is not installed (pip install mujoco); `twin drop` does it later"


@dataclass(frozen=True)
class Dropped:
    """drops: none where no engine was there; why: it did not take place, or what was wrong."""

    version: str
    drops: list[Drop]
    why: str

    @property
    def line(self) -> str:
        """For the report."""
        if not self.drops:
            return self.why
        wrong = len(failures(self.drops))
        return f"{len(self.drops) - wrong} of {len(self.drops)} drops from 5 cm came to rest (MuJoCo {self.version})"

    @property
    def record(self) -> dict[str, Any]:
        """For physics.json."""
        rows = [
            {
                "pose": d.pose,
                "seconds": round(d.seconds, 3),
                "sunk_mm": round(d.sunk_mm, 3),
                "tilted_deg": round(d.tilted_deg, 1),
                "fault": d.fault,
            }
            for d in self.drops
        ]
        return {"engine": ENGINE if self.drops else None, "version": self.version, "says": self.line, "drops": rows}


def engine_version() -> dict[str, str]:
    """{engine: version}, empty where it is not installed."""
    return {ENGINE: metadata.version(ENGINE)} if ENGINE in engines_here() else {}


def dropped(sim: Path) -> Dropped:
    """All poses of the finished files in `sim`."""
    version = engine_version().get(ENGINE, "")
    if not version:
        return Dropped("", [], ABSENT)
    try:
        drops = importlib.import_module("stages.core.drop.in_mujoco").drop_all(sim / "twin.xml")
    except ValueError as e:
        return Dropped(version, [], f"MuJoCo does not take twin.xml: {e}")
    return Dropped(version, drops, "; ".join(failures(drops)))


def write_animation(path: Path, asset: SimAsset, drops: list[Drop]) -> None:
    """An animated WebP of the drops in `SHOWN`, side by side, as fast as they were."""
    from PIL import Image

    films = [film(asset, d) for d in drops if d.pose in SHOWN]
    longest = max(map(len, films))
    frames = [Image.fromarray(np.hstack([f[min(k, len(f) - 1)] for f in films])) for k in range(longest)]
    path.parent.mkdir(exist_ok=True)
    pause = [FRAME_MS] * (longest - 1) + [HOLD_MS]
    frames[0].save(
        path, format="WEBP", save_all=True, append_images=frames[1:], duration=pause, loop=0, quality=60, method=4
    )


def film(asset: SimAsset, drop: Drop) -> list[np.ndarray]:
    """(SIDE_PX, SIDE_PX, 3) uint8 of one drop, seen from a place that stays."""
    level = asset.levels[-1] if asset.levels else asset.visual
    mesh = TexturedMesh(
        level.vertices, level.faces, level.uv, level.faces_uv, normals=level.normals, texture=asset.visual.texture
    )
    steps = drop.path[np.isfinite(drop.path).all(1)][::EVERY][:MOST_FRAMES]
    moves = [_world_from_body(step) for step in [*steps, drop.path[-1]] if np.isfinite(step).all()]
    ends = np.concatenate([asset.hull.vertices @ m[:3, :3].T + m[:3, 3] for m in moves])
    rig, poses = turntable_rig(ends @ Z_UP_FROM_OBJECT, SIDE_PX, ELEVATION_DEG)  # pictures are taken in OpenCV axes
    camera = np.eye(4)
    camera[:3, :3] = Z_UP_FROM_OBJECT
    camera = camera @ poses[0]
    caster, mips = Caster(mesh.vertices, mesh.faces), mip_levels(mesh.texture)
    square = SQUARE_OF_SIZE * float(np.ptp(mesh.vertices, axis=0).max())
    v, u = np.mgrid[: rig.height, : rig.width]
    rays = rig.rays(np.stack([u, v], -1)) @ camera[:3, :3].T
    out = []
    for move in moves:
        image, seen = render_textured(mesh, np.linalg.inv(move) @ camera, rig, caster, mips=mips)
        ground = _ground(camera[:3, 3], rays, move, caster, square=square)
        out.append(np.clip(np.rint(np.where(seen[..., None], image, ground)), 0, 255).astype(np.uint8))
    return out


def _ground(
    eye: np.ndarray, rays: np.ndarray, world_from_body: np.ndarray, caster: Caster, square: float
) -> np.ndarray:
    """(H, W, 3) squares on the plane z = 0, darker below the object."""
    down = rays[..., 2] < -1e-6
    at = eye + rays * np.where(down, -eye[2] / np.where(down, rays[..., 2], -1.0), 0.0)[..., None]
    far = np.linalg.norm(at - eye, axis=-1) / np.linalg.norm(eye)
    shown = np.clip(2 - far, 0, 1) * (LIGHT - DARK) / 2  # far away squares would only flicker
    grey = (LIGHT + DARK) / 2 + np.where(np.floor(at[..., :2] / square).sum(-1) % 2 == 0, shown, -shown)
    turn = world_from_body[:3, :3]
    hit = caster.cast((at - world_from_body[:3, 3]) @ turn, np.broadcast_to(turn[2], at.shape))
    grey = np.where(down, grey * np.where(hit["face"] >= 0, SHADE, 1.0), 255.0)
    return np.repeat(grey[..., None], 3, -1)


def _world_from_body(step: np.ndarray) -> np.ndarray:
    """(4, 4) of a place and a quaternion w x y z."""
    w, x, y, z = step[3:] / np.linalg.norm(step[3:])
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = step[:3]
    return out
