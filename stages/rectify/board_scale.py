"""A board in view of the capture: is it as large in the rectified pairs as it was printed? What differs is the twin's scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stages.core.boards import LEAST_CORNERS, Board, CalibrationBoard
from stages.core.camera import Rig

ENOUGH = 8
"""frames with the board that are measured"""
TOLERATED = 0.005
"""of the scale"""
SURE = 3.0
"""standard errors of the mean that a difference must exceed to be told"""
FLAT_PX = 1.0
"""rows of one corner in both pictures; beyond, it was mistaken for another"""


@dataclass(frozen=True)
class BoardScale:
    """Measured over true size in each frame that shows the board, and how many frames were asked."""

    ratios: tuple[float, ...]
    asked: int

    @property
    def ratio(self) -> float:
        """Median."""
        return float(np.median(self.ratios)) if self.ratios else float("nan")

    def words(self, board: CalibrationBoard) -> str:
        """A warning, "" where board and baseline agree."""
        if not self.ratios:
            return f"the board of rectify.board was found in none of {self.asked} pairs: check {board.words()}"
        off, sigma = self.ratio - 1, float(np.std(self.ratios)) / np.sqrt(len(self.ratios))
        if abs(off) < TOLERATED + SURE * sigma:
            return ""
        return (
            f"the board is {100 * abs(off):.1f} % {'larger' if off > 0 else 'smaller'} in the pictures than it was printed "
            f"({len(self.ratios)} pairs): so is the twin. Its squares are not as large as rectify.board says, or the baseline (or "
            f"focal length) of the calibration is wrong; if the board is right, the baseline is {1 / self.ratio:.4f} times as long"
        )


def board_scale(board: CalibrationBoard, pairs: Iterable[tuple[np.ndarray, np.ndarray]], rig: Rig) -> BoardScale:
    """`pairs`: rectified grey pictures (H, W); they are read until `ENOUGH` show the board."""
    ratios: list[float] = []
    asked = 0
    for left, right in pairs:
        asked += 1
        ratio = _ratio(board, left, right, rig)
        ratios += [ratio] if ratio is not None else []
        if len(ratios) == ENOUGH:
            break
    return BoardScale(tuple(ratios), asked)


def _ratio(board: CalibrationBoard, left: np.ndarray, right: np.ndarray, rig: Rig) -> float | None:
    """Of one pair: scale of the similarity that lays the board on its triangulated corners (Umeyama 1991); noise does not raise it."""
    a = board.find(left)
    b = board.find(right) if a else None
    if not a or not b:
        return None
    b = board.aligned(a, b) if isinstance(board, Board) else b
    both = [k for k in a if k in b and abs(a[k][1] - b[k][1]) < FLAT_PX and a[k][0] - b[k][0] > 1]
    if len(both) < LEAST_CORNERS:
        return None
    uv, disparity = np.array([a[k] for k in both], float), np.array([a[k][0] - b[k][0] for k in both], float)
    seen, true = rig.backproject(uv, rig.depth_from_disparity(disparity)), board.points[both].astype(float)
    seen, true = seen - seen.mean(0), true - true.mean(0)
    return float(np.linalg.svd(seen.T @ true, compute_uv=False).sum() / (true**2).sum())
