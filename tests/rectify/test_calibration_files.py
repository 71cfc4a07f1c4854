"""Every calibration format is read to the same rig, and every fault is named with what to do."""

import json

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.stereo_calibration import check_calibration
from stages.rectify.calibration_file import read_calibration
from stages.rectify.opencv_storage import read_storage

K1 = np.array([[900.0, 0, 322.5], [0, 901, 236.25], [0, 0, 1]])
K2 = np.array([[905.0, 0, 318.0], [0, 904, 241.5], [0, 0, 1]])
D1, D2 = np.array([-0.2, 0.05, 0.001, -0.002, 0.0]), np.array([-0.21, 0.06, 0, 0, 0.01])
R = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))[0]
T = np.array([-0.0652, 0.0003, -0.0011])


def _raw_json(path, **changes):
    data = {
        "rectified": False,
        "image_size": {"width": 640, "height": 480},
        "left": {"K": K1.ravel().tolist(), "distortion": D1.tolist()},
        "right": {"K": K2.ravel().tolist(), "distortion": D2.tolist()},
        "right_from_left": {"R": R.ravel().tolist(), "t_m": T.tolist()},
    }
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
@pytest.mark.parametrize(
    "names",
    [
        "M1 D1 M2 D2 R T",
        "K1 D1 K2 D2 R T",
        "cameraMatrix1 distCoeffs1 cameraMatrix2 distCoeffs2 R T",
        "camera_matrix_left dist_coeffs_left camera_matrix_right dist_coeffs_right rotation translation",
    ],
)
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
    path.write_text(
        "cam0=[999.421 0 294.182; 0 999.421 252.932; 0 0 1]\ncam1=[999.421 0 326.96; 0 999.421 252.932; 0 0 1]\n"
        "doffs=32.778\nbaseline=193.001\nwidth=741\nheight=497\nndisp=70\n"
    )
    c = read_calibration((path,))
    check_calibration(c)
    assert c.rectified and c.size == (741, 497) and c.baseline_m == pytest.approx(0.193001)
    assert c.right.K[0, 2] - c.left.K[0, 2] == pytest.approx(32.778)
    path.write_text(path.read_text().replace("doffs=32.778", "doffs=0"))
    with pytest.raises(CaptureError, match=r"doffs is 0 px but cam1 and cam0 differ by 32\.778"):
        read_calibration((path,))


def test_nvidia_workflow_file(tmp_path):
    path = tmp_path / "calibration.yaml"
    path.write_text(
        "camera_config:\n  step: 4\n  intrinsic: [3079.6, 0, 2000.0, 0, 3075.1, 1500.01, 0, 0, 1]\n"
        "foundation_stereo:\n  baseline: 0.0657696127\n"
    )
    c = read_calibration((path,)).sized((4000, 3000))
    check_calibration(c)
    assert c.rectified and c.left.K[1, 1] == 3075.1 and c.baseline_m == pytest.approx(0.0657696127)
    path.write_text(path.read_text() + "other:\n  baseline: 0.1\n")
    with pytest.raises(CaptureError, match="expected one baseline"):
        read_calibration((path,))


