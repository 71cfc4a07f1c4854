"""Calibrations in the formats of those who make and calibrate cameras: each is written here in its public form, and read as one rig."""

import json

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from scipy.io.matlab import MatlabObject
from scipy.ndimage import map_coordinates

from stages.core.capture import find_files
from stages.core.errors import CaptureError
from stages.core.stereo_calibration import Camera, StereoCalibration, check_calibration, rigid
from stages.rectify.calibration_file import read_calibration
from stages.rectify.capture_input import read_rig
from stages.rectify.geometry import rectifying

SIZE = (1280, 720)
K1, K2 = np.array([[700.0, 0, 645], [0, 702, 355], [0, 0, 1]]), np.array([[705.0, 0, 641], [0, 704, 361], [0, 0, 1]])
D1, D2 = np.array([-0.17, 0.03, 0.0004, -0.0002, 0.001]), np.array([-0.16, 0.02, -0.0003, 0.0005, 0.002])
R, T = cv2.Rodrigues(np.array([0.004, -0.012, 0.002]))[0], np.array([-0.12, 0.0004, -0.0007])
TURNS = cv2.stereoRectify(K1, D1, K2, D2, SIZE, R, T[:, None])
"""R1, R2, P1, P2, .."""


def _check(found, size=SIZE, distortions=(D1, D2), K=(K1, K2), atol=1e-9):
    for eye, k, d in ((found.left, K[0], distortions[0]), (found.right, K[1], distortions[1])):
        np.testing.assert_allclose(eye.K, k, atol=atol)
        np.testing.assert_allclose(eye.distortion, d, atol=atol)
    np.testing.assert_allclose(found.right_from_left, rigid(R, T), atol=1e-8)
    assert found.size == size and found.kind
    check_calibration(found)
    rectifying(found)


def _ros(name, K, D, turn, P, model="plumb_bob"):
    def block(key, m, rows, cols):
        return f"{key}:\n  rows: {rows}\n  cols: {cols}\n  data: {np.asarray(m).ravel().tolist()}\n"

    head = f"image_width: {SIZE[0]}\nimage_height: {SIZE[1]}\ncamera_name: {name}\ndistortion_model: {model}\n"
    return (
        head
        + block("camera_matrix", K, 3, 3)
        + block("distortion_coefficients", D, 1, len(D))
        + block("rectification_matrix", turn, 3, 3)
        + block("projection_matrix", P, 3, 4)
    )


@pytest.mark.parametrize("names", [("left.yaml", "right.yaml"), ("left/camera_info.yaml", "right/camera_info.yaml")])
def test_ros_camera_info_of_both_cameras(tmp_path, names):
    for n, K, D, turn, P in zip(names, (K1, K2), (D1, D2), TURNS[:2], TURNS[2:4], strict=True):
        (tmp_path / n).parent.mkdir(exist_ok=True)
        (tmp_path / n).write_text(_ros("narrow", K, D, turn, P))
    for side in ("left", "right"):
        (tmp_path / side).mkdir(exist_ok=True)
        (tmp_path / side / "1.png").write_bytes(b"x")
    _check(read_rig(find_files(tmp_path), "m"))


def test_one_ros_file_and_one_without_a_baseline_are_refused(tmp_path):
    (tmp_path / "calibration.yaml").write_text(_ros("left", K1, D1, TURNS[0], TURNS[2]))
    with pytest.raises(CaptureError, match="of one camera") as caught:
        read_calibration((tmp_path / "calibration.yaml",))
    assert "left.yaml and right.yaml" in caught.value.advice
    for n in ("left.yaml", "right.yaml"):
        (tmp_path / n).write_text(_ros("x", K1, D1, TURNS[0], TURNS[2]))
    with pytest.raises(CaptureError, match="says nothing of the baseline"):
        read_calibration((tmp_path / "left.yaml", tmp_path / "right.yaml"))


ZED_TURN = np.array([0.004, -0.012, 0.002])


