"""Opens what a capture folder holds: the right reader for its pictures, and its calibration with every check that needs no picture."""

from __future__ import annotations

from stages.core.capture import CaptureFiles
from stages.core.picture_size import picture_size
from stages.core.plain_files import read_bytes
from stages.core.stereo_calibration import UNITS_M, StereoCalibration, check_calibration
from stages.rectify.calibration_file import read_calibration
from stages.rectify.raw_pairs import PairReader
from stages.rectify.read_folders import FolderReader
from stages.rectify.read_stereo_video import StereoVideoReader
from stages.rectify.read_videos import VideoPairReader, stated_size


def open_reader(files: CaptureFiles, most_megapixels: float) -> PairReader:
    """For folders, two videos or one side-by-side video. Raises CaptureError."""
    if files.stereo_video is not None:
        return StereoVideoReader(files.stereo_video, most_megapixels)
    if files.left_video is not None and files.right_video is not None:
        return VideoPairReader(files.left_video, files.right_video, most_megapixels)
    return FolderReader(files.left, files.right, most_megapixels)


def first_size(files: CaptureFiles) -> tuple[int, int] | None:
    """(width, height) of one picture as headers state it; None where no header does."""
    if files.left:
        return picture_size(read_bytes(files.left[0]))
    video = files.left_video or files.stereo_video
    if video is None:
        return None
    width, height = stated_size(video)
    if files.left_video:
        return width, height
    return (width, height // 2) if width < height else (width // 2, height)


def read_rig(files: CaptureFiles, unit: str) -> StereoCalibration:
    """Read and, where the file states the picture size, checked. Raises CaptureError."""
    calibration = read_calibration(files.calibration, UNITS_M[unit], lambda: first_size(files))
    if calibration.size:
        check_calibration(calibration)
    return calibration
