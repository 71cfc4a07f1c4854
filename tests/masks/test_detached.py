"""A piece that hangs apart in strange colours is no part of the object; one in the object's colours is, though a finger parts it."""

from __future__ import annotations

import numpy as np
import pytest

from stages.masks.cut.colour_model import histogram
from stages.masks.cut.detached import without_strangers
from stages.masks.frame.working_frame import WorkingFrame
from tests.masks.flat_scene import texture

H, W = 120, 160
RED, BLUE = ((150, 40, 30), (240, 190, 60)), ((30, 60, 160), (60, 190, 240))


def shown(**pieces: tuple[slice, slice]) -> tuple[WorkingFrame, np.ndarray]:
    """A grey picture with pieces of `red` and `blue` texture, and the mask of both."""
    rgb, mask = np.full((H, W, 3), 90, np.float32), np.zeros((H, W), bool)
    for name, where in pieces.items():
        rgb[where] = texture(2, *(RED if name.startswith("red") else BLUE), (H, W))[where]
        mask[where] = True
    nothing = np.full((H, W), np.nan, np.float32)
    return WorkingFrame(0, rgb.astype(np.uint8), nothing, nothing), mask


@pytest.fixture
def of_object() -> np.ndarray:
    return histogram(texture(2, *RED).reshape(-1, 3))


MAIN, APART, CRUMB = np.s_[20:100, 20:80], np.s_[30:70, 110:150], np.s_[10:14, 150:154]


def test_a_strange_piece_goes(of_object):
    view, mask = shown(red=MAIN, blue=APART)
    found = without_strangers(view, mask, of_object)
    assert found[MAIN].all() and not found[APART].any()


def test_a_piece_in_its_own_colours_stays(of_object):
    view, mask = shown(red=MAIN, red_too=APART)
    np.testing.assert_array_equal(without_strangers(view, mask, of_object), mask)


def test_the_largest_piece_stays_whatever_its_colours(of_object):
    """A side that was not seen before."""
    view, mask = shown(blue=MAIN)
    np.testing.assert_array_equal(without_strangers(view, mask, of_object), mask)


def test_a_crumb_is_too_small_to_tell(of_object):
    view, mask = shown(red=MAIN, blue=CRUMB)
    np.testing.assert_array_equal(without_strangers(view, mask, of_object), mask)
