"""Bad captures: the run goes on where it can, and where it cannot the message names the file, what was expected and what to do."""

import json
import shutil

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from tests.rectify.raw_capture import make_raw, write_prompt


def _keep(capture, frames):
    for p in [*capture.glob("left/*"), *capture.glob("right/*")]:
        if int(p.stem[-6:]) not in frames:
            p.unlink()


def _edit_calibration(capture, **changes):
    data = json.loads((capture / "calibration.json").read_text())
    (capture / "calibration.json").write_text(json.dumps({**data, **changes}))


def test_truncated_picture_loses_its_frame_only(capture, rectify):
    victim = capture / "left/left000003.jpg"
    victim.write_bytes(victim.read_bytes()[:5000])
    made = rectify(capture)
    assert made.rows[3]["status"] == "broken" and "left000003.jpg is truncated" in made.rows[3]["reason"]
    assert made.rows[3]["left"] == "" and made.report.frames == {"ok": 7, "broken": 1}
    assert any("frames 3" in w and "cannot be read" in w for w in made.report.warnings)


def test_too_many_broken_pictures_stop_the_run(capture, rectify):
    for k in range(5):
        (capture / f"right/right{k:06d}.jpg").write_bytes(b"")
    with pytest.raises(
        CaptureError, match=r"only 3 of 8 frames are usable \(5 broken\); first: frame 0, right/right000000.jpg"
    ):
        rectify(capture)


def test_missing_frame_on_one_side_becomes_a_row(capture, rectify):
    (capture / "right/right000005.jpg").unlink()
    made = rectify(capture)
    assert made.rows[5]["status"] == "missing_pair" and "left000005.jpg: no right picture" in made.rows[5]["reason"]
    assert made.rows[6]["right"] == "right/000006.jpg"  # later frames keep their place
    assert made.report.metrics["pairs_missing"] == 1


def test_pictures_of_two_sizes(capture, rectify):
    for side in ("left", "right"):
        p = capture / side / f"{side}000002.jpg"
        cv2.imwrite(str(p), cv2.resize(cv2.imread(str(p)), (200, 150)))
    p = capture / "right/right000004.jpg"
    cv2.imwrite(str(p), cv2.resize(cv2.imread(str(p)), (200, 150)))
    made = rectify(capture)
    assert made.rows[2]["status"] == made.rows[4]["status"] == "size"
    assert "200x150 px, the capture has 400x300" in made.rows[2]["reason"]
    assert "left is 400x300 px, right is 200x150" in made.rows[4]["reason"]


def test_calibration_for_another_size(capture, rectify):
    _edit_calibration(capture, image_size={"width": 800, "height": 600}, K=[1000, 0, 406, 0, 1000, 296, 0, 0, 1])
    with pytest.raises(
        CaptureError, match=r"is for 800x600 px pictures, the capture has 400x300 px\n.*calibrate at the size"
    ):
        rectify(capture)


def test_calibration_with_nan(capture, rectify):
    _edit_calibration(capture, K=[float("nan"), 0, 203, 0, 500, 148, 0, 0, 1])
    with pytest.raises(CaptureError, match="left K holds 1 value"):
        rectify(capture)


@pytest.mark.parametrize(
    "box, message",
    [
        ([350, 50, 600, 200], "does not lie inside the 400x300"),
        ([200, 100, 100, 200], "empty or turned round"),
        ([1, 2, 3], "cannot be understood"),
        ([1, 2, 3, float("nan")], "cannot be understood"),
    ],
)
def test_box_outside_the_picture(capture, rectify, box, message):
    write_prompt(capture, box)
    with pytest.raises(CaptureError, match=message):
        rectify(capture)


def test_prompt_for_a_frame_that_is_not_there_or_broken(capture, rectify):
    write_prompt(capture, [100, 60, 300, 240], frame=40)
    with pytest.raises(CaptureError, match="the prompt is for frame 40; the capture has frames 0 to 7"):
        rectify(capture)
    write_prompt(capture, [100, 60, 300, 240], frame=2)
    (capture / "left/left000002.jpg").write_bytes(b"x")
    made = rectify(capture)
    assert json.loads((made.out / "prompt.json").read_text())["frame"] in (1, 3)
    assert any("the box is taken for frame" in w for w in made.report.warnings)


