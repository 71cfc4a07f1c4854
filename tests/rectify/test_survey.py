"""Frame choice: evenly thinned, the sharpest of near-duplicates, the prompt's frame always."""

import tracemalloc

import cv2
import numpy as np
import pytest

from stages.core.frame_names import listed
from stages.rectify.checks import count_warnings
from stages.rectify.figures import FrameFigures, compare, edge_strength, gain, small_pictures
from stages.rectify.raw_pairs import Picture, RawPair
from stages.rectify.survey import Choice, select, survey


def _rows(motion, sharp=None):
    return [
        FrameFigures(k, f"f{k}", sharpness=1.0 if sharp is None else sharp[k], motion=m) for k, m in enumerate(motion)
    ]


def _used(rows):
    return [r.frame for r in rows if r.ok]


def test_one_sharpest_frame_per_step_of_motion():
    rows = _rows([np.nan] + [0.005] * 19, [1 + (k % 4 == 2) for k in range(20)])
    select(rows, Choice("motion"))
    assert _used(rows) == [2, 6, 10, 14, 18]
    assert {r.status for r in rows} == {"ok", "not_selected"}


def test_a_pause_gives_one_frame_and_fast_motion_keeps_all():
    rows = _rows([np.nan] + [0.0] * 5 + [0.03] * 4)
    select(rows, Choice("motion"))
    assert len(_used(rows)) == 5 and _used(rows)[1:] == [6, 7, 8, 9]


def test_thinning_is_even_and_keeps_the_prompt():
    rows = _rows([0.01] * 100)
    select(rows, Choice(most=10), {37})
    used = _used(rows)
    assert len(used) == 10 and 37 in used and used[0] == 0 and used[-1] == 99 and max(np.diff(used)) <= 16


def test_sparse_frames_are_never_farther_apart_than_the_step_unless_the_capture_is():
    motion = [np.nan, *np.random.default_rng(1).uniform(0.002, 0.03, 300), 0.09, 0.09, 0.01]
    rows = _rows(motion, np.random.default_rng(2).uniform(1, 2, len(motion)))
    select(rows, Choice("sparse", 0.06))
    used, place = _used(rows), np.cumsum(np.nan_to_num(motion))
    gaps, single = np.diff(place[used]), np.diff(used) == 1
    assert used[0] == 0 and (gaps[~single] <= 0.06 + 1e-9).all() and gaps[single].max() > 0.08
    assert 0.02 < np.median(gaps) and len(used) < len(rows) / 2
    assert {r.reason for r in rows if not r.ok} == {"the frames beside it overlap enough"}


def test_sparse_keeps_enough_of_a_small_turn_and_all_of_a_wide_one():
    small, wide, still = _rows([0.006] * 31), _rows([0.08] * 40), _rows([0.0] * 10)
    for rows in (small, wide, still):
        select(rows, Choice("sparse", 0.06, 24), {5})
    assert len(_used(small)) == 24 and len(_used(wide)) == 40 and len(_used(still)) == 10 and 5 in _used(small)


def test_motion_is_a_share_of_the_width():
    rng = np.random.default_rng(0)
    big = np.kron(rng.integers(0, 255, (60, 90), np.uint8), np.ones((8, 8), np.uint8))
    a, b = big[:, 40:680], big[:, 34:674]
    motion, difference = compare(small_pictures(a), small_pictures(b))
    assert motion == pytest.approx(6 / 640, rel=0.3) and difference > 5


def test_edges_fall_with_blur_across_it_not_with_exposure():
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 200, (40, 60)).astype(np.uint8), np.ones((8, 8), np.uint8))
    image = cv2.GaussianBlur(blocks, (0, 0), 1)
    base = np.array(edge_strength(image))
    np.testing.assert_allclose(edge_strength((image * 0.6).astype(np.uint8)), base, rtol=0.06)
    motion = np.array(edge_strength(cv2.blur(image, (25, 1)))) / base
    assert motion[0] < 0.35 and motion[1] > 2.5 * motion[0]
    assert max(np.array(edge_strength(cv2.GaussianBlur(image, (0, 0), 8))) / base) < 0.25


def test_gain_survives_a_shift_of_the_content():
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(20, 180, (30, 60)), np.ones((8, 8), int)).astype(np.uint8)
    assert gain(scene[:, :400], (scene[:, 40:440] * 1.25).astype(np.uint8)) == pytest.approx(1.25, rel=0.03)


def test_frame_lists_are_short():
    assert listed([3, 7, 8, 9, 12]) == "3, 7-9, 12" and listed(range(0, 60, 2)).endswith("and 18 more")


class _Endless:
    """A reader that makes its pictures on the fly."""

    sequential, notes = False, ()

    def __init__(self, count):
        self.count = count

    def stream(self, wanted=lambda frame: True):
        for k in range(self.count):
            picture = np.full((300, 400, 3), k % 250, np.uint8)
            yield RawPair(k, Picture(frame=picture), Picture(frame=picture.copy()), f"f{k}")


def test_memory_does_not_grow_with_the_number_of_frames():
    peaks = []
    for count in (20, 200):
        tracemalloc.start()
        rows = survey(_Endless(count), 2, lambda done, note: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(rows) == count
    assert peaks[1] < peaks[0] + 3_000_000  # one 400x300 pair is 0.7 MB, and some more or less are in flight


def test_many_slow_frames_are_mentioned():
    assert "select=motion" in count_warnings(_rows([0.002] * 200))[0] and not count_warnings(_rows([0.02] * 200))
