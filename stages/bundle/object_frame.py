"""One rigid change that puts the object frame where a person would: origin at the object's centre, up along the support's normal."""

from __future__ import annotations

import numpy as np

from stages.core.geometry.support_plane import support_plane


def choose_frame(
    xyz: np.ndarray, inside: np.ndarray, first_left: np.ndarray, scene: bool, seed: int
) -> tuple[np.ndarray, str]:
    """(new_from_old (4, 4), reason). `xyz` (P, 3) points, NaN = none; `inside` (P,) on the object; `first_left` object_from_left of the
    first frame, whose axes are kept where there is no support plane."""
    known = np.isfinite(xyz).all(1)
    own = xyz[known & inside] if (known & inside).sum() >= 10 else xyz[known]
    plane = support_plane(own, xyz[known & ~inside], seed) if scene and (known & inside).sum() >= 10 else None
    axes = first_left[:3, :3].T if plane is None else _axes(plane, first_left)
    turned = own @ axes.T
    out = np.eye(4)
    out[:3, :3] = axes
    if len(turned):
        low, high = np.percentile(turned, (3, 97), axis=0)
        out[:3, 3] = -(low + high) / 2
    reason = (
        "axes of the first frame's camera"
        if plane is None
        else "y points down, along the normal of the plane that the object stands on"
    )
    return out, reason


def _axes(plane: np.ndarray, first_left: np.ndarray) -> np.ndarray:
    """(3, 3) rows x, y, z: y is the plane's normal, z as near as can be to the first camera's line of sight."""
    y = plane[:3]
    z = first_left[:3, 2] - (first_left[:3, 2] @ y) * y
    if np.linalg.norm(z) < 0.1:  # the first camera looks straight down
        z = first_left[:3, 1] - (first_left[:3, 1] @ y) * y
    z = z / np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z])
