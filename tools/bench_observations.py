"""A surface by `surface.field` shape and observations from one finished run, and whether poses that were shaken are set right.

    make bench-observations ARGS="CAPTURE STORE [--shaken]"

STORE holds a finished run of CAPTURE (`twin reconstruct CAPTURE --out TWIN --store STORE`), whose stages up to bundle are taken from it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.base import ArtifactRef, StageContext
from stages.core.config import resolve
from stages.core.frames import posed, read_poses, write_poses
from stages.core.geometry.rigid import exp_se3, fit_rigid, rotation_angle, transform
from stages.core.metrics import evaluate
from stages.core.store import Store
from stages.core.twin import assemble_twin
from stages.graph import stages

DEGREES, METRES = 0.3, 1e-3
VARIANTS = ("field=shape", "field=observations", "field=observations refine_poses=true")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "--shaken", action="store_true", help=f"turn every pose by {DEGREES} degrees and shift it by 1 mm first"
    )
    parser.add_argument("--only", nargs="*", default=VARIANTS)
    args = parser.parse_args()
    made = refs_of(Store(args.store))
    for variant in args.only:
        with tempfile.TemporaryDirectory() as folder:
            print(
                json.dumps(
                    {"capture": args.capture.name, "settings": variant, **measure(args, made, variant, Path(folder))}
                ),
                flush=True,
            )
    return 0


def refs_of(store: Store) -> dict[str, ArtifactRef]:
    """What the last run in `store` made, by kind."""
    records = sorted((store.root / "runs").glob("*.json"), key=lambda p: p.stat().st_mtime)
    made: dict[str, ArtifactRef] = {}
    for name, stage in json.loads(records[-1].read_text())["stages"].items():
        fingerprint = stage["fingerprint"]
        manifest = store.lookup(name, fingerprint)
        if manifest is not None:
            made |= store.refs(name, fingerprint, manifest)
    return made


def measure(args: argparse.Namespace, made: dict[str, ArtifactRef], variant: str, folder: Path) -> dict:
    """Scores of one surface."""
    stage = next(s for s in stages() if s.name == "surface")
    config = resolve({"surface": stage.Config}, overrides=["surface." + s for s in variant.split()]).stages["surface"]
    inputs, out = {k: made[k] for k in stage.inputs}, folder / "out"
    true = posed(read_poses(args.capture / "gt/poses.json"))
    if args.shaken:
        inputs["poses.json"] = ArtifactRef(
            "poses.json", shaken(inputs["poses.json"].path, folder / "poses.json"), "shaken"
        )
    before = pose_errors(posed(read_poses(inputs["poses.json"].path)), true, made["points.npz"].path)
    out.mkdir()
    started = time.perf_counter(), time.process_time()
    report = stage.run(inputs, config, out, StageContext())
    took = {"s": round(time.perf_counter() - started[0]), "cpu_s": round(time.process_time() - started[1])}
    after = pose_errors(posed(read_poses(out / "poses_refined.json")), true, made["points.npz"].path)
    new = {k: ArtifactRef(k, out / k, "new") for k in stage.outputs}
    assemble_twin(folder / "twin", {**made, **new}, {})
    scores = evaluate(args.capture, folder / "twin")["surface_pose_aligned"]
    shutil.rmtree(folder / "twin")
    moved = {k: v for k, v in report.metrics.items() if k.startswith("poses_moved")}
    away = {k: round(scores[k], 3) for k in ("chamfer_mm", "accuracy_p95_mm", "completeness_p95_mm")}
    return {**away, "before": before, "after": after, **moved, **took}


def shaken(poses: Path, out: Path) -> Path:
    """The same poses, each a little off."""
    rng, rows = np.random.default_rng(8), []
    for row in read_poses(poses):
        turn, shift = rng.normal(size=3), rng.normal(size=3)
        step = exp_se3(
            np.concatenate([np.radians(DEGREES) * turn / np.linalg.norm(turn), METRES * shift / np.linalg.norm(shift)])
        )
        rows.append(row if row.object_from_left is None else replace(row, object_from_left=step @ row.object_from_left))
    write_poses(out, rows)
    return out


def pose_errors(found: dict[int, np.ndarray], true: dict[int, np.ndarray], points: Path) -> dict[str, float]:
    """Median and largest error of the cameras: degrees, and mm at the object's points, the object frame brought to the true one."""
    x = np.load(points, allow_pickle=False)["xyz"]
    x = x[:: max(1, len(x) // 100)]
    frames = sorted(found.keys() & true.keys())
    gaps = [true[k] @ np.linalg.inv(found[k]) for k in frames]
    frame = fit_rigid(np.concatenate([x] * len(gaps)), np.concatenate([transform(g, x) for g in gaps]))
    rest = [np.linalg.inv(frame) @ g for g in gaps]
    degrees = np.degrees([rotation_angle(g) for g in rest])
    mm = 1000 * np.array([np.linalg.norm(transform(g, x) - x, axis=1).mean() for g in rest])
    return {
        "degrees_median": round(float(np.median(degrees)), 4),
        "degrees_max": round(float(degrees.max()), 4),
        "mm_median": round(float(np.median(mm)), 3),
        "mm_max": round(float(mm.max()), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
