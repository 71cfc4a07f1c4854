"""`twin doctor`: what this machine has and what it will do with it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import subprocess
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

from flows.run.stage_child import load_stages
from flows.web.library_versions import sqlalchemy_fault
from stages.base import Stage
from stages.core.backends import KITS
from stages.core.devices import driver_there
from stages.core.parallel import usable_cores
from stages.core.store import Store
from stages.core.weights import weights_folder

MODULES = {"opencv-python-headless": "cv2", "usd-core": "pxr"}
"""package -> module, where the names differ"""
NEEDED = (
    "numpy",
    "opencv-python-headless",
    "numba",
    "scipy",
    "pycolmap",
    "embreex",
    "xatlas",
    "trimesh",
    "pyarrow",
    "prefect",
    "coacd",
    "usd-core",
)
OPTIONAL = {"mujoco": "simulate"}
"""package -> the extra of this project that brings it; those that a method needs are in stages/core/backends.py"""


def doctor(args: argparse.Namespace) -> int:
    """Print it; 1 if something that is needed does not import."""
    found = {
        "machine": _machine(),
        "libraries": _libraries(),
        "backends": _backends(),
        "weights": _weights(),
        "methods": _methods(),
    }
    missing = [n for n, text in found["libraries"].items() if text.startswith("FAILS")]
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        for title, rows in found.items():
            print(title)
            for name, text in rows.items():
                print(f"  {name:24} {text}")
        print(f"\nneeded and not working: {', '.join(missing)}" if missing else "\nall that is needed works")
    return 1 if missing else 0


def _machine() -> dict[str, str]:
    import psutil

    memory, disk_at = psutil.virtual_memory(), Store().root
    disk = shutil.disk_usage(next(p for p in (disk_at, *disk_at.parents) if p.exists()))
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": f"{usable_cores()} usable of {os.cpu_count()}",
        "memory": f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB",
        "gpu": _gpu(),
        "store": f"{disk_at} ({disk.free / 1e9:.0f} GB free)",
    }


def _gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return "none (no nvidia-smi)" if not driver_there() else "one with AMD's driver; see backends"
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return answer.stdout.strip().replace("\n", "; ") or f"nvidia-smi fails: {answer.stderr.strip()[:100]}"


def _libraries() -> dict[str, str]:
    out = {}
    for package in (*NEEDED, *OPTIONAL):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            extra = OPTIONAL.get(package)
            out[package] = (
                f"not installed; optional, comes with stereotwin[{extra}]"
                if extra
                else "FAILS: not installed (make setup)"
            )
            continue
        try:
            importlib.import_module(MODULES.get(package, package))
            out[package] = version
        except Exception as e:  # noqa: BLE001 - a broken library may raise anything, and that is the finding
            out[package] = f"FAILS to import ({version}): {str(e).splitlines()[0][:150]}"
    fault = sqlalchemy_fault()
    return out | {"sqlalchemy": f"FAILS: {fault} (make setup)" if fault else metadata.version("SQLAlchemy")}


def _backends() -> dict[str, str]:
    """Each optional library that methods choose by: whether it works here, what is missing, and the one command that mends it."""
    return {name: kit.says() for name, kit in KITS.items()}


def _weights() -> dict[str, str]:
    folder = Path(importlib.import_module("weights").__path__[0])
    files = sorted(
        p
        for f in (folder, weights_folder())
        if f.is_dir()
        for p in f.iterdir()
        if p.suffix in (".onnx", ".safetensors")
    )
    there = {p.name: f"{p.stat().st_size / 1e6:.1f} MB in {p.parent}" for p in files}
    return there or {"none": "the default methods need none; `twin weights list` shows what there is"}


def _methods() -> dict[str, str]:
    """What `method: auto` picks per stage."""
    out = {}
    for stage in load_stages():
        config = stage.Config()
        out[stage.name] = _choice(stage, config)
    return out


def _choice(stage: Stage, config: Any) -> str:
    if choice := stage.auto_choice(config):
        return "{}: {}".format(*choice)
    names = {f.name for f in fields(config)}
    return str(config.method) if "method" in names else "one method"
