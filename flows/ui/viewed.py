"""What `twin view` shows and where it lies: a twin folder, or a run, of which ever more is there while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.records.run_record import RunRecord, RunRecords
from flows.records.twin_verdict import verdict_of
from stages.core.errors import StoreError
from stages.core.store import Store

POSES = ("poses_refined.json", "poses.json", "poses_initial.json")
"""best first"""


@dataclass(frozen=True)
class Viewed:
    """`files` by what they show ("poses", "rig", "points", "mesh", "twin", and folders "pairs", "masks"), those that are there now.
    `in_object_frame`: as stages leave them, y down; else the twin frame, y up."""

    title: str
    files: Mapping[str, Path] = field(default_factory=dict)
    in_object_frame: bool = False
    ended: bool = True


def look_at(which: str, store: Store) -> Callable[[], Viewed]:
    """Of a twin folder, or a run by its id, or the beginning of one; what it returns looks again each time. Raises StoreError."""
    folder = Path(which).expanduser()
    if folder.is_dir():
        if not (folder / "run.json").is_file():
            raise StoreError(
                f"{folder} is no twin folder: it has no run.json",
                "name one that `--out` named, or a run of `twin status`",
            )
        return lambda: of_twin(folder.resolve())
    records = RunRecords(store)
    run = records.load(which).id
    return lambda: of_run(records.load(run), store)


def of_twin(folder: Path) -> Viewed:
    """A finished twin."""
    names = {"poses": "poses.json", "rig": "rig.json", "twin": "twin.glb", "mesh": "mesh.ply", "masks": "masks"}
    verdict = verdict_of(folder)
    return Viewed(
        f"{folder.name}: {verdict['line'] if verdict else 'a twin'}", _there({k: folder / v for k, v in names.items()})
    )


def of_run(record: RunRecord, store: Store) -> Viewed:
    """As far as the run has come; the twin itself once that is written."""
    outputs = _outputs(record, store)
    poses = next((outputs[k] for k in POSES if k in outputs), None)
    files = {
        "poses": poses,
        "rig": outputs.get("rig.json"),
        "points": outputs.get("points.npz"),
        "mesh": outputs.get("mesh.ply"),
        "pairs": outputs.get("pairs"),
        "masks": outputs.get("masks"),
        "twin": outputs["twin"] / "twin.glb" if "twin" in outputs else None,
    }
    now = next((f"{name} is under way" for name, s in record.stages.items() if s.state == "running"), record.state)
    name = Path(record.request["capture"]).name
    return Viewed(
        f"{name}: {now}", _there({k: p for k, p in files.items() if p is not None}), True, record.state != "running"
    )


def _outputs(record: RunRecord, store: Store) -> dict[str, Path]:
    """Of the finished stages, by kind."""
    found: dict[str, Path] = {}
    for stage in record.done():
        fingerprint = record.stages[stage].fingerprint
        manifest = store.manifest(stage, fingerprint) or {"outputs": {}}
        found |= {kind: store.artifact_dir(stage, fingerprint) / kind for kind in manifest["outputs"]}
    return found


def _there(files: Mapping[str, Path]) -> dict[str, Path]:
    return {k: p for k, p in files.items() if p.exists()}
