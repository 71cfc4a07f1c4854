"""Whole files in the formats of makers of cameras, small, for the fuzz test."""

from __future__ import annotations

import io
import json

from scipy.io import savemat

K = [900.0, 0, 322.5, 0, 901, 236.25, 0, 0, 1]
_TURN = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]


def _ros(shift: float) -> bytes:
    data = {
        "camera_matrix": K,
        "distortion_coefficients": [-0.1, 0.01, 0, 0, 0],
        "rectification_matrix": _TURN,
        "projection_matrix": [900.0, 0, 322, shift, 0, 900, 236, 0, 0, 0, 1, 0],
    }
    head = "image_width: 640\nimage_height: 480\ndistortion_model: plumb_bob\n"
    return (head + "".join(f"{k}:\n  rows: 3\n  data: {v}\n" for k, v in data.items())).encode()


ROS_LEFT, ROS_RIGHT = _ros(0.0), _ros(-54.0)
_ZED_EYE = "fx=700\nfy=701\ncx=640\ncy=360\nk1=-0.1\nk2=0.01\np1=0\np2=0\nk3=0\n"
ZED = (
    "[STEREO]\nBaseline=120\nTY=0.1\nTZ=-0.2\nCV_HD=0.01\nRX_HD=0.001\nRZ_HD=-0.002\n"
    f"[LEFT_CAM_HD]\n{_ZED_EYE}[RIGHT_CAM_HD]\n{_ZED_EYE}"
).encode()
_RS = {
    "width": 640,
    "height": 480,
    "ppx": 322.5,
    "ppy": 236.25,
    "fx": 900.0,
    "fy": 901.0,
    "model": "distortion.brown_conrady",
    "coeffs": [0.1, 0, 0, 0, 0],
}
REALSENSE = json.dumps(
    {"left": _RS, "right": _RS, "extrinsics": {"rotation": _TURN, "translation": [-0.06, 0, 0]}}
).encode()
_SQUARE = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
_OAK = {
    "cameraType": 0,
    "width": 640,
    "height": 480,
    "intrinsicMatrix": K,
    "distortionCoeff": [0.0] * 14,
    "extrinsics": {"rotationMatrix": _SQUARE, "translation": {"x": -7.5, "y": 0, "z": 0}, "toCameraSocket": 2},
}
DEPTHAI = json.dumps(
    {
        "cameraData": [[1, _OAK], [2, {**_OAK, "extrinsics": {**_OAK["extrinsics"], "toCameraSocket": -1}}]],
        "stereoRectificationData": {"leftCameraSocket": 1, "rightCameraSocket": 2},
    }
).encode()
_MATLAB = {
    "RadialDistortion": [0.1, 0.01],
    "TangentialDistortion": [0, 0],
    "ImageSize": [480, 640],
    "K": K,
    "WorldUnits": "mm",
}
MATLAB = json.dumps(
    {
        "CameraParameters1": _MATLAB,
        "CameraParameters2": _MATLAB,
        "RotationOfCamera2": _SQUARE,
        "TranslationOfCamera2": [-60, 0, 0],
    }
).encode()


def _mat(compressed: bool) -> bytes:
    out = io.BytesIO()
    savemat(out, {"s": json.loads(MATLAB)}, do_compression=compressed)
    return out.getvalue()


K_TXT = b"900 0 322.5 0 901 236.25 0 0 1\n0.06\n"


def _sensor(x: float) -> dict:
    place = {"axis_angle": {"x": 0, "y": 1, "z": 0, "angle_degrees": 1.0}, "translation": {"x": x, "y": 0, "z": 0}}
    return {
        "sensor_meta_data": {"sensor_to_vehicle_transform": place},
        "calibration_parameters": {
            "image_width": 640,
            "image_height": 480,
            "camera_matrix": {"data": K},
            "distortion_coefficients": {"data": [0.1, 0, 0, 0]},
        },
    }


FRAMES_META = json.dumps(
    {
        "camera_params_id_to_camera_params": {"0": _sensor(0.0), "1": _sensor(0.06)},
        "stereo_pair": [{"left_camera_param_id": "0", "right_camera_param_id": "1", "baseline_meters": 0.06}],
    }
).encode()
PICTURES_META = json.dumps(
    {
        "stereo_pair": [{"left_camera_param_id": "0", "right_camera_param_id": "1"}],
        "keyframes_metadata": [
            {"camera_params_id": eye, "synced_sample_id": k, "image_name": "frames_meta.json"}
            for k in range(3)
            for eye in "01"
        ],
    }
).encode()
EDEX = json.dumps(
    [
        {
            "cameras": [
                {
                    "intrinsics": {
                        "distortion_model": "fisheye4",
                        "distortion_params": [0.01, 0, 0, 0],
                        "focal": [500, 500],
                        "principal": [320, 240],
                        "size": [640, 480],
                    },
                    "transform": [[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, 0]],
                }
                for x in (0, 0.06)
            ]
        }
    ]
).encode()
FISHEYE = json.dumps(
    {
        "rectified": False,
        "image_size": {"width": 640, "height": 480},
        **{side: {"K": K, "distortion": [0.01, -0.01, 0.002, 0], "model": "fisheye"} for side in ("left", "right")},
        "right_from_left": {"R": _TURN, "t_m": [-0.06, 0, 0]},
    }
).encode()
_LENS = {"camera_model_name": "OPENCV", "camera_params": [900.0, 901, 323, 236.75, 0.1, 0, 0, 0]}
RIG_CONFIG = json.dumps(
    [
        {
            "cameras": [
                {"image_prefix": "left/", "ref_sensor": True, **_LENS},
                {
                    "image_prefix": "right/",
                    "cam_from_rig_rotation": [1, 0, 0, 0],
                    "cam_from_rig_translation": [-0.06, 0, 0],
                    **_LENS,
                },
            ]
        }
    ]
).encode()
"""name of the file in a capture -> its bytes"""
FILES = {
    "SN1.conf": ZED,
    "realsense.json": REALSENSE,
    "depthai.json": DEPTHAI,
    "matlab.json": MATLAB,
    "plain.mat": _mat(False),
    "small.mat": _mat(True),
    "K.txt": K_TXT,
    "frames_meta.json": FRAMES_META,
    "stereo.edex": EDEX,
    "fisheye.json": FISHEYE,
    "rig_config.json": RIG_CONFIG,
}
