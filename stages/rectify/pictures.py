"""Small pictures for the report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.base import StageReport
from stages.core.camera import Rig
from stages.core.images import read_rgb, thumbnail_jpeg, write_rgb
from stages.rectify.row_offset import RowMatches

LINE = (255, 210, 0)


def rectified_pair(out: Path, report: StageReport, pairs: Path, names: tuple[str, str], rig: Rig) -> None:
    """The middle pair with row lines: every detail must lie on the same line in both."""
    views = [read_rgb(pairs / n) for n in names]
    scale = min(1.0, 640 / rig.width)
    views = [cv2.resize(v, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for v in views]
    both = np.ascontiguousarray(np.hstack(views))
    for y in np.linspace(0, both.shape[0] - 1, 13)[1:-1].astype(int):
        cv2.line(both, (0, int(y)), (both.shape[1] - 1, int(y)), LINE, 1)
    _add(out, report, "A rectified pair: each detail lies on the same line in both views", "pair.jpg", image=both)


def contact_sheet(
    out: Path, report: StageReport, pairs: Path, left: list[str], columns: int = 6, most: int = 18
) -> None:
    """Left pictures over the capture."""
    chosen = [left[i] for i in np.unique(np.linspace(0, len(left) - 1, min(most, len(left))).round().astype(int))]
    tiles = []
    for name in chosen:
        view = read_rgb(pairs / name)
        tiles.append(
            cv2.resize(view, (200, max(1, round(200 * view.shape[0] / view.shape[1]))), interpolation=cv2.INTER_AREA)
        )
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % min(columns, len(tiles)))
    n = min(columns, len(tiles))
    sheet = np.vstack([np.hstack(tiles[i : i + n]) for i in range(0, len(tiles), n)])
    _add(out, report, f"Left views over the capture ({len(left)} frames used)", "frames.jpg", image=sheet)


def row_errors(
    out: Path, report: StageReport, before: RowMatches, after: RowMatches, rig: Rig, per_tile: int = 5
) -> None:
    """Where rows miss each other, before and after: the median of each tile as an arrow, 1 px drawn 20 px long."""
    width = 480
    s = width / rig.width
    panels = []
    for title, m in (("before", before), ("after", after)):
        panel = np.full((round(rig.height * s), width, 3), 245, np.uint8)
        offset = float(np.median(m.rows_px))
        cv2.putText(
            panel,
            f"{title}: median {offset:+.3f} px",
            (8, 18),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45,
            (30, 30, 30),
            1,
            cv2.LINE_AA,
        )
        for x, y, e in tile_medians(m, rig, per_tile):
            a, b = (round(x * s), round(y * s)), (round(x * s), round(y * s + 20 * e))
            cv2.circle(panel, a, 2, (40, 40, 40), -1, cv2.LINE_AA)
            cv2.line(panel, a, b, (200, 40, 30), 2, cv2.LINE_AA)
        panels.append(panel)
    _add(
        out,
        report,
        "Row error of the right view over the picture (20 px of line = 1 px)",
        "rows.jpg",
        image=np.hstack(panels),
    )


def tile_medians(m: RowMatches, rig: Rig, least: int, tiles: int = 12) -> list[tuple[float, float, float]]:
    """(x, y, median row error px) of the tiles with at least `least` matches."""
    side = rig.width / tiles
    key = (m.left[:, 1] // side).astype(int) * tiles + np.clip(m.left[:, 0] // side, 0, tiles - 1).astype(int)
    tiles_in = [key == k for k in np.unique(key)]
    full = [t for t in tiles_in if np.count_nonzero(t) >= least]
    return [(float(m.left[t, 0].mean()), float(m.left[t, 1].mean()), float(np.median(m.rows_px[t]))) for t in full]


def _add(out: Path, report: StageReport, caption: str, name: str, image: np.ndarray) -> None:
    path = out / "pictures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    thumbnail_jpeg(path, image, width=1280, quality=85)
    if path.stat().st_size > 150_000:
        write_rgb(path, cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), 75)
    report.pictures.append((caption, f"pictures/{name}"))
