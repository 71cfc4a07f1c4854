"""All left and right crops of the chosen frames as one packed set of cameras, so that a numba kernel can read any of them.

Camera 2 i is the left, 2 i + 1 the right eye of view i. Pictures lie one after another in one flat uint8 array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse
from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.surface.views.views import View


@dataclass(frozen=True)
class Cameras:
    """C cameras: camera_from_object (C, 3, 4), intrinsics (C, 4) fx fy cx cy in px, size (C, 2) height width, start (C,) into `pixels`."""

    camera_from_object: np.ndarray
    intrinsics: np.ndarray
    size: np.ndarray
    start: np.ndarray
    pixels: np.ndarray

    @property
    def centres(self) -> np.ndarray:
        """(C, 3) camera centres in the object frame."""
        return -np.einsum("cji,cj->ci", self.camera_from_object[:, :, :3], self.camera_from_object[:, :, 3])


def pack(views: Sequence[View], scale: float = 1.0) -> Cameras:
    """Both eyes of every view, pictures resized by `scale` (area mean)."""
    import cv2

    poses, intrinsics, sizes, starts, pixels, at = [], [], [], [], [], 0
    for view in views:
        for pose, rig, picture in (
            (view.object_from_left, view.rig, view.left),
            (view.object_from_right, view.rig_right, view.right),
        ):
            if scale != 1.0:
                rig = rig.scaled(scale)
                picture = cv2.resize(picture, (rig.width, rig.height), interpolation=cv2.INTER_AREA)
            poses.append(inverse(pose)[:3])
            intrinsics.append([rig.fx, rig.fy, rig.cx, rig.cy])
            sizes.append(picture.shape[:2])
            starts.append(at)
            pixels.append(picture.reshape(-1))
            at += picture.size
    return Cameras(
        np.array(poses),
        np.array(intrinsics),
        np.array(sizes, np.int64),
        np.array(starts, np.int64),
        pixels=np.concatenate(pixels),
    )


def blocks(count: int, size: int = 131_072) -> list[slice]:
    """Slices of at most `size` that cut 0..count: what is looked at in so many cameras takes 4 bytes per point and camera."""
    return [slice(a, min(count, a + size)) for a in range(0, count, size)]


def eyes(views: Sequence[View]) -> list[tuple[np.ndarray, Rig]]:
    """(object_from_camera, rig) in the order of `pack`."""
    return [eye for v in views for eye in ((v.object_from_left, v.rig), (v.object_from_right, v.rig_right))]


def hidden_of_eyes(views: Sequence[View], margin_px: int = 2) -> list[np.ndarray | None]:
    """Per camera in the order of `pack` (h, w) bool: something stands before the object there, or within `margin_px`; None = nowhere."""
    import cv2

    kernel = np.ones((2 * margin_px + 1,) * 2, np.uint8)
    maps = [m for v in views for m in (v.hidden, v.hidden_right)]
    return [None if m is None else cv2.dilate(m.astype(np.uint8), kernel) > 0 for m in maps]


def _at(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values at the nearest pixels of (N, 2) points inside the picture."""
    nearest = np.rint(uv).astype(int)
    return picture[nearest[:, 1], nearest[:, 0]]


def visible(
    caster: Caster,
    views: Sequence[View],
    points: np.ndarray,
    normals: np.ndarray,
    least_cosine: float,
    slack: float,
    workers: int = 1,
) -> np.ndarray:
    """(N, C) float32: cosine of the angle between normal and line of sight where camera c sees point n, else 0.

    A point is seen when it projects into the crop, faces the camera by more than `least_cosine`, nothing of the mesh lies more
    than `slack` metres before it, and its pixel does not show something that hides the object.
    """
    out, veiled = np.zeros((len(points), 2 * len(views)), np.float32), hidden_of_eyes(views)

    def look(item: tuple[int, tuple[np.ndarray, Rig]]) -> None:
        c, (pose, rig) = item
        x = (points - pose[:3, 3]) @ pose[:3, :3]
        uv = rig.project(x)
        toward = pose[:3, 3] - points
        distance = np.linalg.norm(toward, axis=1)
        cosine = np.einsum("ij,ij->i", normals, toward) / distance
        with np.errstate(invalid="ignore"):
            ok = (
                (cosine > least_cosine)
                & (uv[:, 0] > 1)
                & (uv[:, 1] > 1)
                & (uv[:, 0] < rig.width - 2)
                & (uv[:, 1] < rig.height - 2)
            )
        if veiled[c] is not None:
            ok[ok] = ~_at(veiled[c], uv[ok])
        near = np.flatnonzero(ok)
        if len(near):
            hit = caster.cast(pose[:3, 3], -toward[near])  # t = 1 at the point
            free = (1 - hit["t"]) * distance[near] < slack
            out[near[free], c] = cosine[near[free]]

    list(ordered_map(look, enumerate(eyes(views)), workers))
    return out
