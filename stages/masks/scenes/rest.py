"""When the object keeps still in the scene: a run of frames each, tied by what is seen again at the same place.

The cameras are placed by the background. A feature of the object that is found again where the camera's motion alone puts it belongs to a
resting object; while a hand turns the object, or carries it away, hardly one is. Features of the background say how many to expect.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.motion import Features
from stages.masks.scenes.rest_surface import ON_SURFACE, NearSurface, facing, near_surface, normals_of, share_on
from stages.masks.scenes.support import Support

LEAST_FEATURES = 50
"""of the object and of the background, fewer of which tell nothing: those of a bare vase are noise and shade, and are not found again on
its other side"""
REACH_PX, REACH_SHARE = 6.0, 0.03
"""how far from where it should be a feature is looked for, px at 640 px width, and by how much of its distance it may be off"""
ALIKE = 220.0
"""distance of two SIFT descriptors (of length 512) up to which they may show the same place"""
MOVED = 0.12
"""features of the object found again, as a share of those of the background, below which it has moved"""
LOOK_BACK = 3
LEAST_AGAIN = 0.3
"""share of the object's features found again that will do, whatever the background's"""
LEAST_OF_BACKGROUND = 0.08
"""where less of the background is found again, the camera was not where it is thought to have been, and nothing is told"""
CONTRAST, MOST, LEAST_CROP_PX = 0.002, 300, 32
FOUND_AGAIN, OFTEN = 0.5, 75
"""features tell of motion where, at this percentile of the neighbours, that much of them is found again as of the background: those of a
dull thing never are"""
SAME_SURFACE = 0.6
"""share of its surface found where it was, below which an object has moved"""
STAYS, STAYS_CLOSELY, TOLD_BY = 0.85, 0.6, 0.5
"""shares of its surface found where it was, and of it so to a third of the tolerance, that show an object at rest, where such a share of
the neighbours tells; 0.9 and 0.7 where cameras are right to a degree, 0.9 and 0.4 where they are off by five"""
CLEARANCE = 0.02
"""what is nearer to the support than this share of the object's distance may be the support"""


@dataclass(frozen=True)
class NearFeatures(Features):
    """normals (N, 3): of the surface at each, unit, in the left camera, towards it. `surface`: None where the object is out of view."""

    normals: np.ndarray
    surface: NearSurface | None


_NONE = NearFeatures(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros((0, 128), np.float32), np.zeros((0, 3)), None)


@dataclass(frozen=True)
class Region:
    """The ball, metres in the scene, that holds the object; `support`: what it stands on, which is not of the object."""

    centre: np.ndarray
    radius: float
    reach: float
    support: Support | None

    @staticmethod
    def around(x: np.ndarray, camera: np.ndarray, support: Support | None) -> Region:
        """From the (N, 3) points of the object that the `camera` (3,) sees."""
        low, high = np.percentile(x, 2, axis=0), np.percentile(x, 98, axis=0)
        centre = np.median(x, axis=0)
        return Region(centre, float(np.max(high - low)), float(np.linalg.norm(centre - camera)), support)

    def holds(self, x: np.ndarray) -> np.ndarray:
        """(N,) bool."""
        inside = np.linalg.norm(x - self.centre, axis=1) < self.radius
        if self.support is None:
            return inside
        return inside & (x @ self.support.normal < self.support.offset - CLEARANCE * self.reach)


