"""The network that looks at a frame's evidence as a whole: what it is shown, what it makes of it, and that a user's word stays above it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from stages.masks.cut.mask_net import CHANNELS, SIZE, Cues, channels, expected_overlap, opinion, shown_size, weighed
from stages.masks.cut.outline import Window
from stages.masks.stereo_method import StereoMethod
from tests.masks.flat_scene import FlatScene, jaccard

SCENE = FlatScene([(110.0 + 12 * k, 110.0) for k in range(6)])
WHOLE = Window(0, 0, 320, 240)


def cues(frame: int = 0, strength: float = 3.0, window: Window = WHOLE) -> Cues:
    """Evidence that is right; nothing is expected of the place."""
    view, s = SCENE.load(frame), window.slices
    llr = np.where(SCENE.mask(frame), np.float32(strength), np.float32(-strength))
    return Cues.of(view, window, (50.0, 70.0), llr[s], llr[s], np.zeros_like(llr[s]))


def test_the_window_is_shown_whole_and_nothing_beside_it():
    shown = channels(cues(window=Window(40, 20, 240, 120)))
    assert shown.shape == (CHANNELS, SIZE, SIZE) and np.isfinite(shown).all() and np.abs(shown).max() <= 1
    assert shown_size((100, 200)) == (SIZE, SIZE // 2)
    assert (
        (shown[:7, SIZE // 2 :] == 0).all()
        and (shown[7, SIZE // 2 :] == -1).all()
        and (shown[7, : SIZE // 2] == 0).all()
    )


def test_disparities_are_shown_within_the_objects_range():
    shown = channels(cues())
    here, wall = shown[3, 52:58, 52:58], shown[3, :20, 100:150]
    assert abs(np.median(here)) < 0.1 and np.median(wall) < -0.9
    assert (channels(replace(cues(), near_range=None))[3:5] == 0).all()


def test_any_thread_gives_the_same():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: opinion(cues(k % 2)), range(8)))
    assert all(np.array_equal(found[k], found[k % 2]) for k in range(8)) and not np.array_equal(found[0], found[1])


def test_what_a_user_is_certain_of_stays():
    prior = np.zeros((240, 320), np.float32)
    prior[5:20, 5:20], prior[100:120, 100:120] = 50, -50
    llr = weighed(replace(cues(), prior=prior)).llr
    assert (llr[5:20, 5:20] > 5).all() and (llr[100:120, 100:120] < -5).all()


def test_without_depth_the_cues_speak_for_themselves():
    bare = replace(cues(), near_range=None)
    assert (weighed(bare).llr == bare.llr).all() and weighed(bare).opinion is None


def test_with_and_without_it_the_object_is_followed():
    for network in (True, False):
        job = SCENE.job()
        job = replace(job, cut=replace(job.cut, network=network))
        masks = {m.view.frame: m.mask for m in StereoMethod().segment(job).results}
        assert min(jaccard(masks[k], SCENE.mask(k)) for k in masks) > 96, network


def test_the_overlap_that_it_expects_falls_with_the_mask():
    mask = SCENE.mask(0)
    sure = np.where(mask, 8.0, -8.0)
    half = mask & (np.arange(320) < 110)
    assert expected_overlap(sure, mask) > 0.99 and abs(expected_overlap(sure, half) - half.sum() / mask.sum()) < 0.01
    assert expected_overlap(np.zeros((240, 320)), mask) < 0.2
    assert np.isnan(expected_overlap(None, mask)) and np.isnan(expected_overlap(sure, mask & False))
