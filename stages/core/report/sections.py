"""The parts of report.html as HTML text. Everything that comes from a run is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2

from stages.core.frames import read_poses, read_table
from stages.core.report.labels import label, seconds_text, value_text

_MIME = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_TABLES = (
    ("rectify", "frames.parquet", "picture"),
    ("masks", "masks.parquet", "mask"),
    ("rgbd", "frames.parquet", "picture"),
    ("posed", "frames.parquet", "picture"),
    ("posed", "masks.parquet", "mask"),
)
"""(stage, table, what its columns are called)"""
_WIDE_RATIO = 2.2
"""pictures wider than this many times their height get the full width of the page"""
Manifests = Mapping[str, Mapping[str, Any]]


def cards(entries: Sequence[tuple[str, str]]) -> str:
    """Large figures with a name below each."""
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(k)}</span></div>' for k, v in entries)
        + "</div>"
    )


def verdict(found: Mapping[str, Any] | None) -> str:
    """The first thing to read: usable, partial or do not use, with the reasons and the error to be expected."""
    if found is None:
        return ""
    kind = {"usable": "usable", "partial": "partial"}.get(found["word"], "refused")
    rest = str(found["line"]).removeprefix(f"{found['word']}: ")
    return f'<div class="verdict {kind}" role="status"><b>{escape(str(found["word"]))}</b> <span>{escape(rest)}</span></div>'


def warnings(manifests: Manifests) -> str:
    """All warnings with the stage that gave them; says so when there are none."""
    found = [(name, text) for name, m in manifests.items() for text in m.get("report", {}).get("warnings", [])]
    if not found:
        return '<p class="soft">No stage had a warning.</p>'
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in found)
    return f'<div class="warnings"><b>Look at this first</b><ul>{items}</ul></div>'


def left_out(lines: Sequence[str]) -> str:
    """What the settings left out, as a preview's do."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="soft">Left out, as the settings ask:<ul>{items}</ul></div>' if lines else ""


def links(names: Sequence[str]) -> str:
    """Jumps to the stages."""
    return '<nav class="soft">' + " · ".join(f'<a href="#{escape(n)}">{escape(n)}</a>' for n in names) + "</nav>"


def time_table(manifests: Manifests, cached: Sequence[str]) -> str:
    """Seconds and peak memory per stage with a bar."""
    longest = max((m.get("seconds") or 0 for m in manifests.values()), default=0) or 1
    rows = []
    for name, m in manifests.items():
        seconds = m.get("seconds") or 0.0
        note = ' <span class="soft">from the store</span>' if name in cached else ""
        bar = f'<div class="bar" style="width:{100 * seconds / longest:.1f}%"></div>'
        rows.append(
            _row(
                [f"{escape(name)}{note}", seconds_text(seconds), bar, value_text(m.get("peak_memory_mb"), "MB")],
                numbers=(1, 3),
                wide=2,
            )
        )
    head = _row(["stage", "time", "", "peak memory"], numbers=(1, 3), tag="th")
    return f'<div class="sideways"><table style="width:100%">{head}{"".join(rows)}</table></div>'


def _row(cells: Sequence[str], numbers: Sequence[int] = (), wide: int = -1, tag: str = "td", bad: bool = False) -> str:
    """A table row of HTML cells; `numbers` are aligned to the right, `wide` takes the room that is left."""

    def kind(k):
        return ' class="number"' if k in numbers else ' class="wide"' if k == wide else ""

    scope = ' scope="col"' if tag == "th" else ""
    return (
        f"<tr{bad * ' class=bad'}>"
        + "".join(f"<{tag}{scope}{kind(k)}>{c}</{tag}>" for k, c in enumerate(cells))
        + "</tr>"
    )


