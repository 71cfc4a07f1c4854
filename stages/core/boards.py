"""Boards to calibrate with, and where their corners lie in a picture: chessboards, ChArUco boards, grids of AprilTags.

A chessboard must be in view as a whole. Of the others any part may be, as each corner has a number: they reach into the picture's corners.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from stages.core.errors import ConfigError

LEAST_CORNERS = 8
"""of a board that is seen in part"""
FLAT_PX = 3.0
"""how far corners may lie from where the rest of a flat board puts them, before they count as misread"""
Found = dict[int, np.ndarray]
"""corner -> (2,) px"""


class CalibrationBoard(Protocol):
    """What a calibration needs of a board."""

    @property
    def points(self) -> np.ndarray:
        """(N, 3) float32 corners by number, metres."""
        ...

    def find(self, gray: np.ndarray) -> Found | None:
        """Corners seen in a picture (H, W) uint8, sub-pixel; None without the board."""
        ...

    def words(self) -> str:
        """What to check when it is not found."""
        ...


@dataclass(frozen=True)
class Board:
    """A chessboard by its inner corners; `square_m` is the side of one square."""

    columns: int
    rows: int
    square_m: float

    @property
    def points(self) -> np.ndarray:
        """(columns * rows, 3) float32 corners, metres, row by row."""
        grid = np.mgrid[0 : self.columns, 0 : self.rows].T.reshape(-1, 2)
        return np.hstack([grid, np.zeros((len(grid), 1))]).astype(np.float32) * np.float32(self.square_m)

    def find(self, gray: np.ndarray) -> Found | None:
        """All corners or None. The finder may begin at either end: `aligned` mends that for a pair."""
        shape = (self.columns, self.rows)
        ok, corners = cv2.findChessboardCorners(
            gray, shape, flags=cv2.CALIB_CB_ADAPTIVE_THRESH + cv2.CALIB_CB_NORMALIZE_IMAGE
        )
        if not ok:
            ok, corners = cv2.findChessboardCornersSB(
                gray, shape, flags=cv2.CALIB_CB_NORMALIZE_IMAGE + cv2.CALIB_CB_EXHAUSTIVE
            )
        if not ok:
            return None
        corners = np.ascontiguousarray(corners.reshape(-1, 1, 2), np.float32)
        grid = corners.reshape(self.rows, self.columns, 2)
        step = min(
            np.linalg.norm(np.diff(grid, axis=0), axis=2).min(), np.linalg.norm(np.diff(grid, axis=1), axis=2).min()
        )
        return dict(
            enumerate(_refined(gray, corners, int(np.clip(step / 2.5, 3, 11))))
        )  # the window must not reach the next corner

    def aligned(self, left: Found, right: Found) -> Found:
        """`right` in the order of `left`."""
        last = len(left) - 1
        if np.dot(left[last] - left[0], right[last] - right[0]) < 0:
            return {last - k: uv for k, uv in right.items()}
        return right

    def words(self) -> str:
        """See CalibrationBoard."""
        return f"the count of inner corners ({self.columns}x{self.rows})"


@dataclass(frozen=True)
class CharucoBoard:
    """A ChArUco board by its squares; `marker_m` is the side of the markers in them, `dictionary` one of OpenCV's without DICT_."""

    columns: int
    rows: int
    square_m: float
    marker_m: float
    dictionary: str = "4X4_50"

    @property
    def points(self) -> np.ndarray:
        """((columns - 1) * (rows - 1), 3)."""
        return np.asarray(self._board(False).getChessboardCorners(), np.float32)

    def find(self, gray: np.ndarray) -> Found | None:
        """Both layouts of boards with even rows are tried: OpenCV changed it in 4.6."""
        seen = []
        for older in (False, True):
            corners, ids = cv2.aruco.CharucoDetector(self._board(older)).detectBoard(gray)[:2]
            seen.append({} if ids is None else dict(zip(ids.ravel().tolist(), corners.reshape(-1, 2), strict=True)))
            if len(seen[-1]) >= LEAST_CORNERS:
                break
        best = max(seen, key=len)
        return best if len(best) >= LEAST_CORNERS else None

    def words(self) -> str:
        """See CalibrationBoard."""
        return f"the squares ({self.columns}x{self.rows}), the markers' share of them and the dictionary ({self.dictionary})"

    def _board(self, older: bool) -> cv2.aruco.CharucoBoard:
        board = cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square_m, self.marker_m, dictionary_of(self.dictionary)
        )
        board.setLegacyPattern(older)
        return board