def _zed(newer=False):
    def eye(K):
        return f"fx={K[0, 0]}\nfy={K[1, 1]}\ncx={K[0, 2]}\ncy={K[1, 2]}\n"

    def lens(D):
        return "".join(f"{k}={v}\n" for k, v in zip(("k1", "k2", "p1", "p2", "k3"), D, strict=True))

    stereo = (
        f"[STEREO]\nBaseline={-1e3 * T[0]}\nTY={-1e3 * T[1]}\nTZ={-1e3 * T[2]}\nCV_HD={ZED_TURN[1]}\nCV_2K=0.5\n"
        f"RX_HD={ZED_TURN[0]}\nRZ_HD={ZED_TURN[2]}\n"
    )
    out = stereo + "".join(
        f"[{s}_CAM_HD]\n{eye(K)}{'' if newer else lens(D)}" for s, K, D in (("LEFT", K1, D1), ("RIGHT", K2, D2))
    )
    return out + "".join(f"[{s}_DISTO]\n{lens(D)}k4=0\nk5=0\nk6=0\n" for s, D in (("LEFT", D1), ("RIGHT", D2)) if newer)


@pytest.mark.parametrize("newer", [False, True])
def test_zed_conf(tmp_path, newer):
    (tmp_path / "SN12345.conf").write_text(_zed(newer))
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        cv2.imwrite(str(tmp_path / side / "1.png"), np.zeros(SIZE[::-1], np.uint8))
    _check(
        read_rig(find_files(tmp_path), "m"), distortions=(np.r_[D1, 0, 0, 0], np.r_[D2, 0, 0, 0]) if newer else (D1, D2)
    )
    for side in ("left", "right"):
        cv2.imwrite(str(tmp_path / side / "1.png"), np.zeros((480, 640), np.uint8))
    with pytest.raises(CaptureError, match="the capture has 640x480 px"):
        read_rig(find_files(tmp_path), "m")


def _json(tmp_path, data, name="calibration.json"):
    (tmp_path / name).write_text(json.dumps(data))
    return read_calibration((tmp_path / name,))


def _realsense_eye(K, D, model="distortion.brown_conrady"):
    numbers = dict(zip(("ppx", "ppy", "fx", "fy"), (K[0, 2], K[1, 2], K[0, 0], K[1, 1]), strict=True))
    return {"width": SIZE[0], "height": SIZE[1], **numbers, "model": model, "coeffs": D.tolist()}


@pytest.mark.parametrize("names", [("left", "right"), ("infra1", "infra2")])
def test_realsense(tmp_path, names):
    data = {n: _realsense_eye(K, D) for n, K, D in zip(names, (K1, K2), (D1, D2), strict=True)}
    data["extrinsics"] = {"rotation": R.T.ravel().tolist(), "translation": T.tolist()}  # column by column
    _check(_json(tmp_path, data))
    data[names[0]]["model"] = "distortion.inverse_brown_conrady"
    with pytest.raises(CaptureError, match="inverse_brown_conrady' is not supported"):
        _json(tmp_path, data)


def test_depthai(tmp_path):
    def eye(K, D, to, R, t):
        step = {
            "rotationMatrix": R.tolist(),
            "translation": dict(zip("xyz", (100 * t).tolist(), strict=True)),
            "toCameraSocket": to,
        }
        return {
            "cameraType": 0,
            "width": SIZE[0],
            "height": SIZE[1],
            "intrinsicMatrix": K.tolist(),
            "distortionCoeff": [*D, *[0.0] * 9],
            "extrinsics": step,
        }

    colour_from_right = rigid(cv2.Rodrigues(np.array([0, 0.01, 0]))[0], np.array([0.06, 0, 0]))
    middle = eye(K1, D1, -1, np.eye(3), np.zeros(3))
    direct = [
        [1, eye(K1, D1, 2, R, T)],
        [2, eye(K2, D2, 0, colour_from_right[:3, :3], colour_from_right[:3, 3])],
        [0, middle],
    ]
    colour_from_left = colour_from_right @ rigid(R, T)
    by_middle = [[1, eye(K1, D1, 0, colour_from_left[:3, :3], colour_from_left[:3, 3])], direct[1], direct[2]]
    for cameras in (direct, by_middle):
        data = {
            "boardName": "OAK",
            "cameraData": cameras,
            "stereoRectificationData": {"leftCameraSocket": 1, "rightCameraSocket": 2},
        }
        _check(_json(tmp_path, data), distortions=(np.r_[D1, [0] * 9], np.r_[D2, [0] * 9]))


