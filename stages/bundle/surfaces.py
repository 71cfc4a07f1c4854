"""Poses refined on the frames' whole surfaces beside their points, where points alone leave them open.

A chain of views of a dull thing rests on a few points a step, and bends. The surfaces of all frames that see the same side say where
they go together as well; each pair less surely than points do, for a patch of stereo errs as one, but there are many of them, and they
tie frames that share no point. So both are added up: what the points say, as it stands round their own solution, and what all pairs of
surfaces say (disparities and grey values, as in stages/core/dense/alignment.py), weighted down. On random captures with poses 1.7 to
2.8 mm off this takes off a third to a half; where points are many they outweigh it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.bundle.drift import Ties
from stages.core.dense.alignment import CORRELATED, LEAST_POINTS, blurred, surface_sample, target_of
from stages.core.dense.normal_equations import COLUMNS, Points, System, linearise
from stages.core.dense.view import DenseView
from stages.core.geometry.near_views import near_pairs
from stages.core.geometry.rigid import exp_se3, inverse, transform
from stages.core.parallel import ordered_map

DOUBTED = 15.0
"""what surfaces say is believed that much less than their noise would allow: a patch errs as one, light and gloss move with the view.
Measured with 1, 10 and 100 on six random captures: 1 spoils poses that points know well (0.3 to 1.1 mm), 100 no longer helps the others"""
GATES, BLURS, STEPS = (0.05, 0.03), (1.0, 0.7), 5
NEAR_RAD, PARTNERS = np.radians(40.0), 6
"""views that differ by less are laid onto each other, the nearest so many of each frame"""
MOST_FRAMES = 300
"""of more frames the equations would not be solved at once any more"""


def on_surfaces(
    views: Sequence[DenseView], object_from_left: np.ndarray, ties: Ties, workers: int
) -> np.ndarray | None:
    """(F, 4, 4) refined poses of F frames, `views` in their order; None where no two surfaces can be laid onto each other. The frame in the
    middle stays."""
    if not 2 < len(views) <= MOST_FRAMES:
        return None
    near = near_pairs(dict(enumerate(object_from_left)), ties.centre, NEAR_RAD, PARTNERS)
    pairs = [p for ab in near for p in (ab, ab[::-1])]
    start, poses, points = object_from_left, object_from_left.copy(), _of_points(len(views), ties)
    for gate, blur in zip(GATES, BLURS, strict=True):
        asked = _Asked(views, [_sample(v, blur) for v in views], pairs, gate, blur)
        for _ in range(STEPS):
            said = _of_surfaces(asked, poses, ties.centre, workers)
            if said is None:
                return None
            normal, gradient = said[0] + points, said[1] + points @ _moved(start, poses, ties.centre)
            held = slice(6 * (len(views) // 2), 6 * (len(views) // 2) + 6)
            normal[held, held] += np.eye(6) * 1e3 * np.abs(normal).max()
            step = -np.linalg.solve(normal + 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal)), gradient)
            poses = np.stack([_about(s, ties.centre) @ p for s, p in zip(step.reshape(-1, 6), poses, strict=True)])
    return poses


@dataclass(frozen=True)
class _Asked:
    """samples: of each view, points (N, 3) of its surface and their grey values."""

    views: Sequence[DenseView]
    samples: Sequence[tuple[np.ndarray, np.ndarray]]
    pairs: Sequence[tuple[int, int]]
    gate: float
    blur: float

    def said(self, pair: tuple[int, int], b_from_a: np.ndarray) -> System | None:
        """Of the surface of a laid onto b; None where too little meets."""
        (xyz, gray), b = self.samples[pair[0]], self.views[pair[1]]
        if len(xyz) < LEAST_POINTS:
            return None
        points = Points(xyz, gray, np.empty((len(xyz), COLUMNS)))  # the room of its own: threads share the sample
        return linearise(target_of(b, True), blurred(b, self.blur), points, b_from_a, self.gate)


def _sample(view: DenseView, blur: float) -> tuple[np.ndarray, np.ndarray]:
    pixels, xyz, _ = surface_sample(view, True)
    return xyz.copy(), blurred(view, blur)[pixels[:, 1], pixels[:, 0]]


def _of_surfaces(
    asked: _Asked, poses: np.ndarray, centre: np.ndarray, workers: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Normal equations (6F, 6F) and (6F,) of all pairs."""
    count = len(poses)
    normal, gradient = np.zeros((count, count, 6, 6)), np.zeros((count, 6))
    systems = ordered_map(lambda p: asked.said(p, inverse(poses[p[1]]) @ poses[p[0]]), asked.pairs, workers)
    met = 0
    for (a, b), system in zip(asked.pairs, systems, strict=True):
        if system is None:
            continue
        met += 1
        moves = _in_camera(poses[b], system.centre, centre)
        one = moves.T @ system.normal @ moves / (CORRELATED * DOUBTED)
        down = moves.T @ system.gradient / (CORRELATED * DOUBTED)
        normal[a, a] += one
        normal[b, b] += one
        normal[a, b] -= one
        normal[b, a] -= one
        gradient[a] += down
        gradient[b] -= down
    return (normal.transpose(0, 2, 1, 3).reshape(6 * count, -1), gradient.ravel()) if met else None


def _of_points(count: int, ties: Ties) -> np.ndarray:
    """(6F, 6F) what the points say round their own solution."""
    normal = np.zeros((count, count, 6, 6))
    for p, q, sign in ((ties.a, ties.a, 1), (ties.b, ties.b, 1), (ties.a, ties.b, -1), (ties.b, ties.a, -1)):
        np.add.at(normal, (p, q), sign * ties.information)
    return normal.transpose(0, 2, 1, 3).reshape(6 * count, -1)


def _in_camera(object_from_left: np.ndarray, at: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(6, 6) a small turn about `centre` (object's frame) and shift, as turn about `at` (camera's) and shift in the camera."""
    to_camera = object_from_left[:3, :3].T
    x, y, z = transform(object_from_left, at[None])[0] - centre
    out = np.zeros((6, 6))
    out[:3, :3] = out[3:, 3:] = to_camera
    out[3:, :3] = -to_camera @ np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return out


def _moved(start: np.ndarray, poses: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(6F,) turn about `centre` and shift of it since the start."""
    changes = poses @ inverse(start)
    return np.concatenate(
        [np.r_[cv2.Rodrigues(c[:3, :3])[0].ravel(), transform(c, centre[None])[0] - centre] for c in changes]
    )


def _about(step: np.ndarray, centre: np.ndarray) -> np.ndarray:
    out = exp_se3(step)
    out[:3, 3] += centre - out[:3, :3] @ centre
    return out
