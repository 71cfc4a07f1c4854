"""OpenCV stereoCalibrate results (FileStorage YAML, XML or JSON), in one file or as intrinsics + extrinsics, in the usual spellings.

OpenCV's stereoCalibrate gives x_right = R x_left + T, which is right_from_left as it stands. Rectification matrices (R1, R2, P1, P2, Q)
in the file are not used: they are computed again with the row offset corrected.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.stereo_calibration import Camera, StereoCalibration, rigid

# keys are compared in lower case without underscores
_K = {"left": ("m1", "k1", "cm1", "cameramatrix1", "camera1", "ml", "kl", "mleft", "kleft", "leftk", "cameramatrixl",
               "cameramatrixleft", "leftcameramatrix"),
      "right": ("m2", "k2", "cm2", "cameramatrix2", "camera2", "mr", "kr", "mright", "kright", "rightk", "cameramatrixr",
                "cameramatrixright", "rightcameramatrix")}
_D = {"left": ("d1", "dist1", "distcoeffs1", "distortion1", "distortioncoefficients1", "dl", "dleft", "leftd", "distcoeffsl",
               "distcoeffsleft", "leftdistcoeffs", "leftdistortion"),
      "right": ("d2", "dist2", "distcoeffs2", "distortion2", "distortioncoefficients2", "dr", "dright", "rightd", "distcoeffsr",
                "distcoeffsright", "rightdistcoeffs", "rightdistortion")}
_R = ("r", "rotation", "rotationmatrix", "rot", "rstereo", "rlr")
_T = ("t", "translation", "translationvector", "trans", "tvec", "tstereo", "tlr")
_HEADERS = "a YAML file must begin with %YAML:1.0, an XML file with <opencv_storage>"
_SIZE = ("imagesize", "size", "imgsize", "resolution")


def read(files: tuple[Path, ...], unit_m: float = 1.0) -> StereoCalibration:
    """unit_m: length of one unit of T in metres (the side of the board's squares was given in it). Raises CaptureError."""
    nodes: dict[str, np.ndarray] = {}
    for path in files:
        nodes |= _nodes(path)
    source = " + ".join(p.name for p in files)
    left, right = (_camera(nodes, side, source) for side in ("left", "right"))
    R = _pick(nodes, _R, "rotation R between the cameras", source)
    if R.size == 3:
        R = cv2.Rodrigues(R.reshape(3, 1))[0]
    if R.size != 9:
        raise CaptureError(f"{source}: R has {R.size} numbers; expected 9 (or a Rodrigues vector of 3)", "save R of stereoCalibrate")
    T = _pick(nodes, _T, "translation T between the cameras", source, 3).ravel() * unit_m
    return StereoCalibration(left, right, rigid(R.reshape(3, 3), T), _size(nodes), source)


def _camera(nodes: dict[str, np.ndarray], side: str, source: str) -> Camera:
    K = _pick(nodes, _K[side], f"camera matrix of the {side} camera (M1, K1, cameraMatrix1 ..)", source, 9)
    D = _pick(nodes, _D[side], f"distortion of the {side} camera (D1, distCoeffs1 ..)", source)
    return Camera(K.reshape(3, 3), D.ravel())


def _pick(nodes: dict[str, np.ndarray], names: tuple[str, ...], what: str, source: str, count: int | None = None) -> np.ndarray:
    for name in names:
        if name in nodes and nodes[name].size:
            if count is not None and nodes[name].size != count:
                raise CaptureError(f"{source}: {what} has {nodes[name].size} numbers; expected {count}", "correct the file")
            return nodes[name]
    raise CaptureError(f"{source}: no {what} (found: {', '.join(sorted(nodes)) or 'nothing'})",
                       "save M1, D1, M2, D2, R and T of stereoCalibrate; extrinsics may lie in extrinsics.yml beside intrinsics.yml")


def _size(nodes: dict[str, np.ndarray]) -> tuple[int, int] | None:
    for name in _SIZE:
        if name in nodes and nodes[name].size == 2:
            return int(nodes[name].ravel()[0]), int(nodes[name].ravel()[1])
    for pair in (("imagewidth", "imageheight"), ("width", "height")):
        if all(p in nodes for p in pair):
            return int(nodes[pair[0]].ravel()[0]), int(nodes[pair[1]].ravel()[0])
    return None


def _nodes(path: Path) -> dict[str, np.ndarray]:
    """{key in lower case without underscores: float64 array} of every numeric node at the top level."""
    try:
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    except (cv2.error, SystemError) as e:
        raise CaptureError(f"{path.name} is not a readable OpenCV file: {str(e).strip()[:200]}", _HEADERS) from e
    if not storage.isOpened():
        raise CaptureError(f"{path.name} is not a readable OpenCV file", _HEADERS)
    root, out = storage.root(), {}
    for key in root.keys():
        values = _values(root.getNode(key))
        if values is not None:
            out[key.lower().replace("_", "")] = values
    storage.release()
    return out


def _values(node: cv2.FileNode) -> np.ndarray | None:
    if node.isInt() or node.isReal():
        return np.array([node.real()])
    if node.isMap():
        mat = node.mat()
        return None if mat is None else np.asarray(mat, np.float64)
    if node.isSeq():
        items = [node.at(i) for i in range(node.size())]
        return np.array([i.real() for i in items]) if all(i.isInt() or i.isReal() for i in items) else None
    return None
