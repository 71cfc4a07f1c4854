"""Which backend trains the field, and its training step: `surface.backend` = numba, torch, triton, tcnn, or auto.

All share the draws of points and rays (train.py), the numba field's parameters (start and result) and the torch twin as their oracle.

| backend | runs on | encoding | perceptrons |
|---|---|---|---|
| numba | any CPU; same bits for any number of threads | hash_grid.py | mlp.py |
| torch | any torch device: CPU, CUDA, ROCm, MPS | device/grid.py | cuBLAS and the like (device/mlp.py) |
| triton | CUDA, ROCm | triton_grid.py | the same |
| tcnn | CUDA with tiny-cuda-nn built | tiny-cuda-nn's HashGrid | its fully fused ones, float16 |
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.core.backends import KITS, Kit
from stages.core.devices import has_cuda
from stages.core.errors import StageError
from stages.surface.config import SurfaceConfig

if TYPE_CHECKING:
    from stages.core.field.field import Field
    from stages.surface.training.train import Lesson, Steps

CPU_BACKENDS = ("numba", "torch")


@dataclass(frozen=True)
class Choice:
    """A backend and why."""

    name: str
    reason: str


def choose(wanted: str, cuda: bool | None = None) -> Choice:
    """The backend that will run. `auto`: triton on a CUDA or ROCm GPU, tcnn where only that works; numba without a GPU.

    Raises StageError for one asked for by name that cannot run here, with the command that mends it.
    """
    if wanted in CPU_BACKENDS:
        return Choice(wanted, f"set by surface.backend={wanted}")
    cuda = has_cuda() if cuda is None else cuda
    if wanted == "auto":
        return _best(cuda)
    if not cuda and not (wanted == "triton" and _interpreted()):
        raise StageError(
            f"surface.backend={wanted} needs a CUDA GPU, and torch sees none",
            "use surface.backend=auto (numba on this machine), or see `twin doctor`",
        )
    kit = _kit(wanted)
    if problem := kit.problem():
        raise StageError(f"surface.backend={wanted}: {problem}", f"{kit.command}; or use surface.backend=auto")
    return Choice(wanted, f"set by surface.backend={wanted}")


def _best(cuda: bool) -> Choice:
    if not cuda:
        return Choice("numba", "no CUDA GPU; its kernels run on any CPU")
    if not _kit("triton").problem():
        return Choice("triton", "CUDA GPU; in float32, and needs nothing built")
    if not _kit("tcnn").problem():  # after triton: its float16 outputs leave four times the error (docs/gpu.md)
        return Choice("tcnn", "CUDA GPU, and tiny-cuda-nn imports where triton does not work")
    return Choice("torch", "CUDA GPU, but neither triton nor tiny-cuda-nn works here (`twin doctor` says why)")


def _kit(backend: str) -> Kit:
    return KITS["tinycudann" if backend == "tcnn" else backend]


def _interpreted() -> bool:
    import os

    return os.environ.get("TRITON_INTERPRET") == "1"


def make_steps(choice: Choice, field: Field, lesson: Lesson, config: SurfaceConfig, threads: int) -> Steps:
    """The training step of a backend, starting from `field`. Raises StageError where memory does not suffice (memory=fixed)."""
    if choice.name == "numba":
        numba_steps = importlib.import_module("stages.surface.training.numba_steps")
        return numba_steps.NumbaSteps(field, lesson)
    build = importlib.import_module("stages.surface.device.build")
    return build.device_steps(choice.name, field, lesson, config, threads=threads)
