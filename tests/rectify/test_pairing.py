"""Pictures of a pair that are not of one moment are found out, said, and paired as the rows of their matches tell."""

import shutil

import cv2
import pytest

from stages.core.images import read_rgb
from stages.rectify.pairing import Shift


def _right(capture):
    return sorted((capture / "right").iterdir())


def _number(paths, numbers):
    moved = [p.rename(p.with_name(f"tmp{k}{p.suffix}")) for k, p in enumerate(paths)]
    for p, n in zip(moved, numbers, strict=True):
        p.rename(p.with_name(f"right{n:06d}{p.suffix}"))


def _pairs(made, true, partners):
    """Every usable frame's right picture is the one of its moment."""
    for k, j in partners.items():
        assert (
            read_rgb(made.out / "pairs" / made.rows[k]["right"]) == read_rgb(true / f"right/right{j:06d}.jpg")
        ).all()


def test_two_places_apart(capture, rectify, synthetic_capture):
    _number(_right(capture), range(2, 10))
    made = rectify(capture)
    assert any("fits the right one 2 places after its partner" in w for w in made.report.warnings)
    _pairs(made, synthetic_capture, {k: k for k in range(8)})


def test_a_dropped_picture_is_named(capture, rectify, synthetic_capture):
    _right(capture)[1].unlink()
    _number(_right(capture), range(7))
    made = rectify(capture)
    (said,) = [w for w in made.report.warnings if "of one moment" in w]
    assert "from frame 1 on" in said and "the right camera has no picture of the moment of frame 1" in said
    assert made.rows[1]["status"] == "missing_pair"
    _pairs(made, synthetic_capture, {k: k for k in (0, 2, 3, 4, 5, 6, 7)})


def test_videos_that_begin_apart(capture, rectify):
    for side, first in (("left", 0), ("right", 1)):
        pictures = [cv2.imread(str(p)) for p in sorted((capture / side).iterdir())][first:]
        out = cv2.VideoWriter(
            str(capture / f"{side}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, pictures[0].shape[1::-1]
        )
        for picture in pictures:
            out.write(picture)
        out.release()
        shutil.rmtree(capture / side)
    made = rectify(capture)
    assert any("fits the right one before its partner" in w for w in made.report.warnings)
    assert made.rows[0]["status"] == "missing_pair" and abs(made.report.metrics["row_offset_before_px"]) < 0.2
    assert made.report.metrics["row_spread_after_px"] < 0.5


@pytest.mark.parametrize(
    ("steps", "partners"),
    [
        (((0, 0),), [0, 1, 2, 3]),
        (((0, 1),), [1, 2, 3, 4]),
        (((0, -1),), [None, 0, 1, 2]),
        (((0, 0), (2, -1)), [0, 1, None, 2]),
        (((0, 0), (2, 1)), [0, 1, 3, 4]),
    ],
)
def test_partners_of_a_shift(steps, partners):
    shift = Shift(steps)
    assert [shift.partner(k) for k in range(4)] == partners
    assert all(shift.left_of(j) == k for k, j in enumerate(partners) if j is not None)
    assert shift.moves is (partners != [0, 1, 2, 3])
