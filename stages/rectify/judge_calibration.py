"""Whether a calibration fits the pictures: its size by the principal point, and its rotation by the rows of the matches."""

from __future__ import annotations

import dataclasses

import numpy as np

from stages.core.errors import CaptureError
from stages.core.stereo_calibration import StereoCalibration, rigid
from stages.rectify.geometry import Geometry, rectifying
from stages.rectify.row_offset import MIN_MATCHES

ALIKE = 0.12
"""how far the two axes may disagree about the size that the principal point speaks of"""
OTHER_SIZE = (0.7, 1.4)
"""principal point over the middle: outside, in both axes alike, the calibration is of pictures of another size"""
ODD_SIZE = 0.15
"""as `OTHER_SIZE`, but worth a word only: a rectified picture may be cut unevenly"""
FAR_OFF = 0.4
"""of half the width or height: a principal point that far from the middle is worth a word"""
EXCHANGED = (0.2, 0.08)
"""of half the width or height: how far off a principal point is at least, and at most with cx and cy exchanged, to be a slip"""
SMALL_ROWS_PX = 0.12
ROWS_PX = 1.0
"""median row error below which a run is not refused for a calibration; below the small one nothing is said, it is the noise of matching"""
CLEARLY = 0.33
"""row error of another reading of the file over that of the file as it is: below, the other reading is meant"""


def judge_size(c: StereoCalibration, size: tuple[int, int], stated: bool) -> list[str]:
    """Warnings about principal points far from the middle of pictures of `size`.

    stated: the file gives the picture size itself. Raises CaptureError where it does not and is plainly of another size.
    """
    out = []
    for side, camera in (("left", c.left), ("right", c.right)):
        ratio = np.array([camera.K[0, 2], camera.K[1, 2]]) * 2 / np.array(size)
        scale = float(ratio.mean())
        words = f"{c.source}: the {side} principal point lies at {ratio[0] / 2:.0%} of the width and {ratio[1] / 2:.0%} of the height"
        _refuse_exchanged(camera.K, size, words)
        made, alike = f"{size[0] * scale:.0f}x{size[1] * scale:.0f}", np.ptp(ratio) < ALIKE
        if alike and not OTHER_SIZE[0] < scale < OTHER_SIZE[1] and not stated:
            raise CaptureError(
                f"{words} of these {size[0]}x{size[1]} px pictures: the calibration looks made for about {made} px",
                "calibrate at the size of the capture; if it is right, write the picture size (imageSize) into the file",
            )
        if alike and abs(scale - 1) > ODD_SIZE:
            out.append(
                f"{words}, as in a calibration made for about {made} px: unless the pictures were cut out of larger ones, "
                "focal length and distances are off by that much"
            )
        elif np.abs(ratio - 1).max() > FAR_OFF:
            out.append(f"{words}: unless the pictures were cut out of larger ones, the calibration is not theirs")
    return out


def _refuse_exchanged(K: np.ndarray, size: tuple[int, int], words: str) -> None:
    """Raise CaptureError for cx and cy that lie in the middle only if they change places."""
    as_it_is, exchanged = (
        np.abs(np.array(c) * 2 / np.array(size) - 1).max() for c in ((K[0, 2], K[1, 2]), (K[1, 2], K[0, 2]))
    )
    if as_it_is > EXCHANGED[0] and exchanged < EXCHANGED[1]:
        raise CaptureError(
            f"{words} of the pictures; with cx and cy exchanged it lies in the middle",
            "write cx before cy (x to the right)",
        )


def judge_rotation(c: StereoCalibration, uv: np.ndarray, geometry: Geometry) -> list[str]:
    """Warnings. Raises CaptureError where the rows of the raw matches `uv` (M, 4) miss, and meet as they are or with R the other way
    round."""
    if c.rectified or len(uv) < MIN_MATCHES:
        return []
    given = _row_error(uv, geometry)
    as_is = float(np.median(np.abs(uv[:, 3] - uv[:, 1])))
    if given < ROWS_PX:
        if given < SMALL_ROWS_PX or as_is > CLEARLY * given:
            return []
        return [
            f"{c.source}: the rows of the two views meet to {as_is:.2f} px as they are, to {given:.2f} px with this calibration of raw "
            "pictures: are they rectified already? Then the twin would be bent"
        ]
    if as_is < min(ROWS_PX, CLEARLY * given):
        raise CaptureError(
            f"{c.source}: the rows of the two views meet as they are (to {as_is:.1f} px), and miss by {given:.1f} px with "
            "this calibration of raw pictures: the pictures look rectified already",
            "give the raw pictures, or the calibration of the rectified ones (calibration.json with rectified: true)",
        )
    R, t = c.right_from_left[:3, :3], c.right_from_left[:3, 3]
    turned = _row_error(uv, rectifying(dataclasses.replace(c, right_from_left=rigid(R.T, t))))
    if turned < CLEARLY * given:
        raise CaptureError(
            f"{c.source}: the rows of the two views miss each other by {given:.1f} px with R as it stands, "
            f"by {turned:.1f} px with R transposed",
            "R is stored the other way round (MATLAB before R2022b does so): transpose it",
        )
    return []


def _row_error(uv: np.ndarray, geometry: Geometry) -> float:
    """Median distance of the rows of raw matches, px of the rectified pair."""
    K = geometry.rig.K
    return float(
        np.median(np.abs(geometry.right.points(uv[:, 2:4], K)[:, 1] - geometry.left.points(uv[:, :2], K)[:, 1]))
    )
