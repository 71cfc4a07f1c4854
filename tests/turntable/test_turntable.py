"""An object that turns by 45 to 90 degrees from picture to picture on a sheet with dots, before a depth camera: poses, and refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.camera import Rig
from stages.core.capture import capture_ref
from stages.core.config import resolve
from stages.core.errors import StageError
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.images import read_mask
from stages.core.store import Store
from stages.core.synthetic.shape import HALF_HEIGHT_M
from stages.graph import every_stage, turntable_stages
from stages.turntable.constellation import find_turn, pattern_of
from tests.rgbd.depth_capture import write_rgbd

FRAMES = (0, 2, 6, 8, 11, 13)
CONFIGS = resolve({s.name: s.Config for s in every_stage()}, "preview").stages
RNG = np.random.default_rng(4)
ANGLES = (np.arange(18) + RNG.uniform(-0.35, 0.35, 18)) * np.pi / 9
DOTS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1) * RNG.uniform(0.062, 0.088, (18, 1))
EVEN = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], 1) * 0.075


@pytest.fixture(scope="module")
def plain(synthetic_capture, tmp_path_factory) -> Path:
    """The built-in capture as a depth camera's."""
    return write_rgbd(synthetic_capture, tmp_path_factory.mktemp("plain") / "all", frames=max(FRAMES) + 1)


def write(source: Path, made: Path, folder: Path, dots: np.ndarray, still: bool = False) -> Path:
    """Six frames of the built-in capture as a depth camera's, with a sheet of `dots` under the object; `still`: the dots keep their
    places in the picture."""
    made, rig, poses = (
        write_rgbd(source, folder / "all"),
        Rig.load(source / "calibration.json"),
        posed(read_poses(source / "gt/poses.json")),
    )
    out = folder / "thing"
    for name in ("rgb", "depth", "masks"):
        (out / name).mkdir(parents=True)
    for k in FRAMES:
        mask = read_mask(source / "gt/masks" / f"{k:06d}.png")
        picture = cv2.imread(str(made / "rgb" / f"{k:03d}.jpg"))
        pose = inverse(poses[FRAMES[0] if still else k])
        sheet = picture.copy()
        for middle, radius, colour in (
            (np.zeros(2), 0.125, (225, 225, 225)),
            *((d, 0.003, (30, 30, 30)) for d in dots),
        ):
            rim = middle + radius * np.stack([np.cos(np.linspace(0, 6.28, 60)), np.sin(np.linspace(0, 6.28, 60))], 1)
            uv = rig.project(transform(pose, np.insert(rim, 1, HALF_HEIGHT_M, 1)))
            cv2.fillPoly(sheet, [np.rint(16 * uv).astype(np.int32)], colour, cv2.LINE_AA, 4)
        cv2.imwrite(str(out / f"rgb/{k:03d}.png"), np.where(mask[..., None], picture, sheet))
        cv2.imwrite(str(out / f"masks/{k:03d}.png"), 255 * mask.astype(np.uint8))
        shutil.copyfile(made / f"depth/{k:03d}.png", out / f"depth/{k:03d}.png")
    shutil.copyfile(made / "camera.json", out / "camera.json")
    return out


def run(capture: Path, store: Path):
    refs, report = {"capture": capture_ref(capture, route="turntable")}, {}
    for stage in turntable_stages()[:3]:
        result = run_stage(stage, refs, CONFIGS[stage.name], Store(store), StageContext(threads=1))
        refs |= result.refs
        report = result.manifest["report"]
    return refs, report


def test_the_stages_of_the_route():
    assert [s.name for s in turntable_stages()][:4] == ["rgbd", "masks", "turntable", "surface"]


def test_wide_turns_are_told_by_the_marks(synthetic_capture, plain, tmp_path):
    refs, report = run(write(synthetic_capture, plain, tmp_path, DOTS), tmp_path / "store")
    rows, truth = read_poses(refs["poses.json"].path), posed(read_poses(synthetic_capture / "gt/poses.json"))
    assert [r.status for r in rows] == ["ok"] * 6 and report["metrics"]["marks_min"] >= 10
    found = {FRAMES[f]: p for f, p in posed(rows).items()}
    true_from_found = truth[0] @ inverse(found[0])
    for k, pose in found.items():
        off = inverse(truth[k]) @ true_from_found @ pose
        middle = transform(inverse(true_from_found @ pose), np.zeros(3)) - transform(inverse(truth[k]), np.zeros(3))
        assert np.degrees(rotation_angle(off)) < 0.6 and np.linalg.norm(middle) < 0.001
    assert found[0][1, 1] == pytest.approx((inverse(true_from_found) @ truth[0])[1, 1]), "one frame for all"
    assert abs(np.degrees(np.arccos(true_from_found[1, 1]))) < 1.0, "y is down, along the normal of the table"
    with np.load(refs["points.npz"].path) as p:
        own, scene = transform(true_from_found, p["xyz"]), transform(true_from_found, p["scene_xyz"])
    assert np.abs(own[:, 1]).max() < HALF_HEIGHT_M + 0.004 and np.median(np.abs(scene[:, 1] - HALF_HEIGHT_M)) < 0.002


@pytest.mark.parametrize(("dots", "still", "message"), [
    (DOTS[:0], False, "the marks on the support tell no turn"),
    (EVEN, False, "the marks on the support tell no turn"),
    (DOTS, True, "the marks do not turn with the object"),
])  # fmt: skip
def test_no_marks_an_even_ring_and_marks_that_stand_still_are_refused(
    synthetic_capture, plain, tmp_path, dots, still, message
):
    with pytest.raises(StageError, match=message):
        run(write(synthetic_capture, plain, tmp_path, dots, still), tmp_path / "store")


def test_a_pattern_is_found_among_false_marks_and_joined_over_frames():
    rng, marks = np.random.default_rng(0), {}
    for k, angle in enumerate(np.radians([0, 70, 140, 215, 300])):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        seen = DOTS[rng.permutation(18)[:13]] @ turn + [0.01 * k, -0.02]
        marks[k] = np.concatenate([seen + rng.normal(0, 3e-4, seen.shape), rng.uniform(-0.12, 0.12, (4, 2))])
    turns = [find_turn(a, b, marks[a], marks[b], 0.002) for a, b in ((0, 1), (1, 2), (2, 3), (3, 4), (0, 4))]
    assert all(len(t.pairs) >= 9 and t.rival < 0.6 * len(t.pairs) for t in turns)
    assert np.degrees(turns[0].angle) == pytest.approx(-70, abs=0.5)
    poses, missed = pattern_of(turns, marks, 0.002)
    assert sorted(poses) == [0, 1, 2, 3, 4] and all(
        (missed[f][:13] < 0.002).sum() >= 10 and np.isnan(missed[f][13:]).sum() >= 3 for f in poses
    )
    assert np.degrees(np.arctan2(poses[3][1, 0], poses[3][0, 0])) == pytest.approx(215 - 360, abs=0.5)
