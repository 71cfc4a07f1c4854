"""Settings of `rectify`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.board_words import board_of


@dataclass(frozen=True)
class RectifyConfig:
    """How raw pairs are chosen, checked and rectified."""

    calibration_unit: Literal["m", "cm", "mm", "inch"] = "m"
    """unit of T in an OpenCV calibration file, which does not say it: that of the board's square size when it was made"""
    box: tuple[float, float, float, float] | None = None
    """[x0, y0, x1, y1] round the object in the left picture as captured, px; takes the place of prompt.json"""
    box_frame: int = 0
    """frame the box was drawn on"""
    text: str = ""
    """words for the object ("red ball") in place of a box: a detector finds it on `box_frame`; needs weights (docs/weights.md)"""

    board: str = ""
    """of a board in view of the capture, whose size tells whether the scale is right: "chessboard 9x6 0.025" (inner corners, side of a
    square in metres), "charuco 8x6 0.03 0.022 5X5_100" (squares, side, marker, dictionary), "apriltag 6x6 0.03 0.009" (tags, side, gap)"""

    max_megapixels: float = 100.0
    """of one picture, as its header states it; a larger one is refused before memory is reserved for it (3 bytes per pixel and more)"""
    max_width: int | None = None
    """px; wider rectified pictures are made smaller by area averaging, and the rig with them (preview); None keeps every sample"""
    max_frames: int | None = None
    """frames to keep at most, evenly thinned; None keeps all of a picture folder, and what `select` leaves of a video"""
    select: Literal["auto", "all", "motion", "sparse"] = "auto"
    """motion: one frame, the sharpest, per `motion_step` of picture motion; sparse: few frames, yet so many that the picture moves by
    `motion_step` at most between two (preview); auto: motion for videos, all for picture folders"""
    motion_step: float = 0.02
    """share of the picture width by which the fastest 5 % of the picture move between kept frames: about 1.5 degrees of a turn"""
    least_frames: int = 24
    """frames that `sparse` keeps at least, where the capture has as many: a small turn has little motion in all"""
    image_format: Literal["auto", "png", "jpeg"] = "auto"
    """of pictures that had to be resampled; auto: lossless PNG up to `png_megapixels` in all, then JPEG of quality 97"""
    png_megapixels: float = 4000.0
    """megapixels over all pictures; about 6 GB of PNG"""

    row_pairs: int = 8
    """pairs the row offset is measured on, evenly spaced: more add little once each has hundreds of matches"""
    row_offset_ignore_px: float = 0.1
    """px; a smaller offset stays: resampling would cost more sharpness than it mends"""
    row_offset_max_px: float = 6.0
    """px; a larger offset means a wrong calibration or unsynchronised cameras, which shifting rows would only hide"""
    row_model: Literal["auto", "pitch", "turn", "full", "lens"] = "auto"
    """how the right camera may be corrected: pitch (one offset), turn (pitch and roll), full (and keystone and zoom), lens (and a smooth
    shift of rows for wrong distortion); auto: what pairs left out of the fit confirm"""

    blurred_below: float = 0.25
    """strength of edges, across the direction that lost most, over the median of the neighbours; 0.25 is motion blur of some 3 % of the
    width: nothing is left to match"""
    blur_warning_below: float = 0.6
    """the same ratio; below it a frame is kept and named in a warning"""
    duplicate_below: float = 0.02
    """grey levels, of 8 x 8 averages, at the place that differs most; only a repeated picture is that equal, noise alone exceeds it"""
    min_usable: float = 0.5
    """share of the capture's frames that must be usable; with fewer the capture is refused, as its turn would have holes"""

    def __post_init__(self) -> None:
        if self.board:
            board_of(self.board)
        for name, low in (
            ("max_width", 64),
            ("max_frames", 1),
            ("row_pairs", 1),
            ("motion_step", 0.0),
            ("least_frames", 2),
            ("row_offset_max_px", 0.0),
        ):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} is {value}; expected at least {low}")
