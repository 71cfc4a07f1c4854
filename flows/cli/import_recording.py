"""`twin import`: a robot's recording (ROS 1 or 2 bag, MCAP) as a capture folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def unpack(args: argparse.Namespace) -> int:
    """Write the capture and say what was found."""
    from stages.graph import unpack_recording

    out = Path(args.out).expanduser().resolve()
    report = unpack_recording(
        Path(args.recording).expanduser().resolve(), out, (args.left, args.right, args.tolerance * 1e-3), _progress
    )
    print(
        f"{out}: {report.pairs} pairs of {report.left} and {report.right}, stamps at most {report.apart_ms:.2f} ms apart"
        + (f", {report.rate_hz:g} a second" if report.rate_hz else "")
    )
    print(f"calibration.json: {report.calibration}")
    for warning in report.warnings:
        print(f"note: {warning}")
    print(f"next: twin check {out}")
    return 0


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total} pictures", end="\n" if done == total else "", file=sys.stderr, flush=True)
