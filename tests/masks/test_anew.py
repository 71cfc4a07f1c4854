"""What a hand has put down elsewhere is found again from a remnant; nothing of another colour or size is taken for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.masks.cut.frame_cut import FrameCut
from stages.masks.cut.seed import Seed, from_box
from stages.masks.follow.anew import found_anew, shrunk
from stages.masks.stereo_method import StereoMethod
from tests.masks.flat_scene import THING_PX, FlatScene, jaccard, texture

START, ELSEWHERE = (110.0, 120.0), (235.0, 100.0)


def seed_of(scene: FlatScene) -> Seed:
    view = scene.load(0)
    return from_box(view, scene.job().prompt.box, scene.job().cut, np.random.default_rng(0))


def anew(scene: FlatScene, seed: Seed):
    return found_anew(scene.load(1), seed, seed.colours, seed.of_object, scene.job().cut)


def remnant(share: float) -> tuple[Seed, FrameCut]:
    scene = FlatScene([START])
    seed = seed_of(scene)
    rows = np.flatnonzero(seed.mask.any(1))
    part = seed.mask.copy()
    part[rows[round(share * len(rows))] :] = False
    return seed, FrameCut(part, 1.0, 1.0, 1.0, (THING_PX, THING_PX))


def test_a_remnant_is_told_from_a_mask():
    assert shrunk(*remnant(0.2)) and not shrunk(*remnant(0.8))


def test_farther_away_is_not_less():
    """Half as near, a quarter of the pixels: the whole object."""
    seed, cut = remnant(0.4)
    assert shrunk(seed, cut)
    assert not shrunk(seed, replace(cut, near_range=(0.6 * THING_PX, 0.6 * THING_PX)))


def test_it_is_found_where_it_was_put_down():
    scene = FlatScene([START, ELSEWHERE])
    found = anew(scene, seed_of(scene))
    assert found is not None and jaccard(found.mask, scene.mask(1)) > 90


def test_where_it_is_not_nothing_is_found():
    scene = FlatScene([START, None])
    assert anew(scene, seed_of(scene)) is None


@pytest.mark.parametrize("other", [((30, 60, 160), (60, 190, 240)), ((60, 70, 80), (120, 115, 110))])
def test_another_thing_is_not_taken_for_it(other):
    """Blue, or in the wall's own colours, as near and as large."""
    scene = FlatScene([START, ELSEWHERE])
    seed = seed_of(scene)
    scene.thing = texture(2, *other)
    assert anew(scene, seed) is None


def test_without_depth_nothing_is_looked_for():
    scene = FlatScene([START, ELSEWHERE])
    assert anew(scene, replace(seed_of(scene), near_range=None)) is None


@pytest.mark.parametrize("jump", [(50, 30), (70, 0)])
def test_a_leap_between_two_frames_loses_no_frame(jump):
    """Flow would hold on to a remnant for three frames, or to nothing for one."""
    before = [(100.0 + 3 * k, 120.0) for k in range(4)]
    scene = FlatScene([*before, *[(x + 12 + jump[0], y + jump[1]) for x, y in before]])
    results = list(StereoMethod().segment(scene.job(kind="flow")).results)
    assert min(jaccard(r.mask, scene.mask(r.view.frame)) for r in results) > 90
