"""`twin drop`: the files for simulators are let fall in real engines, here."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from stages.core.drop import ENGINES, Drop, engines_here, failures
from stages.core.errors import ConfigError, StageError
from stages.core.plain_files import read_text

FILES = {"mujoco": ("twin.xml", "twin.urdf"), "pybullet": ("twin.urdf",)}
MODULES = {"mujoco": "in_mujoco", "pybullet": "in_bullet"}


def drop(args: argparse.Namespace) -> int:
    """0 if every drop is as it should be, 4 if not."""
    sim = _sim_folder(Path(args.twin))
    drops = [
        (file, d) for engine in _engines(args.engine) for file in FILES[engine] for d in _drops(engine, sim / file)
    ]
    wrong = failures(d for _, d in drops)
    if args.json:
        print(json.dumps({"drops": [_record(file, d) for file, d in drops], "failures": wrong}, indent=1))
    else:
        for file, d in drops:
            print(
                f"{d.engine:9} {file:10} {d.pose:12} {d.fault or f'at rest after {d.seconds:.1f} s'}, lowest point {-d.sunk_mm:+.2f} mm, "
                f"turned over by {d.tilted_deg:.0f} degrees"
            )
        print(
            f"{len(drops)} drops from 5 cm, {len(wrong)} failed"
            if wrong
            else f"{len(drops)} drops from 5 cm, all came to rest"
        )
    return 4 if wrong else 0


def _sim_folder(twin: Path) -> Path:
    """Of a twin folder, or itself. Raises StageError with the reason why there are no files."""
    for folder in (twin / "sim", twin):
        if (folder / "twin.urdf").is_file() and (folder / "twin.xml").is_file():
            return folder
    if not (twin / "run.json").is_file():
        raise ConfigError(f"{twin} is no twin folder", "name a folder that `twin reconstruct` has made")
    told = json.loads(read_text(twin / "run.json", StageError)).get("physics") or {}
    why = told.get("reason", "it was made by an earlier version, or its folder sim/ was removed")
    raise StageError(
        f"{twin} has no files for simulators: {why}", "reconstruct it again, or film what is missing; see its report"
    )


def _engines(asked: str | None) -> list[str]:
    here = engines_here()
    if missing := [e for e in ([asked] if asked else []) if e not in here]:
        raise ConfigError(f"{missing[0]} is not installed", f"pip install {ENGINES[missing[0]]}")
    if not here:
        raise ConfigError("no engine is installed to drop it in", f"pip install {' '.join(ENGINES)}, or one of them")
    return [asked] if asked else here


def _drops(engine: str, file: Path) -> list[Drop]:
    try:
        return importlib.import_module(f"stages.core.drop.{MODULES[engine]}").drop_all(file)
    except ValueError as e:
        raise StageError(f"{engine} does not take {file}: {e}", "if the file was not edited, report it") from e


def _record(file: str, drop: Drop) -> dict[str, Any]:
    return {
        "engine": drop.engine,
        "file": file,
        "pose": drop.pose,
        "rests": drop.rests,
        "seconds": round(drop.seconds, 3),
        "sunk_mm": round(drop.sunk_mm, 4),
        "energy_gain": round(drop.energy_gain, 6),
        "tilted_deg": round(drop.tilted_deg, 2),
        "moved_m": round(drop.moved_m, 4),
        "fault": drop.fault,
    }
