"""What hidden places leave standing: where nearly every view was kept from looking, nothing carves, and nothing reads the surface either.

Lumps and threads of it stick to the object and grow rougher with every meshing. A body that nobody read and that is thinner than some
pixels is taken away; what readings hold stays, however thin.
"""

from __future__ import annotations

import numpy as np

from stages.surface.shape.grid import Grid

SURE = 3.0
"""footprints: a vertex is read when its reading has at most this standard deviation"""
THIN = 10.0
"""half of the width in footprints below which a body that nobody read goes"""
BESIDE = 2
"""voxels from a vertex that was read within which everything stays"""
SMOOTH = 2.0
"""voxels, standard deviation of the smoothing where nothing was read"""


def without_crumbs(distance: np.ndarray, grid: Grid, read: np.ndarray, footprint: float) -> np.ndarray:
    """The field (I, J, K) without unread bodies thinner than `THIN` footprints (metres) to a side, and without separate parts that nobody
    read; `read` (N, 3) are points where something read the surface, metres. The largest part stays."""
    from scipy.ndimage import label

    solid = distance < 0
    kept = solid & (_opened(solid, THIN * footprint / grid.voxel) | _widened(_marked(read, grid), BESIDE))
    parts, count = label(kept)  # type: ignore[misc]
    if count > 1:
        near = np.bincount(parts[_widened(_marked(read, grid), 1)], minlength=count + 1) > 0
        near[int(np.bincount(parts[parts > 0]).argmax())] = True
        near[0] = False
        kept = near[parts]
    return _smoothed(np.where(solid & ~kept, np.float32(0.5 * grid.voxel), distance), _marked(read, grid))


def _smoothed(distance: np.ndarray, read: np.ndarray) -> np.ndarray:
    """The field drawn smooth the more the further from what was read."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    if not read.any():
        return distance
    share = np.clip((np.asarray(distance_transform_edt(~read)) - BESIDE) / BESIDE, 0, 1).astype(np.float32)
    return distance + share * (gaussian_filter(distance, SMOOTH) - distance)


def _marked(points: np.ndarray, grid: Grid) -> np.ndarray:
    out = np.zeros(grid.shape, bool)
    at = np.rint((points - grid.origin) / grid.voxel).astype(int)
    ok = ((at >= 0) & (at < grid.shape)).all(1)
    out[tuple(at[ok].T)] = True
    return out


def _opened(solid: np.ndarray, radius: float) -> np.ndarray:
    """Opening with a ball of `radius` voxels, widened by one voxel so that it reaches the corners of what it keeps."""
    from scipy.ndimage import distance_transform_edt

    core = np.asarray(distance_transform_edt(solid)) > radius
    if not core.any():
        return core
    return solid & (np.asarray(distance_transform_edt(~core)) <= radius + 1)


def _widened(marked: np.ndarray, radius: int) -> np.ndarray:
    from scipy.ndimage import maximum_filter1d

    out = marked.astype(np.uint8)
    for axis in range(3):
        out = maximum_filter1d(out, 2 * radius + 1, axis=axis, mode="constant")
    return out > 0
