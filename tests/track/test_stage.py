"""The stage on the generated captures: contract, accuracy, and what it does when frames are missing, lost or bare."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.base import StageContext
from stages.core.errors import ConfigError, StageError
from stages.core.frames import posed, read_poses, read_table, write_table
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.images import read_mask, read_rgb, write_disparity, write_mask, write_rgb, write_sigma
from stages.track.stage import STAGE


def run(inputs, out: Path, threads: int = 2, **settings):
    """(report, rows, tracks) of one run."""
    out.mkdir(parents=True, exist_ok=True)
    mine, config, calls = {k: inputs[k] for k in STAGE.inputs}, STAGE.Config(**settings), []
    STAGE.check(mine, config)
    report = STAGE.run(mine, config, out, StageContext(threads=threads, progress=lambda d, t, n: calls.append((d, t))))
    assert calls and all(0 <= d <= t for d, t in calls)
    with np.load(out / "tracks.npz", allow_pickle=False) as t:
        return report, read_poses(out / "poses_initial.json"), dict(t)


def errors(rows, inputs) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (degrees) and position (mm) errors of the object's centre in each camera, after the gauge of the median frame."""
    true, found = posed(read_poses(inputs["poses.json"].path)), posed(rows)
    centre = np.zeros(3)
    gauges = {k: true[k] @ inverse(found[k]) for k in found}
    spread = {k: sum(rotation_angle(inverse(g) @ other) for other in gauges.values()) for k, g in gauges.items()}
    gauge = gauges[min(spread, key=spread.__getitem__)]
    turn, shift = [], []
    for k in found:
        off = inverse(true[k]) @ gauge @ found[k]
        turn.append(np.degrees(rotation_angle(off)))
        there, here = transform(inverse(true[k]), centre), transform(inverse(gauge @ found[k]), centre)
        shift.append(1000 * np.linalg.norm(here - there))
    return np.array(turn), np.array(shift)


def altered(inputs, folder: Path, kinds: tuple[str, ...]):
    """The inputs with copies of some kinds that may be changed."""
    folder.mkdir(parents=True, exist_ok=True)
    out = dict(inputs)
    for kind in kinds:
        source, target = inputs[kind].path, folder / kind
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        out[kind] = replace(inputs[kind], path=target)
    return out


def keep_frames(inputs, folder: Path, frames: set[int]):
    """The capture with only these frames usable."""
    out = altered(inputs, folder, ("frames.parquet",))
    rows = read_table(out["frames.parquet"].path)
    for r in rows:
        if r["frame"] not in frames:
            r.update(status="blurred", reason="left out by the test")
    write_table(out["frames.parquet"].path, rows)
    return out


@pytest.fixture(scope="module")
def orbit(truth, tmp_path_factory):
    return run(truth, tmp_path_factory.mktemp("track_orbit"))


@pytest.fixture(scope="module")
def inhand(truth_inhand, tmp_path_factory):
    return run(truth_inhand, tmp_path_factory.mktemp("track_inhand"))


def test_moving_camera_is_scene_and_every_frame_is_posed(orbit, truth):
    report, rows, _ = orbit
    assert report.metrics["scope"] == "scene" and "background moves together" in report.reason
    assert [r.status for r in rows] == ["ok"] * 16
    turn, shift = errors(rows, truth)
    assert np.median(turn) < 1.5 and turn.max() < 4 and np.median(shift) < 3
    assert report.metrics["full_turn"] == "yes"


def test_moving_object_is_object_and_front_is_not_taken_for_back(inhand, truth_inhand):
    report, rows, _ = inhand
    assert report.metrics["scope"] == "object"
    assert sum(r.status == "ok" for r in rows) == 16
    turn, shift = errors(rows, truth_inhand)
    assert np.median(turn) < 1.5 and turn.max() < 8 and np.median(shift) < 2


@pytest.mark.parametrize("which", ["orbit", "inhand"])
def test_tracks_keep_their_contract(which, request):
    report, rows, tracks = request.getfixturevalue(which)
    m, p = len(tracks["point_id"]), len(tracks["point_xyz"])
    assert all(len(tracks[k]) == m for k in ("frame", "u", "v", "u_right", "sigma_px")) and len(tracks["inside"]) == p
    assert (
        tracks["point_id"].min() == 0
        and tracks["point_id"].max() == p - 1
        and str(tracks["scope"]) in ("scene", "object")
    )
    assert np.isfinite(tracks["u"]).all() and (tracks["sigma_px"] > 0).all()
    assert np.bincount(tracks["point_id"]).min() >= 2
    pairs = tracks["point_id"].astype(np.int64) * 100000 + tracks["frame"]
    assert len(np.unique(pairs)) == m, "a point seen twice in one frame"
    assert set(tracks["frame"].tolist()) <= {r.frame for r in rows if r.status == "ok"}
    assert sum(r.inliers for r in rows) == m
    assert all((1 < len(name) and text) for text, name in report.pictures) and len(report.pictures) == 2