def stage_section(name: str, manifest: Mapping[str, Any], folder: Path | None) -> str:
    """Method, figures, pictures and settings of one stage."""
    report = manifest.get("report", {})
    method, reason = str(report.get("method", "")), str(report.get("reason", ""))
    head = f'<h2 id="{escape(name)}">{escape(name)}</h2><p class="soft">{escape(method)}{": " + escape(reason) if reason else ""}</p>'
    pictures = "".join(
        picture(folder / path, caption) for caption, path in report.get("pictures", []) if folder is not None
    )
    counts = {f"frames {k}": v for k, v in report.get("frames", {}).items()}
    figures = figure_table({**counts, **report.get("metrics", {})})
    settings = figure_table(manifest.get("settings", {}), units=False)
    summary = f"settings of {escape(name)} (version {escape(str(manifest.get('version', '')))})"
    details = f"<details><summary>{summary}</summary>{settings}</details>"
    return f'<section>{head}{figures}<div class="pictures">{pictures}</div>{details}</section>'


def figure_table(figures: Mapping[str, Any], units: bool = True) -> str:
    """Figures in columns of at most twelve rows; units taken from the keys."""
    rows = []
    for key, value in figures.items():
        name, unit = label(key) if units else (key, "")
        shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value_text(value, unit)
        rows.append(f'<tr><th scope="row">{escape(name)}</th><td class="number">{escape(shown)}</td></tr>')
    tables = ["<table>" + "".join(rows[k : k + 12]) + "</table>" for k in range(0, len(rows), 12)]
    return f'<div class="columns">{"".join(tables)}</div>'


def picture(path: Path, caption: str) -> str:
    """An inlined picture; a note in its place when the file is gone."""
    if not path.is_file():
        return f"<figure><figcaption>{escape(caption)}: the picture is missing</figcaption></figure>"
    image = cv2.imread(str(path))
    wide = ' class="wide"' if image is not None and image.shape[1] > _WIDE_RATIO * image.shape[0] else ""
    data = base64.b64encode(path.read_bytes()).decode()
    source = f"data:{_MIME.get(path.suffix, 'image/jpeg')};base64,{data}"
    return f'<figure{wide}><img loading="lazy" alt="{escape(caption)}" src="{source}"><figcaption>{escape(caption)}</figcaption></figure>'


def frame_rows(twin_dir: Path, stage_folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """One row per frame of the capture: what rectify, masks and the poses say of it. Tables that are not there add nothing."""
    rows: dict[int, dict[str, Any]] = {}
    for stage, file, prefix in _TABLES:
        path = stage_folders[stage] / file if stage in stage_folders else None
        for r in read_table(path) if path is not None and path.is_file() else []:
            row = rows.setdefault(r["frame"], {"frame": r["frame"]})
            row |= {prefix: r["status"], f"{prefix} reason": r.get("reason", "")}
            row |= {"trust": r["trust"]} if "trust" in r else {}
    if (twin_dir / "poses.json").is_file():
        for p in read_poses(twin_dir / "poses.json"):
            row = rows.setdefault(p.frame, {"frame": p.frame})
            row |= {"pose": p.status, "pose reason": p.reason, "inliers": p.inliers, "rms": p.rms_px}
    return [rows[k] for k in sorted(rows)]


def frame_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The per-frame status; frames with a problem in red."""
    numbers = (0, 3, 5, 6)
    body = [_row(["frame", "picture", "mask", "trust", "pose", "inliers", "rms px", "why"], numbers, tag="th")]
    for r in rows:
        why = "; ".join(str(r[f"{k} reason"]) for k in ("picture", "mask", "pose") if r.get(f"{k} reason"))

        def figure(key, r=r):
            return value_text(r[key]) if r.get(key) is not None else ""

        cells = [
            r["frame"],
            r.get("picture", ""),
            r.get("mask", ""),
            figure("trust"),
            r.get("pose", ""),
            figure("inliers"),
            figure("rms"),
            why,
        ]
        bad = any(r.get(k, "ok") not in ("ok", "given", "") for k in ("picture", "mask", "pose"))
        body.append(_row([escape(str(c)) for c in cells], numbers, bad=bad))
    return f'<div class="scroll"><table>{"".join(body)}</table></div>'
