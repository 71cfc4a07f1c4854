"""Training curves of the stereo network as a picture, from its log.

python -m tools.stereo_training.curves [--log build/stereo_net/log.jsonl] [--out weights/stereo_net_curves.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

PANEL = (560, 320)
MARGIN = 46
LOSS, PERCENT = ("loss",), ("bad1", "bad2", "bad4")
COLOURS = ((200, 90, 20), (40, 40, 200), (60, 150, 40))


def panel(rows: list[dict], keys: tuple[str, ...], title: str, logarithmic: bool) -> np.ndarray:
    """(H, W, 3) uint8: values of `keys` over the step."""
    width, height = PANEL
    sheet = np.full((height, width, 3), 255, np.uint8)
    values = {k: np.array([(r["step"], r[k]) for r in rows if k in r], float) for k in keys}
    known = np.concatenate([v for v in values.values() if len(v)])
    f = np.log10 if logarithmic else (lambda x: x)
    low, high, end = f(max(known[:, 1].min(), 1e-3)), f(known[:, 1].max()), known[:, 0].max()
    low = low if logarithmic else 0.0

    def at(step, value):
        return (
            MARGIN + step / end * (width - 2 * MARGIN),
            height - MARGIN - (f(np.maximum(value, 1e-3)) - low) / (high - low + 1e-9) * (height - 2 * MARGIN),
        )

    cv2.rectangle(sheet, (MARGIN, MARGIN), (width - MARGIN, height - MARGIN), (190, 190, 190), 1)
    for share in (0, 0.5, 1):
        value = low + share * (high - low)
        _write(
            sheet,
            f"{10**value if logarithmic else value:.3g}",
            4,
            int(height - MARGIN - share * (height - 2 * MARGIN)) + 4,
        )
        _write(sheet, f"{share * end:.0f}", int(MARGIN + share * (width - 2 * MARGIN)) - 12, height - MARGIN + 16)
    for k, colour, place in zip(keys, COLOURS, range(3), strict=False):
        if len(values[k]):
            points = np.stack(at(values[k][:, 0], values[k][:, 1]), -1)
            cv2.polylines(sheet, [np.rint(points).astype(np.int32)], False, colour, 1, cv2.LINE_AA)
        _write(sheet, k, width - MARGIN - 60, MARGIN + 18 + 16 * place, colour=colour)
    _write(sheet, title, MARGIN, MARGIN - 14)
    return sheet


def _write(sheet: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int] = (30, 30, 30)) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def main() -> None:
    """Draw the loss and what held-back scenes say."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--log", type=Path, default=Path("build/stereo_net/log.jsonl"))
    p.add_argument("--out", type=Path, default=Path("weights/stereo_net_curves.png"))
    args = p.parse_args()
    rows = [json.loads(line) for line in args.log.read_text().splitlines()]
    pictures = (
        panel(rows, LOSS, "loss, mean of 20 steps", True),
        panel(rows, PERCENT, "held-back scenes: % of pixels off by > 1, 2, 4 px", False),
    )
    cv2.imwrite(str(args.out), np.hstack(pictures))


if __name__ == "__main__":
    main()