def test_scope_scene_does_not_need_the_masks(truth, tmp_path):
    """Masks that are nonsense (the picture's left third) hurt nothing when the camera goes round a still scene."""
    bad = altered(truth, tmp_path / "in", ("masks",))
    for path in bad["masks"].path.glob("*.png"):
        mask = np.zeros_like(read_mask(path))
        mask[:, : mask.shape[1] // 3] = True
        write_mask(path, mask)
    report, rows, _ = run(bad, tmp_path / "out")
    assert report.metrics["scope"] == "scene" and all(r.status == "ok" for r in rows)
    assert np.median(errors(rows, truth)[0]) < 1.5


def test_object_that_leaves_the_view_is_lost_and_found_again(truth_inhand, tmp_path):
    """Frames 6 to 8 show only noise and have no mask: they are lost with a reason, the rest is posed as one."""
    gone = altered(truth_inhand, tmp_path / "in", ("masks", "masks.parquet", "pairs", "disparity"))
    rng, rows = np.random.default_rng(0), read_table(gone["masks.parquet"].path)
    for k in (6, 7, 8):
        shape = read_rgb(gone["pairs"].path / f"left/{k:06d}.jpg").shape
        for side in ("left", "right"):
            write_rgb(gone["pairs"].path / side / f"{k:06d}.jpg", rng.integers(90, 110, shape).astype(np.uint8))
        write_mask(gone["masks"].path / f"{k:06d}.png", np.zeros(shape[:2], bool))
        write_disparity(gone["disparity"].path / f"{k:06d}.png", np.full(shape[:2], np.nan))
        write_sigma(gone["disparity"].path / f"sigma/{k:06d}.png", np.full(shape[:2], np.nan))
        rows[k].update(status="lost", trust=0.0, area_px=0)
    write_table(gone["masks.parquet"].path, rows)
    report, found, _ = run(gone, tmp_path / "out")
    status = {r.frame: r.status for r in found}
    assert all(status[k] == "lost" for k in (6, 7, 8)) and "mask was lost" in found[6].reason
    assert sum(s == "ok" for s in status.values()) >= 6
    assert report.frames["lost"] >= 3 and any("could not be posed" in w for w in report.warnings)
    assert errors(found, truth_inhand)[0].max() < 10, "a lost stretch must not turn the rest round"


def test_a_frame_whose_mask_alone_was_lost_is_posed_by_its_neighbours(truth_inhand, tmp_path):
    kept = altered(
        keep_frames(truth_inhand, tmp_path / "few", {14, 15, 0, 1}), tmp_path / "in", ("masks", "masks.parquet")
    )
    rows = read_table(kept["masks.parquet"].path)
    path = kept["masks"].path / "000001.png"
    write_mask(path, np.zeros_like(read_mask(path)))
    rows[1].update(status="lost", trust=0.0, area_px=0)
    write_table(kept["masks.parquet"].path, rows)
    report, found, _ = run(kept, tmp_path / "out", scope="object")
    assert found[0].status == "ok" and found[1].status == "ok" and found[1].inliers > 30
    assert any("had no mask (1)" in w for w in report.warnings)
    true, est = posed(read_poses(truth_inhand["poses.json"].path)), posed(found)
    off = inverse(inverse(true[1]) @ true[0]) @ inverse(est[1]) @ est[0]
    assert np.degrees(rotation_angle(off)) < 3


def test_one_frame_is_the_identity_and_says_so(truth, tmp_path):
    report, rows, tracks = run(keep_frames(truth, tmp_path / "in", {3}), tmp_path / "out")
    assert (
        [r.status for r in rows].count("unusable") == 15
        and rows[3].status == "ok"
        and rows[0].reason == "left out by the test"
    )
    assert np.allclose(rows[3].object_from_left[:3, :3], np.eye(3))
    assert any("one frame" in w for w in report.warnings) and len(tracks["point_xyz"]) > 50


def test_three_frames(truth, tmp_path):
    _, rows, _ = run(keep_frames(truth, tmp_path / "in", {0, 1, 2}), tmp_path / "out")
    assert sum(r.status == "ok" for r in rows) == 3
    turn, shift = errors(rows, truth)
    assert turn.max() < 1 and shift.max() < 3


def test_bare_object_is_refused_in_plain_words(truth_inhand, tmp_path):
    """A ball without texture in every frame: no motion can be told, and none is made up."""
    bare = altered(truth_inhand, tmp_path / "in", ("pairs", "masks", "disparity"))
    y, x = np.mgrid[:300, :400]
    ball = np.hypot(x - 200, y - 150) < 60
    depth_like = np.where(ball, 40 + 6 * np.sqrt(np.clip(1 - ((x - 200) ** 2 + (y - 150) ** 2) / 3600, 0, 1)), np.nan)
    for k in range(16):
        for side, shift in (("left", 0), ("right", -40)):
            image = np.full((300, 400, 3), 60, np.uint8)
            image[np.roll(ball, shift, 1)] = 180
            write_rgb(bare["pairs"].path / side / f"{k:06d}.jpg", image)
        write_mask(bare["masks"].path / f"{k:06d}.png", ball)
        write_disparity(bare["disparity"].path / f"{k:06d}.png", depth_like)
        write_sigma(bare["disparity"].path / f"sigma/{k:06d}.png", np.where(ball, 0.3, np.nan))
    with pytest.raises(StageError, match="too few features") as e:
        run(bare, tmp_path / "out")
    assert "texture" in e.value.advice


def test_no_usable_frame_fails_before_work(truth, tmp_path):
    with pytest.raises(StageError, match="no frame"):
        STAGE.check(keep_frames(truth, tmp_path / "in", set()), STAGE.Config())


def test_the_result_does_not_depend_on_threads(truth, tmp_path):
    few = keep_frames(truth, tmp_path / "in", {0, 1, 2, 3, 4})
    for threads in (1, 3):
        run(few, tmp_path / f"out{threads}", threads=threads)
    for name in ("poses_initial.json", "tracks.npz"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out3" / name).read_bytes()


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="min_inliers"):
        STAGE.Config(min_inliers=3)
    with pytest.raises(ValueError, match="gap"):
        STAGE.Config(neighbour_gaps=())
    from stages.core.config import resolve

    with pytest.raises(ConfigError):
        resolve({"track": STAGE.Config}, overrides=["track.scope=world"])
