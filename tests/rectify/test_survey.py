"""Frame choice: evenly thinned, the sharpest of near-duplicates, the prompt's frame always."""

import cv2
import numpy as np
import pytest

from stages.rectify.checks import listed
from stages.rectify.figures import FrameFigures, compare, edge_strength, gain, small_pictures
from stages.rectify.survey import select


def _rows(motion, sharp=None):
    return [FrameFigures(k, f"f{k}", sharpness=1.0 if sharp is None else sharp[k], motion=m) for k, m in enumerate(motion)]


def _used(rows):
    return [r.frame for r in rows if r.ok]


def test_one_sharpest_frame_per_step_of_motion():
    rows = _rows([np.nan] + [0.005] * 19, [1 + (k % 4 == 2) for k in range(20)])
    select(rows, True, 0.02, None, None)
    assert _used(rows) == [2, 6, 10, 14, 18]
    assert {r.status for r in rows} == {"ok", "not_selected"}


def test_a_pause_gives_one_frame_and_fast_motion_keeps_all():
    rows = _rows([np.nan] + [0.0] * 5 + [0.03] * 4)
    select(rows, True, 0.02, None, None)
    assert len(_used(rows)) == 5 and _used(rows)[1:] == [6, 7, 8, 9]


def test_thinning_is_even_and_keeps_the_prompt():
    rows = _rows([0.01] * 100)
    select(rows, False, 0.02, 10, 37)
    used = _used(rows)
    assert len(used) == 10 and 37 in used and used[0] == 0 and used[-1] == 99 and max(np.diff(used)) <= 16


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
    scene = np.kron(rng.integers(20, 180, (30, 60)).astype(float), np.ones((8, 8)))
    assert gain(scene[:, :400], scene[:, 40:440] * 1.25) == pytest.approx(1.25, rel=0.03)


def test_frame_lists_are_short():
    assert listed([3, 7, 8, 9, 12]) == "3, 7-9, 12" and listed(range(0, 60, 2)).endswith("and 18 more")
