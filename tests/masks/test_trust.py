"""Verdicts, prompts and the small tools round them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.masks.cut.frame_cut import FrameCut
from stages.masks.cut.full_size import to_full_size
from stages.masks.cut.outline import CutSettings, Window, connected, fill_holes, largest
from stages.masks.follow.passes import decode, encode
from stages.masks.frame.prompt import Prompt, read_prompt
from stages.masks.frame.working_frame import FrameCache, WorkingFrame, noise_level, pack, shrink, unpack
from stages.masks.stage import _ranges
from stages.masks.trust.weakest_cue import DOUBTED, UNCHECKED, border_share, judge, usual_areas
from tests.masks.flat_scene import FlatScene, jaccard

NAN = float("nan")


def cut(evidence=0.95, depth=0.98, overlap=0.95, mask=None, doubt="") -> FrameCut:
    square = np.zeros((40, 40), bool)
    square[10:30, 10:30] = True
    return FrameCut(square if mask is None else mask, evidence, depth, overlap, None, doubt)


def test_a_good_mask_is_ok():
    verdict = judge(cut(), 400.0, 0.5)
    assert (verdict.status, verdict.trust, verdict.area_px, verdict.reason) == ("ok", 1.0, 400, "")


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (cut(evidence=0.5), "separate"),
        (cut(depth=0.55), "leak"),
        (cut(overlap=0.5), "predict"),
        (cut(doubt="unplaced"), "unplaced"),
    ],
)
def test_each_cue_can_raise_doubt_and_is_named(bad, word):
    verdict = judge(bad, 400.0, 0.5)
    assert verdict.status == "uncertain" and word in verdict.reason


def test_a_jump_of_the_area_is_doubtful():
    verdict = judge(cut(), 1200.0, 0.5)
    assert verdict.status == "uncertain" and "area" in verdict.reason


def test_unknown_cues_do_not_count_but_unchecked_masks_are_capped():
    assert judge(cut(depth=NAN, overlap=NAN), NAN, 0.5).trust == 1.0
    unchecked = judge(cut(depth=NAN, overlap=NAN), NAN, 0.5, checked=False)
    assert unchecked.trust == UNCHECKED and unchecked.status == "uncertain" and "flow" in unchecked.reason
    assert judge(cut(), 400.0, 0.5, doubt="odd box").trust <= DOUBTED


def test_an_empty_mask_is_lost_with_its_reason():
    verdict = judge(cut(mask=np.zeros((4, 4), bool)), 10.0, 0.5, "left the view")
    assert (verdict.status, verdict.trust, verdict.reason) == ("lost", 0.0, "left the view")


def test_usual_area_leaves_out_the_frame_and_the_lost():
    assert usual_areas([10, 100, 0, 12, 11], reach=2)[1] == 11
    assert np.isnan(usual_areas([5], reach=2)[0])


def test_border_share():
    mask = np.zeros((10, 10), bool)
    mask[0:5, 3:6] = True
    assert border_share(mask) == pytest.approx(3 / 16)


def test_components_and_holes():
    mask = np.zeros((30, 30), bool)
    mask[2:20, 2:20] = True
    mask[9:11, 9:11] = False
    mask[25:28, 25:28] = True
    keep = np.zeros_like(mask)
    keep[5, 5] = True
    assert connected(mask, keep).sum() == mask[:22].sum()
    assert fill_holes(mask, 0.05)[9, 9] and not fill_holes(mask, 0.001)[9, 9]
    assert not largest(mask)[26, 26] and not connected(mask, np.zeros_like(mask)).any()
    assert Window.around(mask[:22], 1) == Window(1, 1, 21, 21)


def test_a_hole_is_real_only_where_depth_proves_it():
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mask[15:20, 15:20] = False
    proof = np.zeros(mask.shape, np.float32)
    assert fill_holes(mask, 0.002, proof)[17, 17]
    proof[15:20, 15:20] = -2
    assert not fill_holes(mask, 0.002, proof)[17, 17]


def test_mask_survives_packing():
    mask = np.random.default_rng(0).uniform(size=(33, 47)) < 0.4
    assert np.array_equal(decode(encode(mask)), mask)


def test_disparity_survives_the_cache():
    scene = FlatScene([(100, 100)] * 3)
    cache = FrameCache(scene.load, budget_bytes=1_000_000)
    first, again = cache(1), cache(1)
    assert np.array_equal(first.rgb, again.rgb)
    assert (
        np.array_equal(np.isnan(first.disparity), np.isnan(again.disparity))
        and np.nanmax(np.abs(first.disparity - again.disparity)) <= 1 / 128
    )
    assert np.isnan(unpack(pack(np.array([np.nan, 3.0], np.float32), 64), 64)[0])


def test_shrinking_scales_disparity_with_the_picture():
    view = FlatScene([(160, 120)]).load(0)
    half = shrink(view, 0.5)
    assert half.shape == (120, 160) and np.nanmedian(half.disparity) == pytest.approx(
        np.nanmedian(view.disparity) / 2, rel=0.02
    )


def test_noise_level_of_a_flat_picture():
    picture = np.clip(np.random.default_rng(0).normal(128, 5, (200, 200, 1)), 0, 255).astype(np.uint8).repeat(3, 2)
    assert noise_level(picture) == pytest.approx(5, rel=0.1)


def test_outline_is_placed_again_at_full_size():
    scene = FlatScene([(160, 120)])
    view = shrink(scene.load(0), 0.4)
    small = (
        shrink(
            WorkingFrame(0, scene.mask(0).astype(np.uint8)[..., None].repeat(3, 2) * 255, view.disparity, view.sigma),
            0.4,
        ).rgb[..., 0]
        > 127
    )
    assert jaccard(to_full_size(small, scene.load(0).rgb, CutSettings()), scene.mask(0)) > 98.5


def test_prompt_scales_about_pixel_centres(tmp_path):
    assert Prompt(0, (0.0, 0.0, 9.0, 9.0)).scaled(0.5, 0.5).box == (-0.25, -0.25, 4.25, 4.25)
    path = tmp_path / "prompt.json"
    path.write_text(json.dumps({"frame": 2, "box_xyxy": [-5, 4, 50, 60]}))
    assert read_prompt(path, [1, 2], 40, 80) == Prompt(2, (0.0, 4.0, 39.0, 60.0))
    path.write_text("{}")
    assert read_prompt(path, [3, 4], 40, 80) == Prompt(3)
    path.write_text(json.dumps({"points": [[90, 5, 1]]}))
    with pytest.raises(CaptureError, match="inside"):
        read_prompt(path, [0], 40, 80)


def test_frames_are_listed_as_ranges():
    assert _ranges([3, 4, 5, 9, 11, 12]) == "3-5, 9, 11-12"
