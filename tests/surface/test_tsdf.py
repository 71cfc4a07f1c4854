"""Open3D: TSDF fusion as a method of the surface stage, and two sessions brought together."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

import stereotwin
from stages.base import StageContext
from stages.core.backends import KITS
from stages.core.errors import MachineError, StageError
from stages.core.geometry.rigid import exp_se3
from stages.core.meshes import SurfaceMesh, read_ply
from stages.surface.config import SurfaceConfig
from stages.surface.stage import STAGE

without = pytest.mark.skipif(
    not KITS["open3d"].version(), reason="open3d is not installed (pip install 'stereotwin[open3d]')"
)
TSDF = SurfaceConfig(method="tsdf", voxel_px=2.0)


@without
def test_the_baseline_lies_on_the_true_surface(truth, synthetic_capture, tmp_path):
    STAGE.check(truth, TSDF)
    report = STAGE.run(truth, TSDF, tmp_path, StageContext(threads=2))
    mesh = read_ply(tmp_path / "mesh.ply")
    samples = trimesh.sample.sample_surface(
        trimesh.load(synthetic_capture / "gt/mesh.ply", process=False), 60000, seed=0
    )[0]
    away = 1000 * cKDTree(samples).query(mesh.vertices)[0]
    assert report.method == "tsdf" and np.median(away) < 1.0 and np.percentile(away, 95) < 4
    ours = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    outward = np.einsum("fi,fi->f", ours.face_normals, ours.triangles_center - mesh.vertices.mean(0))
    assert (
        (outward > 0).mean() > 0.8
        and mesh.colour.std() > 5
        and len(list((tmp_path / "masks_final").glob("*.png"))) == 16
    )
    about = json.loads((tmp_path / "field/field.json").read_text())
    assert about["kind"] == "grid" and about["voxel_m"] == pytest.approx(
        report.metrics["tsdf_voxel_mm"] / 1000, abs=1e-6
    )


@without
def test_two_sessions_are_brought_together(truth, tmp_path):
    """The second session: the first one's mesh turned, cut to three quarters and noisy."""
    STAGE.run(truth, TSDF, tmp_path, StageContext(threads=2))
    a = read_ply(tmp_path / "mesh.ply")
    b_from_a = exp_se3(np.array([0.6, -0.9, 1.4, 0.1, -0.2, 0.05]))
    noise = np.random.default_rng(1).normal(0, 0.0002, a.vertices.shape)
    kept = a.faces[(a.vertices[a.faces][:, :, 0].mean(1) > np.percentile(a.vertices[:, 0], 25))]
    b = SurfaceMesh((a.vertices + noise) @ b_from_a[:3, :3].T + b_from_a[:3, 3], kept, a.colour, a.confidence)
    found = stereotwin.register(a, b)
    moved = a.vertices @ found.b_from_a[:3, :3].T + found.b_from_a[:3, 3]
    assert np.abs(moved - (a.vertices @ b_from_a[:3, :3].T + b_from_a[:3, 3])).max() < 0.001
    assert found.fitness > 0.5 and found.rms_mm < 1.5


@without
def test_what_has_nothing_in_common_is_refused():
    def mesh(t: trimesh.Trimesh) -> SurfaceMesh:
        return SurfaceMesh(
            np.array(t.vertices), np.array(t.faces), np.full(t.vertices.shape, 128, np.uint8), np.ones(len(t.vertices))
        )

    with pytest.raises(StageError, match="in common"):
        stereotwin.register(mesh(trimesh.creation.icosphere(3, 0.1)), mesh(trimesh.creation.box((0.002, 0.002, 0.4))))


@pytest.mark.skipif(bool(KITS["open3d"].version()), reason="open3d is installed: its absence is not tested")
def test_without_open3d_it_says_how_to_get_it(truth):
    with pytest.raises(MachineError, match=r"pip install 'stereotwin\[open3d\]'"):
        STAGE.check(truth, TSDF)
