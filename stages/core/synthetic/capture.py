"""Writes the built-in capture: pictures of a procedural object with every truth known. Used by `twin demo` and by the tests.

`orbit`: the camera goes once round the object on a table, alternating between a low and a high ring. `inhand`: the camera stands still
and the object turns and tilts before a wall. Both get sensor noise, an exposure drift, a gain between the eyes and JPEG.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import FramePose, write_poses
from stages.core.geometry.rigid import inverse
from stages.core.images import write_disparity, write_mask, write_rgb
from stages.core.parallel import ordered_map
from stages.core.synthetic.render import Scene, look_at
from stages.core.synthetic.shape import object_mesh


@dataclass(frozen=True)
class CaptureSpec:
    """What to render."""

    kind: str = "orbit"
    """"orbit" or "inhand" """
    frames: int = 24
    width: int = 640
    height: int = 480
    baseline_m: float = 0.063
    distance_m: float = 0.33
    samples: int = 2
    """rays per pixel along each axis"""
    noise: float = 1.2
    """standard deviation of the sensor noise, grey levels"""
    jpeg_quality: int = 95
    swings: int = 3
    """how often the camera rises and sinks during one round of `orbit`"""
    seed: int = 0
    voxel_m: float = 0.0008
    """sampling of the true mesh"""

    @property
    def rig(self) -> Rig:
        """A lens of about 44 degrees with an off-centre principal point."""
        f = 1.25 * self.width
        return Rig(
            self.width, self.height, f, f, cx=self.width / 2 + 3.3, cy=self.height / 2 - 2.1, baseline_m=self.baseline_m
        )


def write_capture(
    folder: Path, spec: CaptureSpec = CaptureSpec(), workers: int = 1, progress=lambda done, total, note: None
) -> Path:
    """Render `spec` into `folder` (left/, right/, calibration.json, prompt.json, gt/). Returns the folder."""
    vertices, faces = object_mesh(spec.voxel_m)
    scene = Scene(vertices, faces, spec.kind)
    poses = [_camera(spec, k) for k in range(spec.frames)]
    write_static(folder, spec.rig, vertices, faces, poses=[p[0] for p in poses])

    def job(k):
        return _write_frame(folder, spec, scene, k, *poses[k])

    for k, mask in enumerate(ordered_map(job, range(spec.frames), workers)):
        if k == 0:
            write_prompt(folder, mask)
        progress(k + 1, spec.frames, "rendering the built-in capture")
    return folder


def _camera(spec: CaptureSpec, k: int) -> tuple[np.ndarray, np.ndarray]:
    """object_from_left and background_from_left of frame k."""
    a = 2 * np.pi * k / spec.frames
    if spec.kind == "orbit":
        elevation = np.radians(24 + 20 * np.sin(spec.swings * a))
        r = spec.distance_m * (1 + 0.03 * np.cos(2 * a))
        eye = r * np.array([np.sin(a) * np.cos(elevation), -np.sin(elevation), -np.cos(a) * np.cos(elevation)])
        pose = look_at(eye, np.array([0.002, 0.004, 0.0]), np.array([0.0, 1.0, 0.0]))
        return pose, pose
    tilt = 0.55 * np.sin(2 * a)
    turn = cv2.Rodrigues(np.array([0, a, 0.0]))[0] @ cv2.Rodrigues(np.array([tilt, 0, 0.25 * np.sin(a)]))[0]
    left_from_object = np.eye(4)
    left_from_object[:3, :3] = turn
    left_from_object[:3, 3] = [0.02 + 0.015 * np.sin(a), 0.004 * np.cos(3 * a), spec.distance_m + 0.01 * np.sin(2 * a)]
    background_from_left = np.eye(4)
    background_from_left[2, 3] = -0.45
    return inverse(left_from_object), background_from_left


def _write_frame(
    folder: Path,
    spec: CaptureSpec,
    scene: Scene,
    k: int,
    object_from_left: np.ndarray,
    background_from_left: np.ndarray,
) -> np.ndarray:
    rng = np.random.default_rng([spec.seed, k])
    left_from_right = inverse(spec.rig.right_from_left)
    views = {"left": np.eye(4), "right": left_from_right}
    exposure = 1 + 0.05 * np.sin(2 * np.pi * k / spec.frames)
    for side, left_from_camera in views.items():
        view = scene.render(
            spec.rig, object_from_left @ left_from_camera, background_from_left @ left_from_camera, spec.samples
        )
        gain = exposure * (1.03 if side == "right" else 1.0)
        noisy = view.rgb * gain + rng.normal(0, spec.noise, view.rgb.shape)
        path = folder / side / f"{side}{k:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(path, np.clip(np.rint(noisy), 0, 255).astype(np.uint8), spec.jpeg_quality)
        if side == "left":
            truth = view
    write_truth(folder, spec.rig, k, truth.depth_m, mask=truth.mask)
    return truth.mask


def write_truth(folder: Path, rig: Rig, k: int, depth_m: np.ndarray, mask: np.ndarray) -> None:
    """gt/masks and gt/disparity of frame k, from what the left eye sees, both (H, W)."""
    write_mask(folder / "gt/masks" / f"{k:06d}.png", mask)
    write_disparity(folder / "gt/disparity" / f"{k:06d}.png", rig.disparity_from_depth(depth_m))


def write_static(folder: Path, rig: Rig, vertices: np.ndarray, faces: np.ndarray, poses: list[np.ndarray]) -> None:
    """calibration.json, gt/mesh.ply (V, 3 metres, F, 3) and gt/poses.json (object_from_left of every frame)."""
    import trimesh

    (folder / "gt").mkdir(parents=True, exist_ok=True)
    rig.save(folder / "calibration.json")
    trimesh.Trimesh(vertices, faces, process=False).export(folder / "gt/mesh.ply")
    write_poses(folder / "gt/poses.json", [FramePose(k, p, "truth") for k, p in enumerate(poses)])


def write_prompt(folder: Path, mask: np.ndarray) -> None:
    """prompt.json: a box a few pixels round the (H, W) bool mask of frame 0, within the picture."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [max(int(columns[0]) - 4, 0), max(int(rows[0]) - 4, 0)]
    box += [min(int(columns[-1]) + 5, mask.shape[1]), min(int(rows[-1]) + 5, mask.shape[0])]
    (folder / "prompt.json").write_text(json.dumps({"frame": 0, "box_xyxy": box}))
