"""A depth camera's twin is scored in the true rig's pixels: its own baseline only stands for the noise."""

import json

import numpy as np

from stages.core.camera import Rig
from stages.core.images import write_disparity, write_mask
from stages.core.metrics import depth_scores


def test_disparities_are_compared_at_one_baseline(tmp_path):
    true, own = Rig(64, 48, 80, 80, 31.5, 23.5, 0.06), Rig(64, 48, 80, 80, 31.5, 23.5, 0.09)
    z = np.random.default_rng(0).uniform(0.3, 0.4, (48, 64))
    write_mask(tmp_path / "gt/masks/000000.png", np.ones((48, 64), bool))
    write_disparity(tmp_path / "gt/disparity/000000.png", true.disparity_from_depth(z))
    write_disparity(tmp_path / "twin/disparity/000000.png", own.disparity_from_depth(z))
    own.save(tmp_path / "twin/rig.json")
    for stage, most, least in (("rgbd", 0.02, 0.0), ("rectify", 10.0, 5.0)):
        (tmp_path / "twin/run.json").write_text(json.dumps({"stages": {stage: {}}}))
        assert least <= depth_scores(tmp_path / "gt", tmp_path / "twin", [0], true)["disparity_median_px"] <= most
