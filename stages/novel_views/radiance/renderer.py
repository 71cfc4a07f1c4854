"""The radiance field as the renderer of `novel_views`: what it learns from, and pictures from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.errors import StageError
from stages.core.field.field_shape import FieldShape
from stages.core.field.thread_team import ThreadTeam
from stages.core.posed_cameras import common_point
from stages.novel_views.radiance.carving import box_of_outlines, carved
from stages.novel_views.radiance.learn import Plan, RadianceField
from stages.novel_views.radiance.pixels import PixelBank
from stages.novel_views.radiance.space import Frame, Space

PADDING = 0.08
"""of the mesh's longest edge, on every side: the field may find what the mesh lacks"""
NEAR = 0.02
"""of the space's unit, from the eye on: nothing is nearer"""
NEAR_RADIUS = 0.25
"""the same of a scene without an end, radii: fog before a lens explains that lens's picture alone"""
OBJECT = 0.5
"""opacity from which a pixel shows the object"""
LEAST_PICTURES = 3
LEVELS, LOG2_ENTRIES = 12, 18


@dataclass(frozen=True)
class Seen:
    """What is learned from: frames with poses (object_from_camera) and their pictures, masks and what stands before the object."""

    rig: Rig
    poses: Mapping[int, np.ndarray]
    picture: Callable[[int], np.ndarray]
    mask: Callable[[int], np.ndarray | None]
    hidden: Callable[[int], np.ndarray | None]


@dataclass(frozen=True)
class _How:
    """Steps, samples of a ray, seed, threads, and who hears (step, steps, error)."""

    steps: int
    samples: int
    seed: int
    threads: int
    progress: Callable[[int, int, float], None]


class Radiance:
    """A learned field, and what any camera sees of it."""

    def __init__(self, field: RadianceField, centre: np.ndarray) -> None:
        self.field, self.centre = field, centre

    def render(self, pose: np.ndarray, rig: Rig, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """((H, W, 3) float32 grey levels over white, (H, W) bool where the object is). `without` says nothing here: what must not be used
        has not been learned from."""
        colour, opacity, _ = self.field.render(pose, rig)
        return colour, opacity > OBJECT

    def whole(self, pose: np.ndarray, rig: Rig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `render`, and (H, W) float32 depth along the optical axis, where half of the light is stopped; NaN = nowhere."""
        colour, opacity, depth = self.field.render(pose, rig)
        return colour, opacity > OBJECT, depth


def learned_object(
    seen: Seen,
    box: tuple[np.ndarray, np.ndarray],
    steps: int,
    samples: int,
    seed: int,
    threads: int,
    progress: Callable[[int, int, float], None],
) -> Radiance:
    """Of an object in a `box` (low, high), by its masks."""
    low, high = (np.asarray(b, float) for b in box)
    size = float((high - low).max()) * (1 + 2 * PADDING)
    frame = Frame((low + high) / 2 - size / 2, size, False)
    frames = list(seen.poses)
    masks = [_known(seen.mask(k), seen.hidden(k)) for k in frames]
    opened = carved(frame, seen.rig, [seen.poses[k] for k in frames], masks, team=ThreadTeam(threads))
    if not opened.any():
        raise StageError(
            "the outlines of the pictures have nothing in common inside the mesh's box", "see the masks in the report"
        )
    away = float(np.median([np.linalg.norm(p[:3, 3] - (low + high) / 2) for p in seen.poses.values()]))
    across = seen.rig.fx * size / max(away, 1e-9)  # px that the cube fills
    how = _How(steps, samples, seed, threads, progress=progress)
    return _learned(seen, frame, opened, across, centre=(low + high) / 2, near=NEAR, how=how)


def learned_scene(
    seen: Seen,
    centre: np.ndarray,
    steps: int,
    samples: int,
    seed: int,
    threads: int,
    progress: Callable[[int, int, float], None],
) -> Radiance:
    """Of all that the pictures show, without masks, near and far; cameras and `centre` lie in the middle of the space."""
    eyes = np.stack([p[:3, 3] for p in seen.poses.values()])
    radius = float(np.linalg.norm(eyes - centre, axis=1).max())
    if radius <= 0:
        raise StageError("all cameras stand in one point", "a field is learned from pictures taken from several places")
    frame = Frame(np.asarray(centre, float), radius, True)
    away = float(np.median(np.linalg.norm(eyes - centre, axis=1)))
    across = 4 * seen.rig.fx * radius / max(away, 1e-9)
    how = _How(steps, samples, seed, threads, progress=progress)
    return _learned(seen, frame, None, across, centre=centre, near=NEAR_RADIUS, how=how)


def learned_all(
    seen: Seen, steps: int, samples: int, seed: int, threads: int, progress: Callable[[int, int, float], None]
) -> Radiance:
    """Without a mesh: of the object in the box that its outlines bound, or of the whole scene where the masks leave nothing out."""
    poses = np.stack(list(seen.poses.values()))
    if all(_known(seen.mask(k), seen.hidden(k)).all() for k in seen.poses):
        return learned_scene(seen, looked_at(poses), steps, samples, seed=seed, threads=threads, progress=progress)
    try:
        box = box_of_outlines(
            seen.rig, list(poses), [_known(seen.mask(k), seen.hidden(k)) for k in seen.poses], threads
        )
    except ValueError as e:
        raise StageError(
            f"no object was found: {e}", "look at the masks; posed.masks=none learns the whole scene"
        ) from e
    return learned_object(seen, box, steps, samples, seed=seed, threads=threads, progress=progress)


def looked_at(poses: np.ndarray) -> np.ndarray:
    """(3,) where the axes of the cameras (N, 4, 4) meet; where they are too parallel for that, as far ahead as the cameras lie apart."""
    meeting = common_point(poses)
    if meeting is not None:
        return meeting
    apart = float(np.linalg.norm(np.ptp(poses[:, :3, 3], axis=0)))
    return (poses[:, :3, 3] + apart * poses[:, :3, 2]).mean(0)


def _learned(
    seen: Seen,
    frame: Frame,
    opened: np.ndarray | None,
    across: float,
    centre: np.ndarray,
    near: float,
    how: _How,
) -> Radiance:
    if len(seen.poses) < LEAST_PICTURES:
        raise StageError(
            f"{len(seen.poses)} pictures are left to learn from", "give more, or a larger novel_views.score_every"
        )
    space = Space(frame, opened, 1 / float(np.clip(0.75 * across, 128, 256)), near, team=ThreadTeam(how.threads))
    bank = PixelBank(seen.rig, frame, len(seen.poses))
    for k, pose in seen.poses.items():
        bank.add(pose, seen.picture(k), None if opened is None else seen.mask(k), seen.hidden(k))
    bank.close()
    shape = FieldShape(
        levels=LEVELS, log2_entries=LOG2_ENTRIES, finest_resolution=int(np.clip(1.5 * across, 256, 2048))
    )
    field = RadianceField(shape, space, how.seed, how.threads)
    field.learn(bank, Plan(how.steps, how.samples), np.random.default_rng(how.seed), how.progress)
    return Radiance(field, np.asarray(centre, float))


def _known(mask: np.ndarray | None, hidden: np.ndarray | None) -> np.ndarray:
    """What may be object: the mask, and what stands before it."""
    assert mask is not None
    return mask if hidden is None else mask | hidden


def scored(frames: Sequence[int], every: int, most: int) -> list[int]:
    """Every n-th frame, thinned evenly to `most`."""
    chosen = sorted(frames)[::every] if every else []
    return (
        [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int))]
        if chosen
        else []
    )
