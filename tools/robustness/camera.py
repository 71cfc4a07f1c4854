"""From light to a file's pixels: exposure, white balance, noise, and a video's losses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tools.robustness.drawn import Drawn

_GAMMA = 2.2
_FRAMES_PER_S = 30.0


def develop(drawn: Drawn, linear: np.ndarray, k: int, side: str) -> np.ndarray:
    """(H, W, 3) linear RGB of frame k -> (H, W, 3) uint8 sRGB, with the faults of the camera."""
    rng = drawn.rng(f"noise {k} {side}")
    t = k / drawn.frames
    gain = (
        drawn.level
        * (1 + drawn.exposure_drift * np.sin(2 * np.pi * t + 0.7))
        * (drawn.right_gain if side == "right" else 1.0)
    )
    white = 1 + drawn.white_drift * np.array([1.0, 0.0, -1.0]) * np.sin(2 * np.pi * 0.7 * t)
    levels = 255 * np.clip(linear * gain * white, 0, 1) ** (1 / _GAMMA) + rng.normal(0, drawn.noise, linear.shape)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def through_a_video(pictures: list[np.ndarray], path: Path) -> list[np.ndarray]:
    """What a player shows of `pictures` (H, W, 3) RGB: MPEG-4 at about 0.4 bits a pixel, colour at half the resolution.

    Raises RuntimeError where OpenCV has no such encoder.
    """
    height, width = pictures[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _FRAMES_PER_S, (width, height))
    if not writer.isOpened():
        raise RuntimeError("this OpenCV has no MPEG-4 encoder; install opencv-python-headless from its usual wheel")
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    reader, out = cv2.VideoCapture(str(path)), []
    for _ in pictures:
        ok, picture = reader.read()
        if not ok:
            raise RuntimeError(f"{path.name}: {len(out)} of {len(pictures)} frames came back from the video")
        out.append(np.ascontiguousarray(picture[..., ::-1]))
    reader.release()
    path.unlink()
    return out
