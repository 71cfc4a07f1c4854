"""Two sessions of one object brought together by Open3D: FPFH features with RANSAC, then coloured ICP (Rusu et al. 2009, Park et al. 2017).

It needs no overlap in time and no guess, only surface that both have seen. Extra `open3d`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.backends import check_libraries
from stages.core.errors import StageError
from stages.core.meshes import SurfaceMesh

POINTS = 60_000
SHARE = 1 / 60
"""of the object's extent: the size of a voxel in the search; features are told apart over five of them"""
FINE = (1.0, 0.5, 0.25)
"""voxels of the refinement, in those of the search"""
LEAST_FITNESS = 0.2
"""share of the points that have a partner in the other session; below, they have found nothing in common"""
SEED = 0


@dataclass(frozen=True)
class Registration:
    """`b_from_a` (4, 4), metres: x_b = b_from_a @ x_a. fitness: points of a with a partner in b, share; rms_mm: of their distances."""

    b_from_a: np.ndarray
    fitness: float
    rms_mm: float


def register(a: SurfaceMesh, b: SurfaceMesh) -> Registration:
    """Where the mesh of one session lies in the frame of another's. Raises MachineError without Open3D, StageError if nothing fits."""
    check_libraries(["open3d"], "stereotwin.register")
    import open3d as o3d

    o3d.utility.random.seed(SEED)
    clouds = [_cloud(m) for m in (a, b)]
    extent = max(float(np.linalg.norm(m.vertices.max(0) - m.vertices.min(0))) for m in (a, b))
    voxel = SHARE * extent
    found = _refined(*clouds, _common(_searched(*clouds, voxel)), voxel)
    _common(found)
    return Registration(np.array(found.transformation), float(found.fitness), 1000 * float(found.inlier_rmse))


def _common(found) -> np.ndarray:
    """(4, 4) of a result that brings enough of both together. Raises StageError."""
    if found.fitness < LEAST_FITNESS:
        raise StageError(
            f"the two surfaces have only {found.fitness:.0%} in common", "film more of the same sides in both sessions"
        )
    return np.array(found.transformation)


def _cloud(mesh: SurfaceMesh):
    """Coloured points, evenly spread over the surface that was seen."""
    import open3d as o3d

    seen = mesh.confidence[mesh.faces].min(1) > 0
    faces = o3d.utility.Vector3iVector(mesh.faces[seen].astype(np.int32))
    shape = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(mesh.vertices), faces)
    shape.vertex_colors = o3d.utility.Vector3dVector(mesh.colour / 255.0)
    shape.compute_vertex_normals()
    return shape.sample_points_uniformly(POINTS)


def _searched(a, b, voxel: float):
    """By features alone."""
    import open3d as o3d

    r = o3d.pipelines.registration
    few = [c.voxel_down_sample(voxel) for c in (a, b)]
    features = [r.compute_fpfh_feature(c, o3d.geometry.KDTreeSearchParamHybrid(5 * voxel, 100)) for c in few]
    checks = [r.CorrespondenceCheckerBasedOnEdgeLength(0.9), r.CorrespondenceCheckerBasedOnDistance(1.5 * voxel)]
    return r.registration_ransac_based_on_feature_matching(
        few[0],
        few[1],
        features[0],
        features[1],
        True,
        1.5 * voxel,
        r.TransformationEstimationPointToPoint(False),
        3,
        checks,
        r.RANSACConvergenceCriteria(400_000, 0.9999),
    )


def _refined(a, b, b_from_a: np.ndarray, voxel: float):
    """Coloured ICP from coarse to fine."""
    import open3d as o3d

    r, found = o3d.pipelines.registration, None
    for share in FINE:
        size = share * voxel
        few = [c.voxel_down_sample(size) for c in (a, b)]
        for cloud in few:
            cloud.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(2 * size, 30))
        found = r.registration_colored_icp(
            few[0],
            few[1],
            1.5 * size,
            b_from_a,
            r.TransformationEstimationForColoredICP(),
            r.ICPConvergenceCriteria(1e-6, 1e-6, 50),
        )
        b_from_a = np.array(found.transformation)
    return found
