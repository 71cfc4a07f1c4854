"""Examples for learning: a capture is drawn and run as far as `masks`; its masks, the true ones and spoilt ones are looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.records.run_record import RunRecords
from stages.core.frames import read_table
from stages.core.images import read_disparity, read_mask, read_rgb, read_sigma
from stages.core.store import Store
from stages.masks.cut.outline import jaccard
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.trust.audit import CUES, Look, audit
from tools.mask_doubt.learn import Examples
from tools.mask_doubt.spoil import LEAST_PX, spoilt
from tools.robustness.draw import draw
from tools.robustness.one_seed import How, folders_of, reconstruct
from tools.robustness.write import render, write_json

FRAMES, WIDTH = 14, 640
SPOILT_PER_FRAME = 2
BEFORE_IS_TRUE = 0.7
"""share of the spoilt masks whose frame before is right: masks go wrong all at once, too"""


def examples_of(seed: int, work: Path) -> Path:
    """The file with the examples of one drawn capture; what is there is not made again. The masks come from a real run of the pipeline."""
    path = work / "cues" / f"{seed:05d}.json"
    if path.exists():
        return path
    capture = render(seed, work / "captures", draw(seed, FRAMES, WIDTH))
    store = work / "stores" / f"{seed:05d}"
    exit_code = reconstruct(capture, store, How(FRAMES, WIDTH), "masks")
    rows = [] if exit_code else _looked_at(capture, Store(store), seed)
    write_json(path, {"seed": seed, "exit_code": exit_code, "rows": rows})
    return path


def read_examples(paths: Sequence[Path]) -> Examples:
    """All of them as arrays."""
    rows = [(data["seed"], row) for data in (json.loads(p.read_text()) for p in paths) for row in data["rows"]]
    cues = np.array([[row["cues"].get(name, np.nan) for name in CUES] for _, row in rows], float)
    return Examples(
        cues,
        np.array([row["overlap"] for _, row in rows]),
        np.array([seed for seed, _ in rows]),
        np.array([row["kind"] == "found" for _, row in rows]),
    )


def _looked_at(capture: Path, store: Store, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    record = RunRecords(store).of_capture(capture)[0]
    folder = folders_of(store, record, "rectify", "depth", "masks")
    frames = sorted((r["frame"], r["left"]) for r in read_table(folder["rectify"] / "frames.parquet") if r["left"])
    looks: dict[tuple[int, str], Look] = {}
    rows, order = [], [f for f, _ in frames if (folder["depth"] / "disparity" / f"{f:06d}.png").exists()]
    for frame, picture in frames:
        if frame not in order:
            continue
        name = f"{frame:06d}.png"
        view = WorkingFrame(
            frame,
            read_rgb(folder["rectify"] / "pairs" / picture),
            read_disparity(folder["depth"] / "disparity" / name),
            read_sigma(folder["depth"] / "disparity" / "sigma" / name),
        )
        true, hand = read_mask(capture / "gt" / "masks" / name), capture / "gt" / "hand" / name
        masks = {"found": read_mask(folder["masks"] / "masks" / name), "true": true}
        if true.sum() > LEAST_PX:
            in_hand = read_mask(hand) if hand.exists() else None
            masks |= {f"spoilt {k}": spoilt(true, in_hand, view.rgb, rng) for k in range(SPOILT_PER_FRAME)}
        looks |= {(frame, kind): Look.at(view, mask) for kind, mask in masks.items()}
        at = order.index(frame)
        for kind, mask in masks.items():
            if mask.any():
                past = kind if not kind.startswith("spoilt") or rng.random() > BEFORE_IS_TRUE else "true"
                before = looks.get((order[at - 1], past)) if at else None
                first = looks.get((order[0], past)) if at else None
                rows.append(
                    {
                        "frame": frame,
                        "kind": kind,
                        "overlap": round(jaccard(mask, true), 4),
                        "cues": audit(looks[frame, kind], before, first),
                    }
                )
    return rows
