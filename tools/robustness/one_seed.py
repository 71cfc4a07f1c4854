"""One seed from its number to its result: render, run, score, judge. What is on disk already is not made again.

CAPTURES/SEED/          the capture with gt/ and gt/drawn.json
RESULTS/SEED.json       verdict, figures and every frame's scores
RESULTS/stores/SEED/    the run's store, only while it runs (or with `keep`)
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.records.run_record import RunRecord, RunRecords
from flows.records.twin_verdict import verdict_of
from stages.core.frames import posed, read_poses, read_table
from stages.core.store import Store
from tools.robustness import score
from tools.robustness.draw import GENERATOR, draw
from tools.robustness.verdict import MARKED, Verdict, judge_frames, judge_twin
from tools.robustness.write import render, write_json

ROOT = Path(__file__).resolve().parents[2]
STOPS_WITH_A_REASON = (3, 4)
"""exit codes of `twin` for a capture that cannot be used and for a stage that says why it cannot go on"""
NOT_OF_THE_CAPTURE = (2, 5, 6, 130)
"""wrong settings, the disk, missing weights, interrupted"""
OF_THE_TWIN = ("surface", "texture", "package")


@dataclass(frozen=True)
class Places:
    """Where captures, results and stores lie."""

    captures: Path
    results: Path

    def result(self, seed: int) -> Path:
        """The seed's verdict."""
        return self.results / f"{seed:04d}.json"


@dataclass(frozen=True)
class How:
    """How seeds are run. Size of the pictures, threads of a run, and every which seed goes on to the twin (0 = none)."""

    frames: int = 20
    width: int = 640
    threads: int = 1
    twin_every: int = 4
    time_limit_s: float = 600.0
    start_from: str = ""
    """stage from which on is computed again, the ones before come from the store that an earlier run with `keep` left"""
    keep: bool = False
    """keep the store"""
    shape: str = ""
    """mesh file that takes the place of the drawn shape"""


def run_seed(seed: int, places: Places, how: How, source: Mapping[str, str]) -> dict[str, Any]:
    """The result of `seed`, which is also written; `source` ("code", "commit") says what it was computed with and becomes part of it.

    Raises RuntimeError when the run ended for a reason that has nothing to do with the capture.
    """
    drawn = draw(seed, how.frames, how.width, how.shape)
    capture = render(seed, places.captures, drawn)
    store = places.results / "stores" / f"{seed:04d}"
    if not how.start_from:
        shutil.rmtree(store, ignore_errors=True)
    to_twin = bool(how.twin_every) and seed % how.twin_every == 0
    started = time.monotonic()
    exit_code = reconstruct(capture, store, how, "" if to_twin else "bundle")
    record = next(iter(RunRecords(Store(store)).of_capture(capture)), None)
    if record is None or exit_code in NOT_OF_THE_CAPTURE:
        raise RuntimeError(
            f"seed {seed}: exit code {exit_code} says nothing of the capture\n{(store / 'printed.log').read_text()[-2000:]}"
        )
    found = _judge(capture, Store(store), record, exit_code, to_twin=to_twin)
    result = {
        "seed": seed,
        "generator": GENERATOR,
        **source,
        "properties": drawn.properties,
        "to_twin": to_twin,
        "seconds": round(time.monotonic() - started, 1),
        "stage_seconds": {n: s.seconds for n, s in record.stages.items()},
        "cpu_s": _cpu_s(),
        "exit_code": exit_code,
        **found,
        "how": asdict(how),
    }
    write_json(places.result(seed), result)
    if not how.keep:
        shutil.rmtree(store, ignore_errors=True)
    return result


