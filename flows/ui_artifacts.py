"""What the Prefect UI shows of a stage: one markdown artifact with its figures, warnings and small pictures inlined."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from stages.base import StageResult

MOST_PICTURE_BYTES = 150_000
"""the artifact lies in Prefect's database: thumbnails only"""


def show_stage(stage: str, result: StageResult) -> None:
    """Publish the stage's artifact; its key is stable, so that the UI keeps a history per stage."""
    folder = next(iter(result.refs.values())).path.parent
    create_markdown_artifact(stage_markdown(stage, result.manifest, folder, result.cached), key=f"{stage}-report",
                             description=f"{stage}: figures and pictures")


def stage_markdown(stage: str, manifest: Mapping[str, Any], folder: Path, cached: bool = False) -> str:
    """The stage's report as markdown."""
    report = manifest["report"]
    method = f"Method `{report['method']}`. {report['reason']}".strip()
    origin = "from the store" if cached else "computed now"
    parts = [f"# {stage}", f"{method}\n\nTook {manifest['seconds']:.1f} s and {manifest['peak_memory_mb']} MB ({origin})."]
    parts += [f"> **Note:** {w}" for w in report["warnings"]]
    figures = {**report["metrics"], **{f"frames {k}": v for k, v in report["frames"].items()}}
    if figures:
        parts.append("| figure | value |\n|---|---|\n" + "\n".join(f"| {k} | {_show(v)} |" for k, v in figures.items()))
    parts += [_picture(folder / path, caption) for caption, path in report["pictures"]]
    return "\n\n".join(parts)


def _picture(path: Path, caption: str) -> str:
    data = path.read_bytes()
    if len(data) > MOST_PICTURE_BYTES:
        return f"*{caption}: in report.html (too large for here)*"
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f"**{caption}**\n\n![{caption}](data:image/{kind};base64,{base64.b64encode(data).decode()})"


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