@pytest.mark.parametrize(
    "changes, message",
    [
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
        (
            {"left__K": K1.T.ravel().tolist()},
            r"last row of the left K is 322.5 236.25 1; expected 0 0 1\n.*transpose it",
        ),
        ({"left__K": [900, 0, 322, 0, 900, 236, 0, 0, 0]}, r"last row of the left K is 0 0 0"),
        (
            {"left__K": [1800, 0, 644, 0, 1800, 472, 0, 0, 2]},
            r"last row of the left K is 0 0 2; expected 0 0 1\n.*divide K by 2",
        ),
        ({"left__K": [900, 1e6, 322, 0, 900, 236, 0, 0, 1]}, r"left K has a skew of 1e\+06 px"),
        ({"right__K": [900, 2, 322, 0, 900, 236, 0, 0, 1]}, r"right K has a skew of 2 px"),
        ({"left__K": [900, 0, 322, 5, 900, 236, 0, 0, 1]}, r"second row of the left K is 5 900 236"),
        ({"left__K": [-900, 0, 322, 0, -900, 236, 0, 0, 1]}, r"left focal length is -900"),
        ({"left__K": [1e9, 0, 322, 0, 1e9, 236, 0, 0, 1]}, r"left focal length is 1e\+09"),
        ({"left__K": [0, 0, 322, 0, 0, 236, 0, 0, 1]}, r"left focal length is 0"),
        (
            {"left__distortion": [1e6, 0, 0, 0]},
            r"left distortion 1e\+06 0 0 0 moves the middle of the picture as no lens does",
        ),
        ({"right__distortion": [0, 0, 40, 0, 0]}, r"right distortion .* as no lens does"),
        ({"left__distortion": [-0.2, 0.05, 0, 0, 1e6]}, r"left distortion .* as no lens does"),
        ({"right_from_left__t_m": [0, 0, 0]}, r"baseline is 0 m"),
        ({"right_from_left__t_m": [-1e9, 0, 0]}, r"baseline is 1e\+09 m"),
        ({"right_from_left__R": [-1, 0, 0, 0, 1, 0, 0, 0, -1]}, r"turned 180 degrees"),
        ({"right_from_left__R": [1e-9] * 9}, r"R is not a rotation"),
        ({"image_size__width": 640.5}, r"picture size is 640.5 x 480; expected whole numbers"),
        ({"image_size__width": -640}, r"picture size is -640 x 480"),
        ({"image_size__width": "wide"}, r"picture size is wide x 480"),
        ({"rectified": "no"}, r"rectified is 'no'; expected true or false"),
        ({"left__model": "omni"}, r"left.model is 'omni'"),
        ({"left__distorsion": [0.1, 0, 0, 0]}, r"unknown entry 'distorsion'\n.*did you mean distortion"),
        ({"baseline_m": 0.06}, r"unknown entry 'baseline_m'"),
        ({"schema_version": 99}, r"schema_version 99"),
        ({"unit": "mm"}, r"unit 'mm'; expected metres"),
    ],
)
def test_faults_are_named(tmp_path, changes, message):
    with pytest.raises(CaptureError, match=message) as caught:
        check_calibration(read_calibration((_raw_json(tmp_path / "calibration.json", **changes),)))
    assert "calibration.json" in caught.value.message and caught.value.advice