@dataclass(frozen=True)
class Watched:
    """Frames, placed in the scene, asked two by two whether the object rests from the one to the other.

    `found`: what is near the object (`near_features`) in all placed frames or an even choice of them."""

    found: Mapping[int, NearFeatures]
    scene_from_left: Mapping[int, np.ndarray]
    region: Region
    rig: Rig

    def b_from_a(self, a: int, b: int) -> np.ndarray:
        return inverse(self.scene_from_left[b]) @ self.scene_from_left[a]

    def by_features(self, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """What is found again of the object for what is of the background, of the pairs that tell."""
        found, poses = self.found, self.scene_from_left
        votes = (_rests(found[a], poses[a], found[b], self.b_from_a(a, b), self.region, self.rig) for a, b in pairs)
        return [v for v in votes if v is not None]

    def by_surface(self, pairs: Sequence[tuple[int, int]], tolerance: float = ON_SURFACE) -> list[float]:
        """Shares of the object's surface found where it was, of the pairs that tell."""
        shown = [(a, b, self.found[a].surface, self.found[b].surface) for a, b in pairs]
        shares = [
            share_on(s, t, self.b_from_a(a, b), self.rig, tolerance)
            for a, b, s, t in shown
            if s is not None and t is not None
        ]
        return [share for share in shares if share is not None]

    def neighbours(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise(sorted(self.found)))

    def shape_stays(self) -> bool:
        """Whether the object's surface shows that it rests all the time, and the cameras with it to be placed well."""
        near = self.neighbours()
        shares, closely = self.by_surface(near), self.by_surface(near, ON_SURFACE / 3)
        enough = len(shares) >= max(1.0, TOLD_BY * len(near))
        return enough and bool(np.median(shares) >= STAYS and np.median(closely) >= STAYS_CLOSELY)

    def intervals(self) -> list[list[int]]:
        """Placed frames, in order, in runs during which the object rests; a frame in which it moves is a run of its own.

        Where nothing can be told (a bare object) the object is taken to rest."""
        usual = self.by_features(self.neighbours())
        features_tell = bool(usual) and float(np.percentile(usual, OFTEN)) >= FOUND_AGAIN

        def moved(before: list[int], after: list[int]) -> bool:
            pairs = [(a, b) for a in before[-LOOK_BACK:] for b in after[:LOOK_BACK]]
            told = self.by_features(pairs)
            if not told or max(told) >= MOVED:
                return False
            if features_tell:
                return True
            shares = self.by_surface(pairs)
            return bool(shares) and max(shares) < SAME_SURFACE

        runs = _runs([[frame] for frame in sorted(self.found)], moved)
        # a blurred frame breaks a run that the frames after it tie together again
        return _with_others(_runs(runs, moved), sorted(self.scene_from_left))


def _runs(parts: list[list[int]], moved: Callable[[list[int], list[int]], bool]) -> list[list[int]]:
    """Neighbours joined wherever the object has not moved between them."""
    out = parts[:1]
    for part in parts[1:]:
        if moved(out[-1], part):
            out.append(part)
        else:
            out[-1] = out[-1] + part
    return out


def near_features(view: WorkingFrame, scene_from_left: np.ndarray, region: Region, rig: Rig) -> NearFeatures:
    """Features of the part of the picture that may show the object, however dull it is beside its surroundings."""
    centre = transform(inverse(scene_from_left), region.centre[None])[0]
    if centre[2] < 0.05:
        return _NONE
    middle, size = rig.project(centre[None])[0], rig.fx * 1.3 * region.radius / centre[2]
    x0, y0 = np.maximum(np.floor(middle - size), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(middle + size), (rig.width, rig.height)).astype(int)
    if min(x1 - x0, y1 - y0) < LEAST_CROP_PX:
        return _NONE
    u, v = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
    disparity = view.disparity[y0:y1, x0:x1]
    with np.errstate(invalid="ignore"):
        x = transform(
            scene_from_left,
            rig.backproject(np.stack([u, v], -1).reshape(-1, 2), rig.depth_from_disparity(disparity.ravel())),
        )
        ours = region.holds(x).reshape(u.shape)
    gray = cv2.cvtColor(view.rgb[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
    uv, descriptors = _described(gray, [where & np.isfinite(disparity) for where in (ours, ~ours)])
    uv = uv + np.array([x0, y0])
    column, row = np.rint(uv).astype(int).T
    xyz = rig.backproject(uv, rig.depth_from_disparity(view.disparity[row, column]))
    normals = normals_of(disparity, (x0, y0), rig)
    surface = near_surface(disparity, (x0, y0), ours & np.isfinite(disparity), normals, rig)
    return NearFeatures(uv, xyz, descriptors, normals[row - y0, column - x0], surface)


def _described(gray: np.ndarray, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """SIFT in each of `parts`, (H, W) bool each: (N, 2) px and (N, 128). One search serves all: one by a mask goes over the whole picture
    too."""
    sift = cv2.SIFT_create(contrastThreshold=CONTRAST)
    found = sorted(sift.detect(gray, None), key=lambda p: -p.response)
    if not found:
        return _NONE.uv, _NONE.descriptors
    row, column = (np.array([p.pt for p in found])[:, ::-1] + 0.5).astype(int).T
    # its own bound on their number holds for the whole picture, where the strongest are all beside a dull object
    chosen = [found[i] for part in parts for i in np.flatnonzero(part[row, column])[:MOST]]
    chosen, descriptors = sift.compute(gray, chosen)
    if descriptors is None:
        return _NONE.uv, _NONE.descriptors
    return np.array([p.pt for p in chosen]), descriptors


def _rests(
    a: NearFeatures, scene_from_a: np.ndarray, b: NearFeatures, b_from_a: np.ndarray, region: Region, rig: Rig
) -> float | None:
    """Share of the object's features of frame a found again in b at rest over that of the background's; None = it cannot be told."""
    at_b = transform(b_from_a, a.xyz)
    inside = region.holds(transform(scene_from_a, a.xyz))
    visible = (at_b[:, 2] > 0.05) & facing(a.xyz, a.normals, inverse(b_from_a)[:3, 3])
    uv = rig.project(np.where(visible[:, None], at_b, 1.0))
    visible &= (uv >= 0).all(1) & (uv < (rig.width, rig.height)).all(1)
    ours, theirs = np.flatnonzero(inside & visible), np.flatnonzero(~inside & visible)
    if min(len(ours), len(theirs), len(b.uv)) < LEAST_FEATURES:
        return None
    found = _found_again(uv, at_b[:, 2], a.descriptors, b, rig)
    of_background = float(found[theirs].mean())
    if of_background < LEAST_OF_BACKGROUND:
        return None
    return float(found[ours].mean()) / min(of_background, LEAST_AGAIN)


def _found_again(uv: np.ndarray, z: np.ndarray, descriptors: np.ndarray, b: Features, rig: Rig) -> np.ndarray:
    """(N,) bool."""
    from scipy.spatial import cKDTree

    reach = REACH_PX * rig.width / 640
    near = cKDTree(b.uv).query_ball_point(uv, reach)
    out = np.zeros(len(uv), bool)
    for i, candidates in enumerate(near):
        if candidates:
            alike = np.linalg.norm(b.descriptors[candidates] - descriptors[i], axis=1) < ALIKE
            out[i] = bool((alike & (np.abs(b.xyz[candidates, 2] - z[i]) < REACH_SHARE * z[i])).any())
    return out


def _with_others(runs: list[list[int]], placed: Sequence[int]) -> list[list[int]]:
    """The same with the frames whose features are no longer kept, each where its predecessor is."""
    starts = [run[0] for run in runs]
    out: list[list[int]] = [[] for _ in runs]
    for frame in placed:
        out[max(0, int(np.searchsorted(starts, frame, "right")) - 1)].append(frame)
    return out