@dataclass(frozen=True)
class TagGrid:
    """A grid of AprilTags as Kalibr prints it: `tag_m` is the side of the black square, `gap_m` the distance between two.

    Numbers rise along rows, from the lower row up (Kalibr) or from the upper one down; how tags lie and which it is, the picture tells.
    """

    columns: int
    rows: int
    tag_m: float
    gap_m: float
    dictionary: str = "APRILTAG_36h11"

    @property
    def points(self) -> np.ndarray:
        """(4 * columns * rows, 3): four corners of each tag, round it."""
        step, tags = self.tag_m + self.gap_m, np.arange(self.columns * self.rows)
        low = np.stack([tags % self.columns, tags // self.columns], 1)[:, None] * step
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * self.tag_m
        flat = (low + corners).reshape(-1, 2)
        return np.hstack([flat, np.zeros((len(flat), 1))]).astype(np.float32)

    def find(self, gray: np.ndarray) -> Found | None:
        """Corners of the tags seen, numbered so that they lie on a plane."""
        tags = max((self._tags(gray, bits) for bits in (1, 2)), key=len)
        if len(tags) * 4 < LEAST_CORNERS:
            return None
        ids = sorted(tags)
        best: tuple[float, Found] = (np.inf, {})
        for turn, mirrored in itertools.product(range(4), (False, True)):
            order = [(turn - k) % 4 if mirrored else (turn + k) % 4 for k in range(4)]
            found = {4 * t + k: tags[t][order[k]] for t in ids for k in range(4)}
            error = self._off_plane(found)
            best = min(best, (error, found), key=lambda b: b[0])
        return best[1] if best[0] < FLAT_PX else None

    def words(self) -> str:
        """See CalibrationBoard."""
        return f"the count of tags ({self.columns}x{self.rows}), their size, the gap and the dictionary ({self.dictionary})"

    def _tags(self, gray: np.ndarray, border_bits: int) -> dict[int, np.ndarray]:
        parameters = cv2.aruco.DetectorParameters()
        parameters.markerBorderBits = border_bits
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        corners, ids, _ = cv2.aruco.ArucoDetector(dictionary_of(self.dictionary), parameters).detectMarkers(gray)
        if ids is None:
            return {}
        return {
            t: c.reshape(4, 2)
            for t, c in zip(map(int, ids.ravel()), corners, strict=True)
            if t < self.columns * self.rows
        }

    def _off_plane(self, found: Found) -> float:
        """Median distance of the corners from the best homography of the board, px."""
        board = self.points[list(found), :2].astype(np.float64)
        uv = np.array(list(found.values()), np.float64)
        H, _ = cv2.findHomography(board, uv, 0)
        if H is None:
            return float("inf")
        return float(np.median(np.linalg.norm(cv2.perspectiveTransform(board[:, None], H)[:, 0] - uv, axis=1)))


def dictionary_of(name: str) -> cv2.aruco.Dictionary:
    """By OpenCV's name with or without DICT_. Raises ConfigError that lists them."""
    names = {n.removeprefix("DICT_").lower(): getattr(cv2.aruco, n) for n in dir(cv2.aruco) if n.startswith("DICT_")}
    key = name.lower().removeprefix("dict_")
    if key not in names:
        raise ConfigError(f"unknown dictionary of markers {name!r}", f"choose one of {', '.join(sorted(names))}")
    return cv2.aruco.getPredefinedDictionary(names[key])


def _refined(gray: np.ndarray, corners: np.ndarray, half: int) -> np.ndarray:
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 60, 1e-4)
    return cv2.cornerSubPix(gray, corners, (half, half), (-1, -1), stop)[:, 0]
