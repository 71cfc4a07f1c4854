"""Two sessions of the built-in object: standing on its table, and lying on its back, darker, seen from its other sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.base import StageContext
from stages.bundle.stage import STAGE as BUNDLE
from stages.core.frames import FrameReader, read_poses, write_poses
from stages.core.geometry.rigid import inverse
from stages.core.images import write_rgb
from stages.core.merged_capture import KINDS, WHICH, kind_of, write_merge
from stages.core.store import ArtifactRef
from stages.core.synthetic.capture import CaptureSpec, write_prompt, write_static, write_truth
from stages.core.synthetic.render import Scene, look_at
from stages.core.synthetic.shape import HALF_HEIGHT_M, object_mesh
from stages.track.stage import STAGE as TRACK
from tests import truth_inputs

SPEC = CaptureSpec(width=400, height=300, voxel_m=0.001)
BACK_M = 0.021
"""from the middle of the object to its back, on which it lies in the second session"""
LYING = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
"""world_from_object of the second session: a quarter turn about x"""


@dataclass(frozen=True)
class Way:
    """How a session is taken: the turn that the camera makes (degrees from, to), brightness, and where the object lies."""

    degrees: tuple[float, float]
    gain: float
    world_from_object: np.ndarray
    table_m: float


STANDS = Way((-110, 110), 1.0, np.eye(4), HALF_HEIGHT_M)
LIES = Way((-100, 120), 0.6, LYING, BACK_M)


def write_session(
    folder: Path, way: Way, frames: int, scene: Scene, mesh: tuple[np.ndarray, np.ndarray], seed: int
) -> Path:
    """A capture with gt/; poses are those of the object's own frame in both sessions."""
    world_from_left = [_camera(a, k) for k, a in enumerate(np.radians(np.linspace(*way.degrees, frames)))]
    poses = [inverse(way.world_from_object) @ w for w in world_from_left]
    write_static(folder, SPEC.rig, *mesh, poses)
    background_from_world = np.eye(4)
    background_from_world[1, 3] = HALF_HEIGHT_M - way.table_m
    rng = np.random.default_rng(seed)
    for k, world in enumerate(world_from_left):
        for side, left_from_eye in (("left", np.eye(4)), ("right", inverse(SPEC.rig.right_from_left))):
            view = scene.render(SPEC.rig, poses[k] @ left_from_eye, background_from_world @ world @ left_from_eye, 1)
            noisy = way.gain * view.rgb + rng.normal(0, SPEC.noise, view.rgb.shape)
            path = folder / side / f"{side}{k:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_rgb(path, np.clip(np.rint(noisy), 0, 255).astype(np.uint8), SPEC.jpeg_quality)
            if side == "left":
                write_truth(folder, SPEC.rig, k, view.depth_m, view.mask)
                if k == 0:
                    write_prompt(folder, view.mask)
    return folder


def _camera(a: float, k: int) -> np.ndarray:
    """world_from_left: round the world's y, up and down by turns."""
    elevation = np.radians(28 + 14 * (-1) ** k)
    eye = SPEC.distance_m * np.array(
        [np.sin(a) * np.cos(elevation), -np.sin(elevation), -np.cos(a) * np.cos(elevation)]
    )
    return look_at(eye, np.array([0.002, 0.004, 0.0]), np.array([0.0, 1.0, 0.0]))


def finished(capture: Path, out: Path) -> dict[str, ArtifactRef]:
    """Depth and masks from the truth, track and bundle for real."""
    refs = truth_inputs.make(capture, out / "in")
    for stage in (TRACK, BUNDLE):
        folder = out / stage.name
        folder.mkdir()
        stage.run(refs, stage.Config(), folder, StageContext(threads=1))
        refs |= {k: ArtifactRef(k, folder / k, f"{out.name}-{k}") for k in stage.outputs}
    return refs


def both(folder: Path, frames: int = 14) -> list[Path]:
    """Captures of both sessions."""
    mesh = object_mesh(SPEC.voxel_m)
    scene = Scene(*mesh, "orbit")
    return [
        write_session(folder / name, way, frames, scene, mesh, k)
        for k, (name, way) in enumerate((("stands", STANDS), ("lies", LIES)))
    ]


def by_truth(capture: Path, out: Path, frames: list[int]) -> dict[str, ArtifactRef]:
    """A session whose poses, masks, depth and tracks are the truth's; only `frames` have a pose."""
    refs = truth_inputs.make(capture, out / "in")
    rows = [
        r if r.frame in frames else replace(r, object_from_left=None, status="lost", reason="cut")
        for r in read_poses(refs["poses.json"].path)
    ]
    write_poses(
        out / "poses.json", [replace(r, status="ok", inliers=50) if r.object_from_left is not None else r for r in rows]
    )
    reader, seen = FrameReader.of(refs), []
    for f in frames:
        v, u = np.nonzero(reader.mask(f) & np.isfinite(reader.disparity_px(f)))
        u, v = u[::97], v[::97]
        seen.append(np.column_stack([np.full(len(u), f), u, v, u - reader.disparity_px(f)[v, u]]))
    table = np.concatenate(seen)
    count = len(table)
    np.savez(
        out / "tracks.npz",
        point_id=np.arange(count),
        frame=table[:, 0].astype(int),
        u=table[:, 1],
        v=table[:, 2],
        u_right=table[:, 3],
        sigma_px=np.full(count, 0.3),
        point_xyz=np.zeros((count, 3)),
        inside=np.ones(count, bool),
        scope=np.array("object"),
    )
    return refs | {k: ArtifactRef(k, out / k, f"{out.name}-{k}") for k in ("poses.json", "tracks.npz")}


def merge_inputs(folder: Path, first: dict[str, ArtifactRef], second: dict[str, ArtifactRef]) -> dict[str, ArtifactRef]:
    """What the stage reads."""
    named = {name: {k: ("made", "0" * 64) for k in KINDS} for name in ("stands", "lies")}
    write_merge(folder, named)
    refs = {kind_of(w, k): r[k] for w, r in zip(WHICH, (first, second), strict=True) for k in KINDS}
    return {"capture": ArtifactRef("capture", folder, "merged"), **refs}
