"""Teaches the network that looks at a frame's evidence as a whole, and says how it does on captures that it did not see.

    python -m tools.train_mask_net [--seeds 1000-1119] [--work FOLDER] [--steps 3000] [--out weights/mask_net.onnx]

The captures are drawn as `make bench-robustness` draws them, from other seeds. What is on disk already is not made again. First it learns
from windows that the cues by themselves led to, then also from those that it leads to itself. LEFT_OUT of the captures only judge it.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from stages.masks.cut.mask_net import WEIGHTS
from tools.bench_robustness import seeds_of
from tools.bench_run import ROOT
from tools.mask_net.examples import examples_of, read_examples
from tools.mask_net.learn import Examples, overlaps, taught, write_onnx
from tools.mask_net.network import MaskNet

LEFT_OUT = 8
"""every which capture is left out"""
TOLD_EVERY = 500


def main() -> int:
    args = _arguments()
    net = None
    for with_network in (False, True):
        kinds = (False, True) if with_network else (False,)
        with ProcessPoolExecutor(args.jobs) as pool:
            paths = [
                path
                for kind in kinds
                for path in pool.map(partial(examples_of, work=args.work, with_network=kind), args.seeds)
            ]
        examples = read_examples(paths)
        left = examples.capture % LEFT_OUT == 0
        print(
            f"{len(np.unique(examples.capture))} captures, {len(examples.cues)} windows, {left.sum()} of them left out",
            flush=True,
        )
        net = taught(examples.only(~left), args.steps, 0, partial(_told, examples.only(left)), start=net)
        write_onnx(net, args.out)
        print(f"written: {args.out}", flush=True)
    return 0


def _told(left: Examples, step: int, loss: float, net: MaskNet) -> None:
    line = f"step {step}: loss {loss:.4f}"
    if step % TOLD_EVERY == 0 and len(left.cues):
        found = overlaps(net, left)
        line += f"; windows left out: mean overlap {100 * found.mean():.1f} %, below 80 %: {np.mean(found < 0.8):.1%}"
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("1000-1119"))
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mask_net")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
