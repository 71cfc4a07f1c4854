"""Chessboard calibration: exact on drawn corners, and as good as OpenCV's own file on the real pairs."""

import cv2
import numpy as np
import pytest

from stages.core import calibrate
from stages.core.calibrate import Board, calibrate_corners, calibrate_folder
from stages.core.errors import CaptureError
from stages.core.stereo_calibration import rigid

BOARD = Board(9, 6, 0.025)
K1, K2 = np.array([[800.0, 0, 322], [0, 800, 238], [0, 0, 1]]), np.array([[805.0, 0, 318], [0, 805, 243], [0, 0, 1]])
D1, D2 = np.array([-0.2, 0.08, 0.0005, 0, 0]), np.array([-0.18, 0.05, 0, -0.0005, 0])
RIG = rigid(cv2.Rodrigues(np.array([0.01, 0.03, -0.005]))[0], [-0.08, 0.001, 0.002])


def _pairs(count=16, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < count:
        turn = rigid(cv2.Rodrigues(rng.uniform(-0.7, 0.7, 3))[0], [*rng.uniform(-0.16, 0.1, 2), rng.uniform(0.45, 0.8)])
        views = []
        for b_from_left, K, D in ((np.eye(4), K1, D1), (RIG, K2, D2)):
            pose = b_from_left @ turn
            views.append(cv2.projectPoints(BOARD.points, cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], K, D)[0][:, 0])
        if all((v > 5).all() and (v < [635, 475]).all() for v in views):
            noisy = [(v + rng.normal(0, noise, v.shape)).astype(np.float32) for v in views]
            out.append(calibrate._Corners(f"pair{len(out)}", *noisy, (640, 480)))
    return out


def test_known_rig_is_found():
    r = calibrate_corners(_pairs(), BOARD, {})
    c = r.calibration
    assert r.rms_px < 0.08 and r.epipolar_rms_px < 0.12 and r.warnings == [w for w in r.warnings if "cover" in w]
    assert c.baseline_m == pytest.approx(np.linalg.norm(RIG[:3, 3]), rel=2e-3)
    np.testing.assert_allclose(c.left.K, K1, atol=2.5)
    assert np.abs(cv2.Rodrigues(c.right_from_left[:3, :3] @ RIG[:3, :3].T)[0]).max() < 0.002


def test_a_pair_out_of_step_is_left_out_and_named():
    pairs = _pairs()
    pairs[4] = calibrate._Corners("pair4", pairs[4].left, pairs[4].right + np.float32([9, 6]), (640, 480))
    r = calibrate_corners(pairs, BOARD, {"pair99": "no board"})
    assert set(r.pairs_left_out) == {"pair4", "pair99"} and r.rms_px < 0.1


def test_too_few_pairs_and_no_pictures(tmp_path):
    with pytest.raises(CaptureError, match="of 3 pairs only"):
        calibrate_corners(_pairs(3), BOARD, {})
    with pytest.raises(CaptureError, match="no left pictures"):
        calibrate_folder(tmp_path, BOARD)


@pytest.mark.shared
def test_real_chessboard_pairs(shared_dir, tmp_path):
    r = calibrate_folder(shared_dir / "calibration/chessboard_stereo", BOARD)
    assert len(r.pairs_used) >= 12 and r.rms_px < 0.5 and r.epipolar_rms_px < 0.4
    assert r.calibration.left.K[0, 0] == pytest.approx(534.8, rel=0.01)
    assert r.calibration.baseline_m / BOARD.square_m == pytest.approx(
        3.34, rel=0.02
    )  # squares, as OpenCV's sample finds
    r.calibration.save(tmp_path / "calibration.json")

    from stages.rectify.calibration_file import read_calibration

    again = read_calibration((tmp_path / "calibration.json",))
    np.testing.assert_allclose(again.right_from_left, r.calibration.right_from_left)
