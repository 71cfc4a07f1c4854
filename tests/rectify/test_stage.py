"""The stage's contract: copies what is right, corrects what is not, and says what it did."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.camera import Rig
from stages.core.capture import capture_ref
from stages.core.images import read_disparity
from stages.core.store import Store
from stages.rectify.config import RectifyConfig
from stages.rectify.geometry import rectifying
from stages.rectify.matches import match_pair
from stages.rectify.stage import STAGE
from tests.rectify.raw_capture import LEFT_TURN, make_raw, write_prompt


def _matches(out: Path, frame: int) -> np.ndarray:
    return match_pair(*(cv2.imread(str(next((out / "pairs" / s).glob(f"{frame:06d}.*")))) for s in ("left", "right")))


def _row_error(out: Path, frames=range(6)) -> np.ndarray:
    """Of the pictures written, measured afresh."""
    uv = np.concatenate([_matches(out, k) for k in frames])
    e = uv[:, 3] - uv[:, 1]
    return e[np.abs(e - np.median(e)) < 1.5]


def test_rectified_pictures_are_copied_byte_for_byte(capture, rectify):
    made = rectify(capture)
    for k, row in made.rows.items():
        for side in ("left", "right"):
            assert (made.out / "pairs" / row[side]).read_bytes() == (capture / side / f"{side}{k:06d}.jpg").read_bytes()
    assert made.report.method == "copied" and made.report.frames == {"ok": 8}
    assert abs(made.report.metrics["row_offset_before_px"]) < 0.05
    assert Rig.load(made.out / "rig.json") == Rig.load(capture / "calibration.json")
    assert json.loads((made.out / "prompt.json").read_text()) == json.loads((capture / "prompt.json").read_text())
    assert json.loads((made.out / "given/given.json").read_text()) == {"masks": False, "depth": False}
    for _, name in made.report.pictures:
        assert 0 < (made.out / name).stat().st_size <= 150_000


def test_same_input_gives_the_same_artifacts_and_is_found_again(capture, tmp_path):
    store, ref = Store(tmp_path / "store"), {"capture": capture_ref(capture)}
    first = run_stage(STAGE, ref, RectifyConfig(), store, StageContext(threads=1))
    again = run_stage(STAGE, ref, RectifyConfig(), store, StageContext(threads=2))
    forced = run_stage(STAGE, ref, RectifyConfig(), store, StageContext(threads=2), force=True)
    assert not first.cached and again.cached
    assert {k: r.fingerprint for k, r in first.refs.items()} == {k: r.fingerprint for k, r in forced.refs.items()}


def test_raw_capture_keeps_depth_and_sampling(synthetic_capture, rectify, tmp_path):
    raw, c = make_raw(synthetic_capture, tmp_path / "raw")
    made = rectify(raw)
    rig, source = Rig.load(made.out / "rig.json"), Rig.load(synthetic_capture / "calibration.json")
    assert rig.fx == pytest.approx(np.mean([c.left.K[0, 0], c.right.K[0, 0]])) and rig.baseline_m == pytest.approx(
        source.baseline_m
    )
    assert np.abs(np.median(_row_error(made.out))) < 0.03
    assert made.report.metrics["row_correction"] == "none"
    _check_ranges(made.out, rig, source, synthetic_capture, c)


def _check_ranges(out: Path, rig: Rig, source: Rig, truth: Path, c) -> None:
    """Distance to the left camera's centre, which no rotation changes, from matches in the written pair against the truth."""
    geometry = rectifying(c)
    uv = _matches(out, 0)
    uv = uv[np.abs(uv[:, 3] - uv[:, 1]) < 0.5]
    found = np.linalg.norm(rig.backproject(uv[:, :2], rig.depth_from_disparity(uv[:, 0] - uv[:, 2])), axis=1)
    turn = cv2.Rodrigues(LEFT_TURN)[0] @ geometry.left.rectified_from_raw.T
    at = source.project(rig.rays(uv[:, :2]) @ turn.T)
    inside = (at > 1).all(1) & (at < [source.width - 2, source.height - 2]).all(1)
    cell = np.rint(at[inside]).astype(int)
    disparity = read_disparity(truth / "gt/disparity/000000.png")[cell[:, 1], cell[:, 0]]
    true = np.linalg.norm(source.backproject(at[inside], source.depth_from_disparity(disparity)), axis=1)
    ratio = found[inside] / true
    assert abs(np.nanmedian(ratio) - 1) < 0.002


