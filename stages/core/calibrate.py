"""Stereo calibration from pictures of a board (boards.py): what `twin calibrate` runs, and what it thinks of the result.

Each camera alone first (Zhang 2000, cv2.calibrateCamera), then both together (cv2.stereoCalibrate) with every parameter free; a pair whose
corners fit far worse than the others is left out and named. The tilt of the board over the pairs is what separates focal length, centre
and convergence, so it is measured and asked for where it is too small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from stages.core.boards import LEAST_CORNERS, Board, CalibrationBoard
from stages.core.capture import PICTURES
from stages.core.errors import CaptureError
from stages.core.frame_names import pair_files
from stages.core.images import read_gray
from stages.core.stereo_calibration import Camera, StereoCalibration, check_calibration, rigid

MIN_PAIRS = 6
GOOD_PAIRS = 15
OUTLIER = 3.0
"""a pair is left out when its rms is this many times the median"""
GOOD_RMS_PX = 0.5
GOOD_COVERAGE = 0.6
GOOD_TILT_DEG = 20.0
_STOP = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-9)


@dataclass
class CalibrationResult:
    """The calibration and how far to trust it."""

    calibration: StereoCalibration
    rms_px: float
    """of the corners, both cameras together"""
    epipolar_rms_px: float
    """distance of right corners from the rows their left ones predict, after rectification"""
    pairs_used: list[str]
    pairs_left_out: dict[str, str]
    coverage: float
    """share of the left picture's 8 x 6 cells that held a corner"""
    tilt_deg: float
    """median angle between the board and the picture plane"""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Corners:
    name: str
    left: np.ndarray
    right: np.ndarray
    size: tuple[int, int]
    points: np.ndarray | None = None
    """(N, 3) of the board that were seen; None for all of them"""


def calibrate_folder(
    folder: Path, board: CalibrationBoard, progress: Callable[[int, int, str], None] = lambda done, total, note: None
) -> CalibrationResult:
    """Calibrate from left*.jpg and right*.jpg in one folder, or left/ and right/ below it. Raises CaptureError."""
    pairs = [(a, b) for a, b in pair_files(*_sides(Path(folder)))[0] if a is not None and b is not None]
    found, out = [], {}
    for k, (left, right) in enumerate(pairs):
        progress(k, len(pairs), f"looking for the board in {left.name}")
        corners = _find(left, right, board)
        if isinstance(corners, str):
            out[left.name] = corners
        else:
            found.append(corners)
    return calibrate_corners(found, board, out)


def calibrate_corners(
    found: Sequence[_Corners], board: CalibrationBoard, left_out: dict[str, str]
) -> CalibrationResult:
    """From corners already found; `left_out` is carried into the result. Raises CaptureError with fewer than `MIN_PAIRS` pairs."""
    if len(found) < MIN_PAIRS:
        raise CaptureError(
            f"the board was found in both pictures of {len(found)} pairs only ({len(left_out)} without); "
            f"at least {MIN_PAIRS} are needed",
            f"check {board.words()}, light and focus; {GOOD_PAIRS} tilted views are good",
        )
    if len({c.size for c in found}) > 1:
        raise CaptureError(
            f"the pictures have several sizes: {sorted({c.size for c in found})}",
            "take all of them with the same setting",
        )
    used = list(found)
    fit = _fit(used, board)
    bad = fit.per_pair > max(OUTLIER * np.median(fit.per_pair), 2 * GOOD_RMS_PX)
    if bad.any() and len(used) - bad.sum() >= MIN_PAIRS:
        left_out = left_out | {
            c.name: f"rms {e:.2f} px" for c, e in zip(used, fit.per_pair, strict=True) if e in fit.per_pair[bad]
        }
        used = [c for c, b in zip(used, bad, strict=True) if not b]
        fit = _fit(used, board)
    check_calibration(fit.calibration)
    epipolar = _epipolar_rms(fit.calibration, used)
    result = CalibrationResult(
        fit.calibration,
        fit.rms,
        epipolar,
        [c.name for c in used],
        pairs_left_out=left_out,
        coverage=_coverage(used),
        tilt_deg=fit.tilt_deg,
    )
    result.warnings = _warnings(result)
    return result


