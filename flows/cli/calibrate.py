"""`twin calibrate`: a calibration.json from pictures of a board, with the figures that tell whether to trust it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.core.boards import CalibrationBoard


def calibrate(args: argparse.Namespace) -> int:
    """Write the calibration and print what speaks for and against it."""
    from stages.core.calibrate import calibrate_folder

    board = _board(args)
    result = calibrate_folder(
        Path(args.folder), board, lambda done, total, note: print(f"\r{done + 1}/{total} {note}", end="", flush=True)
    )
    result.calibration.save(Path(args.out))
    print(f"\n{args.out}: {len(result.pairs_used)} pairs, {len(result.pairs_left_out)} left out")
    for name, reason in result.pairs_left_out.items():
        print(f"  {name}: {reason}")
    print(f"reprojection {result.rms_px:.2f} px rms, rows agree to {result.epipolar_rms_px:.2f} px rms")
    print(
        f"the board covered {100 * result.coverage:.0f} % of the picture, tilted by {result.tilt_deg:.0f} degrees in the median"
    )
    for warning in result.warnings:
        print(f"note: {warning}")
    return 0


def _board(args: argparse.Namespace) -> CalibrationBoard:
    from stages.core.boards import Board, CharucoBoard, TagGrid, dictionary_of
    from stages.core.errors import ConfigError

    if args.kind == "chessboard":
        return Board(*args.board, args.square)
    if args.dictionary:
        dictionary_of(args.dictionary)
    named = {"dictionary": args.dictionary} if args.dictionary else {}
    if args.kind == "charuco":
        if not args.marker or not 0 < args.marker < args.square:
            raise ConfigError(
                "a ChArUco board needs --marker, smaller than --square", "give the side of a marker in metres"
            )
        return CharucoBoard(*args.board, args.square, args.marker, **named)
    if not args.gap or args.gap <= 0:
        raise ConfigError(
            "a grid of AprilTags needs --gap",
            "give the distance between two tags in metres (Kalibr: tagSpacing * tagSize)",
        )
    return TagGrid(*args.board, args.square, args.gap, **named)
