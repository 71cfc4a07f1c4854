"""Where the cameras stand in the field's cube, and how far a training has moved them from where they were given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.core.geometry.rigid import exp_se3, inverse
from stages.surface.training.train import Cube
from stages.surface.views.views import View

MIDDLE = np.full(3, 0.5)
"""of the cube: motions turn about it"""


class Placed:
    """`turn (C, 3, 3)` object_from_left, `eye (C, 3)` in the cube, `moved (C, 4, 4)` motions of the object's frame, in the cube."""

    def __init__(self, views: Sequence[View], cube: Cube) -> None:
        self._cube, self._given = cube, np.stack([v.object_from_left for v in views])
        self.moved = np.tile(np.eye(4), (len(views), 1, 1))
        self.turn, self.eye = self._given[:, :3, :3].copy(), cube_eyes(self._given, cube)

    def move(self, steps: np.ndarray) -> None:
        """Move every camera by (C, 6): rotation vector about the cube's middle, rad, then translation in the cube. What they all do
        together is taken out first: it moves the object's frame and says nothing of the cameras."""
        steps = steps - steps.mean(0)
        eyes = cube_eyes(self._given, self._cube)
        for i, step in enumerate(steps):
            self.moved[i] = exp_se3(step) @ self.moved[i]
            rotation, shift = self.moved[i, :3, :3], self.moved[i, :3, 3]
            self.turn[i] = rotation @ self._given[i, :3, :3]
            self.eye[i] = rotation @ (eyes[i] - MIDDLE) + MIDDLE + shift

    def poses(self) -> np.ndarray:
        """(C, 4, 4) object_from_left now, metres."""
        out = np.tile(np.eye(4), (len(self.turn), 1, 1))
        out[:, :3, :3], out[:, :3, 3] = self.turn, self.eye * self._cube.size + self._cube.low
        return out

    def motions(self) -> np.ndarray:
        """(C, 4, 4) now_from_given of the cameras' poses, in metres: what the training has changed."""
        return self.poses() @ inverse(self._given)


def cube_eyes(object_from_left: np.ndarray, cube: Cube) -> np.ndarray:
    """(C, 3) centres of the cameras in the cube."""
    return (object_from_left[:, :3, 3] - cube.low) / cube.size