def _sides(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    if not folder.is_dir():
        raise CaptureError(f"{folder} is not a folder", "name a folder with pictures of the board")
    sides = []
    for side in ("left", "right"):
        below = folder / side
        files = below.iterdir() if below.is_dir() else (p for p in folder.iterdir() if p.stem.lower().startswith(side))
        sides.append(tuple(sorted(p for p in files if p.suffix.lower() in PICTURES)))
        if not sides[-1]:
            raise CaptureError(
                f"{folder} has no {side} pictures", "give left01.jpg, right01.jpg .., or folders left/ and right/"
            )
    return sides[0], sides[1]


def _find(left: Path, right: Path, board: CalibrationBoard) -> _Corners | str:
    """Corners that both pictures show, in the same order, or why not."""
    found, sizes = [], []
    for path in (left, right):
        try:
            gray = read_gray(path)
        except CaptureError as e:
            return e.message
        seen = board.find(gray)
        if seen is None:
            return f"no board in {path.name}"
        found.append(seen)
        sizes.append(gray.shape[1::-1])
    if sizes[0] != sizes[1]:
        return f"sizes differ ({sizes[0]}, {sizes[1]})"
    a, b = found
    if isinstance(board, Board):
        b = board.aligned(a, b)
    both = sorted(a.keys() & b.keys())
    if len(both) < LEAST_CORNERS:
        return f"only {len(both)} corners are in both pictures of {left.name}"
    eyes = (np.array([seen[k] for k in both], np.float32) for seen in (a, b))
    return _Corners(left.name, *eyes, sizes[0], board.points[both])


@dataclass(frozen=True)
class _Fit:
    calibration: StereoCalibration
    rms: float
    per_pair: np.ndarray
    tilt_deg: float


def _fit(found: Sequence[_Corners], board: CalibrationBoard) -> _Fit:
    points = [board.points if c.points is None else c.points for c in found]
    left, right = [c.left for c in found], [c.right for c in found]
    size = found[0].size
    alone = [
        cv2.calibrateCamera(points, uv, size, None, None, flags=cv2.CALIB_FIX_K3, criteria=_STOP)
        for uv in (left, right)
    ]
    tilt = float(np.median([np.degrees(np.arccos(min(1.0, abs(cv2.Rodrigues(r)[0][2, 2])))) for r in alone[0][3]]))
    eyes = (alone[0][1], alone[0][2], alone[1][1], alone[1][2])
    found_rig = cv2.stereoCalibrateExtended(
        points,
        left,
        right,
        *eyes,
        size,
        np.eye(3),
        np.zeros((3, 1)),
        criteria=_STOP,
        flags=cv2.CALIB_USE_INTRINSIC_GUESS + cv2.CALIB_FIX_K3,
    )
    rms, K1, D1, K2, D2, R, T = found_rig[:7]
    calibration = StereoCalibration(
        Camera(K1, D1.ravel()), Camera(K2, D2.ravel()), rigid(R, T), size, source="the calibration found"
    )
    return _Fit(calibration, float(rms), np.sqrt(np.mean(np.asarray(found_rig[-1]) ** 2, axis=1)), tilt)


def _epipolar_rms(c: StereoCalibration, found: Sequence[_Corners]) -> float:
    """Row error of all corners after rectification, px of a focal length as the left camera's."""
    R, T = c.right_from_left[:3, :3].copy(), c.right_from_left[:3, 3:].copy()
    R1, R2 = cv2.stereoRectify(c.left.K, c.left.distortion, c.right.K, c.right.distortion, c.size, R, T)[:2]
    rows = [
        cv2.undistortPoints(np.concatenate(uv)[:, None].astype(np.float64), eye.K, eye.distortion, R=turn, P=c.left.K)[
            :, 0, 1
        ]
        for uv, eye, turn in (([f.left for f in found], c.left, R1), ([f.right for f in found], c.right, R2))
    ]
    return float(np.sqrt(np.mean((rows[1] - rows[0]) ** 2)))


def _coverage(found: Sequence[_Corners], columns: int = 8, rows: int = 6) -> float:
    uv = np.concatenate([c.left for c in found]) / np.array(found[0].size) * [columns, rows]
    return len({(int(x), int(y)) for x, y in uv}) / (columns * rows)


def _warnings(r: CalibrationResult) -> list[str]:
    out = []
    if len(r.pairs_used) < GOOD_PAIRS:
        out.append(f"{len(r.pairs_used)} pairs used; {GOOD_PAIRS} or more make focal length and convergence certain")
    if r.rms_px > GOOD_RMS_PX:
        out.append(
            f"the corners fit to {r.rms_px:.2f} px rms, below {GOOD_RMS_PX} px is good: "
            "is the board flat, do both cameras fire together?"
        )
    if r.coverage < GOOD_COVERAGE:
        out.append(
            f"the board covered {r.coverage:.0%} of the picture; hold it into the corners too, or distortion is a guess there"
        )
    if r.tilt_deg < GOOD_TILT_DEG:
        out.append(
            f"the board was tilted {r.tilt_deg:.0f} degrees in the median; tilt it by 30 to 45 degrees in all directions"
        )
    return out