@pytest.mark.parametrize("older", [True, False])
def test_matlab(tmp_path, older):
    def eye(K, D):
        one = K + np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]])  # pixels count from 1
        return {
            "RadialDistortion": D[[0, 1, 4]].tolist(),
            "TangentialDistortion": D[2:4].tolist(),
            "ImageSize": [SIZE[1], SIZE[0]],
            **({"IntrinsicMatrix": one.T.tolist()} if older else {"K": one.tolist()}),
            "WorldUnits": "millimeters",
        }

    data = {"CameraParameters1": eye(K1, D1), "CameraParameters2": eye(K2, D2)}
    if older:
        data |= {"RotationOfCamera2": R.T.tolist(), "TranslationOfCamera2": (1e3 * T).tolist()}
    else:
        data |= {"PoseCamera2": {"Dimensionality": 3, "R": R.tolist(), "Translation": (1e3 * T).tolist()}}
    _check(_json(tmp_path, data, "stereoParams.json"))
    for compressed in (True, False):
        savemat(tmp_path / "stereoParams.mat", {"s": data, "date": "today"}, do_compression=compressed)
        _check(read_calibration((tmp_path / "stereoParams.mat",)))


def test_matlab_files_that_hold_no_structure_are_refused(tmp_path):
    path = tmp_path / "stereoParams.mat"
    savemat(path, {"K": np.eye(3)})
    with pytest.raises(CaptureError, match="holds K, and no stereoParams as a structure"):
        read_calibration((path,))
    savemat(path, {"stereoParams": MatlabObject(np.zeros((1, 1), [("K", object)]), "stereoParameters")})
    with pytest.raises(CaptureError, match="objects of MATLAB's classes"):
        read_calibration((path,))
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(CaptureError, match="cannot be read"):
        read_calibration((path,))
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))
    with pytest.raises(CaptureError, match="of version 7"):
        read_calibration((path,))
    path.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(CaptureError, match="no MAT-file"):
        read_calibration((path,))


def test_foundation_stereo_K_txt(tmp_path):
    (tmp_path / "K.txt").write_text(
        "754.6680908203125 0.0 489.3794860839844 0.0 754.6680908203125 265.16162109375 0.0 0.0 1.0\n0.063\n"
    )
    found = read_calibration((tmp_path / "K.txt",))
    assert (
        found.rectified and found.baseline_m == pytest.approx(0.063) and found.left.K[0, 2] == pytest.approx(489.37948)
    )
    (tmp_path / "K.txt").write_text("754 0 489 0 754 265 0 0 1\n")
    with pytest.raises(CaptureError, match="has 9 numbers"):
        read_calibration((tmp_path / "K.txt",))


def _meta_camera(calibration, sensor_to_vehicle):
    turn = cv2.Rodrigues(sensor_to_vehicle[:3, :3])[0].ravel()
    angle = float(np.linalg.norm(turn))
    axis = turn / angle if angle else np.zeros(3)
    place = {
        "axis_angle": {**dict(zip("xyz", axis.tolist(), strict=True)), "angle_degrees": float(np.degrees(angle))},
        "translation": dict(zip("xyz", sensor_to_vehicle[:3, 3].tolist(), strict=True)),
    }
    return {
        "sensor_meta_data": {"sensor_to_vehicle_transform": place},
        "calibration_parameters": {"image_width": SIZE[0], "image_height": SIZE[1], **calibration},
    }


