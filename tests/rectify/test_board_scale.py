"""A board in view of a capture tells whether its scale is right."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.base import run_stage
from stages.core.board_words import board_of
from stages.core.boards import Board, CharucoBoard, TagGrid
from stages.core.camera import Rig
from stages.core.capture import capture_ref
from stages.core.config import resolve
from stages.core.errors import ConfigError
from stages.core.stereo_calibration import rigid
from stages.core.store import Store
from stages.graph import stages

RIG = Rig(640, 480, 700.0, 700.0, 325.0, 236.0, 0.08)
PX_PER_M = 4000.0
COLUMNS, ROWS, SQUARE = 8, 6, 0.025


def _capture(folder: Path, baseline_said: float) -> Path:
    """Six pairs of a chessboard and its noisy surroundings, with a calibration that says `baseline_said`."""
    rng, step = np.random.default_rng(0), round(SQUARE * PX_PER_M)
    squares = np.indices((ROWS + 1, COLUMNS + 1)).sum(0) % 2 * 255
    picture = np.kron(squares, np.ones((step, step))).astype(np.uint8)
    picture = cv2.copyMakeBorder(picture, 100, 100, 100, 100, cv2.BORDER_CONSTANT, value=255)
    noise = cv2.GaussianBlur(rng.integers(0, 255, (700, 1100)).astype(np.uint8), (0, 0), 2)
    picture = cv2.copyMakeBorder(picture, 900, 900, 900, 900, cv2.BORDER_CONSTANT, value=0)
    back = cv2.resize(noise, picture.shape[::-1])
    rim = np.ones(picture.shape, bool)
    rim[900:-900, 900:-900] = False
    picture[rim] = back[rim]
    board_from_px = np.array([[1 / PX_PER_M, 0, -1000 / PX_PER_M], [0, 1 / PX_PER_M, -1000 / PX_PER_M], [0, 0, 1]])
    for side in ("left", "right"):
        (folder / side).mkdir(parents=True)
    for k in range(6):
        R = cv2.Rodrigues(rng.uniform(-0.35, 0.35, 3))[0]
        pose = rigid(
            R, np.array([0.03, 0.0, 0.5 + 0.02 * k]) - R @ np.array([COLUMNS * SQUARE / 2, ROWS * SQUARE / 2, 0])
        )
        for side, camera in (("left", pose), ("right", RIG.right_from_left @ pose)):
            H = RIG.K @ camera[:3, [0, 1, 3]] @ board_from_px
            big = cv2.warpPerspective(
                picture, np.diag([3.0, 3, 1]) @ H, (1920, 1440), flags=cv2.INTER_AREA, borderValue=60
            )
            cv2.imwrite(str(folder / side / f"{k:03d}.png"), cv2.resize(big, (640, 480), interpolation=cv2.INTER_AREA))
    Rig(640, 480, RIG.fx, RIG.fy, RIG.cx, RIG.cy, baseline_said).save(folder / "calibration.json")
    return folder


def _report(folder: Path, store: Path, board: str) -> dict:
    configs = resolve(
        {s.name: s.Config for s in stages()}, overrides=(f'rectify.board="{board}"', "rectify.min_usable=0.1")
    ).stages
    return run_stage(stages()[0], {"capture": capture_ref(folder)}, configs["rectify"], Store(store)).manifest["report"]


def test_a_wrong_baseline_is_told_by_a_board_in_view(tmp_path):
    board = f"chessboard {COLUMNS}x{ROWS} {SQUARE}"
    right = _report(_capture(tmp_path / "right", 0.08), tmp_path / "store", board)
    assert right["metrics"]["board_frames"] >= 4 and abs(right["metrics"]["board_scale"] - 1) < 0.003
    assert not any("board" in w for w in right["warnings"])
    wrong = _report(_capture(tmp_path / "wrong", 0.0816), tmp_path / "store", board)
    said = [w for w in wrong["warnings"] if "board" in w]
    assert len(said) == 1 and "2.0 % larger in the pictures than it was printed" in said[0] and "0.980" in said[0]
    absent = _report(tmp_path / "right", tmp_path / "store", "chessboard 5x4 0.025")
    assert any("found in none of 6 pairs" in w for w in absent["warnings"])


def test_boards_in_words():
    assert board_of("chessboard 9x6 0.025") == Board(9, 6, 0.025)
    assert board_of("charuco 8x6 0.03 0.022 5X5_100") == CharucoBoard(8, 6, 0.03, 0.022, "5X5_100")
    assert board_of("apriltag 6x6 0.03 0.009") == TagGrid(6, 6, 0.03, 0.009)
    for words in (
        "chessboard",
        "chessboard 9 6",
        "charuco 8x6 0.03",
        "chess 9x6 0.025",
        "chessboard 9x6 25cm",
        "chessboard 9x6 1 5X5_100",
    ):
        with pytest.raises(ValueError, match="write"):
            board_of(words)
    with pytest.raises(ConfigError, match="chessboard 9x6"):
        resolve({s.name: s.Config for s in stages()}, overrides=("rectify.board=9x6",))