@pytest.mark.parametrize("error, model", [((0.003, 0, 0), "pitch"), ((0.002, 0, 0.004), "turn")])
def test_a_turned_right_camera_is_found_and_corrected(synthetic_capture, rectify, tmp_path, error, model):
    raw, _ = make_raw(synthetic_capture, tmp_path / "raw", right_error=np.array(error))
    made = rectify(raw)
    m = made.report.metrics
    assert abs(m["row_offset_before_px"]) > 0.4 and abs(m["row_offset_after_px"]) < 0.03
    assert m["row_correction"] == model and any("missed each other" in w for w in made.report.warnings)
    e = _row_error(made.out)
    assert abs(np.median(e)) < 0.06 and 1.4826 * np.median(np.abs(e)) < 0.6  # a few hundred matches on 400x300 px


def test_small_offset_of_a_rectified_capture_changes_the_right_view_only(capture, rectify):
    _shift_right(capture, 0.8)
    made = rectify(capture)
    assert made.report.metrics["row_offset_before_px"] == pytest.approx(0.8, abs=0.05)
    assert abs(np.median(_row_error(made.out))) < 0.03
    assert (made.out / "pairs" / made.rows[3]["left"]).read_bytes() == (capture / "left/left000003.jpg").read_bytes()
    assert made.rows[3]["right"].endswith(".png") and made.report.method == "right view resampled"


def test_large_row_offset_is_refused(capture, rectify):
    _shift_right(capture, 9)
    with pytest.raises(Exception, match=r"(?s)miss each other by \+9.*calibrate again"):
        rectify(capture)


def _shift_right(capture: Path, rows: float) -> None:
    for p in (capture / "right").iterdir():
        image = cv2.imread(str(p))
        moved = cv2.warpAffine(
            image, np.array([[1, 0, 0], [0, 1, rows]], float), image.shape[1::-1], flags=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(p.with_suffix(".png")), moved)
        p.unlink()


def test_disparity_at_infinity_of_middlebury_is_taken_up(capture, rectify, synthetic_capture):
    rig = Rig.load(capture / "calibration.json")
    (capture / "calibration.json").unlink()
    K = f"[{rig.fx} 0 {rig.cx}; 0 {rig.fy} {rig.cy}; 0 0 1]"
    K1 = f"[{rig.fx} 0 {rig.cx + 12.5}; 0 {rig.fy} {rig.cy}; 0 0 1]"
    size = f"width={rig.width}\nheight={rig.height}"
    (capture / "calib.txt").write_text(f"cam0={K}\ncam1={K1}\ndoffs=12.5\nbaseline={rig.baseline_m * 1e3}\n{size}\n")
    for p in (capture / "right").iterdir():  # a right camera whose pixels lie 12.5 px further right
        image = cv2.imread(str(p))
        move = np.array([[1, 0, 12.5], [0, 1, 0]], float)
        cv2.imwrite(
            str(p),
            cv2.warpAffine(image, move, image.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
        )
    made = rectify(capture)
    after = cv2.imread(str(made.out / "pairs" / made.rows[2]["right"])).astype(float)
    before = cv2.imread(str(synthetic_capture / "right/right000002.jpg")).astype(float)
    assert np.abs(after - before)[20:-20, 20:-40].mean() < 2.0
    assert Rig.load(made.out / "rig.json").cx == pytest.approx(rig.cx)


def test_preview_size_scales_picture_rig_and_prompt_together(capture, rectify):
    full = Rig.load(capture / "calibration.json")
    made = rectify(capture, max_width=200)
    rig = Rig.load(made.out / "rig.json")
    assert (rig.width, rig.height) == (200, 150) and rig == full.scaled(0.5)
    assert cv2.imread(str(made.out / "pairs" / made.rows[0]["left"])).shape == (150, 200, 3)
    box = json.loads((capture / "prompt.json").read_text())["box_xyxy"]
    small = json.loads((made.out / "prompt.json").read_text())["box_xyxy"]
    np.testing.assert_allclose(small, (np.array(box) + 0.5) / 2 - 0.5)


def test_max_frames_thins_evenly_and_keeps_the_prompt_frame(capture, rectify):
    write_prompt(capture, [100, 60, 300, 240], frame=3)
    made = rectify(capture, max_frames=4)
    used = [k for k, r in made.rows.items() if r["status"] == "ok"]
    assert len(used) == 4 and 3 in used and 0 in used and 7 in used
    assert made.report.frames == {"ok": 4, "not_selected": 4}


def test_box_setting_takes_the_place_of_the_prompt_file(capture, rectify):
    made = rectify(capture, box=(50.0, 40.0, 200.0, 180.0), box_frame=2)
    assert json.loads((made.out / "prompt.json").read_text()) == {"frame": 2, "box_xyxy": [50, 40, 200, 180]}


def test_progress_never_goes_back(capture, tmp_path):
    seen = []
    out = tmp_path / "o"
    out.mkdir()
    context = StageContext(threads=2, progress=lambda d, t, n: seen.append((d, t)))
    STAGE.run({"capture": capture_ref(capture)}, RectifyConfig(), out, context)
    share = [d / t for d, t in seen]
    assert len(seen) >= 16 and share == sorted(share) and share[-1] == 1