def test_frames_meta_of_cusfm_and_edex(tmp_path):
    body = rigid(cv2.Rodrigues(np.array([1.2, -0.3, 0.4]))[0], np.array([0.3, 0.1, 1.0]))
    poses = (body, body @ np.linalg.inv(rigid(R, T)))
    lenses = [
        {"camera_matrix": {"data": K.ravel().tolist()}, "distortion_coefficients": {"data": D.tolist()}}
        for K, D in ((K1, D1), (K2, D2))
    ]
    data = {
        "keyframes_metadata": [],
        "camera_params_id_to_camera_params": {
            k: _meta_camera(lens, p) for k, lens, p in zip("01", lenses, poses, strict=True)
        },
        "stereo_pair": [
            {"left_camera_param_id": "0", "right_camera_param_id": "1", "baseline_meters": float(np.linalg.norm(T))}
        ],
    }
    _check(_json(tmp_path, data, "frames_meta.json"))
    data["stereo_pair"][0]["baseline_meters"] = 0.3
    with pytest.raises(CaptureError, match=r"baseline_meters is 0\.3, but the sensors are 0\.12"):
        _json(tmp_path, data, "frames_meta.json")
    cameras = [
        {
            "intrinsics": {
                "distortion_model": "brown5k",
                "distortion_params": D[[0, 1, 4, 2, 3]].tolist(),
                "size": list(SIZE),
                "focal": [K[0, 0], K[1, 1]],
                "principal": [K[0, 2], K[1, 2]],
            },
            "transform": p[:3].tolist(),
        }
        for K, D, p in zip((K1, K2), (D1, D2), poses, strict=True)
    ]
    _check(_json(tmp_path, [{"version": "0.9", "cameras": cameras}, {"sequence": []}], "stereo.edex"))


LENS = np.array([-0.02, 0.004, -0.003, 0.0006])


def _fisheye_rig():
    K = np.array([[286.0, 0, 422], [0, 286.5, 398], [0, 0, 1]])
    other = K + np.array([[1, 0, -3], [0, 1, 2], [0, 0, 0]])
    return StereoCalibration(Camera(K, LENS, True), Camera(other, LENS * 0.9, True), rigid(R, T), (848, 800), "f")


def test_a_fisheye_is_rectified_for_real(tmp_path):
    """Points of a scene seen by two equidistant cameras land on one row, where a pinhole pair would see them; maps agree with points."""
    rig = _fisheye_rig()
    rig.save(tmp_path / "calibration.json")
    rig = read_calibration((tmp_path / "calibration.json",))
    check_calibration(rig)
    assert rig.left.fisheye and not rig.rectified
    g = rectifying(rig)
    X = np.random.default_rng(0).uniform([-0.9, -0.7, 0.5], [0.9, 0.7, 1.2], (300, 3))
    raw = [
        cv2.fisheye.projectPoints(x[:, None], np.zeros(3), np.zeros(3), eye.K, eye.distortion)[0][:, 0]
        for x, eye in ((X, rig.left), (X @ R.T + T, rig.right))
    ]
    left, right = g.left.points(raw[0], g.rig.K), g.right.points(raw[1], g.rig.K)
    rotated = X @ g.left.rectified_from_raw.T
    np.testing.assert_allclose(left, rotated[:, :2] / rotated[:, 2:] * g.rig.fx + [g.rig.cx, g.rig.cy], atol=1e-4)
    np.testing.assert_allclose(left[:, 1], right[:, 1], atol=1e-4)
    np.testing.assert_allclose(left[:, 0] - right[:, 0], g.rig.fx * rig.baseline_m / rotated[:, 2], atol=1e-3)
    assert 0.9 * 848 < g.rig.width <= 1.16 * 848 and 0.9 * 800 < g.rig.height <= 1.16 * 800
    for maps, uv, where in zip((g.left.maps(g.rig), g.right.maps(g.rig)), raw, (left, right), strict=True):
        inside = (where > 1).all(1) & (where < [g.rig.width - 2, g.rig.height - 2]).all(1)
        assert inside.sum() > 100
        at = [map_coordinates(m, where[inside, ::-1].T, order=1) for m in maps]
        assert np.abs(np.stack(at, 1) - uv[inside]).max() < 0.02


