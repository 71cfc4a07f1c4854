"""Following an object: exposure drift, leaving the view and coming back, no depth, a wrong prompt. Lost frames must be said."""

from __future__ import annotations

import numpy as np
import pytest

from stages.masks.cut.colour_model import colour_index, histogram
from stages.masks.follow.passes import Followed, learn_colours
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.stereo_method import StereoMethod
from tests.masks.flat_scene import FlatScene, jaccard, texture


def path(count: int) -> list[tuple[float, float]]:
    """Round a curve within the picture."""
    t = np.linspace(0, 2 * np.pi, count)
    return [(160 + 70 * np.sin(a), 120 + 40 * np.sin(2 * a)) for a in t]


def segment(scene: FlatScene, **job):
    outcome = StereoMethod().segment(scene.job(**job))
    results = list(outcome.results)
    return outcome, results, np.array([jaccard(r.mask, scene.mask(r.view.frame)) for r in results])


def test_object_moving_before_a_wall():
    outcome, results, j = segment(FlatScene(path(14)))
    assert outcome.metrics["kind"].startswith("still camera")
    assert j.min() > 97 and all(r.status == "ok" for r in results), j


def test_exposure_drift_is_divided_out():
    _, _, j = segment(FlatScene(path(14), gains=list(1 + 0.15 * np.sin(np.arange(14)))))
    assert j.min() > 96, j


def test_object_leaves_for_ten_frames_and_comes_back():
    """Its frames without it are lost, with a reason; the ones after are good again."""
    there = path(8)
    leaving = [(160 + 45 * i, 120) for i in range(1, 6)]
    scene = FlatScene([*there, *leaving, *[None] * 10, *leaving[::-1], *there])
    _, results, j = segment(scene)
    gone = [r for r in results if not scene.mask(r.view.frame).any()]
    assert len(gone) >= 10 and all(r.status == "lost" and r.reason and not r.mask.any() for r in gone)
    whole = [i for i, r in enumerate(results) if scene.mask(r.view.frame).sum() > 4800]
    assert j[whole].min() > 95, j
    assert all(results[i].status == "ok" for i in whole)


def test_object_cut_off_by_the_picture_is_said():
    scene = FlatScene([(160, 120), (230, 120), (290, 120), (305, 120)])
    _, results, j = segment(scene)
    assert j.min() > 90 and "border" in results[-1].reason and results[-1].trust < results[0].trust


def test_without_depth_colour_and_flow_do():
    """The camera pans and the object moves: nothing but pictures."""
    centres = [(120 + 5 * i, 120 + 2 * i) for i in range(12)]
    outcome, _, j = segment(FlatScene(centres, depth=False, shift_wall=4.0))
    assert "flow" in outcome.metrics["kind"]
    assert j.mean() > 93 and j.min() > 88, j


def test_still_camera_without_depth():
    outcome, _, j = segment(FlatScene(path(14), depth=False))
    assert outcome.metrics["kind"].startswith("still camera")
    assert j.min() > 95, j


def test_an_object_that_hardly_moves_is_not_taken_for_background():
    _, results, j = segment(FlatScene([(160 + 0.5 * i, 120) for i in range(5)]))
    assert j.min() > 97 and all(r.status == "ok" for r in results), j


def test_box_on_bare_wall_is_not_passed_on_as_good():
    scene = FlatScene([(80, 120)] * 6)
    _, results, _ = segment(scene, box=(200.0, 60.0, 280.0, 180.0))
    assert all(r.status in ("lost", "uncertain") for r in results), [(r.status, r.trust) for r in results]


def test_a_loose_box_is_mentioned_and_does_no_harm():
    outcome, results, j = segment(FlatScene(path(8)), box=(60.0, 30.0, 270.0, 200.0))
    assert any("box" in w for w in outcome.warnings)
    assert j.min() > 96 and all(r.status == "ok" for r in results), j


def test_alike_colours_are_told_apart_by_depth():
    """Object and wall share their colours: only depth and motion tell."""
    from tests.masks.flat_scene import texture

    scene = FlatScene(path(10), thing=texture(5, (60, 70, 80), (120, 115, 110)))
    _, _, j = segment(scene)
    assert j.min() > 90, j


@pytest.mark.parametrize("count", [1, 3])
def test_very_short_videos(count):
    _, results, j = segment(FlatScene(path(14)[:count]))
    assert len(results) == count and j.min() > 95, j


def test_prompt_in_the_middle_goes_both_ways():
    _, _, j = segment(FlatScene(path(12)), frame=6)
    assert j.min() > 97, j


@pytest.mark.parametrize(("depth", "least"), [(True, 95), (False, 85)])
def test_a_cast_shadow_that_moves_with_the_object_stays_background(depth, least):
    centres = [(70 + 20 * i, 110 + 3 * i) for i in range(10)]
    scene = FlatScene(centres, wall=texture(1, (140, 130, 115), (160, 150, 135), (240, 640)), shadow=0.55, depth=depth)
    _, _, j = segment(scene, kind="still_camera")
    assert j.min() > least, j


def test_a_side_that_the_mask_misses_is_not_taught_as_background():
    """Its colour is met only beside the mask; the wall's, and a colour that is met far from the object, are learnt."""
    rgb, mask = np.full((120, 160, 3), (90, 120, 130), np.uint8), np.zeros((120, 160), bool)
    mask[40:70, 60:100] = True
    rgb[40:70, 60:100], rgb[70:82, 60:100], rgb[5:15, 5:30] = (200, 40, 40), (70, 60, 160), (30, 160, 40)
    known = Followed.empty()
    known.of_background = histogram(rgb[20:30, 20:60].reshape(-1, 3).astype(np.float32))
    nowhere = np.full((120, 160), np.nan, np.float32)
    learn_colours(known, WorkingFrame(0, rgb, nowhere, nowhere), mask)
    met = [
        known.of_background.ravel()[colour_index(np.float32(c))] for c in ((90, 120, 130), (30, 160, 40), (70, 60, 160))
    ]
    assert met[0] > 0 and met[1] > 0 and met[2] == 0


def test_without_the_scenes_motion_the_frames_own_plane_still_separates():
    """Colours of thing and wall are the same and all moves: only the depth of each frame tells them apart."""
    both = texture(1, (60, 70, 80), (120, 115, 110), (240, 640))
    centres = [(120 + 6 * i, 120 + 2 * i) for i in range(10)]
    _, _, j = segment(FlatScene(centres, thing=both[:, :320], wall=both, shift_wall=5.0), kind="flow")
    assert j.min() > 65, j  # 27 with colours and flow alone
