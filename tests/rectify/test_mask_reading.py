"""Masks of any program mean the same object; what means nothing certain is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.frame_names import by_frame
from stages.core.mask_reading import read_mask, refuse_inverted, rim_share

TRUE = cv2.circle(np.zeros((60, 80), np.uint8), (38, 31), 20, 1, -1) > 0


def _written(tmp_path, image, suffix=".png", *flags):
    path = tmp_path / "masks" / f"000001{suffix}"
    path.parent.mkdir()
    cv2.imwrite(str(path), image, list(flags))
    return path


ENCODINGS = {
    "0 and 255": np.where(TRUE, 255, 0).astype(np.uint8),
    "0 and 1": TRUE.astype(np.uint8),
    "0 and 65535": np.where(TRUE, 65535, 0).astype(np.uint16),
    "0 and 1 of 16 bits": TRUE.astype(np.uint16),
    "a label": np.where(TRUE, 3, 0).astype(np.uint8),
    "two labels": np.where(TRUE, 1, 0).astype(np.uint8) + (TRUE & (np.arange(80) > 38)),
    "red": TRUE[..., None] * np.uint8([0, 0, 255]),
    "dark blue": TRUE[..., None] * np.uint8([5, 0, 0]),
    "three channels": np.dstack([np.where(TRUE, 255, 0).astype(np.uint8)] * 3),
    "opaque": np.dstack([TRUE * np.uint8(255)] * 3 + [np.full(TRUE.shape, 255, np.uint8)]),
    "cut out by alpha": np.dstack([np.full((*TRUE.shape, 3), 90, np.uint8), TRUE * np.uint8(255)]),
    "cut out of black": np.dstack([np.zeros((*TRUE.shape, 3), np.uint8), TRUE * np.uint8(255)]),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_without_loss_are_exact(tmp_path, name):
    assert (read_mask(_written(tmp_path, ENCODINGS[name]), (80, 60)) == TRUE).all()


@pytest.mark.parametrize(("suffix", "flag"), [(".jpg", cv2.IMWRITE_JPEG_QUALITY), (".png", None)])
@pytest.mark.parametrize("quality", [50, 75, 95])
def test_ringing_and_soft_outlines_add_no_rim(tmp_path, suffix, flag, quality):
    soft = cv2.GaussianBlur(ENCODINGS["0 and 255"], (0, 0), 0.7) if flag is None else ENCODINGS["0 and 255"]
    found = read_mask(_written(tmp_path, soft, suffix, *([flag, quality] if flag else [])), (80, 60))
    assert abs(found.sum() / TRUE.sum() - 1) < 0.02 and (found != TRUE).sum() < 0.5 * np.pi * 40
    ring = cv2.dilate(TRUE.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not found[~ring].any()


def test_an_empty_mask_stays_empty_and_a_dark_lossy_one_is_refused(tmp_path):
    assert not read_mask(_written(tmp_path, np.zeros((60, 80), np.uint8)), (80, 60)).any()
    dark = tmp_path / "masks/000002.jpg"
    cv2.imwrite(str(dark), TRUE.astype(np.uint8))
    if cv2.imread(str(dark), -1).max():
        with pytest.raises(CaptureError, match=r"masks/000002\.jpg is a lossy picture whose brightest value is"):
            read_mask(dark, (80, 60))


def test_white_backgrounds_are_refused_objects_at_the_rim_are_not():
    with pytest.raises(
        CaptureError, match=r"masks/ looks inverted: 3 of 4 masks cover the rim of the picture and 7\d% of its area"
    ):
        refuse_inverted([rim_share(~TRUE)] * 3 + [rim_share(TRUE)], [float((~TRUE).mean())] * 4, "masks")
    large = TRUE.copy()
    large[:, :60] = True  # reaches three sides of the picture
    refuse_inverted([rim_share(large)] * 4, [0.8] * 4, "masks")


def _files(numbers):
    return tuple(Path(f"masks/{n:06d}.png") for n in numbers)


def test_numbers_from_another_start_go_by_order_and_are_said():
    frames = [(k, 0) for k in range(8)]
    found, (note,) = by_frame(_files(range(1, 9)), frames, 8, "masks")
    assert {k: int(p.stem) for k, p in found.items()} == {
        k: k + 1 for k in range(8)
    } and "numbered from 1, the frames from 0" in note
    found, notes = by_frame(_files(range(8)), frames, 8, "masks")
    assert {k: int(p.stem) for k, p in found.items()} == {k: k for k in range(8)} and not notes


def test_files_of_no_frame_are_named():
    found, (note,) = by_frame(_files([2, 3, 40, 41, 42, 43]), [(k, 0) for k in range(8)], 8, "masks")
    assert (
        sorted(found) == [2, 3]
        and "masks/ has 4 files that belong to no frame: 000040.png, 000041.png, 000042.png .." in note
    )
