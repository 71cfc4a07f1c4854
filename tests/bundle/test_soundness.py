"""A pose that its points bear out and its surface does not is marked; poses that are right, and surfaces that say nothing, are not."""

from __future__ import annotations

import numpy as np
import pytest

from stages.bundle.soundness import apart
from stages.core.dense.view import DenseView
from tests.track.test_verification import poses, view

SIZE_M = 0.1
STEP_DEG = 15.0


@pytest.fixture(scope="module")
def printed() -> dict[int, DenseView]:
    return {k: view(STEP_DEG * k) for k in range(8)}


def test_right_poses_stay(printed):
    assert apart(printed, poses(), SIZE_M, 1) == {}


@pytest.mark.parametrize("off_deg", [4.0, 8.0])
def test_a_turned_frame_is_marked_with_how_far_its_surface_moves(printed, off_deg):
    found = apart(printed, poses(f4=off_deg), SIZE_M, 1)
    assert 4 in found and "does not stay" in found[4]
    assert not {0, 1, 2, 3} & set(found), "what comes after it is too far from what came before to be tied past it; those are the most"
    told_mm = float(found[4].split("move by ")[1].split(" mm")[0])
    assert told_mm > 1.0


def test_frames_turned_together_are_all_marked(printed):
    """Two frames that agree with each other, but not with the six before."""
    assert list(apart(printed, poses(f6=8.0, f7=8.0), SIZE_M, 1)) == [6, 7]


def test_surfaces_that_cannot_be_aligned_say_nothing():
    bare = view(0.0)
    nothing = DenseView(bare.gray, np.full_like(bare.disparity, np.nan), bare.sigma, bare.mask, bare.rig, bare.zoom)
    assert apart(dict.fromkeys(range(8), nothing), poses(f4=20.0), SIZE_M, 1) == {}
