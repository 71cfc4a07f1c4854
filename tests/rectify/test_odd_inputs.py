"""More captures as people have them, each odd in one way: what a look before work says of it, which a run says too."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.frame_names import gaps, in_order, pair_files
from stages.core.images import read_disparity
from stages.rectify.config import RectifyConfig
from stages.rectify.look import look_at


@pytest.fixture
def whole(synthetic_capture: Path, tmp_path: Path) -> Path:
    """All 16 pairs of the orbit capture, with its truth, a private copy."""
    return Path(shutil.copytree(synthetic_capture, tmp_path / "whole"))


def change(capture: Path, side: str, how, suffix: str = ".png", first: int = 0) -> None:
    for path in sorted((capture / side).iterdir())[first:]:
        picture = how(cv2.imread(str(path)))
        path.unlink()
        cv2.imwrite(str(path.with_suffix(suffix)), picture)


def reverse(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    for path, content in zip(paths, [p.read_bytes() for p in paths][::-1], strict=True):
        path.write_bytes(content)


def mosaic(bgr: np.ndarray) -> np.ndarray:
    out = bgr[..., 1].copy()
    out[::2, ::2], out[1::2, 1::2] = bgr[::2, ::2, 0], bgr[1::2, 1::2, 2]
    return out


def calibration(capture: Path, **changes) -> dict:
    data = json.loads((capture / "calibration.json").read_text()) | changes
    (capture / "calibration.json").write_text(json.dumps(data))
    return data


def write_depth(capture: Path, per_metre: float, dtype: type = np.uint16) -> None:
    rig = Rig.load(capture / "calibration.json")
    (capture / "depth").mkdir()
    for k in range(16):
        z = rig.depth_from_disparity(read_disparity(capture / f"gt/disparity/{k:06d}.png"))
        cv2.imwrite(
            str(capture / f"depth/{k:06d}.png"),
            np.nan_to_num(np.rint(per_metre * z)).clip(0, np.iinfo(dtype).max).astype(dtype),
        )


def said(capture: Path) -> str:
    """What is refused, or what is odd."""
    found = look_at(capture, RectifyConfig())
    return f"{found.refused[0]} -> {found.refused[1]}" if found.refused else " ".join(found.odd)


def test_a_mosaic_of_a_colour_filter_is_said(whole):
    for side in ("left", "right"):
        change(whole, side, mosaic)
    assert "raw mosaic of a colour filter" in said(whole)


def test_interlaced_pictures_are_said(whole, rectify):
    for side in ("left", "right"):
        paths = sorted((whole / side).iterdir())
        pictures = [cv2.imread(str(p)) for p in paths]
        for k, path in enumerate(paths):
            picture = pictures[k].copy()
            picture[1::2] = pictures[min(k + 1, 15)][1::2]
            cv2.imwrite(str(path), picture)
    assert "look interlaced" in said(whole)
    assert any("look interlaced" in w for w in rectify(whole).report.warnings)


def test_some_dark_frames_are_named(whole):
    for side in ("left", "right"):
        for path in sorted((whole / side).iterdir())[:6]:
            cv2.imwrite(str(path), cv2.imread(str(path)) // 60)
    assert "6 frames are nearly black: frames 0-5" in said(whole)


def test_exchanged_cx_and_cy_are_refused(whole):
    K = calibration(whole)["K"]
    K[2], K[5] = K[5], K[2]
    calibration(whole, K=K)
    assert "with cx and cy exchanged it lies in the middle -> write cx before cy" in said(whole)


def test_rectified_pictures_with_a_lens_are_said_where_rows_hardly_miss(whole, rectify):
    data = calibration(whole)
    eye = {"K": data["K"], "distortion": [-0.25, 0.1, 0, 0, 0]}
    between = {"R": np.eye(3).ravel().tolist(), "t_m": [-data["baseline_m"], 0, 0]}
    raw = {"rectified": False, "image_size": data["image_size"], "left": eye, "right": eye, "right_from_left": between}
    (whole / "calibration.json").write_text(json.dumps(raw))
    assert "are they rectified already?" in said(whole)
    assert any("are they rectified already?" in w for w in rectify(whole).report.warnings)


@pytest.mark.parametrize(("sides", "words"), [(("right",), "mirror it back"), (("left", "right"), "mirror it back")])
def test_mirrored_pictures_are_no_swapped_folders(whole, sides, words):
    for side in sides:
        change(whole, side, lambda p: p[:, ::-1])
    assert words in said(whole)


def test_a_right_eye_upside_down_is_not_called_swapped(whole):
    change(whole, "right", lambda p: p[::-1, ::-1])
    assert "one eye's pictures may be mirrored or turned" in said(whole) and "swap the folders" not in said(whole)


def test_right_pictures_in_opposite_order_are_refused_not_shifted(whole, rectify):
    reverse(whole / "right")
    assert "the right pictures come in the opposite order" in said(whole)
    with pytest.raises(CaptureError, match="opposite order"):
        rectify(whole)


def test_masks_in_opposite_order_and_in_a_folder_below_are_said(whole):
    shutil.copytree(whole / "gt/masks", whole / "masks")
    assert "opposite order" not in said(whole)
    reverse(whole / "masks")
    assert "masks/ fit their pictures clearly better in the opposite order" in said(whole)
    (whole / "masks").rename(whole / "inner")
    (whole / "masks").mkdir()
    (whole / "inner").rename(whole / "masks/left")
    assert "masks/left/ is not read, and masks/ itself holds no picture" in said(whole)


@pytest.mark.parametrize(("per_metre", "words"), [(1000, ""), (10000, "depth/ says 10 times what the two eyes measure"),
                                                  (1070, "depth/ says 1.07 times")])  # fmt: skip
def test_the_unit_of_given_depth_is_checked_against_both_eyes(whole, rectify, per_metre, words):
    write_depth(whole, per_metre)
    assert words in said(whole) and bool(words) == ("depth/ says" in said(whole))
    if per_metre == 10000:
        assert "per metre would fit" in said(whole)
        with pytest.raises(CaptureError, match="another unit, or another baseline"):
            rectify(whole)
        (whole / "depth/depth.json").write_text('{"kind": "depth", "per_unit": 10000}')
        assert "depth/" not in said(whole)


def test_depth_of_other_frames_is_refused(whole):
    write_depth(whole, 1000)
    rng = np.random.default_rng(0)
    for path in (whole / "depth").iterdir():
        z = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), (z * rng.uniform(0.5, 1.5, z.shape)).astype(np.uint16))
    assert "depth/ does not fit what the two eyes measure" in said(whole)


def test_letterboxed_pictures_are_said(whole):
    for side in ("left", "right"):
        change(whole, side, lambda p: cv2.copyMakeBorder(cv2.resize(p, (400, 240)), 30, 30, 0, 0, cv2.BORDER_CONSTANT))
    assert "black bars of 30 px lie above and below" in said(whole)


def test_red_and_blue_exchanged_in_one_eye_are_said(whole):
    change(whole, "right", lambda p: p[..., ::-1])
    assert "red and blue look exchanged" in said(whole)


def test_a_white_balance_of_its_own_is_said(whole):
    change(whole, "right", lambda p: (p * np.array([0.6, 1, 1])).astype(np.uint8))
    assert "red 1.0" in said(whole) and "blue 0.6" in said(whole) and "lock the white balance" in said(whole)


def test_numbers_that_both_eyes_lack_are_named(whole):
    for side in ("left", "right"):
        for k in (5, 6, 7):
            (whole / f"{side}/{side}{k:06d}.jpg").unlink()
    assert "the numbers 5-7 are missing in both" in said(whole)


def test_hexadecimal_names_come_in_their_order():
    files = [Path(f"left/cam_{k:03x}.png") for k in range(300)]
    shuffled = [files[k] for k in np.random.default_rng(0).permutation(300)]
    assert [a for a, _ in pair_files(shuffled, shuffled)[0]] == files
    padded = [Path(f"{k:03d}.png") for k in (9, 10, 100)]
    assert in_order(padded[::-1]) == padded and in_order([Path("a10.png"), Path("a9.png")])[0].name == "a9.png"


def test_gaps_of_a_count():
    def count(*n):
        return [(Fraction(k), 0) for k in n]

    assert gaps(count(*range(0, 40, 2), *range(44, 80, 2))) == [40, 42]
    assert gaps(count(0, 3, 4, 9, 10, 17, 18, 30, 31)) == [] and gaps(count(0, 1, 5)) == []


def test_masks_that_are_boxes_or_of_other_frames_are_said(whole):
    shutil.copytree(whole / "gt/masks", whole / "masks")
    assert "masks/" not in said(whole)
    paths = sorted((whole / "masks").iterdir())
    contents = [p.read_bytes() for p in paths]
    for path, k in zip(paths, np.random.default_rng(3).permutation(16), strict=True):
        path.write_bytes(contents[k])
    assert "clearly better outlined by the mask of another frame" in said(whole)
    for path, content in zip(paths, contents, strict=True):
        mask = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        x, y, w, h = cv2.boundingRect(mask)
        cv2.imwrite(str(path), cv2.rectangle(np.zeros_like(mask), (x, y), (x + w, y + h), 255, -1))
    assert "masks/ hold boxes, not outlines" in said(whole)
