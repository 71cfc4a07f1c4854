"""Pictures for cameras from which none was taken: measured where a picture shows the place, the model's elsewhere, and it is told which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.camera_service import look_at
from stages.core.errors import StageError
from stages.core.geometry.directions import sphere, unit
from stages.core.new_views.image_based import ImageBased, psnr_inside
from stages.core.new_views.nearest import nearest
from stages.generate.model import Model
from stages.generate.scene import Known, Room, square_rig

DIRECTIONS = 600
"""among which cameras are chosen, even over the sphere"""
OPAQUE = 0.5
OUT_OF_RANGE = 0.05
"""beyond 0 and 1; more is another range than the contract's"""


@dataclass(frozen=True)
class View:
    """picture (S, S, 3) uint8; invented (S, S) bool: what the model says of the object, or against it; shown (S, S) bool: the object."""

    picture: np.ndarray
    invented: np.ndarray
    shown: np.ndarray
    pose: np.ndarray
    rig: Rig
    nearest: int
    angle_deg: float


def chosen(
    poses: Mapping[int, np.ndarray], room: Room, up: np.ndarray, count: int, from_rad: float
) -> list[np.ndarray]:
    """Poses of up to `count` cameras, each as far as can be from all pictures and from those before it, at least `from_rad`."""
    eyes = np.array([p[:3, 3] for p in poses.values()]) - room.centre
    away = float(np.median(np.linalg.norm(eyes, axis=1)))
    taken, free, out = unit(eyes), sphere(DIRECTIONS), []
    closest = (free @ taken.T).max(1)
    while len(out) < count:
        best = int(np.argmin(closest))
        if np.arccos(np.clip(closest[best], -1, 1)) < from_rad:
            break
        out.append(_aimed(room.centre + away * free[best], room.centre, up))
        closest = np.maximum(closest, free @ free[best])
    return out


@dataclass
class Generator:
    """Asks a model for views."""

    model: Model
    known: Known
    through: ImageBased
    """what the pictures show through the surface"""
    confidence: np.ndarray
    """(V,) of the mesh; 0 where no camera looked"""
    seed: int = 0

    def view(self, pose: np.ndarray) -> View:
        """Of a camera that looks at the centre. Raises StageError where the model fails or gives nonsense."""
        size = self.model.contract.size_px
        rig = square_rig(self.known.room.focal_px(pose, size), size)
        near = nearest(pose, self.known.poses, self.known.room.centre)
        picture, opacity = self._answer(pose, rig, [n.frame for n in near])
        rendered, there, by_pictures = self.through.look(pose, rig)
        hit = self.through.caster.view(pose, rig)
        seen = self.through.caster.interpolate(hit, self.confidence[:, None].astype(float))[..., 0] > 0
        measured, solid = there & by_pictures & seen, opacity > OPAQUE
        shown = np.where(measured[..., None], rendered, np.where(solid[..., None], picture, 255))
        return View(
            np.clip(np.rint(shown), 0, 255).astype(np.uint8),
            ~measured & (solid | there),
            measured | solid,
            pose,
            rig=rig,
            nearest=near[0].frame,
            angle_deg=float(np.degrees(near[0].angle_rad)),
        )

    def scores(self, frames: Sequence[int]) -> Iterator[dict[str, float | int]]:
        """Of pictures that were taken, each from the others: the model's own picture against it, and a copy of the nearest one."""
        size = self.model.contract.size_px
        for frame in frames:
            others = {k: p for k, p in self.known.poses.items() if k != frame}
            near = nearest(self.known.poses[frame], others, self.known.room.centre)
            true, copy = self.known.crops([frame, near[0].frame], size)
            picture, _ = self._answer(true.pose, true.rig, [n.frame for n in near])
            if true.mask.any():
                yield {
                    "frame": frame,
                    "nearest": near[0].frame,
                    "angle_deg": round(float(np.degrees(near[0].angle_rad)), 2),
                    "model_db": round(psnr_inside(true.picture, picture, true.mask), 2),
                    "nearest_copied_db": round(psnr_inside(true.picture, copy.picture, true.mask), 2),
                }

    def _answer(self, pose: np.ndarray, rig: Rig, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """((S, S, 3) float32 grey levels, (S, S) float32 0-1) from the nearest of `frames`."""
        crops = self.known.crops(frames[: self.model.contract.pictures], rig.width)
        answer = self.model(self.known.given(crops, self.seed) | self.known.asked(crops, pose, rig))
        picture = _checked(self.model.name, "picture", answer["picture"], (3, rig.height, rig.width))
        opacity = _checked(self.model.name, "opacity", answer["opacity"], (1, rig.height, rig.width))
        return 255 * picture.transpose(1, 2, 0), opacity[0]


def _checked(model: str, name: str, value: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(C, H, W) float32 in 0 to 1, from that with or without axes of length 1 before it. Raises StageError."""
    if value.size != int(np.prod(shape)) or value.shape[-2:] != shape[-2:]:
        raise StageError(
            f"the model {model} gives a {name} of shape {value.shape}, expected {shape}",
            "docs/generated.md has the contract",
        )
    out = np.asarray(value, np.float32).reshape(shape)
    if not np.isfinite(out).all() or out.min() < -OUT_OF_RANGE or out.max() > 1 + OUT_OF_RANGE:
        found = (
            f"{float(np.nanmin(out)):.3g} to {float(np.nanmax(out)):.3g}" if np.isfinite(out).all() else "not finite"
        )
        raise StageError(
            f"the model {model} gives a {name} that is {found}, expected 0 to 1",
            "bring it to that range in the model itself",
        )
    return np.clip(out, 0, 1)


def _aimed(eye: np.ndarray, centre: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Upright, but for straight from above or below."""
    try:
        return look_at(eye, centre, up)
    except ValueError:
        return look_at(eye, centre, np.eye(3)[np.argmin(np.abs(up))])
