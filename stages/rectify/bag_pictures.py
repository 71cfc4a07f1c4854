"""Pictures of ROS messages as PNG, or the JPEG and PNG files that compressed messages hold, byte for byte."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

_CHANNELS = {
    "mono8": 1,
    "8UC1": 1,
    "mono16": 1,
    "16UC1": 1,
    "bgr8": 3,
    "8UC3": 3,
    "rgb8": 3,
    "bgra8": 4,
    "8UC4": 4,
    "rgba8": 4,
    "yuv422": 2,
    "yuv422_yuy2": 2,
    "uyvy": 2,
    "yuyv": 2,
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
    "bayer_grbg8": 1,
}
_TO_BGR = {
    "rgb8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "bgra8": cv2.COLOR_BGRA2BGR,
    "8UC4": cv2.COLOR_BGRA2BGR,
    "yuv422": cv2.COLOR_YUV2BGR_UYVY,
    "uyvy": cv2.COLOR_YUV2BGR_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2BGR_YUY2,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
    # OpenCV names a pattern by its second row and column
    "bayer_rggb8": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr8": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg8": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg8": cv2.COLOR_BayerGB2BGR,
}
_MOST_SIDE = 32768


class NotAPicture(ValueError):
    """In words what a message holds instead."""


def encoded(message: Any) -> tuple[bytes, str]:
    """The content and suffix of a picture file. Raises NotAPicture."""
    if not hasattr(message, "encoding"):
        data = np.asarray(message.data, np.uint8).tobytes()
        suffix = ".jpg" if data.startswith(b"\xff\xd8") else ".png" if data.startswith(b"\x89PNG") else ""
        if not suffix:
            raise NotAPicture(f"a compressed picture of format {str(message.format)[:40]!r} is neither JPEG nor PNG")
        return data, suffix
    ok, data = cv2.imencode(".png", pixels(message), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise NotAPicture("a picture cannot be written as PNG")
    return data.tobytes(), ".png"


def pixels(message: Any) -> np.ndarray:
    """(H, W) or (H, W, 3) BGR, uint8 or uint16, of a sensor_msgs/Image. Raises NotAPicture."""
    kind, height, width, step = message.encoding, message.height, message.width, message.step
    if kind not in _CHANNELS:
        raise NotAPicture(f"the encoding {str(kind)[:40]!r} is not read")
    depth = 2 if "16" in kind else 1
    row = width * _CHANNELS[kind] * depth
    data = np.asarray(message.data, np.uint8)
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE and row <= step and data.size >= step * height):
        raise NotAPicture(f"a picture of {width}x{height} px in {kind} has {data.size} bytes in rows of {step}")
    rows = np.ascontiguousarray(data[: step * height].reshape(height, step)[:, :row])
    if depth == 2:
        return rows.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16)
    picture = rows.reshape(height, width, _CHANNELS[kind]) if _CHANNELS[kind] > 1 else rows
    return cv2.cvtColor(picture, _TO_BGR[kind]) if kind in _TO_BGR else picture
