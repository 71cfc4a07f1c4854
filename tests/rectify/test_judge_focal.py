"""The focal length that points of two moments ask for, on points whose true camera is known."""

import cv2
import numpy as np
import pytest

from stages.core.stereo_calibration import Camera, StereoCalibration, parallel, rigid
from stages.rectify.geometry import rectifying
from stages.rectify.judge_focal import focal_fit, focal_words, offset_words

TRUE_PX, SIZE = 600.0, (640, 480)


def _K(f):
    return np.array([[f, 0, 320.0], [0, f, 240], [0, 0, 1]])


def _views(turn_deg, count=3, noise=0.2):
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.15, -0.12, 0.45], [0.15, 0.12, 0.75], (120, 3))
    names = np.eye(120, 128, dtype=np.float32)  # a descriptor of its own for each point
    out = []
    for k in range(count + 1):
        turn = np.array([0.02 * k, np.radians(turn_deg) * k, 0.0])
        if turn_deg == 0:
            turn *= 0
        moved = (points - [0, 0, 0.6]) @ cv2.Rodrigues(turn)[0].T + [0.01 * k * (turn_deg > 0), 0, 0.6]
        eyes = [moved - [b, 0, 0] for b in (0.0, 0.06)]
        out.append(
            [((x[:, :2] / x[:, 2:] * TRUE_PX + [320, 240] + rng.normal(0, noise, (120, 2))), names) for x in eyes]
        )
    return [(*out[k], out[k + 1][0]) for k in range(count)]


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.0, 1.04, 1.5, 2.0])
def test_the_true_focal_length_is_found(factor):
    geometry = rectifying(parallel(_K(TRUE_PX * factor), _K(TRUE_PX * factor), 0.06, SIZE, "calibration.json"))
    fit = focal_fit(_views(12), geometry)
    words = focal_words(fit, geometry.rig.fx)
    if abs(factor - 1) < 0.1:
        assert fit.best == 1.0 and words == ""
    else:
        assert fit.best * factor == pytest.approx(1, abs=0.08) and f"{fit.best:.2g} times the calibration's" in words


@pytest.mark.parametrize("yaw_deg", [-2.0, 0.0, 0.2, 1.5])
def test_a_right_camera_turned_sideways_is_found_out(yaw_deg):
    K, turn = _K(TRUE_PX), cv2.Rodrigues(np.array([0.0, np.radians(yaw_deg), 0.0]))[0]
    c = StereoCalibration(Camera(K), Camera(K), rigid(turn, np.array([-0.06, 0, 0])), SIZE, "calibration.json")
    geometry = rectifying(c)
    fit = focal_fit(_views(12), geometry)
    assert bool(offset_words(fit)) == (abs(yaw_deg) > 0.5) and focal_words(fit, geometry.rig.fx) == ""


@pytest.mark.parametrize("cut_px", [-25, 0, 15])
def test_pictures_cut_at_other_places_are_found_out(cut_px):
    right = _K(TRUE_PX) + np.array([[0, 0, cut_px], [0, 0, 0], [0, 0, 0]])
    geometry = rectifying(parallel(_K(TRUE_PX), right, 0.06, SIZE, "calibration.json"))
    fit = focal_fit(_views(12), geometry)
    assert fit.offset_px == pytest.approx(-cut_px, abs=3) and bool(offset_words(fit)) == bool(cut_px)


def test_a_still_scene_says_nothing():
    geometry = rectifying(parallel(_K(300.0), _K(300.0), 0.06, SIZE, "calibration.json"))
    assert focal_fit(_views(0), geometry) is None