@pytest.mark.parametrize("count", [1, 3])
def test_captures_of_few_frames_run_with_a_warning(capture, rectify, count):
    _keep(capture, range(count))
    made = rectify(capture)
    assert made.report.frames == {"ok": count} and any(f"only {count} frame" in w for w in made.report.warnings)


def test_swapped_sides(capture, rectify):
    (capture / "left").rename(capture / "x")
    (capture / "right").rename(capture / "left")
    (capture / "x").rename(capture / "right")
    with pytest.raises(CaptureError, match=r"left and right look swapped: (9\d|100)%"):
        rectify(capture)


def test_empty_folders(capture, rectify):
    for p in capture.glob("right/*"):
        p.unlink()
    with pytest.raises(CaptureError, match=r"right.* holds no png or jpg pictures, its counterpart has 8"):
        rectify(capture)


def test_blurred_and_repeated_frames(capture, rectify):
    for side in ("left", "right"):
        p = capture / side / f"{side}000004.jpg"
        cv2.imwrite(str(p), cv2.blur(cv2.imread(str(p)), (61, 9)))
        shutil.copyfile(capture / side / f"{side}000005.jpg", capture / side / f"{side}000006.jpg")
        p = capture / side / f"{side}000002.jpg"
        cv2.imwrite(str(p), cv2.GaussianBlur(cv2.imread(str(p)), (0, 0), 2.2))
    made = rectify(capture)
    assert made.rows[4]["status"] == "blurred" and made.rows[6]["status"] == "duplicate"
    assert made.rows[2]["status"] == "ok" and any("less sharp" in w and "frames 2" in w for w in made.report.warnings)


def test_a_still_scene_with_noise_is_no_duplicate(capture, rectify):
    rng = np.random.default_rng(1)
    for side in ("left", "right"):
        still = cv2.imread(str(capture / side / f"{side}000000.jpg")).astype(float)
        for k in range(8):
            noisy = np.clip(still + rng.normal(0, 1.2, still.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(capture / side / f"{side}{k:06d}.jpg"), noisy)
    made = rectify(capture)
    assert made.report.frames == {"ok": 8} and made.report.metrics["frames_still"] >= 6


def test_exposure_difference_between_the_eyes_is_measured(capture, rectify):
    for p in (capture / "right").iterdir():
        cv2.imwrite(str(p), np.clip(cv2.imread(str(p)) * np.array([1.2, 1.3, 1.4]), 0, 255).astype(np.uint8))
    made = rectify(capture)
    m = made.report.metrics
    assert m["exposure_right_over_left"] == pytest.approx(1.3, rel=0.05)
    assert m["exposure_right_over_left_red"] == pytest.approx(1.4, rel=0.06)
    assert any("brighter than the left" in w for w in made.report.warnings)


def test_textureless_pair_is_said_not_guessed(capture, rectify):
    for p in [*capture.glob("left/*"), *capture.glob("right/*")]:
        cv2.imwrite(str(p), np.full((300, 400, 3), 90 + int(p.stem[-1]), np.uint8))
    made = rectify(capture)
    assert any("could not be measured" in w for w in made.report.warnings) and made.report.method == "copied"


def test_opencv_file_in_millimetres_names_the_setting(synthetic_capture, rectify, tmp_path):
    raw, c = make_raw(synthetic_capture, tmp_path / "raw", frames=2)
    (raw / "calibration.json").unlink()
    storage = cv2.FileStorage(str(raw / "calibration.yml"), cv2.FILE_STORAGE_WRITE)
    R = np.ascontiguousarray(c.right_from_left[:3, :3])
    values = {
        "M1": c.left.K,
        "D1": c.left.distortion,
        "M2": c.right.K,
        "D2": c.right.distortion,
        "R": R,
        "T": c.right_from_left[:3, 3] * 1e3,
    }
    for k, v in values.items():
        storage.write(k, v)
    storage.release()
    with pytest.raises(CaptureError, match=r"rectify\.calibration_unit=mm"):
        rectify(raw)
    made = rectify(raw, calibration_unit="mm")
    assert made.report.metrics["baseline_mm"] == pytest.approx(63.0, abs=0.01)
