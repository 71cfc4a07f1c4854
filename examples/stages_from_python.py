"""Stages from Python: masks and disparities of a capture as arrays, without a twin.   python examples/stages_from_python.py CAPTURE"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import stereotwin
from stages.core.images import read_disparity, read_mask


def main(capture: Path) -> None:
    """Stops after masks; what was computed before comes from the store."""
    made = stereotwin.run_until("masks", capture, profile="preview")
    for path in sorted(Path(made["masks"]).glob("*.png"))[:3]:
        mask = read_mask(path)
        disparity = read_disparity(Path(made["disparity"]) / path.name)
        print(f"frame {path.stem}: {mask.sum()} px of the object, disparity {np.nanmean(disparity[mask]):.1f} px")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
