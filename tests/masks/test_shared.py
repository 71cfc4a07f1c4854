"""Rendered captures beside the checkout, every sixth frame, with their true disparity made noisy: accuracy at full picture size."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.images import read_disparity, read_mask, read_rgb
from stages.masks.cut.outline import CutSettings
from stages.masks.follow.job import Job
from stages.masks.frame.prompt import Prompt
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.stereo_method import StereoMethod
from tests.masks.flat_scene import jaccard


@pytest.mark.shared
@pytest.mark.parametrize(("name", "frames"), [("bottle_orbit", range(0, 6)), ("drill_inhand", range(0, 36, 6))])
def test_rendered_captures(shared_dir, name, frames):
    capture = shared_dir / "captures" / name
    data = json.loads((capture / "calibration.json").read_text())
    K, size = data["K"], data["image_size"]
    rig = Rig(size["width"], size["height"], K[0], K[4], K[2], K[5], data["baseline_m"])

    def load(frame: int) -> WorkingFrame:
        true = read_disparity(capture / "gt/disparity" / f"{frame:06d}.png")
        noisy = true + np.random.default_rng(frame).normal(0, 0.3, true.shape).astype(np.float32)
        return WorkingFrame(
            frame,
            read_rgb(capture / "left" / f"left{frame:06d}.jpg"),
            noisy,
            np.where(np.isfinite(true), np.float32(0.3), np.nan),
        )

    prompt = Prompt(0, tuple(map(float, json.loads((capture / "prompt.json").read_text())["box_xyxy"])))
    job = Job(list(frames), load, rig, prompt, CutSettings(), "auto", 0.5, 2, np.random.default_rng(0), lambda *a: None)
    found = {r.view.frame: r for r in StereoMethod().segment(job).results}
    j = [jaccard(r.mask, read_mask(capture / "gt/masks" / f"{f:06d}.png")) for f, r in found.items()]
    assert np.mean(j) > 98.5 and min(j) > 97, j
    assert all(r.status == "ok" for r in found.values())
