"""Teaches the networks that tell wrong masks from right ones, and says how they do on captures that they did not see.

    python -m tools.train_mask_doubt [--seeds 1000-1119] [--work FOLDER] [--out weights/mask_doubt.npz]

The captures are drawn as `make bench-robustness` draws them, from other seeds. What is on disk already is not made again.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from stages.masks.trust.mask_doubt import DOUBTFUL, WEIGHTS
from tools.bench_robustness import seeds_of
from tools.bench_run import ROOT
from tools.mask_doubt.examples import examples_of, read_examples
from tools.mask_doubt.learn import WRONG_BELOW, Examples, on_others, save, separation, taught

EDGES = (0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.01)


def main() -> int:
    args = _arguments()
    with ThreadPoolExecutor(args.jobs) as pool:
        paths = list(pool.map(lambda seed: examples_of(seed, args.work), args.seeds))
    examples = read_examples(paths)
    print(report(examples, on_others(examples)))
    save(taught(examples), args.out)
    print(f"written: {args.out}")
    return 0


def report(examples: Examples, probability: np.ndarray) -> str:
    """Calibration of the probabilities of wrong masks on captures that were not seen, for masks found by the pipeline."""
    found = examples.found
    wrong, p, overlap = examples.overlap[found] < WRONG_BELOW, probability[found], examples.overlap[found]
    lines = [
        f"{len(np.unique(examples.capture))} captures, {found.sum()} masks found, {wrong.sum()} of them below {WRONG_BELOW:.0%}",
        f"area under the curve {separation(wrong, p):.3f}; at {DOUBTFUL}: {np.mean(p[wrong] >= DOUBTFUL):.0%} of the wrong ones "
        f"are doubted and {np.mean(p[~wrong] >= DOUBTFUL):.1%} of the right ones",
        "",
        "| said | masks | wrong | mean J |",
        "|---|---|---|---|",
    ]
    for low, high in pairwise(EDGES):
        here = (p >= low) & (p < high)
        if here.any():
            share, mean = wrong[here].mean(), 100 * overlap[here].mean()
            lines.append(f"| {low:.2f} to {min(high, 1):.2f} | {here.sum()} | {share:.0%} | {mean:.0f} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("1000-1119"))
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mask_doubt")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
