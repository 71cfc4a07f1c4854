"""Captures as people have them: names, masks, calibrations and recordings. Each is read right, or refused or warned of with the reason."""

import json
import shutil

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.images import read_rgb
from stages.rectify.checks import strange_pairs
from tests.rectify.raw_capture import calibration_for

EXIF = bytes.fromhex("ffe1002245786966000049492a0008000000010012010300010000000300000000000000")


def _sides(capture):
    return [sorted((capture / side).iterdir()) for side in ("left", "right")]


def _opencv(path, K, baseline_m):
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    T = np.array([[-baseline_m], [0], [0]])
    for key, value in {
        "M1": K,
        "D1": np.zeros((1, 5)),
        "M2": K,
        "D2": np.zeros((1, 5)),
        "R": np.eye(3),
        "T": T,
    }.items():
        storage.write(key, value)
    storage.release()


def _to_opencv(capture, scale):
    """calibration.yml without a picture size, for pictures `scale` times as large."""
    data = json.loads((capture / "calibration.json").read_text())
    K = np.array(data["K"]).reshape(3, 3)
    K[:2] *= scale
    (capture / "calibration.json").unlink()
    _opencv(capture / "calibration.yml", K, data["baseline_m"])


def _left(made, frame):
    return read_rgb(made.out / "pairs" / made.rows[frame]["left"]).astype(int)


def test_times_as_names_come_in_the_order_of_time(capture, rectify, synthetic_capture):
    for side in _sides(capture):
        for k, path in enumerate(side):
            path.rename(path.with_name(f"{1305031102.175304 + 0.331 * k:.6f}.jpg"))
    made = rectify(capture)
    for k in range(8):
        assert np.abs(_left(made, k) - read_rgb(synthetic_capture / f"left/left{k:06d}.jpg")).max() == 0


def test_a_right_camera_that_counts_from_one_is_found_out(capture, rectify, synthetic_capture):
    for path in reversed(_sides(capture)[1]):
        path.rename(path.with_name(f"right{int(path.stem[-6:]) + 1:06d}.jpg"))
    made = rectify(capture)
    assert any("each left picture fits the right one after its partner" in w for w in made.report.warnings)
    assert made.report.frames == {"ok": 8} and abs(made.report.metrics["row_offset_before_px"]) < 0.1
    for k in range(8):
        assert (
            read_rgb(made.out / "pairs" / made.rows[k]["right"])
            == read_rgb(synthetic_capture / f"right/right{k:06d}.jpg")
        ).all()


def test_a_right_camera_that_repeats_a_picture_loses_that_frame(capture, rectify):
    shutil.copyfile(capture / "right/right000003.jpg", capture / "right/right000004.jpg")
    made = rectify(capture)
    assert made.rows[4]["status"] == "duplicate" and "the right picture repeats" in made.rows[4]["reason"]


@pytest.mark.parametrize(("scale", "made"), [(0.5, r"20\dx1[45]\d"), (1.9, r"7\d\dx5\d\d")])
def test_a_calibration_of_another_size_is_refused(capture, rectify, scale, made):
    _to_opencv(capture, scale)
    with pytest.raises(CaptureError, match=f"principal point lies at .* looks made for about {made} px"):
        rectify(capture)


def test_an_order_that_no_time_can_have_is_mentioned(synthetic_capture, rectify, tmp_path):
    capture = tmp_path / "capture"
    shutil.copytree(synthetic_capture, capture, ignore=shutil.ignore_patterns("gt"))
    assert not any("ordered" in w for w in rectify(capture).report.warnings)
    names = [
        "9f3c",
        "04de",
        "b771",
        "5a20",
        "e8b1",
        "2c96",
        "d03f",
        "71aa",
        "38c5",
        "c6f4",
        "1be7",
        "a952",
        "60d8",
        "f41b",
        "8e0c",
        "4d73",
    ]
    for side in _sides(capture):
        for path, name in zip(side, names, strict=True):
            path.rename(path.with_name(f"{name}x.jpg"))
    assert any("the pictures do not look ordered" in w for w in rectify(capture).report.warnings)


def test_twelve_bits_in_sixteen_and_white_pictures_are_mentioned(capture, rectify):
    for path in (p for side in _sides(capture) for p in side):
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)).astype(np.uint16) * 16)
        path.unlink()
    assert any("nearly black" in w and "12 or 14 bits" in w for w in rectify(capture).report.warnings)
    for path in (p for side in _sides(capture) for p in side):
        picture = np.minimum(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 16, 255).astype(np.uint8)
        picture[:120] = 255
        cv2.imwrite(str(path), picture)
    assert any("of the picture is white" in w for w in rectify(capture).report.warnings)