def test_kalibr_equidistant(tmp_path):
    rig = _fisheye_rig()

    def numbers(K):
        return [float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))]

    def eye(c):
        return (
            f"  camera_model: pinhole\n  distortion_model: equidistant\n  distortion_coeffs: {c.distortion.tolist()}\n"
            f"  intrinsics: {numbers(c.K)}\n  resolution: [848, 800]\n"
        )

    rows = "".join(f"  - {row}\n" for row in rig.right_from_left.tolist())
    (tmp_path / "room-camchain.yaml").write_text(f"cam0:\n{eye(rig.left)}cam1:\n  T_cn_cnm1:\n{rows}{eye(rig.right)}")
    found = read_calibration((tmp_path / "room-camchain.yaml",))
    _check(found, (848, 800), (rig.left.distortion, rig.right.distortion), (rig.left.K, rig.right.K))
    assert found.left.fisheye and found.right.fisheye


@pytest.mark.parametrize(
    ("distortion", "words"), [([-0.9, 0.2, 0, 0], "no lens"), ([0.1, 0.2, 0.3], "has 3 coefficients")]
)
def test_impossible_fisheyes_are_refused(distortion, words):
    rig = _fisheye_rig()
    bad = StereoCalibration(
        Camera(rig.left.K, np.array(distortion), True), rig.right, rig.right_from_left, rig.size, "f"
    )
    with pytest.raises(CaptureError, match=words):
        check_calibration(bad)


def test_folders_that_frames_meta_names(capture, rectify, synthetic_capture):
    data = json.loads((capture / "calibration.json").read_text())
    K, b = data["K"], data["baseline_m"]
    P = [*K[:3], 0, *K[3:6], 0, *K[6:], 0]
    cameras = {}
    for name, x in (("0", 0.0), ("1", b)):
        cameras[name] = _meta_camera({"projection_matrix": {"data": P}}, rigid(np.eye(3), np.array([x, 0, 0])))
        cameras[name]["calibration_parameters"] |= {"image_width": 400, "image_height": 300}
    frames = []
    for k, stamp in enumerate(range(1_700_000_000_000_000, 1_700_000_000_800_000, 100_000)):
        for name, side in (("1", "right"), ("0", "left")):
            target = capture / f"zed_{side}" / f"{stamp}.jpg"
            target.parent.mkdir(exist_ok=True)
            (capture / f"{side}/{side}{k:06d}.jpg").rename(target)
            frames.append(
                {
                    "camera_params_id": name,
                    "synced_sample_id": str(k),
                    "image_name": target.relative_to(capture).as_posix(),
                }
            )
    for name in ("left", "right"):
        (capture / name).rmdir()
    (capture / "calibration.json").unlink()
    meta = {
        "keyframes_metadata": frames,
        "camera_params_id_to_camera_params": cameras,
        "stereo_pair": [{"left_camera_param_id": "0", "right_camera_param_id": "1", "baseline_meters": b}],
    }
    (capture / "frames_meta.json").write_text(json.dumps(meta))
    made = rectify(capture)
    assert made.report.frames == {"ok": 8} and json.loads((made.out / "rig.json").read_text())[
        "baseline_m"
    ] == pytest.approx(b)
    for side in ("left", "right"):
        got, true = made.out / "pairs" / made.rows[5][side], synthetic_capture / f"{side}/{side}000005.jpg"
        assert got.read_bytes() == true.read_bytes()
    for name, words in (("../x.jpg", "no path inside"), ("zed_left/no.jpg", "is not there")):
        frames[1]["image_name"] = name
        (capture / "frames_meta.json").write_text(json.dumps(meta))
        with pytest.raises(CaptureError, match=words):
            find_files(capture)
