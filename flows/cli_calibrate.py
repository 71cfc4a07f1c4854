"""`twin calibrate`: a calibration.json from pictures of a chessboard, with the figures that tell whether to trust it."""

from __future__ import annotations

import argparse
from pathlib import Path


def calibrate(args: argparse.Namespace) -> int:
    """Write the calibration and print what speaks for and against it."""
    from stages.core.calibrate import Board, calibrate_folder

    board = Board(*args.board, args.square)
    result = calibrate_folder(Path(args.folder), board, lambda done, total, note: print(f"\r{done + 1}/{total} {note}", end="", flush=True))
    result.calibration.save(Path(args.out))
    print(f"\n{args.out}: {len(result.pairs_used)} pairs, {len(result.pairs_left_out)} left out")
    for name, reason in result.pairs_left_out.items():
        print(f"  {name}: {reason}")
    print(f"reprojection {result.rms_px:.2f} px rms, rows agree to {result.epipolar_rms_px:.2f} px rms")
    print(f"the board covered {100 * result.coverage:.0f} % of the picture, tilted by {result.tilt_deg:.0f} degrees in the median")
    for warning in result.warnings:
        print(f"note: {warning}")
    return 0