def test_upside_down_cameras_are_used_as_stored(capture, rectify, synthetic_capture):
    for path in (p for side in _sides(capture) for p in side):
        data = path.read_bytes()
        path.write_bytes(data[:2] + EXIF + data[2:])
    made = rectify(capture)
    assert any("EXIF orientation 3 (turned by 180 degrees" in w for w in made.report.warnings)
    assert np.abs(_left(made, 2) - read_rgb(synthetic_capture / "left/left000002.jpg")).max() == 0


def test_swapped_and_turned_pictures_get_no_advice_to_swap(capture, rectify):
    for path in (p for side in _sides(capture) for p in side):
        cv2.imwrite(str(path), cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_180))
        data = path.read_bytes()
        path.write_bytes(data[:2] + EXIF + data[2:])
    with pytest.raises(CaptureError, match="further right") as caught:
        rectify(capture)
    assert "EXIF orientation 3" in caught.value.advice and "swap" not in str(caught.value)


def test_an_unknown_key_of_the_prompt_is_an_error(capture, rectify):
    (capture / "prompt.json").write_text(json.dumps({"frame": 0, "bbox": [1, 2, 3, 4]}))
    with pytest.raises(CaptureError, match="unknown key 'bbox', did you mean box_xyxy"):
        rectify(capture)


def test_names_that_are_nearly_right_are_mentioned(capture, rectify):
    (capture / "mask").mkdir()
    (capture / "masks").mkdir()
    (capture / "masks/000.npy").write_bytes(b"x")
    (capture / "promt.json").write_text((capture / "prompt.json").read_text())
    (capture / "prompt.json").unlink()
    (capture / "gt").mkdir()
    said = rectify(capture).report.warnings
    assert "promt.json is not read: did it mean to be prompt.json?" in said
    assert any("masks/ holds files that are not read (1 .npy)" in w for w in said) and not any("gt" in w for w in said)
    (capture / "masks/000.npy").unlink()
    (capture / "masks").rmdir()
    assert "mask is not read: did it mean to be masks?" in rectify(capture).report.warnings


def test_sixteen_bits_with_alpha_and_a_grey_right_eye(capture, rectify, synthetic_capture):
    for path in _sides(capture)[0]:
        deep = cv2.imread(str(path)).astype(np.uint16) * 257
        cv2.imwrite(str(path.with_suffix(".tif")), np.dstack([deep, np.full(deep.shape[:2], 65535, np.uint16)]))
        path.unlink()
    for path in _sides(capture)[1]:
        cv2.imwrite(str(path.with_suffix(".png")), (cv2.imread(str(path), 0) * 0.75).astype(np.uint8))
        path.unlink()
    made = rectify(capture)
    assert np.abs(_left(made, 3) - read_rgb(synthetic_capture / "left/left000003.jpg")).max() == 0
    assert any("darker" in w for w in made.report.warnings) and abs(made.report.metrics["row_offset_before_px"]) < 0.1


def test_a_calibration_of_slightly_other_size_is_mentioned(capture, rectify):
    _to_opencv(capture, 0.8)
    assert any("made for about 32" in w for w in rectify(capture).report.warnings)


def _video(path, pictures, code="mp4v"):
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, pictures[0].shape[1::-1])
    for picture in pictures:
        out.write(picture)
    out.release()


def _joined(capture, join):
    pairs = [join([cv2.imread(str(p)) for p in pair]) for pair in zip(*_sides(capture), strict=True)]
    for side in ("left", "right"):
        shutil.rmtree(capture / side)
    return pairs


def test_over_under_video_is_read_and_one_upright_view_is_refused(capture, rectify, synthetic_capture):
    pairs = _joined(capture, np.vstack)
    _video(capture / "stereo.mp4", pairs)
    made = rectify(capture, select="all")
    assert (
        any("read as over-under" in w for w in made.report.warnings)
        and abs(made.report.metrics["row_offset_before_px"]) < 0.2
    )
    assert np.abs(_left(made, 1) - read_rgb(synthetic_capture / "left/left000001.jpg")).mean() < 8
    _video(capture / "stereo.mp4", [cv2.rotate(p[:300], cv2.ROTATE_90_CLOCKWISE) for p in pairs])
    with pytest.raises(CaptureError, match="higher than wide and its upper and lower half do not match"):
        rectify(capture)


