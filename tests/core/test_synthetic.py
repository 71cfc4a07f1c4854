"""The built-in capture is only worth something if its truths agree with each other."""

import numpy as np

from stages.core.camera import Rig
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse, transform
from stages.core.images import read_disparity, read_gray, read_mask


def test_true_disparity_maps_left_onto_right(synthetic_capture):
    left, right = (read_gray(synthetic_capture / s / f"{s}000003.jpg").astype(float) for s in ("left", "right"))
    disparity = read_disparity(synthetic_capture / "gt/disparity/000003.png")
    v, u = np.nonzero(np.isfinite(disparity) & read_mask(synthetic_capture / "gt/masks/000003.png"))
    target = u - disparity[v, u]
    inside = (target > 1) & (target < left.shape[1] - 2)
    v, u, target = v[inside], u[inside], target[inside]
    base = target.astype(int)
    sampled = right[v, base] * (1 - target + base) + right[v, base + 1] * (target - base)
    assert np.median(np.abs(sampled / 1.03 - left[v, u])) < 2.5  # noise of 1.2 grey levels in either eye


def test_poses_depth_and_mesh_agree(synthetic_capture):
    import trimesh
    from scipy.spatial import cKDTree

    rig = Rig.load(synthetic_capture / "calibration.json")
    poses = posed(read_poses(synthetic_capture / "gt/poses.json"))
    mesh = trimesh.load(synthetic_capture / "gt/mesh.ply", process=False)
    points, face = trimesh.sample.sample_surface(mesh, 200_000, seed=0)
    normals = mesh.face_normals[face]
    for frame in (0, 7):
        depth = rig.depth_from_disparity(read_disparity(synthetic_capture / f"gt/disparity/{frame:06d}.png"))
        v, u = np.nonzero(read_mask(synthetic_capture / f"gt/masks/{frame:06d}.png"))
        pick = np.random.default_rng(0).permutation(len(u))[:200]
        x = transform(poses[frame], rig.backproject(np.stack([u, v], -1)[pick], depth[v, u][pick]))
        nearest = cKDTree(points).query(x)[1]
        distance = np.abs(np.einsum("ij,ij->i", x - points[nearest], normals[nearest]))
        assert np.median(distance) < 1e-4
        back = rig.project(transform(inverse(poses[frame]), x))
        assert np.allclose(back, np.stack([u, v], -1)[pick], atol=1e-6)


def test_mesh_is_closed_and_outward(synthetic_capture):
    import trimesh

    mesh = trimesh.load(synthetic_capture / "gt/mesh.ply", process=False)
    assert mesh.is_watertight and mesh.volume > 0 and mesh.body_count == 1
