"""Boards of numbered corners: drawn, seen by a known pair of cameras also in part, and calibrated from the pictures by the command."""

import cv2
import numpy as np
import pytest

from flows.cli.main import main
from stages.core.boards import CharucoBoard, TagGrid, dictionary_of
from stages.core.errors import ConfigError
from stages.core.stereo_calibration import rigid
from stages.rectify.calibration_file import read_calibration

SIZE = (640, 480)
K = np.array([[700.0, 0, 325], [0, 700, 236], [0, 0, 1]])
RIG = rigid(cv2.Rodrigues(np.array([0.01, 0.03, -0.005]))[0], [-0.08, 0.001, 0.002])
PX_PER_M = 4000.0
CHARUCO = CharucoBoard(8, 6, 0.03, 0.022, "5X5_100")
TAGS = TagGrid(5, 4, 0.03, 0.009)


def _charuco_picture(board, margin):
    """(H, W) with its upper left corner at -margin metres."""
    step, edge = round(board.square_m * PX_PER_M), round(margin * PX_PER_M)
    picture = board._board(False).generateImage((step * board.columns, step * board.rows))
    return cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=255)


def _tag_picture(board, margin, border_bits, from_below):
    """As Kalibr prints: tag numbers rise from the lower row up."""
    tag, step, edge = (round(v * PX_PER_M) for v in (board.tag_m, board.tag_m + board.gap_m, margin))
    out = np.full((step * board.rows + 2 * edge, step * board.columns + 2 * edge), 255, np.uint8)
    for n in range(board.columns * board.rows):
        column, row = n % board.columns, n // board.columns
        y = (board.rows - 1 - row if from_below else row) * step + edge
        picture = cv2.aruco.generateImageMarker(dictionary_of(board.dictionary), n, tag, borderBits=border_bits)
        out[y : y + tag, column * step + edge : column * step + edge + tag] = picture
    return out


def _seen(picture, board_from_px, camera_from_board):
    """The flat picture before a camera, (480, 640)."""
    H = K @ camera_from_board[:3, [0, 1, 3]] @ board_from_px
    big = cv2.warpPerspective(
        picture, np.diag([2.0, 2, 1]) @ H, (2 * SIZE[0], 2 * SIZE[1]), flags=cv2.INTER_AREA, borderValue=180
    )
    return cv2.GaussianBlur(cv2.resize(big, SIZE, interpolation=cv2.INTER_AREA), (0, 0), 0.6)


def _pictures(folder, picture, extent, margin, count=12):
    rng = np.random.default_rng(1)
    centre = np.array([*extent, 0.0]) / 2
    board_from_px = np.array(
        [[1 / PX_PER_M, 0, (0.5 / PX_PER_M) - margin], [0, 1 / PX_PER_M, (0.5 / PX_PER_M) - margin], [0, 0, 1]]
    )
    for side in ("left", "right"):
        (folder / side).mkdir(parents=True)
    for k in range(count):
        R = cv2.Rodrigues(rng.uniform(-0.55, 0.55, 3))[0]
        place = np.array([rng.uniform(-0.05, 0.13), rng.uniform(-0.09, 0.09), rng.uniform(0.3, 0.45)])
        left_from_board = rigid(R, place - R @ centre)
        for side, pose in (("left", left_from_board), ("right", RIG @ left_from_board)):
            cv2.imwrite(str(folder / side / f"{k:03d}.png"), _seen(picture, board_from_px, pose))


def _calibrated(tmp_path, *options):
    out = tmp_path / "calibration.json"
    assert main(["calibrate", str(tmp_path / "pictures"), "--out", str(out), *options]) == 0
    found = read_calibration((out,))
    np.testing.assert_allclose(found.left.K, K, atol=8)
    assert found.baseline_m == pytest.approx(np.linalg.norm(RIG[:3, 3]), rel=0.005)
    return found


def test_charuco(tmp_path, capsys):
    _pictures(tmp_path / "pictures", _charuco_picture(CHARUCO, 0.02), (0.24, 0.18), 0.02)
    _calibrated(
        tmp_path,
        "--kind",
        "charuco",
        "--board",
        "8x6",
        "--square",
        "0.03",
        "--marker",
        "0.022",
        "--dictionary",
        "5X5_100",
    )
    assert float(capsys.readouterr().out.split("reprojection ")[1].split()[0]) < 0.3


@pytest.mark.parametrize(("border_bits", "from_below"), [(2, True), (1, False)])
def test_apriltags(tmp_path, border_bits, from_below):
    _pictures(tmp_path / "pictures", _tag_picture(TAGS, 0.02, border_bits, from_below), (0.186, 0.147), 0.02)
    _calibrated(tmp_path, "--kind", "apriltag", "--board", "5x4", "--square", "0.03", "--gap", "0.009")


def test_part_of_a_board_counts_and_other_pictures_do_not():
    picture = cv2.resize(_charuco_picture(CHARUCO, 0.02), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    whole, part = CHARUCO.find(picture), CHARUCO.find(np.ascontiguousarray(picture[:, :300]))
    assert len(whole) == 35 and LEAST <= len(part) < 35 and all(np.abs(part[k] - whole[k]).max() < 0.5 for k in part)
    noise = np.random.default_rng(0).integers(0, 255, (300, 400), np.uint8)
    assert CHARUCO.find(noise) is None and TAGS.find(noise) is None


LEAST = 8


def test_what_a_board_needs_is_asked_for(tmp_path, capsys):
    for options, words in (
        (("--kind", "charuco"), "needs --marker"),
        (("--kind", "apriltag"), "needs --gap"),
        (("--kind", "apriltag", "--gap", "0.01", "--dictionary", "36h12"), "unknown dictionary"),
    ):
        assert main(["calibrate", str(tmp_path), "--board", "5x4", "--square", "0.03", *options]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(ConfigError, match="choose one of"):
        dictionary_of("none")
