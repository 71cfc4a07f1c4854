"""What the Prefect UI shows of a stage: one markdown artifact with its warnings, small pictures inlined, and its figures with units."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from stages.base import StageResult
from stages.core.report import simulation
from stages.core.report.labels import label, seconds_text, value_text

MOST_PICTURE_BYTES = 150_000
"""the artifact lies in Prefect's database: thumbnails only"""
SIMULATION = "physics/physics.json"
"""in the folder of the physics stage"""


def show_stage(stage: str, result: StageResult) -> None:
    """Publish the stage's artifact; its key is stable, so that the UI keeps a history per stage."""
    folder = next(iter(result.refs.values())).path.parent
    create_markdown_artifact(
        stage_markdown(stage, result.manifest, folder, result.cached),
        key=f"{stage}-report",
        description=stage_summary(stage, result.manifest, result.cached),
    )


def stage_summary(stage: str, manifest: Mapping[str, Any], cached: bool) -> str:
    """One line for the list of artifacts: "depth: 2 warnings, sgm, 7.8 s"."""
    report = manifest["report"]
    count = len(report["warnings"])
    parts = [f"{count} warning{'s' * (count > 1)}"] if count else []
    parts += [report["method"], "from the store" if cached else seconds_text(manifest["seconds"])]
    return f"{stage}: {', '.join(parts)}"


def stage_markdown(stage: str, manifest: Mapping[str, Any], folder: Path, cached: bool = False) -> str:
    """The stage's report as markdown."""
    report = manifest["report"]
    took = f"{seconds_text(manifest['seconds'])} and {manifest['peak_memory_mb']} MB"
    origin = f"From the store; computing it took {took}." if cached else f"Computed in {took}."
    parts = [f"# {stage}"]
    if report["warnings"]:
        parts.append("**Warnings**\n\n" + "\n".join(f"- {w}" for w in report["warnings"]))
    parts += [f"Method `{report['method']}`. {report['reason']}".strip(), origin]
    parts += [picture(folder / path, caption) for caption, path in report["pictures"]]
    if (folder / SIMULATION).is_file():
        parts.append(simulation.markdown(json.loads((folder / SIMULATION).read_text())))
    parts.append(figure_table({**report["metrics"], **{f"frames {k}": v for k, v in report["frames"].items()}}))
    return "\n\n".join(filter(None, parts))


def figure_table(figures: Mapping[str, Any]) -> str:
    """A markdown table, units taken from the keys; "" for no figures."""
    if not figures:
        return ""
    rows = (f"| {name} | {_show(value, unit)} |" for (name, unit), value in ((label(k), v) for k, v in figures.items()))
    return "| figure | value |\n|---|---|\n" + "\n".join(rows)


def picture(path: Path, caption: str) -> str:
    """Markdown of an inlined picture; a line that names report.html for one that is too large."""
    data = path.read_bytes()
    if len(data) > MOST_PICTURE_BYTES:
        return f"*{caption}: in report.html (too large for here)*"
    kind = path.suffix[1:] if path.suffix in (".png", ".webp") else "jpeg"
    return f"**{caption}**\n\n![{caption}](data:image/{kind};base64,{base64.b64encode(data).decode()})"


def _show(value: Any, unit: str) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value_text(value, unit)
    return text.replace("|", "\\|").replace("\n", " ")