def _cpu_s() -> float:
    """CPU seconds of this process, which rendered and judges, and of the run it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(u.ru_utime + u.ru_stime for u in used), 1)


def reconstruct(capture: Path, store: Path, how: How, until: str) -> int:
    """`twin reconstruct` as a user runs it, in a process of its own, to the end or `until` a stage; its exit code. What it printed lies
    beside the store."""
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(store / "twin"),
        "--no-prefect",
        "--threads",
        str(how.threads),
        "--time-limit",
        str(how.time_limit_s),
    ]
    command += ["--until", until] if until else []
    command += ["--from", how.start_from] if how.start_from else []
    threads = {name: str(how.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    store.mkdir(parents=True, exist_ok=True)
    with (store / "printed.log").open("w") as log:
        done = subprocess.run(
            command,
            env={**os.environ, **threads, "TWIN_STORE": str(store), "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode


def _judge(capture: Path, store: Store, record: RunRecord, exit_code: int, to_twin: bool) -> dict[str, Any]:
    manifests = {n: store.manifest(n, s.fingerprint) for n, s in record.stages.items() if s.state == "done"}
    warnings = {n: list(m["report"]["warnings"]) for n, m in manifests.items() if m and m["report"]["warnings"]}
    stopped = {"stopped": f"{record.error}\n{record.advice}".strip(), "stage": _stage_of(record)} if exit_code else {}
    points, extent_m = score.surface_points(capture / "gt" / "mesh.ply")
    frames = _frames(capture, store, record, points, limit_m=score.pose_limit_m(extent_m))
    extras = _figures(frames) | {"extent_mm": round(1000 * extent_m, 1)}
    if exit_code:
        kind = "honest" if exit_code in STOPS_WITH_A_REASON and "time limit" not in record.error else "wrong"
        verdict = Verdict(kind, (f"{_stage_of(record)}: {record.error}",))
    else:
        verdict = judge_frames(frames, 1000 * score.pose_limit_m(extent_m), [w for ws in warnings.values() for w in ws])
        if to_twin:
            extras["twin"] = _twin_scores(capture, store.root / "twin")
            said = extras["twin"]["verdict"]
            late = [
                *(w for n in OF_THE_TWIN for w in warnings.get(n, ())),
                *([said] if not said.startswith("usable") else []),
            ]
            verdict = judge_twin(verdict, extras["twin"].get("chamfer_mm", float("inf")), extras["extent_mm"], late)
    return {
        "verdict": verdict.kind,
        "reasons": list(verdict.reasons),
        **stopped,
        **extras,
        "warnings": warnings,
        "per_frame": [f.as_row() for f in frames],
    }


def folders_of(store: Store, record: RunRecord, *stages: str) -> dict[str, Path]:
    """{stage: folder of its result} of a run."""
    return {name: store.artifact_dir(name, record.stages[name].fingerprint) for name in stages}


def _stage_of(record: RunRecord) -> str:
    return next((n for n, s in record.stages.items() if s.state not in ("done", "waiting")), "before the first stage")


def _frames(
    capture: Path, store: Store, record: RunRecord, points: np.ndarray, limit_m: float
) -> list[score.FrameScore]:
    """Scores of masks and poses as far as the run came; [] without masks."""
    done = record.done()
    folder = folders_of(store, record, *done)
    if "masks" not in done:
        return []
    poses = read_poses(folder["bundle"] / "poses.json") if "bundle" in done else []
    masks = folder["masks"] / "masks"
    if "surface" in done:
        poses, masks = read_poses(folder["surface"] / "poses_refined.json"), folder["surface"] / "masks_final"
    doubted = {r["frame"] for r in read_table(folder["masks"] / "masks.parquet") if r["status"] in MARKED}
    claimed = {p.frame for p in poses if p.status == "ok"} - doubted
    errors = score.pose_errors_m(
        posed(read_poses(capture / "gt" / "poses.json")), posed(poses), points, limit_m, claimed=claimed
    )
    return score.frame_scores(capture / "gt", masks, folder["masks"] / "masks.parquet", poses, errors_m=errors)


def _figures(frames: list[score.FrameScore]) -> dict[str, Any]:
    if not frames:
        return {}
    errors = [f.pose_error_mm for f in frames if f.pose_error_mm is not None]
    return {
        "frames": len(frames),
        "posed": len(errors),
        "J_mean": round(float(np.mean([f.J for f in frames])), 1),
        "J_min": round(min(f.J for f in frames), 1),
        "trust_median": round(float(np.median([f.trust for f in frames])), 2),
        "pose_error_median_mm": round(float(np.median(errors)), 2) if errors else None,
        "pose_error_max_mm": round(max(errors), 2) if errors else None,
    }


def _twin_scores(capture: Path, twin: Path) -> dict[str, Any]:
    from stages.core.metrics import evaluate

    found = evaluate(capture, twin)
    surface = found.get("surface_pose_aligned", {})
    kept = ("chamfer_mm", "accuracy_p95_mm", "completeness_p95_mm", "spurious_share")
    return {k: round(v, 3) for k, v in surface.items() if k in kept} | {
        "verdict": (verdict_of(twin) or {"line": "usable"})["line"]
    }
