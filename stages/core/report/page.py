"""report.html: one self-contained page that says what was made, how well, and what to look at twice."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from stages.core.file_units import in_file_units
from stages.core.report import sections, simulation
from stages.core.report.labels import seconds_text, value_text
from stages.core.report.viewer_data import script_json, viewer_block
from stages.core.verdict import USABLE
from stages.core.verdict.error import legend_mm

Manifests = Mapping[str, Mapping[str, Any]]


def write_report(
    out_dir: Path, manifests: Manifests, stage_folders: Mapping[str, Path], twin_dir: Path, extra: Mapping[str, Any]
) -> Path:
    """Write `out_dir/report.html`: no network, no other file needed. Returns the path.

    `manifests` and `stage_folders` by stage name in pipeline order (the folder holds `pictures/` and the stage's tables); `twin_dir` is
    the twin folder (twin.glb, poses.json, rig.json, previews/); `extra` as for `write_run_json`.
    """
    path = out_dir / "report.html"
    partial = path.with_suffix(".html.partial")
    partial.write_text(page(manifests, stage_folders, twin_dir, extra), encoding="utf-8")
    partial.replace(path)
    return path


def page(manifests: Manifests, stage_folders: Mapping[str, Path], twin_dir: Path, extra: Mapping[str, Any]) -> str:
    """The page as text."""
    manifests = in_file_units(manifests)
    rows = sections.frame_rows(twin_dir, stage_folders)
    title = str(extra.get("capture", "twin"))
    about = [f"{k} {extra[k]}" for k in ("profile", "seed", "run") if extra.get(k) not in (None, "")]
    parts = [
        f"<h1>{escape(title)}</h1><p class=soft>digital twin by stereotwin{escape(' · ' + ' · '.join(about) if about else '')}</p>",
        sections.verdict(extra.get("verdict")),
        _viewer(twin_dir, extra.get("verdict")),
        sections.cards(_headlines(manifests, rows, extra)),
        sections.warnings(manifests),
        sections.left_out(extra.get("left_out", ())),
        sections.links(list(manifests)),
        "<h2>Time and memory</h2>" + sections.time_table(manifests, extra.get("cached", ())),
        *(sections.stage_section(name, m, stage_folders.get(name)) for name, m in manifests.items()),
        simulation.section(extra.get("physics"), twin_dir),
        f"<h2>Frames</h2>{sections.frame_table(rows)}" if rows else "",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: digital twin</title><style>{_asset('page.css')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _headlines(manifests: Manifests, rows: list[dict[str, Any]], extra: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few figures that answer: did it work, how good is it, what did it cost."""

    def metric(stage, key):
        return manifests.get(stage, {}).get("report", {}).get("metrics", {}).get(key)

    out = []
    if rows:
        usable = [r for r in rows if "pose" in r]
        out.append(("frames with a pose", f"{sum(r['pose'] == 'ok' for r in usable)} of {len(rows)}"))
    for stage, key, name, unit in (
        *(
            ("package", f"size_{unit}", "size" if _whole(extra) else "size, at least (not all of it was seen)", unit)
            for unit in ("mm", "units")
        ),
        ("package", "faces_full_mesh", "faces in mesh.ply", ""),
        ("texture", "psnr_db", _texture_against(metric("texture", "measured_on")), "dB PSNR"),
    ):
        if metric(stage, key) is not None:
            out.append((name, value_text(metric(stage, key), unit)))
    if verdict := extra.get("verdict"):
        out.append(("of its surface missing or never seen", f"{100 * verdict['facts']['missing_share']:.0f} %"))
    seconds = extra.get("seconds_wall") or sum(m.get("seconds") or 0 for m in manifests.values())
    out.append(("this run" if extra.get("cached") else "run time", seconds_text(seconds)))
    out.append(
        ("peak memory", value_text(max((m.get("peak_memory_mb") or 0 for m in manifests.values()), default=0), "MB"))
    )
    return out


def _whole(extra: Mapping[str, Any]) -> bool:
    verdict = extra.get("verdict")
    return verdict is None or (verdict["word"] == USABLE and not verdict["facts"]["open_edges"])


def _texture_against(measured_on: str | None) -> str:
    """Pictures that made the texture flatter it: the name says which it is."""
    known = {
        "frames left out": "texture against frames left out",
        "frames used": "texture against the frames it was made from",
    }
    return known.get(str(measured_on), "texture against the pictures")


def _viewer(twin_dir: Path, verdict: Mapping[str, Any] | None) -> str:
    facts = (verdict or {}).get("facts", {})
    metric, block = facts.get("metric", True), viewer_block(twin_dir, facts)
    if block is None:
        return '<p class="soft">There is no textured mesh to show: the run ended before the package stage, or its route has none.</p>'
    still = twin_dir / "previews/turntable.jpg"
    instead = sections.picture(still, "the twin from eight sides") if still.is_file() else ""
    return (
        '<div class="viewer"><canvas id="view" tabindex="0" role="img" '
        'aria-label="3-D view of the twin; arrow keys turn it, plus and minus zoom, Home goes back"></canvas>'
        '<div class="buttons">'
        '<button data-look="0" aria-pressed="true">texture</button><button data-look="1" aria-pressed="false">shape</button>'
        '<button data-look="2" aria-pressed="false">expected error</button><button id="cameras" aria-pressed="false">cameras</button>'
        '<button id="box" aria-pressed="false">box</button></div><div class="scale" id="scale"></div>'
        '<div class="hint">drag: turn · shift-drag or two fingers: move · wheel or pinch: zoom · double click: back</div>'
        f"{_scale_legend(facts.get('pixel_mm'), metric)}"
        '<div id="no-webgl" hidden><p>This browser shows no WebGL; a still picture instead. twin.glb opens in any 3-D viewer.</p>'
        f"{instead}</div></div>"
        f"{_legend(block)}"
        f'<script type="application/json" id="twin-data">{script_json({**block, "metric": metric})}</script>'
        f"<script>{_asset('viewer.js')}</script>"
    )


def _scale_legend(pixel_mm: float | None, metric: bool) -> str:
    """Colours of the expected error; shown with that look."""
    shown = (lambda mm: f"{mm:.2g} mm") if metric else lambda mm: f"{mm / 1000:.2g} units"
    marks = [shown(mm) for mm in legend_mm(pixel_mm)] if pixel_mm else ["small", "", "large"]
    labels = "".join(f"<span>{escape(m)}</span>" for m in marks)
    scale = f'<div class="colours"></div><div class="marks">{labels}</div>'
    return f'<div class="legend" id="legend" hidden>expected error{scale}grey: never seen</div>'


def _legend(block: Mapping[str, Any]) -> str:
    said = ["red: the rim where the mesh is open"] if block["rim"] else []
    said += [
        "with cameras: blue a pose, orange an uncertain one"
        + (", green where to film from next" if block["next"] else "")
    ]
    return f'<p class="soft">{escape("; ".join(said))}</p>'


def _asset(name: str) -> str:
    return resources.files("stages.core.report").joinpath(name).read_text(encoding="utf-8")