@pytest.mark.parametrize(
    "name, text",
    [
        ("calibration.json", "{"),
        ("calibration.json", "{}"),
        ("calibration.yaml", "a: [1"),
        ("calib.txt", "x=1"),
        ("calibration.xml", "<a>"),
        ("calibration.yaml", "camera_config: {}"),
        ("calibration.yaml", ""),
        ("calibration.yaml", "- 1"),
        ("calibration.json", "[1]"),
        ("calibration.json", "[" * 100_000),
        ("calibration.yml", "%YAML:1.0\n---\n" + "[" * 100_000),
        ("calibration.xml", "<a>" * 100_000),
        ("calibration.yml", "%YAML:1.0\n---\na: " + "{a: " * 100_000),
        ("calibration.json", '{"a":' * 100_000),
        ("calibration.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><opencv_storage>&b;</opencv_storage>"),
        ("calibration.json", '{"K": 1, "K": 2}'),
        ("calibration.yaml", "M1: !!python/object/apply:os.system [id]"),
        ("calibration.yml", "M1: &a [*a]"),
    ],
)
def test_foreign_files_are_refused_by_name(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(CaptureError, match=name):
        read_calibration((tmp_path / name,))


def test_opencv_json(tmp_path):
    values = (K1, D1[None], K2, D2[None], R, T[:, None])
    path = _opencv(tmp_path / "calibration.json", dict(zip("M1 D1 M2 D2 R T".split(), values, strict=True)))
    _check(read_calibration((path,)))


@pytest.mark.parametrize("suffix", ["yml", "xml", "json"])
def test_every_value_of_a_storage_is_read_as_opencv_reads_it(tmp_path, suffix):
    odd = [1e-30, 1e300, -0.0] if suffix == "json" else [np.nan, np.inf, -np.inf]  # JSON has no words for these
    values = {
        "M": K1,
        "single": K2.astype(np.float32),
        "whole": np.arange(6, dtype=np.int32).reshape(2, 3),
        "name_": 3.25,
        "count": 7,
        "odd": np.array([odd]),
        "size": (640, 480),
        "colour": np.arange(12.0).reshape(2, 2, 3),
    }
    path = _opencv(tmp_path / f"x.{suffix}", values)
    found = read_storage(path)
    for key, value in values.items():
        np.testing.assert_array_equal(found[key].ravel(), np.asarray(value, np.float64).ravel())
    truth = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    np.testing.assert_array_equal(found["M"], truth.getNode("M").mat())
    truth.release()


def test_data_of_another_count_than_its_size_is_refused(tmp_path):
    path = _opencv(tmp_path / "calibration.yml", {"M1": K1})
    path.write_text(path.read_text().replace("rows: 3", "rows: 4"))
    with pytest.raises(CaptureError, match="M1 says 4x3 and holds 9 numbers"):
        read_calibration((path,))


EYE = """  camera_model: pinhole
  distortion_coeffs: [-0.2, 0.05, 0.001, -0.002]
  distortion_model: radtan
  intrinsics: [900.0, 901.0, 322.5, 236.25]
  resolution: [640, 480]
"""
KALIBR = f"""cam0:
  cam_overlaps: [1]
{EYE}cam1:
  T_cn_cnm1:
  - [1.0, 0.0, 0.0, -0.065]
  - [0.0, 1.0, 0.0, 0.0]
  - [0.0, 0.0, 1.0, 0.0]
  - [0.0, 0.0, 0.0, 1.0]
{EYE}"""


def test_kalibr(tmp_path):
    path = tmp_path / "calibration.yaml"
    path.write_text(KALIBR)
    c = read_calibration((path,))
    check_calibration(c)
    np.testing.assert_array_equal(c.left.K, K1)
    assert (
        c.size == (640, 480) and c.baseline_m == pytest.approx(0.065) and c.right.distortion.tolist() == D1[:4].tolist()
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("radtan", "fov", "model pinhole-fov, which is not supported"),
        ("pinhole", "omni", "model omni-radtan"),
        ("cam1", "cam2", "cameras cam0, cam2; expected cam0 and cam1"),
        ("T_cn_cnm1", "T_x", "no entry 'T_cn_cnm1'"),
        ("900.0, ", "", "3 intrinsics"),
        ("-0.065", "0.065", r"t_x .* \+0.0650 m; expected a negative"),
    ],
)
def test_other_kalibr_files_are_refused_by_name(tmp_path, old, new, message):
    path = tmp_path / "calibration.yaml"
    path.write_text(KALIBR.replace(old, new))
    with pytest.raises(CaptureError, match=message):
        check_calibration(read_calibration((path,)))


def test_ros_camera_info_is_called_what_it_is(tmp_path):
    path = tmp_path / "calibration.yaml"
    path.write_text(
        "image_width: 640\ncamera_matrix: {rows: 1, cols: 1, data: [1]}\nprojection_matrix: {rows: 1, cols: 1, data: [1]}\n"
    )
    with pytest.raises(CaptureError, match="ROS camera_info of one camera"):
        read_calibration((path,))


@pytest.mark.parametrize(
    "distortion",
    [(-0.25, 0.35, 0, 0, 0, 0, 0, 0.45), (-0.38, 0.16, 0.001, 0, -0.03), (0.09, -0.18, 0, 0, 0.09), (-0.33, 0.12)],
)
def test_strong_lenses_that_exist_are_accepted(tmp_path, distortion):
    values = [*distortion] + [0.0] * (len(distortion) == 2) * 2
    check_calibration(read_calibration((_raw_json(tmp_path / "calibration.json", left__distortion=values),)))


def test_byte_order_mark_and_windows_lines(tmp_path):
    path = _raw_json(tmp_path / "calibration.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b", ", b",\r\n"))
    _check(read_calibration((path,)))
