"""The stage on the generated capture: contract, quality on held-out frames, determinism, bad input."""

from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.errors import StageError
from stages.core.frames import read_poses, write_poses
from stages.core.images import read_rgb
from stages.core.meshes import read_textured
from stages.core.store import ArtifactRef, Store
from stages.core.verdict import USABLE, judge, read_facts
from stages.texture.config import TextureConfig
from stages.texture.stage import STAGE, training

CONFIG = TextureConfig(size=512, face_budget=8000, hold_out=4)


@pytest.fixture(scope="module")
def result(truth, tmp_path_factory):
    notes = []
    context = StageContext(threads=2, progress=lambda done, total, note: notes.append((done, total, note)))
    out = run_stage(STAGE, truth, CONFIG, Store(tmp_path_factory.mktemp("store")), context)
    assert len(notes) > 20
    return out


def test_outputs(result):
    folder = result.refs["textured"].path
    mesh = read_textured(folder)
    assert mesh.texture.shape == (512, 512, 3)
    assert mesh.faces.shape == mesh.faces_uv.shape
    assert mesh.faces.max() < len(mesh.vertices) == len(mesh.normals)
    assert mesh.faces_uv.max() < len(mesh.uv)
    assert 0 <= mesh.uv.min() <= mesh.uv.max() <= 1
    provenance = read_rgb(folder / "provenance.png")[..., 0]
    assert provenance.shape == (512, 512)
    assert 0 < (provenance > 0).mean() < 0.95


def test_held_out_frames_look_right(result):
    metrics = result.manifest["report"]["metrics"]
    assert metrics["measured_on"] == "frames left out"
    assert metrics["psnr_raw_db"] > 24
    assert metrics["psnr_db"] >= metrics["psnr_raw_db"] - 0.2
    assert metrics["mask_covered_share"] > 0.98
    assert metrics["seam_step_levels"] < 4
    assert metrics["simplify_deviation_p99_mm"] <= CONFIG.simplify_tolerance_mm


def test_pictures_are_small(result):
    folder = result.refs["textured"].path.parent
    pictures = result.manifest["report"]["pictures"]
    assert len(pictures) >= 3
    assert all((folder / path).stat().st_size <= 150_000 for _, path in pictures)


def test_same_bytes_with_one_thread(result, truth, tmp_path):
    again = run_stage(STAGE, truth, CONFIG, Store(tmp_path), StageContext(threads=1))
    assert again.refs["textured"].fingerprint == result.refs["textured"].fingerprint


def test_right_pictures_can_be_left_out(truth, tmp_path):
    out = run_stage(
        STAGE,
        truth,
        TextureConfig(size=256, face_budget=4000, sides="left", align_views=False),
        Store(tmp_path),
        StageContext(threads=2),
    )
    assert out.manifest["report"]["metrics"]["views"] == 16


def test_training_frames():
    assert training([0, 1, 2, 8, 9, 16], 8) == [1, 2, 9]
    assert training([0, 8], 0) == [0, 8]


def test_no_pose_is_refused(truth, tmp_path):
    poses = tmp_path / "poses_refined.json"
    lost = [type(p)(p.frame, None, "lost", 0, None, "test") for p in read_poses(truth["poses_refined.json"].path)]
    write_poses(poses, lost)
    with pytest.raises(StageError, match="no frame has a pose"):
        run_stage(
            STAGE,
            {**truth, "poses_refined.json": ArtifactRef("poses_refined.json", poses, "x")},
            CONFIG,
            Store(tmp_path),
            StageContext(),
        )


def test_two_positions_painted_over_each_other_are_not_usable(truth, tmp_path):
    """The second and the last quarter of the frames are turned by 12 degrees about y, as if the object had been touched unnoticed."""
    rows, turn = read_poses(truth["poses_refined.json"].path), np.eye(4)
    turn[:3, :3] = cv2.Rodrigues(np.array([0, np.radians(12), 0]))[0]
    rows = [replace(p, status="ok") for p in rows]
    turned = [
        replace(p, object_from_left=turn @ p.object_from_left) if 4 * k // len(rows) % 2 else p
        for k, p in enumerate(rows)
    ]
    write_poses(tmp_path / "poses.json", turned)
    broken = {**truth, "poses_refined.json": ArtifactRef("poses_refined.json", tmp_path / "poses.json", "turned")}
    shutil.copyfile(truth["mesh.ply"].path, tmp_path / "mesh.ply")
    config, verdicts = TextureConfig(size=256, face_budget=4000), []
    for given in (truth, broken):
        made = run_stage(STAGE, given, config, Store(tmp_path / "store"), StageContext(threads=2))
        verdicts.append(judge(read_facts(tmp_path, {"texture": made.manifest})))
    right, wrong = verdicts
    assert right.facts.disagreement_ratio < 2 and not any("elsewhere" in why for why in right.why)
    assert wrong.word != USABLE and any("elsewhere than others" in why for why in wrong.why), (
        wrong.facts.disagreement_ratio
    )


def test_mesh_out_of_sight_is_refused(truth, tmp_path):
    poses = tmp_path / "poses_refined.json"
    moved = [
        type(p)(p.frame, p.object_from_left @ _back(5.0), "ok") for p in read_poses(truth["poses_refined.json"].path)
    ]
    write_poses(poses, moved)
    with pytest.raises(StageError, match="no picture shows"):
        run_stage(
            STAGE,
            {**truth, "poses_refined.json": ArtifactRef("poses_refined.json", poses, "y")},
            CONFIG,
            Store(tmp_path),
            StageContext(),
        )


def _back(metres: float) -> np.ndarray:
    out = np.eye(4)
    out[2, 3] = metres  # forward past the object: it is behind the camera then
    return out


@pytest.mark.parametrize(
    "bad", [{"size": 10}, {"candidates": 0}, {"hold_out": 1}, {"min_facing": 0.0}, {"padding_px": 0}]
)
def test_settings_out_of_range(bad):
    with pytest.raises(ValueError):
        TextureConfig(**bad)