def test_a_cut_video_says_how_much_is_missing(capture, rectify):
    _video(capture / "stereo.avi", [p for p in _joined(capture, np.hstack) for _ in range(3)], "MJPG")
    whole = (capture / "stereo.avi").read_bytes()
    (capture / "stereo.avi").write_bytes(whole[: len(whole) // 2])
    made = rectify(capture)
    assert any("header speaks of 24 frames" in w and "recording was cut" in w for w in made.report.warnings)


def test_transposed_rotation_is_refused(capture, rectify):
    turns = [cv2.Rodrigues(np.array(v))[0] for v in ((0.002, 0.020, -0.002), (-0.002, -0.024, 0.003))]
    data = json.loads((capture / "calibration.json").read_text())
    K, w, h = np.array(data["K"]).reshape(3, 3), 400, 300
    u, v = np.meshgrid(np.arange(w, dtype=float), np.arange(h, dtype=float))
    for side, turn in zip(_sides(capture), turns, strict=True):
        to = cv2.undistortPoints(np.stack([u.ravel(), v.ravel()], 1)[:, None], K, None, R=turn, P=K)[:, 0].astype(
            np.float32
        )
        for p in side:
            cv2.imwrite(
                str(p),
                cv2.remap(
                    cv2.imread(str(p)),
                    to[:, 0].reshape(h, w),
                    to[:, 1].reshape(h, w),
                    cv2.INTER_CUBIC,
                    borderMode=cv2.BORDER_REPLICATE,
                ),
                [cv2.IMWRITE_JPEG_QUALITY, 98],
            )
    R, t = turns[1].T @ turns[0], turns[1].T @ np.array([-data["baseline_m"], 0, 0])
    eye = {"K": K.ravel().tolist(), "distortion": []}
    for given in (R, R.T):
        rig = {"R": given.ravel().tolist(), "t_m": t.tolist()}
        raw = {"rectified": False, "image_size": data["image_size"], "left": eye, "right": eye, "right_from_left": rig}
        (capture / "calibration.json").write_text(json.dumps(raw))
        if given is R:
            assert abs(rectify(capture).report.metrics["row_offset_before_px"]) < 0.3
        else:
            with pytest.raises(CaptureError, match=r"by 0\.\d px with R transposed\n.*the other way round"):
                rectify(capture)


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_a_focal_length_that_the_pictures_contradict_is_mentioned(synthetic_capture, rectify, tmp_path, factor):
    """K scaled with the principal point kept, as of another zoom: rows meet all the same."""
    capture = tmp_path / "capture"
    shutil.copytree(synthetic_capture, capture, ignore=shutil.ignore_patterns("gt"))
    data = json.loads((capture / "calibration.json").read_text())
    data["K"][0], data["K"][4] = data["K"][0] * factor, data["K"][4] * factor
    (capture / "calibration.json").write_text(json.dumps(data))
    said = [w for w in rectify(capture).report.warnings if "the pictures fit a focal length of about" in w]
    assert bool(said) == (factor != 1.0)


def test_rectified_pictures_with_a_calibration_of_raw_ones_are_refused(synthetic_capture, rectify, capture):
    calibration_for(Rig.load(synthetic_capture / "calibration.json")).save(capture / "calibration.json")
    with pytest.raises(CaptureError, match="the pictures look rectified already"):
        rectify(capture)


def test_one_eye_twice_is_refused(capture, rectify):
    for left, right in zip(*_sides(capture), strict=True):
        shutil.copyfile(left, right)
    with pytest.raises(CaptureError, match="both eyes show the same picture: 100%"):
        rectify(capture)


@pytest.mark.parametrize(("share", "end"), [(0.8, ""), (0.4, "warned"), (0.1, "refused")])
def test_rows_that_agree_in_few_matches_are_warned_of_or_refused(share, end):
    rng = np.random.default_rng(0)
    pair = np.repeat(np.arange(6), 100)
    rows = np.where(rng.random(600) < share, rng.normal(0, 0.2, 600), rng.uniform(-60, 60, 600))
    if end == "refused":
        with pytest.raises(CaptureError, match="not of one moment, or not of this calibration"):
            strange_pairs(pair, rows)
    else:
        assert bool(strange_pairs(pair, rows)) == (end == "warned")


def test_a_right_picture_of_another_size_or_zoom(capture, rectify):
    right = _sides(capture)[1]
    for path in right:
        view = cv2.imread(str(path))
        cv2.imwrite(str(path), cv2.resize(view[15:-15, 20:-20], view.shape[1::-1]))
    assert any("more than a good calibration is off by" in w for w in rectify(capture).report.warnings)
    for path in right:
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5))
    with pytest.raises(CaptureError, match=r"0 of 8 frames are usable .*left is 400x300 px, right is 200x150 px"):
        rectify(capture)
