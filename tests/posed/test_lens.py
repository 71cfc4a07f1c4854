"""Distortion undone and lenses made equal: a point is found where the common pinhole says, and what was not seen is marked."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from stages.core.background import alpha_from_depth, plain_background, without_crumbs
from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedCamera, pinhole
from stages.posed.lens import Warp, common, undistorted

CAMERA = PosedCamera("a", None, pinhole(300, 305, 162.5, 118.0), np.eye(4), 320, 240)
LENSES = {
    "none": CAMERA,
    "opencv": replace(CAMERA, lens="opencv", distortion=(-0.2, 0.05, 1e-3, -2e-3, 0.0, 0.0, 0.0, 0.0)),
    "fisheye": replace(CAMERA, lens="fisheye", distortion=(0.02, -0.01, 0.002, 0.0)),
    "skewed": replace(CAMERA, K=pinhole(300, 305, 162.5, 118.0, skew=2.0)),
}


def _seen(camera: PosedCamera, point: np.ndarray) -> np.ndarray:
    """Where the real camera sees a point, px."""
    match camera.lens:
        case "opencv":
            return cv2.projectPoints(point[None], np.zeros(3), np.zeros(3), camera.K, np.array(camera.distortion))[
                0
            ].ravel()
        case "fisheye":
            flat = point[None, None]
            return cv2.fisheye.projectPoints(flat, np.zeros(3), np.zeros(3), camera.K, np.array(camera.distortion))[
                0
            ].ravel()
        case _:
            return (camera.K @ point)[:2] / point[2]


def _blob(at: np.ndarray) -> np.ndarray:
    v, u = np.mgrid[:240, :320]
    return np.rint(200 * np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / 18)).astype(np.uint8)


@pytest.mark.parametrize("name", LENSES)
def test_a_point_lands_where_the_common_lens_says(name):
    others = [LENSES[name], replace(CAMERA, K=pinhole(320, 320, 150, 125))]
    target = common([undistorted(c) for c in others])
    for point in np.array([[0.1, -0.2, 1.0], [-0.3, 0.15, 1.0], [0.0, 0.0, 2.0]]):
        picture = Warp.of(others[0], target)(_blob(_seen(others[0], point))).astype(float)
        v, u = np.mgrid[: target.height, : target.width]
        weight = picture * (picture > 20)
        found = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
        assert np.abs(found - (target.K @ point)[:2] / point[2]).max() < 0.15


def test_what_a_camera_did_not_see_is_marked():
    wide = replace(CAMERA, K=pinhole(200, 200, 159.5, 119.5))
    target = common([undistorted(CAMERA), undistorted(wide)])
    assert target.K[0, 0] == 300 and Warp.of(CAMERA, target).outside.mean() > 0.2


def test_equal_lenses_are_left_alone_and_too_different_ones_refused():
    same = common([undistorted(CAMERA)] * 3)
    assert Warp.of(CAMERA, same).maps is None
    with pytest.raises(CaptureError, match="differ too much"):
        common([undistorted(CAMERA), undistorted(replace(CAMERA, K=pinhole(60, 60, 160, 120)))])


def test_background_by_depth():
    depth = np.zeros((60, 80))
    depth[10:50, 20:60] = 3.0
    depth[30, 40] = 0  # a hole of one pixel
    depth[5, 5] = 2.0  # a crumb
    alpha = alpha_from_depth(depth, (320, 240))
    wanted = np.zeros((240, 320), bool)
    wanted[40:200, 80:240] = True
    assert (alpha & wanted).sum() / (alpha | wanted).sum() > 0.998
    assert not alpha_from_depth(np.zeros((4, 4)), (8, 8)).any() and not without_crumbs(np.zeros((4, 4), bool)).any()


def test_alpha_of_the_shoe_from_its_depth(shared_dir):
    root = shared_dir / "multiview/shoe_six_view"
    for name in ("front", "back", "left", "right", "top", "bottom"):
        depth = cv2.imread(str(root / "depth_renders" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        alpha = (
            cv2.imread(str(root / "multi_views_alpha_downsampled_1024" / f"{name}.png"), cv2.IMREAD_UNCHANGED)[..., 3]
            > 127
        )
        found = alpha_from_depth(depth, alpha.shape[::-1])
        assert (found & alpha).sum() / (found | alpha).sum() >= 0.999


def test_plain_background():
    rng = np.random.default_rng(0)
    picture = np.clip(rng.normal(30, 2, (120, 160, 3)), 0, 255).astype(np.uint8)
    picture[30:90, 40:110] = rng.integers(60, 255, (60, 70, 3))
    wanted = np.zeros((120, 160), bool)
    wanted[30:90, 40:110] = True
    found = plain_background(picture)
    assert (found & wanted).sum() / (found | wanted).sum() > 0.97
    assert plain_background(rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)) is None
