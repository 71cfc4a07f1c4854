"""Writes a rendered capture: left/, right/, calibration.json (or rgb/, depth/, camera.json), prompt.json and gt/ as docs/capture.md and
docs/rgbd.md describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.core.geometry.rigid import inverse
from stages.core.images import write_rgb
from stages.core.parallel import ordered_map
from stages.core.synthetic.capture import write_prompt, write_static, write_truth
from tools.capture_rendering.depth_sensor import depth_camera, write_depth
from tools.capture_rendering.motions import Pose, poses
from tools.capture_rendering.objects import shape
from tools.capture_rendering.paints import PAINTS, SURROUNDINGS
from tools.capture_rendering.scene import Plane, Scene
from tools.capture_rendering.spec import RenderSpec

_GAMMA = 2.2


def write_capture(
    folder: Path, spec: RenderSpec, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Render `spec` into `folder`. Returns it. Raises ValueError when no object is in view in the first frame."""
    vertices, faces = shape(spec.shape)
    scene = Scene(vertices, faces, PAINTS[spec.paint], _plane(spec, vertices), gloss=spec.gloss)
    motion = poses(spec)
    write_static(folder, spec.rig, vertices, faces, poses=[object_from_left for object_from_left, _ in motion])
    if spec.sensor == "rgbd":
        depth_camera(folder, spec.rig)
    for k, mask in enumerate(
        ordered_map(lambda k: _write_frame(folder, spec, scene, k, pose=motion[k]), range(spec.frames), workers)
    ):
        if k == 0:
            if not mask.any():
                raise ValueError("the object is not in view in the first frame")
            write_prompt(folder, mask)
        if progress is not None:
            progress(k + 1, spec.frames)
    return folder


def _plane(spec: RenderSpec, vertices: np.ndarray) -> Plane:
    albedo = SURROUNDINGS[spec.surrounding]
    return Plane(2, spec.wall_m, albedo) if spec.motion == "inhand" else Plane(1, float(vertices[:, 1].max()), albedo)


def _write_frame(folder: Path, spec: RenderSpec, scene: Scene, k: int, pose: Pose) -> np.ndarray:
    """Both eyes and the truth of frame k; returns its mask."""
    rng, pictures = np.random.default_rng([spec.seed, k]), []
    exposure = 1 + spec.drift * np.sin(2 * np.pi * k / spec.frames + 0.7)
    eyes = [("rgb" if spec.sensor == "rgbd" else "left", np.eye(4)), ("right", inverse(spec.rig.right_from_left))]
    for side, left_from_eye in eyes[: 1 if spec.sensor == "rgbd" else 2]:
        pictures.append(scene.render(spec.rig, pose[0] @ left_from_eye, pose[1] @ left_from_eye, spec.samples))
        linear = pictures[-1].linear
        gain = exposure * (spec.right_gain if side == "right" else 1.0)
        levels = 255 * np.clip(linear * gain, 0, 1) ** (1 / _GAMMA) + rng.normal(0, spec.noise, linear.shape)
        path = folder / side / f"{side if side != 'rgb' else ''}{k:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(path, np.clip(np.rint(levels), 0, 255).astype(np.uint8), spec.jpeg_quality)
    if spec.sensor == "rgbd":
        write_depth(
            folder / "depth" / f"{k:06d}.png", pictures[0].depth_m, spec.depth_floor_mm, spec.depth_at_1m_mm, rng=rng
        )
    write_truth(folder, spec.rig, k, pictures[0].depth_m, mask=pictures[0].mask)
    return pictures[0].mask
