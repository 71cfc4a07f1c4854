"""Turns docs/benchmarks-<profile>.json into docs/benchmarks.md and the table between the markers of README.md."""

from __future__ import annotations

import json
from pathlib import Path

PROFILES = ("preview", "standard", "quality")
ROWS = (
    ("frames posed", "pose.frames_posed pose.frames", "{:d} / {:d}"),
    ("frames posed (real capture)", "frames_posed frames", "{:d} / {:d}"),
    ("ADD AUC 5 mm", "pose.add_auc_5mm", "{:.1f}"),
    ("rotation median, degrees", "pose.rotation_median_deg", "{:.3f}"),
    ("worst frame, mm", "pose.add_max_mm", "{:.2f}"),
    ("mask J mean / min, %", "mask.mask_J mask.mask_J_min", "{:.1f} / {:.1f}"),
    (
        "disparity inside the mask, median px / off by > 1 px %",
        "depth.disparity_median_px depth.bad1_percent",
        "{:.2f} / {:.1f}",
    ),
    ("chamfer, pose-aligned, mm", "surface_pose_aligned.chamfer_mm", "{:.2f}"),
    (
        "accuracy median / p95, mm",
        "surface_pose_aligned.accuracy_median_mm surface_pose_aligned.accuracy_p95_mm",
        "{:.2f} / {:.2f}",
    ),
    (
        "completeness median / p95, mm",
        "surface_pose_aligned.completeness_median_mm surface_pose_aligned.completeness_p95_mm",
        "{:.2f} / {:.2f}",
    ),
    ("F-score 0.5 mm / 1 mm", "surface_pose_aligned.fscore_0.5mm surface_pose_aligned.fscore_1.0mm", "{:.2f} / {:.2f}"),
    ("rotation error median / max, degrees", "rotation_error_median_deg rotation_error_max_deg", "{:.3f} / {:.3f}"),
    ("rim of the board, rms mm", "rim_rms_mm", "{:.2f}"),
)


def render_page(docs: Path) -> None:
    """Write docs/benchmarks.md and refresh README.md's table."""
    pages = [docs / f"benchmarks-{profile}.json" for profile in PROFILES]
    records = [json.loads(p.read_text()) for p in pages if p.is_file()]
    between_markers(docs / "benchmarks.md", "benchmarks", "\n\n".join(_section(r) for r in records))
    standard = next((r for r in records if r["profile"] == "standard"), None)
    if standard:
        between_markers(docs.parent / "README.md", "benchmarks", _section(standard))


def between_markers(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name:start -->` and `<!-- name:end -->` of a page."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    head, rest = path.read_text().split(start)
    path.write_text(f"{head}{start}\n{text}\n{end}{rest.split(end)[1]}")


def _section(record: dict) -> str:
    runs = [r for r in record["runs"] if r["exit_code"] == 0]
    lines = [
        f"Profile `{record['profile']}`, {record['date']}, commit {record['commit']}, {record['machine']}. Command: `make bench`.",
        "",
    ]
    lines += [f"| | {' | '.join(r['capture'] for r in runs)} |", "|---|" + "---|" * len(runs)]
    for title, keys, form in ROWS:
        cells = [_cell(r["scores"], keys.split(), form) for r in runs]
        if any(cells):
            lines.append(f"| {title} | {' | '.join(cells)} |")
    lines.append(
        f"| PSNR inside the mask on frames held out of surface and texture, dB | {' | '.join(map(_held_out_psnr, runs))} |"
    )
    wall = [f"{r['wall_s']:.0f} / {r['peak_memory_mb']}" for r in runs]
    lines.append(f"| wall time, s / peak memory, MB | {' | '.join(wall)} |")
    lines.append(f"| seconds by stage | {' | '.join(_stages(r) for r in runs)} |")
    failed = [
        f"- {r['capture']}: failed with exit code {r['exit_code']}" for r in record["runs"] if r["exit_code"] != 0
    ]
    return "\n".join([*lines, "", *failed]).rstrip()


def _cell(scores: dict, keys: list[str], form: str) -> str:
    values = [_dig(scores, k) for k in keys]
    return form.format(*values) if all(v is not None for v in values) else ""


def _dig(scores: dict, key: str):
    head, _, rest = key.partition(".")
    if key in scores:
        return scores[key]
    return _dig(scores[head], rest) if rest and isinstance(scores.get(head), dict) else None


def _held_out_psnr(run: dict) -> str:
    held_out = run["run"].get("held_out", {})
    names = {"psnr_raw_db": "as rendered", "psnr_db": "exposure fitted", "psnr_worst_db": "worst frame"}
    return "<br>".join(f"{held_out[k]:.1f} {name}" for k, name in names.items() if held_out.get(k) is not None)


def _stages(run: dict) -> str:
    return ", ".join(f"{name} {stage['seconds']:.0f}" for name, stage in run["run"]["stages"].items())
