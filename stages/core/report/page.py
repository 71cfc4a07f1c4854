"""report.html: one self-contained page that says what was made, how well, and what to look at twice."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_report(
    out_dir: Path, manifests: Mapping[str, Mapping[str, Any]], stage_folders: Mapping[str, Path], twin_dir: Path, extra: Mapping[str, Any]
) -> Path:
    """Write `out_dir/report.html`: no network, no other file needed. Returns the path.

    `manifests` and `stage_folders` by stage name in pipeline order (the folder holds `pictures/`); `twin_dir` is the twin folder
    (twin.glb, poses.json); `extra` as for `write_run_json`.
    """
    body = [f"<h1>{html.escape(str(extra.get('capture', 'twin')))}</h1>"]
    for name, manifest in manifests.items():
        body.append(f"<h2>{name}</h2>")
        report = manifest.get("report", {})
        for key, value in report.get("metrics", {}).items():
            body.append(f"<div>{html.escape(key)}: {html.escape(str(value))}</div>")
        for caption, picture in report.get("pictures", []):
            data = base64.b64encode((stage_folders[name] / picture).read_bytes()).decode()
            body.append(f'<figure><img src="data:image/jpeg;base64,{data}"><figcaption>{html.escape(caption)}</figcaption></figure>')
    path = out_dir / "report.html"
    partial = path.with_suffix(".html.partial")
    partial.write_text("<!doctype html><meta charset=utf-8>" + "\n".join(body))
    partial.replace(path)
    return path
