"""The stage on the built-in capture, from its truth with noisy disparity: metric thresholds, both methods, determinism, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from stages.base import StageContext, StageError
from stages.core.frames import posed, read_poses, write_poses
from stages.core.geometry.rigid import rotation_angle
from stages.core.images import read_disparity, read_mask
from stages.core.meshes import read_ply
from stages.core.store import ArtifactRef
from stages.surface.config import SurfaceConfig
from stages.surface.stage import STAGE

SMALL = SurfaceConfig(geometry_steps=60, colour_steps=8, batch_points=4096, batch_rays=256, voxel_px=2.0)


def _run(truth, out, config, threads=2):
    out.mkdir(parents=True, exist_ok=True)
    STAGE.check(truth, config)
    return STAGE.run(truth, config, out, StageContext(threads=threads))


@pytest.fixture(scope="module")
def neural(truth, tmp_path_factory):
    out = tmp_path_factory.mktemp("surface_neural")
    return out, _run(truth, out, SMALL)


def _errors_mm(out, capture):
    """Distances in mm: seen vertices to the true surface, and true surface near seen vertices to ours."""
    mesh, true = read_ply(out / "mesh.ply"), trimesh.load(capture / "gt/mesh.ply", process=False)
    samples = trimesh.sample.sample_surface(true, 60000, seed=0)[0]
    seen = mesh.vertices[mesh.confidence > 0]
    away = cKDTree(samples).query(seen)[0]
    ours = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), 60000, seed=0)[0]
    looked_at = cKDTree(seen).query(samples)[0] < 0.004
    return 1000 * away, 1000 * cKDTree(ours).query(samples[looked_at])[0]


def test_the_mesh_lies_on_the_true_surface(neural, synthetic_capture):
    away, missing = _errors_mm(neural[0], synthetic_capture)
    assert np.median(away) < 0.45 and np.percentile(away, 95) < 1.6 and away.max() < 8
    assert np.median(missing) < 0.5 and np.percentile(missing, 95) < 1.8


def test_a_lean_field_is_none_where_depth_gave_the_shape(truth, tmp_path, synthetic_capture):
    report = _run(truth, tmp_path / "lean", SurfaceConfig(field="lean", voxel_px=3.0, rounds=2))
    assert report.method == "fusion" and "surface.field=lean" in report.reason
    assert json.loads((tmp_path / "lean/field/field.json").read_text())["kind"] == "grid"
    away, missing = _errors_mm(tmp_path / "lean", synthetic_capture)
    assert np.median(away) < 0.6 and np.median(missing) < 0.7


def test_report_and_artifacts(neural, truth):
    out, report = neural
    assert report.method == "neural" and report.metrics["field_moved_mean_mm"] < 0.5
    about = json.loads((out / "field/field.json").read_text())
    assert about["kind"] == "neural" and about["cube_size_m"] > 0
    mesh = read_ply(out / "mesh.ply")
    assert len(mesh.vertices) == report.metrics["vertices"] and mesh.colour.std() > 5
    assert 0 <= mesh.confidence.min() and mesh.confidence.max() <= 1 and np.median(mesh.confidence) > 0.5
    before, after = (posed(read_poses(p)) for p in (truth["poses.json"].path, out / "poses_refined.json"))
    assert before.keys() == after.keys()
    assert all((out / p).stat().st_size <= 150_000 for _, p in report.pictures) and len(report.pictures) == 4


def test_faces_are_outward(neural):
    mesh = read_ply(neural[0] / "mesh.ply")
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume > 0


def test_masks_are_no_worse_than_before(neural, synthetic_capture):
    for path in sorted((neural[0] / "masks_final").glob("*.png")):
        true, ours = read_mask(synthetic_capture / "gt/masks" / path.name), read_mask(path)
        assert (true & ours).sum() / (true | ours).sum() > 0.98


def test_the_twins_disparity_is_dense_and_right(neural, synthetic_capture):
    error = []
    for path in sorted((neural[0] / "disparity_final").glob("*.png")):
        mask = read_mask(synthetic_capture / "gt/masks" / path.name)
        error.append(
            np.abs(read_disparity(path)[mask] - read_disparity(synthetic_capture / "gt/disparity" / path.name)[mask])
        )
    error = np.concatenate(error)
    assert np.isfinite(error).mean() > 0.99
    assert np.nanmean(error) < 0.15 and np.nanmean(error > 1) < 0.02


def test_the_field_evaluates_to_the_mesh(neural):
    from stages.surface.field.field_files import load_field

    about = json.loads((neural[0] / "field/field.json").read_text())
    mesh = read_ply(neural[0] / "mesh.ply")
    x = (mesh.vertices - about["cube_low_m"]) / about["cube_size_m"]
    distance_mm = (
        1000 * about["cube_size_m"] * np.abs(load_field(neural[0] / "field").sdf(np.ascontiguousarray(x, np.float32)))
    )
    assert np.percentile(distance_mm, 95) < 0.1


def test_fusion_does_not_depend_on_threads(truth, tmp_path, synthetic_capture):
    config = SurfaceConfig(method="fusion", voxel_px=3.0, rounds=2)
    a, b = tmp_path / "a", tmp_path / "b"
    report = _run(truth, a, config, threads=1)
    _run(truth, b, config, threads=2)
    assert report.method == "fusion" and json.loads((a / "field/field.json").read_text())["kind"] == "grid"
    assert (a / "mesh.ply").read_bytes() == (b / "mesh.ply").read_bytes()
    assert np.median(_errors_mm(a, synthetic_capture)[0]) < 0.6


def test_too_few_poses_are_refused_with_advice(truth, tmp_path):
    poses = [
        replace(p, object_from_left=None if p.frame else p.object_from_left)
        for p in read_poses(truth["poses.json"].path)
    ]
    write_poses(tmp_path / "poses.json", poses)
    inputs = {**truth, "poses.json": ArtifactRef("poses.json", tmp_path / "poses.json", "changed")}
    with pytest.raises(StageError, match="only 1 frames") as caught:
        STAGE.check(inputs, SMALL)
    assert caught.value.advice


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="hull_rank"):
        SurfaceConfig(hull_rank=9)
    with pytest.raises(ValueError, match="at least one"):
        SurfaceConfig(use_depth=False, use_colour=False, use_outlines=False, use_points=False)


@pytest.mark.slow
def test_a_field_of_observations_moves_the_poses_it_says_it_moved(truth, tmp_path, synthetic_capture):
    config = replace(
        SMALL, field="observations", refine_poses=True, picture_steps=300, picture_rays=256, field_log2_entries=14
    )
    report = _run(truth, tmp_path / "observed", config)
    assert report.metrics["field_learns_from"] == "observations"
    before, after = (posed(read_poses(p)) for p in (truth["poses.json"].path, tmp_path / "observed/poses_refined.json"))
    turns = [np.degrees(rotation_angle(after[k] @ np.linalg.inv(before[k]))) for k in before]
    assert before.keys() == after.keys() and max(turns) > 0.01
    assert report.metrics["poses_moved_degrees_max"] == pytest.approx(max(turns), abs=1e-3)
    away, missing = _errors_mm(tmp_path / "observed", synthetic_capture)
    assert np.median(away) < 1.5 and np.median(missing) < 1.5
    kept = _run(truth, tmp_path / "kept", replace(config, refine_poses=False, picture_steps=100))
    same = posed(read_poses(tmp_path / "kept/poses_refined.json"))
    assert all((same[k] == before[k]).all() for k in before) and "poses_moved_mm_max" not in kept.metrics
