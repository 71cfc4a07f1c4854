"""Which input pictures a new view is nearest to: by the direction from which they look at the object, and by their distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DISTANCE_RAD = 0.25
"""an input twice as far or twice as near counts as 0.17 rad off: pictures of other sizes are worse, of other sides much worse"""


@dataclass(frozen=True)
class Nearness:
    """Of an input picture to a new view: angle between the two at the object (rad), distance of the input over that of the view."""

    frame: int
    angle_rad: float
    distance_ratio: float

    @property
    def cost(self) -> float:
        """Least = nearest."""
        return self.angle_rad + DISTANCE_RAD * abs(float(np.log(self.distance_ratio)))


def nearest(view: np.ndarray, inputs: Mapping[int, np.ndarray], centre: np.ndarray) -> list[Nearness]:
    """All inputs, nearest first; poses are object_from_camera (4, 4), `centre` (3,) of the object."""
    here, found = view[:3, 3] - centre, []
    for frame, pose in inputs.items():
        there = pose[:3, 3] - centre
        lengths = float(np.linalg.norm(here)), float(np.linalg.norm(there))
        cosine = float(here @ there) / max(lengths[0] * lengths[1], 1e-12)
        found.append(Nearness(frame, float(np.arccos(np.clip(cosine, -1, 1))), lengths[1] / max(lengths[0], 1e-12)))
    return sorted(found, key=lambda n: (n.cost, n.frame))
