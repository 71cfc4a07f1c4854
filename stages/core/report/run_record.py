"""run.json: what ran, with which versions and settings, how long it took and how much memory it needed."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.core.file_units import in_file_units
from stages.core.fingerprint import plain
from stages.core.twin_frame import FRAMES

SCHEMA_VERSION = 1
_PACKAGES = (
    "stereotwin",
    "numpy",
    "opencv-python-headless",
    "numba",
    "open3d",
    "embreex",
    "pycolmap",
    "scipy",
    "torch",
    "xatlas",
    "prefect",
)


def write_run_json(out_dir: Path, manifests: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any]) -> Path:
    """Write `out_dir/run.json` from the stage manifests, in the order given; `extra` holds plain data of the run (profile, seed,
    capture name, total seconds, which stages came from the store: `{"cached": [names]}`). Returns the path.
    """
    path = out_dir / "run.json"
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(run_record(manifests, extra), indent=1, allow_nan=False))
    partial.replace(path)
    return path


def run_record(manifests: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The content of run.json as plain data."""
    cached = set(extra.get("cached", ()))
    stages = {name: _stage_record(m, name in cached) for name, m in in_file_units(manifests).items()}
    return {
        "schema_version": SCHEMA_VERSION,
        **plain(dict(extra)),
        "frames": FRAMES,
        "versions": versions(),
        "seconds_total": round(sum(s["seconds"] or 0 for s in stages.values()), 3),
        "peak_memory_mb": max((s["peak_memory_mb"] or 0 for s in stages.values()), default=0),
        "stages": stages,
    }


def versions() -> dict[str, str]:
    """Versions of Python, of the machine's kind and of the libraries that decide results."""
    out = {"python": platform.python_version(), "platform": platform.platform(), "cpu_count": str(os.cpu_count())}
    for name in _PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def _stage_record(manifest: Mapping[str, Any], cached: bool) -> dict[str, Any]:
    report = manifest.get("report", {})
    return {
        "version": manifest.get("version"),
        "fingerprint": manifest.get("fingerprint"),
        "seconds": manifest.get("seconds"),
        "peak_memory_mb": manifest.get("peak_memory_mb"),
        "cached": cached,
        "method": report.get("method"),
        "reason": report.get("reason"),
        "settings": manifest.get("settings", {}),
        "metrics": report.get("metrics", {}),
        "warnings": report.get("warnings", []),
        "frames": report.get("frames", {}),
    }
