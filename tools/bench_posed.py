"""Posed pictures measured: cameras of the shoe with faults planted, DTU scan65 and the temple through the surface with pictures left out.

    python -m tools.bench_posed [--only shoe temple dtu] [--data FOLDER] [--work FOLDER]

The data set lies beside the checkout. A finished reconstruction is taken from the store, so it stops and resumes at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from stages.core.background import alpha_from_depth
from stages.posed import findings
from stages.posed.agreement import REPAIRS, Silhouette, small
from stages.posed.formats import read
from stages.posed.masks import mask_of, read_picture

ROOT = Path(__file__).resolve().parents[1]
INVERSE = {"turn by 90 degrees": "turn by 270 degrees", "turn by 270 degrees": "turn by 90 degrees"}
HOLD_OUT = 8
SCENES = {
    "dtu": ("posed/dtu_scan65", "posed.metres_per_unit=0.001"),
    "temple": ("multiview/templeSparseRing", "posed.metres_per_unit=1"),
}


def shoe(data: Path) -> None:
    """Background by depth, field of view, and every single fault."""
    print(f"| alpha of the shoe from its depth, least IoU of six | {min(_shoe_alpha(data)):.5f} |")
    views = []
    for c in read(data / "multiview/shoe_nvdiffrec").cameras:
        views.append(
            small(Silhouette(c.name, mask_of(c, *read_picture(c.picture), "auto")[0], c.K, c.world_from_camera))
        )
    intact = findings.check(views)
    assert intact is not None
    print(f"| its cameras as they are: mean agreement, repair | {intact.agreement.mean():.3f}, {intact.repair} |")
    print(
        f"| field of view, file and proposed, rad | {np.radians(intact.fov_now_deg):.3f}, {np.radians(intact.fov_deg or 0):.3f} |"
    )
    named, started = 0, time.process_time()
    for i, view in enumerate(views):
        for what, turn in list(REPAIRS.items())[1:]:
            bad = [*views[:i], replace(view, mask=np.ascontiguousarray(turn(view.mask))), *views[i + 1 :]]
            found = findings.check(bad)
            repair = None if found is None else found.repair
            right = repair is not None and (repair.name, repair.what) == (view.name, INVERSE.get(what, what))
            named += right
            if not right:
                print(f"| {view.name}, {what}: named | {repair} |")
    seconds = (time.process_time() - started) / 42
    print(f"| single faults named with their repair, CPU seconds each | {named} of 42, {seconds:.1f} |", flush=True)


def _shoe_alpha(data: Path) -> list[float]:
    root, out = data / "multiview/shoe_six_view", []
    for name in ("front", "back", "left", "right", "top", "bottom"):
        depth = cv2.imread(str(root / "depth_renders" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        alpha = (
            cv2.imread(str(root / "multi_views_alpha_downsampled_1024" / f"{name}.png"), cv2.IMREAD_UNCHANGED)[..., 3]
            > 127
        )
        found = alpha_from_depth(depth, alpha.shape[::-1])
        out.append(float((found & alpha).sum() / (found | alpha).sum()))
    return out


def scene(name: str, data: Path, work: Path) -> None:
    """Every 8th picture left out of the surface, and rendered from the others through it."""
    folder, scale = SCENES[name]
    out = work / name
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(data / folder),
        "--out",
        str(out),
        "--no-prefect",
        "--quiet",
        scale,
        f"surface.hold_out={HOLD_OUT}",
        f"novel_views.score_every={HOLD_OUT}",
        f"texture.hold_out={HOLD_OUT}",
        "physics.files=off",
    ]
    subprocess.run(
        command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "TWIN_STORE": str(work / "store")}
    )
    run = json.loads((out / "run.json").read_text())
    scores = json.loads((out / "novel_views/scores.json").read_text())

    def mean(key):
        return float(np.mean([s[key] for s in scores]))

    seconds = {k: s["seconds"] for k, s in run["stages"].items()}
    print(
        f"| {name}, {len(scores)} pictures left out, mean: through the surface, nearest copied, dB | "
        f"{mean('psnr_db'):.1f}, {mean('nearest_copied_db'):.1f} |"
    )
    for s in scores:
        print(f"| {name}, picture {s['frame']} | {s['psnr_db']:.1f}, {s['nearest_copied_db']:.1f} |")
    print(f"| {name}, texture against them, dB | {run['stages']['texture']['metrics']['psnr_db']} |")
    print(f"| {name}, seconds: {', '.join(seconds)} | {', '.join(f'{s:.0f}' for s in seconds.values())} |", flush=True)


def main() -> None:
    """Rows of a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=("shoe", *SCENES), default=("shoe", *SCENES))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--work", type=Path, default=ROOT / "build/posed")
    args = parser.parse_args()
    print("| what | measured |\n|---|---|")
    if "shoe" in args.only:
        shoe(args.data)
    for name in SCENES:
        if name in args.only:
            scene(name, args.data, args.work)


if __name__ == "__main__":
    main()
