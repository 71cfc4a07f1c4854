"""A depth camera's capture as the renderer makes it: depth with the noise that was asked for, and `twin check` finds it in order."""

from dataclasses import replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.images import read_disparity
from stages.rgbd.config import RgbdConfig
from stages.rgbd.look import look_at
from tools.capture_rendering.spec import CASES
from tools.capture_rendering.write import write_capture


def test_rendered_depth_has_the_noise_asked_for(tmp_path):
    spec = replace(
        CASES["box_orbit"],
        sensor="rgbd",
        frames=2,
        width=320,
        height=180,
        samples=1,
        depth_floor_mm=0.6,
        depth_at_1m_mm=3.0,
    )
    write_capture(tmp_path, spec)
    assert not (tmp_path / "left").exists() and not (tmp_path / "calibration.json").exists()
    z = cv2.imread(str(tmp_path / "depth/000001.png"), -1) / 1e4
    true = Rig.load(tmp_path / "gt/rig.json").depth_from_disparity(read_disparity(tmp_path / "gt/disparity/000001.png"))
    with np.errstate(invalid="ignore"):
        known = (z > 0) & (true < 0.7)  # farther, the truth's own steps count
    error = (z - true)[known] / (1e-3 * np.hypot(0.6, 3.0 * true[known] ** 2))
    assert known.mean() > 0.3 and 0.8 < error.std() < 1.2 and abs(error.mean()) < 0.1
    found = look_at(tmp_path, RgbdConfig())
    assert (
        found.verdict == "fine"
        and found.figures["depth_units_per_metre"] == 10000
        and abs(found.figures["distance_m"] - 0.36) < 0.06
    )
