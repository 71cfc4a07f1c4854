"""A box of voxels in the object frame, metres. `values[i, j, k]` belongs to the point origin + voxel * (i, j, k)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stages.surface.views.views import View


@dataclass(frozen=True)
class Grid:
    """Where the voxels lie; the values are separate arrays of `shape`."""

    origin: np.ndarray
    voxel: float
    shape: tuple[int, int, int]

    @staticmethod
    def covering(low: np.ndarray, high: np.ndarray, voxel: float) -> Grid:
        """The smallest grid whose first and last points enclose the box low..high."""
        return Grid(
            np.asarray(low, float),
            float(voxel),
            tuple(int(n) for n in np.ceil((np.asarray(high) - low) / voxel - 1e-9).astype(int) + 1),
        )

    @property
    def high(self) -> np.ndarray:
        """(3,) the last grid point."""
        return self.origin + self.voxel * (np.array(self.shape) - 1)

    def points(self, flat: np.ndarray) -> np.ndarray:
        """(N, 3) positions of flat voxel indices."""
        return self.origin + self.voxel * np.stack(np.unravel_index(flat, self.shape), -1)

    def sample(self, values: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Trilinear values (N,) of a field at (N, 3) points; points outside take the nearest value on the border."""
        from scipy.ndimage import map_coordinates

        return map_coordinates(values, ((x - self.origin) / self.voxel).T, order=1, mode="nearest", output=np.float32)

    def gradient(self, values: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(N, 3) central differences over one voxel at (N, 3) points."""
        out = np.empty((len(x), 3), np.float32)
        for axis in range(3):
            step = np.zeros(3)
            step[axis] = self.voxel / 2
            out[:, axis] = (self.sample(values, x + step) - self.sample(values, x - step)) / self.voxel
        return out

    def resampled(self, values: np.ndarray, target: Grid) -> np.ndarray:
        """`values` on the points of `target`, trilinear."""
        from scipy.ndimage import map_coordinates

        axes = [
            (target.origin[a] - self.origin[a] + target.voxel * np.arange(target.shape[a])) / self.voxel
            for a in range(3)
        ]
        out = np.empty(target.shape, np.float32)
        for i, x in enumerate(axes[0]):  # plane by plane: the coordinates of all voxels at once would be 12 bytes each
            plane = np.meshgrid([x], axes[1], axes[2], indexing="ij")
            out[i] = map_coordinates(values, np.stack(plane), order=1, mode="nearest", output=np.float32)[0]
        return out


def object_box(views: Iterable[View], points: np.ndarray, margin: float = 0.06) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of a box that holds the object: robust extent of depth inside the masks and of bundle-adjusted points.

    Widened by `margin` of its diagonal on every side. Raises ValueError without any depth.
    """
    views = list(views)
    clouds = [c for v in views if len(c := back_projected(v, step=4)) > 0]
    if not clouds:
        raise ValueError("no depth inside any mask")
    per_view = np.array([np.percentile(c, (1, 99), axis=0) for c in clouds])
    low, high = np.percentile(per_view[:, 0], 5, axis=0), np.percentile(per_view[:, 1], 95, axis=0)
    if len(points) >= 100:
        near = np.percentile(points, (1, 99), axis=0)
        low, high = np.minimum(low, near[0]), np.maximum(high, near[1])
    slack = margin * np.linalg.norm(high - low)
    return low - slack, high + slack


def back_projected(view: View, step: int = 1) -> np.ndarray:
    """(N, 3) object-frame points of a view's depth, every `step` pixels, those with an error below 3 % of their depth."""
    v, u = np.mgrid[: view.rig.height : step, : view.rig.width : step]
    z, sigma = view.depth[v, u], view.sigma[v, u]
    ok = np.isfinite(z) & (sigma < 0.03 * z)
    x = view.rig.backproject(np.stack([u[ok], v[ok]], -1), z[ok])
    return x @ view.object_from_left[:3, :3].T + view.object_from_left[:3, 3]
