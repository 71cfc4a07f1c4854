"""Runs every GPU path of this program that can run here, prints what is right, what is wrong and how fast it is.

    make gpu-check [ARGS="--json out.json"]
    python tools/gpu_check.py --device cpu --tiny        # the same without a GPU, in Triton's interpreter: what the tests run

Needs torch, numpy, numba, scipy and opencv; triton, transformers and onnxruntime are checked where they are installed.
Exit status: 0 all right, 1 a wrong result, 2 wrong use, 3 no CUDA or ROCm GPU here (nothing was checked). docs/gpu.md explains the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.gpu_checks.rows import Row, Sizes

ROOT = Path(__file__).resolve().parents[1]
NO_GPU = 3


def main() -> int:
    """Check, print, say by the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (AMD's too), mps or cpu")
    parser.add_argument("--tiny", action="store_true", help="sizes for a test: nothing measured is worth reading")
    parser.add_argument("--only", choices=("grid", "training", "networks"), action="append", help="these checks alone")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    if args.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    from stages.core.devices import torch_device
    from stages.core.errors import StageError
    from tools.gpu_checks.rows import WRONG, Sizes

    try:
        device = torch_device(args.device)
    except StageError as e:
        print(f"gpu-check: {e.message}. Nothing was checked.", file=sys.stderr)
        return NO_GPU
    sizes = Sizes.tiny() if args.tiny else Sizes.full()
    rows = list(_printed(_checks(device, sizes, args.tiny, args.only or ("grid", "training", "networks"))))
    wrong = [r.name for r in rows if r.state == WRONG]
    print(f"\n{len(rows)} rows, {len(wrong)} wrong" + (f": {', '.join(wrong)}" if wrong else ""))
    if args.json:
        args.json.write_text(json.dumps([asdict(r) for r in rows], indent=1))
    return 1 if wrong else 0


def _checks(device, sizes: Sizes, tiny: bool, wanted: Iterable[str]) -> Iterator[Row]:
    from tools.gpu_checks import grid, limits, networks, training

    yield _machine(device)
    measured = limits.measure(device, sizes)
    yield from measured
    if "grid" in wanted:
        yield from grid.check(device, sizes, measured[0].figures["bytes_per_s"])
    if "training" in wanted:
        yield from training.check(device, sizes, tiny)
    if "networks" in wanted:
        yield from networks.check(device, sizes, tiny)


def _machine(device) -> Row:
    import torch

    from tools.gpu_checks.rows import FIGURE, Row

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return Row("machine", FIGURE, f"{name}; torch {torch.__version__}, Python {platform.python_version()}")


def _printed(rows: Iterable[Row]) -> Iterator[Row]:
    """Each row as soon as it is there: a check that hangs shows which."""
    for row in rows:
        print(f"{row.name:42} {row.state:8} {row.said}", flush=True)
        yield row


if __name__ == "__main__":
    sys.exit(main())
