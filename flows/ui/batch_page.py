"""batch.html: what became of each capture of a batch, on one page that can be sent away (thumbnails are inlined)."""

from __future__ import annotations

import base64
import functools
import html
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from flows.records.twin_record import read_twin
from flows.records.twin_verdict import fails, verdict_of

DONE_BEFORE, BY_HAND = "done before", "only by hand"
CHANGED_SINCE, ARRIVING, NOT_TAKEN, SET_ASIDE = "changed since", "still arriving", "not taken", "set aside"
"""nothing failed, but somebody has to look at it"""
THUMBNAIL_PX = 96
STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#1c1c1c}
h1{font-size:1.5em;margin:0}p{margin:.4em 0 1.2em;color:#555}table{border-collapse:collapse;width:100%}
th{font-weight:600;color:#555;border-bottom:2px solid #ccc}td,th{padding:.35em .6em;text-align:left;border-bottom:1px solid #e4e4e4;
vertical-align:middle}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}img{height:56px;display:block}
tr.bad td{background:#fdf1f0}tr.bad .status{color:#b3261e;font-weight:600}.status{color:#1e6b34;white-space:nowrap}
th{cursor:pointer}tr[hidden]{display:none}"""
SEARCH = """<p><input id=search type=search placeholder="search in names, figures and reasons" size=40 aria-label=search>
<select id=status aria-label=status><option value="">every status</option></select> <button id=export>CSV of what is shown</button>
<span id=shown></span></p>"""


@dataclass
class Outcome:
    """One capture of the batch."""

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    out: str = ""
    capture: str = ""

    @property
    def bad(self) -> bool:
        """Whether somebody has to look at it."""
        return self.status not in ("Completed", DONE_BEFORE, BY_HAND) or bool(self.why)

    @property
    def failed(self) -> bool:
        """Whether the batch has failed by it."""
        return self.status not in (
            "Completed",
            DONE_BEFORE,
            BY_HAND,
            CHANGED_SINCE,
            ARRIVING,
            NOT_TAKEN,
            SET_ASIDE,
        ) or bool(self._refused)

    @property
    def why(self) -> str:
        """What is wrong with it: the reason of its run, else the verdict on its twin."""
        return self.reason or self._refused

    @functools.cached_property
    def _refused(self) -> str:
        """The verdict's line, of a twin that is there and not to be used."""
        verdict = verdict_of(self.out) if self.out and self.status in ("Completed", DONE_BEFORE) else None
        return verdict["line"] if verdict is not None and fails(verdict["word"]) else ""

    def row(self) -> dict[str, object]:
        """For the table artifact."""
        return {
            "capture": self.name,
            "status": self.status,
            "seconds": self.seconds or "",
            **figures(self.out),
            "reason": self.why,
        }


def figures(out: str) -> dict[str, object]:
    """What tells most about a twin, with units; empty if there is none."""
    twin = read_twin(Path(out)) if out else None
    if twin is None:
        return {}
    metrics = {name: s.metrics for name, s in twin.stages.items()}
    frames = twin.stages["track"].frames if "track" in twin.stages else {}
    found = {
        "verdict": twin.verdict.word or None,
        "expected error, mm": twin.verdict.facts.get("error_median_mm"),
        "frames posed": f"{frames.get('ok', 0)} of {sum(frames.values())}" if frames else None,
        "size, mm": metrics.get("package", {}).get("size_mm"),
        "reprojection, px": metrics.get("bundle", {}).get("rms_px"),
        "texture PSNR, dB": metrics.get("texture", {}).get("psnr_db"),
        "unseen, %": metrics.get("texture", {}).get("unseen_texels_percent"),
    }
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items() if _can_be_shown(v)}


def _can_be_shown(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))


def write_summary(outcomes: Sequence[Outcome], folder: Path, under_way: int = 0) -> Path:
    """Write batch.html into `folder`, failures first. While `under_way` are left, the page loads itself again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "batch.html"
    partial = path.with_suffix(".partial")
    partial.write_text(_page(sorted(outcomes, key=lambda o: (not o.bad, o.name)), folder, under_way))
    partial.replace(path)
    return path


def _page(outcomes: Sequence[Outcome], folder: Path, under_way: int) -> str:
    counts = Counter("failed" if o.failed else o.status.lower() for o in outcomes)
    summary = ", ".join(f"{n} {what}" for what, n in counts.items()) or "no READY capture"
    left = f", {under_way} under way or waiting" if under_way else ""
    named = [(o, figures(o.out)) for o in outcomes]
    columns = list(dict.fromkeys(k for _, f in named for k in f))
    head = "".join(f"<th class=n>{html.escape(c)}" for c in ("seconds", *columns))
    rows = "".join(_row(o, f, columns, folder) for o, f in named)
    again = "<noscript><meta http-equiv=refresh content=15></noscript>" if under_way else ""
    script = resources.files("flows.ui").joinpath("batch_page.js").read_text()
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8>{again}<title>Batch: {summary}</title><style>{STYLE}</style></head>"
        f"<body{' data-goes-on=1' if under_way else ''}>"
        f"<h1>Batch of {time.strftime('%Y-%m-%d %H:%M')}</h1><p>{len(outcomes)} captures: {summary}{left}</p>{SEARCH}"
        f"<table><thead><tr><th><th>capture<th>status{head}</tr></thead><tbody>{rows}</tbody></table><script>{script}</script></body></html>"
    )


def _row(o: Outcome, found: dict[str, object], columns: Sequence[str], folder: Path) -> str:
    report, name = Path(o.out) / "report.html", html.escape(o.name)
    if o.out and report.is_relative_to(folder) and report.exists():
        name = f'<a href="{html.escape(report.relative_to(folder).as_posix())}">{name}</a>'
    picture = thumbnail(o.out, o.capture)
    image = f'<img alt="" src="{picture}">' if picture else ""
    cells = "".join(f"<td class=n>{html.escape(str(found.get(c, '')))}" for c in columns)
    if o.bad:  # the reason takes the place of figures that are not there
        cells = f"<td colspan={max(len(columns), 1)}>{html.escape(o.why)}"
    return (
        f"<tr{' class=bad' if o.bad else ''}><td>{image}<td>{name}<td class=status>{html.escape(o.status)}"
        f"<td class=n>{o.seconds or ''}{cells}</tr>"
    )


@functools.cache
def thumbnail(out: str, capture: str) -> str:
    """A small JPEG as data URI: the twin from the front, else the capture's first left picture; empty if neither can be read."""
    import cv2

    first = min((p for p in Path(capture, "left").glob("*.*")), default=None) if capture else None
    for path in (Path(out) / "previews" / "textured_front.jpg", first):
        image = cv2.imread(str(path)) if path is not None and path.is_file() else None
        if image is not None:
            scale = THUMBNAIL_PX / image.shape[0]
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            ok, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
            return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}" if ok else ""
    return ""
