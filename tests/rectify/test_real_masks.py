"""Masks that came with a capture: any encoding is understood, and what does not fit its pictures is refused or said."""

import re
import shutil

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.images import read_mask


def _masks(capture, synthetic_capture, suffix=".png", first=0, change=lambda m: m):
    (capture / "masks").mkdir()
    for k in range(8):
        mask = cv2.imread(str(synthetic_capture / f"gt/masks/{k:06d}.png"), 0)
        cv2.imwrite(str(capture / f"masks/{k + first:06d}{suffix}"), change(mask), [cv2.IMWRITE_JPEG_QUALITY, 75])


def test_jpeg_masks_are_the_object_without_a_rim(capture, rectify, synthetic_capture):
    _masks(capture, synthetic_capture, ".jpg")
    made = rectify(capture)
    for k in range(8):
        true, found = (read_mask(p / f"masks/{k:06d}.png") for p in (synthetic_capture / "gt", made.out / "given"))
        assert abs(found.sum() / true.sum() - 1) < 0.005


def test_masks_numbered_from_one_go_by_order(capture, rectify, synthetic_capture):
    _masks(capture, synthetic_capture, first=1)
    made = rectify(capture)
    assert any("masks/ is numbered from 1, the frames from 0" in w for w in made.report.warnings)
    for k in (0, 7):
        assert (
            read_mask(made.out / f"given/masks/{k:06d}.png") == read_mask(synthetic_capture / f"gt/masks/{k:06d}.png")
        ).all()


def test_inverted_masks_are_refused(capture, rectify, synthetic_capture):
    _masks(capture, synthetic_capture, change=lambda m: 255 - m)
    with pytest.raises(CaptureError, match="masks/ looks inverted: 8 of 8"):
        rectify(capture)


def _masks_of_another_frame(capture, synthetic_capture, by):
    (capture / "masks").mkdir()
    for k in range(8):
        if k + by >= 0:
            shutil.copyfile(synthetic_capture / f"gt/masks/{k + by:06d}.png", capture / f"masks/{k:06d}.png")


@pytest.mark.parametrize(("by", "words"), [(1, "1 frame after their own"), (-2, "2 frames before their own"), (0, "")])
def test_masks_of_another_frame_are_mentioned(capture, rectify, synthetic_capture, by, words):
    _masks_of_another_frame(capture, synthetic_capture, by)
    said = [w for w in rectify(capture).report.warnings if w.startswith("masks/ ") and "nothing for" not in w]
    assert (words in said[0] and len(said) == 1) if words else not said


@pytest.mark.parametrize(("change", "words"), [(cv2.dilate, "too large"), (cv2.erode, "too small")])
def test_masks_of_another_width_are_mentioned(capture, rectify, synthetic_capture, change, words):
    _masks(capture, synthetic_capture, change=lambda m: change(m, np.ones((11, 11))))
    said = [w for w in rectify(capture).report.warnings if w.startswith("masks/ ")]
    assert len(said) == 1 and f"masks/ look {words}" in said[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, k: m[:, ::-1], "clearly better mirrored"),
        (lambda m, k: np.roll(m, -90, 1), r"further right and \d px further"),
        (lambda m, k: m * (k > 3), "of the 8 masks looked at are empty: frames 0-3"),
    ],
)
def test_mirrored_and_empty_masks_are_mentioned(capture, rectify, synthetic_capture, change, words):
    (capture / "masks").mkdir()
    for k in range(8):
        mask = cv2.imread(str(synthetic_capture / f"gt/masks/{k:06d}.png"), 0)
        cv2.imwrite(str(capture / f"masks/{k:06d}.png"), change(mask, k))
    assert any(re.search(words, w) for w in rectify(capture).report.warnings)


def test_one_mask_for_all_frames_is_mentioned(capture, rectify, synthetic_capture):
    (capture / "masks").mkdir()
    for k in range(8):
        shutil.copyfile(synthetic_capture / "gt/masks/000000.png", capture / f"masks/{k:06d}.png")
    assert any("the same mask for frames whose pictures differ" in w for w in rectify(capture).report.warnings)


def test_several_labels_are_said_and_an_undecided_outline_is_not_object(capture, rectify, synthetic_capture):
    def labelled(mask):
        line = cv2.dilate(mask, np.ones((5, 5))) - cv2.erode(mask, np.ones((3, 3)))
        out = np.where(mask > 0, np.uint8(1), np.uint8(0))
        out[:, :200] *= 2
        out[line > 0] = 255
        return out

    _masks(capture, synthetic_capture, change=labelled)
    made = rectify(capture)
    assert any("up to 2 labels" in w for w in made.report.warnings)
    true, found = (read_mask(p / "masks/000000.png") for p in (synthetic_capture / "gt", made.out / "given"))
    assert (found == (cv2.erode(true.astype(np.uint8), np.ones((3, 3))) > 0)).all()
