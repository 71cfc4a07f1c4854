"""The robustness benchmark: a seed is one capture, what a run claims is judged against the truth, and a rerun goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.core.frames import FramePose, write_table
from stages.core.images import read_mask, write_mask
from tools.bench_robustness import ROOT, code_digest, seeds_of
from tools.robustness import score
from tools.robustness.draw import draw
from tools.robustness.families import FAMILIES, mesh_in_family
from tools.robustness.verdict import judge_frames, judge_twin
from tools.robustness.write import render

SEED = 5
FRAMES = 4
LIMIT_MM = 2.0
DRAWN = draw(SEED, FRAMES, 160)
WARNING = ["2 frames have no pose: 2-3."]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(SEED, tmp_path_factory.mktemp("robustness"), DRAWN)


def test_a_seed_is_one_capture(capture: Path, tmp_path: Path) -> None:
    again = render(SEED, tmp_path, DRAWN)
    files = sorted(p.relative_to(capture) for p in capture.rglob("*") if p.is_file())
    assert len(files) > 4 * FRAMES
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert all((capture / f).read_bytes() == (again / f).read_bytes() for f in files)
    assert draw(SEED + 1) != replace(draw(SEED), seed=SEED + 1)
    assert json.loads((capture / "gt/drawn.json").read_text())["properties"] == DRAWN.properties


def test_a_capture_is_rendered_once_and_anew_when_it_is_drawn_otherwise(capture: Path) -> None:
    picture = next((capture / "left").iterdir())
    before = picture.stat().st_mtime_ns
    render(SEED, capture.parent, DRAWN)
    assert picture.stat().st_mtime_ns == before
    other = render(SEED, capture.parent / "other", replace(DRAWN, frames=2))
    render(SEED, capture.parent / "other", DRAWN)
    assert len(list((other / "left").iterdir())) == FRAMES


def test_depth_and_poses_of_a_held_object_put_every_visible_pixel_on_its_mesh(tmp_path: Path) -> None:
    import trimesh

    from stages.core.camera import Rig
    from stages.core.frames import posed, read_poses
    from stages.core.images import read_disparity

    seed = next(s for s in range(100) if draw(s).hand == "holds" and not draw(s).rolling)
    folder = render(seed, tmp_path, draw(seed, 3, 240))
    rig, mesh = Rig.load(folder / "calibration.json"), trimesh.load(folder / "gt/mesh.ply", process=False)
    for frame, object_from_left in posed(read_poses(folder / "gt/poses.json")).items():
        mask, whole, hand = (
            read_mask(folder / "gt" / kind / f"{frame:06d}.png") for kind in ("masks", "whole", "hand")
        )
        assert mask.sum() > 100 and hand.any() and not (mask & hand).any() and not (mask & ~whole).any()
        depth = rig.depth_from_disparity(read_disparity(folder / "gt/disparity" / f"{frame:06d}.png"))
        row, column = np.nonzero(mask)
        points = rig.backproject(np.stack([column, row], -1), depth[mask])[::9]
        away = trimesh.proximity.closest_point(mesh, points @ object_from_left[:3, :3].T + object_from_left[:3, 3])[1]
        assert np.percentile(away, 98) < 2e-3 * rig.depth_from_disparity(1.0) / rig.depth_from_disparity(16.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_have_the_extent_that_was_asked_for_and_differ_by_seed(name: str) -> None:
    one, other = (mesh_in_family(name, np.random.default_rng(s), 0.12, 40)[0] for s in (1, 2))
    assert np.ptp(one, axis=0).max() == pytest.approx(0.12) and np.abs(one.max(0) + one.min(0)).max() < 1e-9
    assert one.shape != other.shape or not np.allclose(one, other)


def _claimed(
    capture: Path,
    folder: Path,
    off_m: dict[int, float],
    statuses: dict[int, str],
    spoiled: tuple[int, ...] = (),
    doubted: tuple[int, ...] = (),
):
    """Scores of a run whose object frame is another, whose poses are the true ones but `off_m` metres, those of `doubted` frames uncertain,
    and whose masks are the true ones but those of `spoiled` frames, which show the left half of the picture."""
    from stages.core.frames import posed, read_poses

    other_from_true = np.eye(4)
    other_from_true[:3] = [[0, 0, 1, 0.3], [0, 1, 0, -0.2], [-1, 0, 0, 0.1]]
    true = posed(read_poses(capture / "gt/poses.json"))
    found = {k: other_from_true @ pose for k, pose in true.items()}
    for k, metres in off_m.items():
        found[k] = found[k] @ np.array([[1, 0, 0, metres], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    for k in true:
        mask = read_mask(capture / "gt/masks" / f"{k:06d}.png")
        if k in spoiled:
            mask = np.arange(mask.shape[1])[None] < mask.shape[1] // 2 + 0 * mask[:, :1]
        write_mask(folder / "masks" / f"{k:06d}.png", mask)
    rows = [{"frame": k, "status": statuses.get(k, "ok"), "trust": 0.9, "area_px": 1, "reason": ""} for k in true]
    write_table(folder / "masks.parquet", rows)
    points, _ = score.surface_points(capture / "gt/mesh.ply")
    poses = [FramePose(k, pose, "uncertain" if k in doubted else "ok") for k, pose in found.items()]
    errors = score.pose_errors_m(true, found, points, LIMIT_MM / 1000, {p.frame for p in poses if p.status == "ok"})
    return score.frame_scores(capture / "gt", folder / "masks", folder / "masks.parquet", poses, errors)


def test_what_is_right_in_another_object_frame_is_good(capture: Path, tmp_path: Path) -> None:
    frames = _claimed(capture, tmp_path, {}, {})
    assert judge_frames(frames, LIMIT_MM, []).kind == "good"
    assert max(f.pose_error_mm for f in frames) < 0.01 and min(f.J for f in frames) == 100


def test_a_shifted_pose_is_wrong_and_its_size_is_told(capture: Path, tmp_path: Path) -> None:
    frames = _claimed(capture, tmp_path, {2: 0.02}, {})
    verdict = judge_frames(frames, LIMIT_MM, WARNING)
    assert verdict.kind == "wrong" and "up to 20.0 mm: frames 2" in verdict.reasons[0]
    assert [f.frame for f in frames if f.pose_error_mm > 1] == [2]  # the others are not dragged along


def test_what_the_run_doubts_does_not_say_where_the_object_is(capture: Path, tmp_path: Path) -> None:
    """One claimed pose beside more that are off and marked."""
    count = len(list((capture / "gt/masks").iterdir()))
    off = tuple(range(1, count))
    frames = _claimed(capture, tmp_path, dict.fromkeys(off, 0.02), {}, doubted=off)
    assert judge_frames(frames, LIMIT_MM, WARNING).kind == "honest" and frames[0].pose_error_mm < 0.01
    assert judge_frames(_claimed(capture, tmp_path, dict.fromkeys(off, 0.02), {}), LIMIT_MM, WARNING).kind == "wrong"


def test_a_marked_frame_is_honest_only_with_a_warning(capture: Path, tmp_path: Path) -> None:
    frames = _claimed(capture, tmp_path, {2: 0.02}, {2: "uncertain"}, spoiled=(2,))
    assert judge_frames(frames, LIMIT_MM, WARNING).kind == "honest"
    assert judge_frames(frames, LIMIT_MM, []).kind == "wrong"


def test_a_bad_mask_called_ok_is_wrong(capture: Path, tmp_path: Path) -> None:
    verdict = judge_frames(_claimed(capture, tmp_path, {}, {}, spoiled=(1,)), LIMIT_MM, WARNING)
    assert verdict.kind == "wrong" and "masks called ok" in verdict.reasons[0] and "frames 1" in verdict.reasons[0]


def test_a_twin_of_something_else_is_wrong_unless_it_warns(capture: Path, tmp_path: Path) -> None:
    good = judge_frames(_claimed(capture, tmp_path, {}, {}), LIMIT_MM, [])
    assert judge_twin(good, 1.0, 120.0, []) == good
    assert judge_twin(good, 15.0, 120.0, []).kind == "wrong"
    assert judge_twin(good, 15.0, 120.0, ["large parts were seen by no camera"]).kind == "honest"


def test_seeds() -> None:
    assert seeds_of("0-3,7") == [0, 1, 2, 3, 7]


@pytest.mark.slow
def test_a_rerun_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    size = ["--frames", "3", "--width", "200", "--twin-every", "0", "--jobs", "1"]
    first = _bench(tmp_path, "--seeds", "5", *size)
    result = json.loads((tmp_path / "0005.json").read_text())
    assert result["verdict"] in ("good", "honest", "wrong") and result["code"] == code_digest()
    assert len(result["per_frame"]) == 3 and "1 seeds" in first
    assert "seed 5: " not in _bench(tmp_path, "--seeds", "5", *size)
    summary = (tmp_path / "summary.md").read_text()
    assert "| 5 |" in summary and "Trust against J" in summary
    (tmp_path / "0005.json").write_text(json.dumps(result | {"code": "of before a change"}))
    assert "seed 5: " in _bench(tmp_path, "--seeds", "5", *size)


def _bench(work: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "tools.bench_robustness", "--work", str(work), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
