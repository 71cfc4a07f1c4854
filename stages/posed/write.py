"""The outputs of `posed`: the kinds that the stages behind read, in the object frame, which turned to the twin's axes is the file's world.

Depth becomes the disparity of a rig whose baseline is chosen so that the file format holds the depth finely; it measures nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import FramePose, write_poses, write_table
from stages.core.images import thumbnail_jpeg, write_disparity, write_mask, write_rgb, write_sigma
from stages.core.posed_cameras import PosedCamera, PosedSet, common_point, nearest_rotation
from stages.core.twin_frame import TWIN_FROM_OBJECT
from stages.posed.lens import Pinhole, Warp
from stages.posed.masks import depth_of
from stages.posed.plot import Shown, turning

NEAR_DISPARITY_PX = 400.0
"""of the object's middle: 1/64 px is then 4e-5 of the depth"""
GIVEN_SIGMA_PX = 0.5
"""of given depth: 0.1 % of it"""
PNG_PIXELS = 60_000_000
"""pictures that had to be resampled are written without loss up to so many pixels in all"""
SHOWN_PX = 160
LEAST_POINT_VIEWS = 0.9
"""of the pictures in which a point of the file falls must show the object there"""


@dataclass(frozen=True)
class Frame:
    """One picture as read: (h, w, 3) uint8, mask (h, w) bool, and how both come to the common lens."""

    index: int
    camera: PosedCamera
    picture: np.ndarray
    mask: np.ndarray
    mask_source: str
    warp: Warp
    as_in_file: bool
    """the picture's pixels are those of its file, without an alpha channel"""


