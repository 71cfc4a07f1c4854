"""OpenCV stereoCalibrate results (FileStorage YAML, XML or JSON), in one file or as intrinsics + extrinsics, in the usual spellings.

OpenCV's stereoCalibrate gives x_right = R x_left + T, which is right_from_left as it stands. Rectification matrices (R1, R2, P1, P2, Q)
in the file are not used: they are computed again with the row offset corrected.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.stereo_calibration import Camera, StereoCalibration, picture_size, rigid
from stages.rectify.opencv_storage import read_storage

# keys are compared in lower case without underscores
_K = {
    "left": (
        "m1",
        "k1",
        "cm1",
        "cameramatrix1",
        "camera1",
        "ml",
        "kl",
        "mleft",
        "kleft",
        "leftk",
        "cameramatrixl",
        "cameramatrixleft",
        "leftcameramatrix",
    ),
    "right": (
        "m2",
        "k2",
        "cm2",
        "cameramatrix2",
        "camera2",
        "mr",
        "kr",
        "mright",
        "kright",
        "rightk",
        "cameramatrixr",
        "cameramatrixright",
        "rightcameramatrix",
    ),
}
_D = {
    "left": (
        "d1",
        "dist1",
        "distcoeffs1",
        "distortion1",
        "distortioncoefficients1",
        "dl",
        "dleft",
        "leftd",
        "distcoeffsl",
        "distcoeffsleft",
        "leftdistcoeffs",
        "leftdistortion",
    ),
    "right": (
        "d2",
        "dist2",
        "distcoeffs2",
        "distortion2",
        "distortioncoefficients2",
        "dr",
        "dright",
        "rightd",
        "distcoeffsr",
        "distcoeffsright",
        "rightdistcoeffs",
        "rightdistortion",
    ),
}
_R = ("r", "rotation", "rotationmatrix", "rot", "rstereo", "rlr")
_T = ("t", "translation", "translationvector", "trans", "tvec", "tstereo", "tlr")
_SIZE = ("imagesize", "size", "imgsize", "resolution")


def read(files: tuple[Path, ...], unit_m: float = 1.0) -> StereoCalibration:
    """unit_m: length of one unit of T in metres (the side of the board's squares was given in it). Raises CaptureError."""
    nodes: dict[str, np.ndarray] = {}
    for path in files:
        nodes |= {key.lower().replace("_", ""): values for key, values in read_storage(path).items()}
    source = " + ".join(p.name for p in files)
    left, right = (_camera(nodes, side, source) for side in ("left", "right"))
    R = _pick(nodes, _R, "rotation R between the cameras", source)
    if R.size == 3 and np.all(np.isfinite(R)):
        R = cv2.Rodrigues(R.reshape(3, 1))[0]
    if R.size != 9:
        raise CaptureError(
            f"{source}: R has {R.size} numbers; expected 9 (or a Rodrigues vector of 3)", "save R of stereoCalibrate"
        )
    T = _pick(nodes, _T, "translation T between the cameras", source, count=3).ravel() * unit_m
    return StereoCalibration(left, right, rigid(R.reshape(3, 3), T), _size(nodes, source), source=source)


def _camera(nodes: dict[str, np.ndarray], side: str, source: str) -> Camera:
    K = _pick(nodes, _K[side], f"camera matrix of the {side} camera (M1, K1, cameraMatrix1 ..)", source, count=9)
    D = _pick(nodes, _D[side], f"distortion of the {side} camera (D1, distCoeffs1 ..)", source)
    return Camera(K.reshape(3, 3), D.ravel())


def _pick(
    nodes: dict[str, np.ndarray], names: tuple[str, ...], what: str, source: str, count: int | None = None
) -> np.ndarray:
    for name in names:
        if name in nodes and nodes[name].size:
            if count is not None and nodes[name].size != count:
                raise CaptureError(
                    f"{source}: {what} has {nodes[name].size} numbers; expected {count}", "correct the file"
                )
            return nodes[name]
    raise CaptureError(
        f"{source}: no {what} (found: {', '.join(sorted(nodes)) or 'nothing'})",
        "save M1, D1, M2, D2, R and T of stereoCalibrate; extrinsics may lie in extrinsics.yml beside intrinsics.yml",
    )


def _size(nodes: dict[str, np.ndarray], source: str) -> tuple[int, int] | None:
    for name in _SIZE:
        if name in nodes and nodes[name].size == 2:
            return picture_size(*nodes[name].ravel(), source)
    for pair in (("imagewidth", "imageheight"), ("width", "height")):
        if all(p in nodes and nodes[p].size == 1 for p in pair):
            return picture_size(nodes[pair[0]].ravel()[0], nodes[pair[1]].ravel()[0], source)
    return None
