"""Every calibration format is read to the same rig, and every fault is named with what to do."""

import json

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.stereo_calibration import check_calibration
from stages.rectify.calibration_file import read_calibration

K1 = np.array([[900.0, 0, 322.5], [0, 901, 236.25], [0, 0, 1]])
K2 = np.array([[905.0, 0, 318.0], [0, 904, 241.5], [0, 0, 1]])
D1, D2 = np.array([-0.2, 0.05, 0.001, -0.002, 0.0]), np.array([-0.21, 0.06, 0, 0, 0.01])
R = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))[0]
T = np.array([-0.0652, 0.0003, -0.0011])


def _raw_json(path, **changes):
    data = {"rectified": False, "image_size": {"width": 640, "height": 480}, "left": {"K": K1.ravel().tolist(), "distortion": D1.tolist()},
            "right": {"K": K2.ravel().tolist(), "distortion": D2.tolist()}, "right_from_left": {"R": R.ravel().tolist(), "t_m": T.tolist()}}
    for key, value in changes.items():
        node = data
        *parents, last = key.split("__")
        for p in parents:
            node = node[p]
        node[last] = value
    path.write_text(json.dumps(data))
    return path


def _check(c, scale=1.0):
    np.testing.assert_allclose(c.left.K, K1)
    np.testing.assert_allclose(c.right.K, K2)
    np.testing.assert_allclose(c.left.distortion, D1)
    np.testing.assert_allclose(c.right_from_left[:3, :3], R, atol=1e-12)
    np.testing.assert_allclose(c.right_from_left[:3, 3], T)
    check_calibration(c.sized((640, 480)))


def _opencv(path, values):
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for key, value in values.items():
        storage.write(key, value)
    storage.release()
    return path


def test_our_json(tmp_path):
    c = read_calibration((_raw_json(tmp_path / "calibration.json"),))
    _check(c)
    c.save(tmp_path / "again.json")
    _check(read_calibration((tmp_path / "again.json",)))


@pytest.mark.parametrize("suffix", ["yaml", "yml", "xml"])
@pytest.mark.parametrize("names", ["M1 D1 M2 D2 R T", "K1 D1 K2 D2 R T", "cameraMatrix1 distCoeffs1 cameraMatrix2 distCoeffs2 R T",
                                   "camera_matrix_left dist_coeffs_left camera_matrix_right dist_coeffs_right rotation translation"])
def test_opencv_files(tmp_path, suffix, names):
    values = (K1, D1[None], K2, D2[None], R, T[:, None] * 1e3)
    path = _opencv(tmp_path / f"calibration.{suffix}", dict(zip(names.split(), values, strict=True)))
    c = read_calibration((path,), unit_m=1e-3)
    _check(c)
    assert c.size is None


def test_opencv_intrinsics_and_extrinsics(tmp_path):
    a = _opencv(tmp_path / "intrinsics.yml", {"M1": K1, "D1": D1[None], "M2": K2, "D2": D2[None]})
    b = _opencv(tmp_path / "extrinsics.yml", {"R": R, "T": T[:, None], "Q": np.eye(4)})
    _check(read_calibration((a, b)))
    with pytest.raises(CaptureError, match=r"(?s)no rotation R.*extrinsics"):
        read_calibration((a,))


def test_middlebury(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text("cam0=[999.421 0 294.182; 0 999.421 252.932; 0 0 1]\ncam1=[999.421 0 326.96; 0 999.421 252.932; 0 0 1]\n"
                    "doffs=32.778\nbaseline=193.001\nwidth=741\nheight=497\nndisp=70\n")
    c = read_calibration((path,))
    check_calibration(c)
    assert c.rectified and c.size == (741, 497) and c.baseline_m == pytest.approx(0.193001)
    assert c.right.K[0, 2] - c.left.K[0, 2] == pytest.approx(32.778)
    path.write_text(path.read_text().replace("doffs=32.778", "doffs=0"))
    with pytest.raises(CaptureError, match=r"doffs is 0 px but cam1 and cam0 differ by 32\.778"):
        read_calibration((path,))


def test_nvidia_workflow_file(tmp_path):
    path = tmp_path / "calibration.yaml"
    path.write_text("camera_config:\n  step: 4\n  intrinsic: [3079.6, 0, 2000.0, 0, 3075.1, 1500.01, 0, 0, 1]\n"
                    "foundation_stereo:\n  baseline: 0.0657696127\n")
    c = read_calibration((path,)).sized((4000, 3000))
    check_calibration(c)
    assert c.rectified and c.left.K[1, 1] == 3075.1 and c.baseline_m == pytest.approx(0.0657696127)
    path.write_text(path.read_text() + "other:\n  baseline: 0.1\n")
    with pytest.raises(CaptureError, match="expected one baseline"):
        read_calibration((path,))


@pytest.mark.parametrize("changes, message", [
    ({"left__K": [float("nan"), 0, 322, 0, 900, 236, 0, 0, 1]}, r"left K holds 1 value.*not numbers"),
    ({"right__distortion": [0.1, None, 0, 0]}, r"right distortion holds 1 value"),
    ({"left__distortion": [0.1, 0.2, 0.3]}, r"3 coefficients; expected one of"),
    ({"right_from_left__R": [1, 0, 0, 0, 1, 0, 0, 0, 1.1]}, r"R is not a rotation"),
    ({"right_from_left__R": [1, 0, 0, 0, 1, 0, 0, 0, -1]}, r"R is not a rotation"),
    ({"right_from_left__R": [1, 0, 0, 0]}, r"has 4 numbers; expected 9"),
    ({"right_from_left__t_m": [-65.2, 0.3, -1.1]}, r"baseline is 65.2.* m; expected 0.005 to 2 m\n.*looks like mm"),
    ({"right_from_left__t_m": [-0.0001, 0, 0]}, r"baseline is 0.0001 m"),
    ({"right_from_left__t_m": [0.0652, 0, 0]}, r"t_x .* is \+0.0652 m; expected a negative"),
    ({"right_from_left__t_m": [-0.01, 0.06, 0]}, r"not along x"),
    ({"left__K": [3.6, 0, 322, 0, 3.6, 236, 0, 0, 1]}, r"left focal length is 3.6 x 3.6 px; expected 128 to 6400"),
    ({"left__K": [900, 0, 2000, 0, 900, 236, 0, 0, 1]}, r"left cx is 2000.0 px; expected it inside"),
    ({"left__K": [900, 322, 0, 0, 900, 236, 0, 0]}, r"left.K has 8 numbers; expected 9"),
    ({"left__K": ["a"] * 9}, r"expected numbers"),
])
def test_faults_are_named(tmp_path, changes, message):
    with pytest.raises(CaptureError, match=message) as caught:
        check_calibration(read_calibration((_raw_json(tmp_path / "calibration.json", **changes),)))
    assert "calibration.json" in caught.value.message and caught.value.advice


@pytest.mark.parametrize("name, text", [
    ("calibration.json", "{"), ("calibration.json", "{}"), ("calibration.yaml", "a: [1"), ("calib.txt", "x=1"), ("calibration.xml", "<a>"),
    ("calibration.yaml", "camera_config: {}"), ("calibration.yaml", "")])
def test_foreign_files_are_refused_by_name(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(CaptureError, match=name):
        read_calibration((tmp_path / name,))
