"""Trains the project's stereo network on generated scenes only; stops and resumes at any time.

    python -m tools.train_stereo [--out build/stereo_net] (--steps 20000 | --minutes M) [--device cpu|cuda] [--batch 4]
                                 [--processes 1] [--threads 1] [--rate 1.5e-3] [--seed 0] [--validate-every 250] [--save-every 100]
                                 [--start weights/stereo_net.safetensors]

Resumes from <out>/checkpoint.pt (where there is none, begins with the weights of --start instead of random ones), logs one JSON line
per 20 steps to <out>/log.jsonl and validates on held-back scenes (their seeds are never drawn for training). The learning rate rises
over the first twentieth and falls as a cosine to the end of the steps or minutes, whichever comes first; a run that is resumed goes on
where it stood in that schedule. On the CPU it computes in bfloat16; several processes share the work of a step and average their
gradients, each with its own scenes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

# each process computes on its own: threads that spin while they wait would take the cores from the others
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch

from tools.stereo_training.trainer import Plan, train


def main() -> None:
    """Train as the arguments say."""
    args = _arguments()
    plan = Plan(
        Path(args.out),
        args.steps,
        args.minutes,
        args.device,
        batch=args.batch,
        processes=args.processes,
        threads=args.threads,
        rate=args.rate,
        seed=args.seed,
        validate_every=args.validate_every,
        save_every=args.save_every,
        start=Path(args.start) if args.start else None,
    )
    plan.out.mkdir(parents=True, exist_ok=True)
    if plan.processes == 1:
        train(0, plan, "")
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (plan, f"file://{folder}/meet"), nprocs=plan.processes)


def _arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default="build/stereo_net")
    p.add_argument("--steps", type=int, default=20_000)
    p.add_argument("--minutes", type=float, default=float("inf"))
    p.add_argument("--device", default="cpu")
    p.add_argument("--batch", type=int, default=4, help="pairs per step and process")
    p.add_argument("--processes", type=int, default=1)
    p.add_argument("--threads", type=int, default=1, help="of each process")
    p.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--validate-every", type=int, default=250)
    p.add_argument("--save-every", type=int, default=100)
    p.add_argument("--start", default="", help="weights of an earlier training")
    return p.parse_args()


if __name__ == "__main__":
    main()