class Writer:
    """Adds frame after frame, in order; `finish` writes the tables."""

    def __init__(self, found: PosedSet, target: Pinhole, scale: float, out: Path) -> None:
        self.found, self.target, self.scale, self.out = found, target, scale, out
        self.centre = self._centre()
        self.rig = self._rig()
        self.rows: list[dict[str, Any]] = []
        self.masks: list[dict[str, Any]] = []
        self.poses: list[FramePose] = []
        self.shown: list[Shown] = []
        self.votes = np.zeros((2, len(found.points)), np.int32)
        self.with_depth = 0
        self.lossless = target.width * target.height * len(found.cameras) <= PNG_PIXELS
        for folder in ("pairs/left", "masks", "disparity/sigma"):
            (out / folder).mkdir(parents=True, exist_ok=True)

    def _centre(self) -> np.ndarray:
        """World units; the sphere's where the file names one."""
        if self.found.sphere is not None:
            return self.found.sphere[0]
        poses = np.array([c.world_from_camera for c in self.found.cameras])
        meeting = common_point(poses)
        if meeting is not None:
            return meeting
        bounds = [b for c in self.found.cameras if (b := c.bounds) is not None]
        ahead = (
            float(np.median([np.sqrt(a * b) for a, b in bounds]))
            if bounds
            else float(np.linalg.norm(np.ptp(poses[:, :3, 3], axis=0)))
        )
        return (poses[:, :3, 3] + max(ahead, 1e-6) * poses[:, :3, 2]).mean(0)

    def _rig(self) -> Rig:
        K = self.target.K
        away = [
            float((self.centre - c.world_from_camera[:3, 3]) @ c.world_from_camera[:3, 2]) for c in self.found.cameras
        ]
        middle = self.scale * max(float(np.median(away)), 1e-9)
        baseline = NEAR_DISPARITY_PX * middle / K[0, 0]
        rig = Rig(
            self.target.width, self.target.height, K[0, 0], K[1, 1], cx=K[0, 2], cy=K[1, 2], baseline_m=float(baseline)
        )
        rig.save(self.out / "rig.json")
        return rig

    def add(self, frame: Frame) -> None:
        """Write picture, mask and disparity."""
        k, camera = frame.index, frame.camera
        mask = (
            frame.warp(frame.mask.astype(np.uint8), cv2.INTER_NEAREST) > 0
            if frame.warp.maps is not None
            else frame.mask
        )
        mask = self._sized(mask)
        name = self._write_picture(frame)
        write_mask(self.out / "masks" / f"{k:06d}.png", mask)
        if frame.warp.outside is not None:
            write_mask(self.out / "masks/hidden" / f"{k:06d}.png", self._sized(frame.warp.outside))
        self._write_depth(frame, mask)
        area = int(mask.sum())
        self.rows.append(
            {
                "frame": k,
                "status": "ok",
                "reason": camera.name,
                "left": name,
                "right": "",
                "sharpness": 1.0,
                "exposure_ratio": 1.0,
                "row_offset_px": 0.0,
            }
        )
        self.masks.append(
            {
                "frame": k,
                "status": "given" if area else "lost",
                "trust": 1.0 if area else 0.0,
                "area_px": area,
                "reason": "the whole picture" if frame.mask_source == "none" else f"from {frame.mask_source}",
            }
        )
        self.poses.append(FramePose(k, self._pose(camera), "ok", 0, rms_px=None, reason=""))
        self._vote(camera, mask)
        self._show(frame)

    def _sized(self, mask: np.ndarray) -> np.ndarray:
        size = (self.target.width, self.target.height)
        if mask.shape[::-1] == size:
            return mask
        return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5

    def _pose(self, camera: PosedCamera) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, :3] = TWIN_FROM_OBJECT.T @ nearest_rotation(camera.world_from_camera[:3, :3])
        pose[:3, 3] = self.scale * TWIN_FROM_OBJECT.T @ camera.world_from_camera[:3, 3]
        return pose

    def _write_picture(self, frame: Frame) -> str:
        size = (self.target.width, self.target.height)
        file = frame.camera.picture
        if frame.warp.maps is None and frame.as_in_file and file is not None and frame.picture.shape[1::-1] == size:
            name = f"left/{frame.index:06d}{file.suffix.lower()}"
            shutil.copyfile(file, self.out / "pairs" / name)
            return name
        picture = frame.warp(frame.picture)
        if picture.shape[1::-1] != size:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        name = f"left/{frame.index:06d}{'.png' if self.lossless else '.jpg'}"
        write_rgb(self.out / "pairs" / name, picture, 97)
        return name

    def _write_depth(self, frame: Frame, mask: np.ndarray) -> None:
        none = np.full(mask.shape, np.nan)
        depth = depth_of(frame.camera, self.found.depth_unit, frame.picture.shape[1::-1])
        if depth is not None:
            if frame.warp.maps is not None:
                depth = frame.warp(np.nan_to_num(depth), cv2.INTER_NEAREST)
            depth = (
                cv2.resize(depth, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
                if depth.shape != mask.shape
                else depth
            )
            self.with_depth += 1
        disparity = (
            none if depth is None else self.rig.disparity_from_depth(np.where(depth > 0, self.scale * depth, np.nan))
        )
        write_disparity(self.out / "disparity" / f"{frame.index:06d}.png", disparity)
        write_sigma(
            self.out / "disparity/sigma" / f"{frame.index:06d}.png",
            np.where(np.isfinite(disparity), GIVEN_SIGMA_PX, np.nan),
        )

    def _vote(self, camera: PosedCamera, mask: np.ndarray) -> None:
        if not len(self.found.points):
            return
        x = self.found.points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
        uv = np.rint(np.nan_to_num(self.rig.project(x), nan=-1)).astype(int)
        there = (
            (x[:, 2] > 0)
            & (uv[:, 0] >= 0)
            & (uv[:, 1] >= 0)
            & (uv[:, 0] < self.rig.width)
            & (uv[:, 1] < self.rig.height)
        )
        self.votes[0] += there
        self.votes[1, there] += mask[uv[there, 1], uv[there, 0]]

    def _show(self, frame: Frame) -> None:
        h, w = frame.picture.shape[:2]
        scale = min(1.0, SHOWN_PX / max(h, w))
        size = (max(2, round(w * scale)), max(2, round(h * scale)))
        picture = np.where(frame.mask[..., None], frame.picture, np.uint8(255) - (np.uint8(255) - frame.picture) // 3)
        S = np.array([[size[0] / w, 0, 0], [0, size[1] / h, 0], [0, 0, 1]])
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        self.shown.append(Shown(frame.camera.name, small, S @ frame.camera.K, frame.camera.world_from_camera))

    def finish(self, metric: bool) -> list[str]:
        """Tables, poses, points; returns warnings. `metric`: the scale is known."""
        write_table(self.out / "frames.parquet", self.rows)
        write_table(self.out / "masks.parquet", self.masks)
        write_poses(self.out / "poses.json", self.poses)
        looked, inside = self.votes
        on_object = (looked >= 2) & (inside >= LEAST_POINT_VIEWS * looked)
        everything = self.scale * self.found.points @ TWIN_FROM_OBJECT
        points, scene = everything[on_object], everything[(looked >= 2) & (inside == 0)]
        np.savez(
            self.out / "points.npz",
            xyz=points,
            scene_xyz=scene,
            observations=np.full(len(points), 3, np.int32),
            rms_px=np.full(len(points), 1.0, np.float32),
            metric=metric,
        )
        lost = [r["reason"] for r in self.masks if r["status"] == "lost"]
        return [f"{len(lost)} pictures have an empty mask and are not used"] if lost else []

    def metrics(self) -> dict[str, Any]:
        """Of what was written."""
        points = np.load(self.out / "points.npz")["xyz"]
        return {
            "width_px": self.rig.width,
            "height_px": self.rig.height,
            "focal_px": round(self.rig.fx, 2),
            "with_depth": self.with_depth,
            "points_on_object": len(points),
        }

    def counts(self) -> dict[str, int]:
        """Pictures by the state of their mask."""
        given = sum(r["status"] == "given" for r in self.masks)
        return {"with a mask": given, "without": len(self.masks) - given}

    def pictures(self, guilty: str) -> list[tuple[str, str]]:
        """The cameras with their pictures, from all sides."""
        step = max(1, len(self.shown) // 40)
        chosen = [s for i, s in enumerate(self.shown) if i % step == 0 or s.name == guilty]
        thumbnail_jpeg(self.out / "pictures/cameras.jpg", turning(chosen, self.centre, guilty), 1260)
        told = f"; in red the one that does not fit: {guilty}" if guilty else ""
        return [(f"the cameras with their pictures, from six sides{told}", "pictures/cameras.jpg")]
