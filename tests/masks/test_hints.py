"""Prompts of every kind: read, scaled, as evidence, and through the method without weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.images import read_mask, write_mask
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.hints import CERTAIN, certain_llr, hinted
from stages.masks.frame.prompt import Prompt, outline_box, read_prompt
from tests.masks.test_stage import jaccards, run, with_json


def test_masks_and_corrections_are_read_and_scaled(tmp_path):
    mask = np.zeros((80, 40), bool)
    mask[10:50, 4:20] = True
    write_mask(tmp_path / "prompt/000007.png", mask)
    path = tmp_path / "prompt.json"
    whole = {
        "frame": 2,
        "box_xyxy": [4, 4, 30, 60],
        "points": [[9, 9, 0]],
        "corrections": [{"frame": 7, "mask": "prompt/000007.png"}, {"frame": 3, "points": [[1, 1, 0]]}],
    }
    path.write_text(json.dumps(whole))
    found = read_prompt(path, [2, 3, 7], 40, 80, tmp_path)
    assert found.box == (4, 4, 30, 60) and found.points == ((9.0, 9.0, 0),) and found.says_it_all
    assert [c.frame for c in found.corrections] == [7, 3] and (found.corrections[0].mask == mask).all()
    half = found.scaled(0.5, 0.5)
    assert half.corrections[0].mask.shape == (40, 20) and half.corrections[0].mask[5:25, 2:10].all()
    assert half.corrections[1].points == ((0.25, 0.25, 0),) and not half.corrections[1].says_it_all
    with pytest.raises(CaptureError, match="cannot be used"):
        read_prompt(path, [2, 3], 40, 80, tmp_path)
    with pytest.raises(CaptureError, match=r"mask prompt/000007\.png is empty or not of 40 x 90"):
        read_prompt(path, [2, 3, 7], 40, 90, tmp_path)
    with pytest.raises(CaptureError, match="is missing"):
        read_prompt(path, [2, 3, 7], 40, 80, tmp_path / "nowhere")


def test_box_round_a_mask():
    mask = np.zeros((50, 100), bool)
    mask[10:20, 30:50] = True
    assert outline_box(mask) == (30, 10, 49, 19) and outline_box(mask, 0.1) == (28, 9, 51, 20)


def test_what_the_user_says_outweighs_everything():
    shape = (40, 160)
    gone = Expectation(lost="the object is outside the picture")
    assert hinted(gone, None, shape) is gone
    points = Prompt(0, points=((20.0, 10.0, 1), (90.0, 30.0, 0)))
    said = certain_llr(shape, points)
    assert said[10, 20] == CERTAIN and said[30, 90] == -CERTAIN and said[0, 150] == 0
    assert hinted(gone, points, shape).lost == "" and hinted(gone, Prompt(0, points=((1.0, 1.0, 0),)), shape).lost
    box = hinted(Expectation(prior=np.ones(shape, np.float32)), Prompt(0, box=(10.0, 5.0, 30.0, 20.0)), shape).prior
    assert box[10, 20] == 1 and box[30, 20] == 1 - CERTAIN
    mask = np.zeros(shape, bool)
    mask[5:15, 40:60] = True
    whole = hinted(gone, Prompt(0, mask=mask), shape)
    assert whole.predicted is mask and whole.lost == "" and (np.sign(whole.prior) == np.where(mask, 1, -1)).all()


def test_a_mask_and_a_correction_with_the_method_that_needs_no_weights(truth_inhand, tmp_path):
    """The first mask is given; of another frame the user says that only the left half counts, and so it is, there alone."""
    true = {k: read_mask(truth_inhand["masks"].path / f"{k:06d}.png") for k in (8, 11)}
    middle = int(np.median(np.nonzero(true[11])[1]))
    half = true[11] & (np.arange(true[11].shape[1]) < middle)
    write_mask(tmp_path / "given/prompt/000008.png", true[8])
    write_mask(tmp_path / "given/prompt/000011.png", half)
    (tmp_path / "given/given.json").write_text('{"masks": false, "depth": false}')
    asked = {"frame": 8, "mask": "prompt/000008.png", "corrections": [{"frame": 11, "mask": "prompt/000011.png"}]}
    inputs = {
        **truth_inhand,
        "given": replace(truth_inhand["given"], path=tmp_path / "given"),
        "prompt.json": with_json(truth_inhand["prompt.json"], tmp_path, "prompt.json", asked),
    }
    _, _, masks = run(inputs, tmp_path / "out")
    assert (masks[11] & half).sum() > 0.93 * (masks[11] | half).sum()
    others = {k: m for k, m in masks.items() if k != 11}
    assert jaccards(others, truth_inhand).mean() > 96
