"""The toy pipeline on a machine that pretends to have a GPU, which stage b needs: TWIN_STAGES=tests.flows.gpu_stages:stages.

Inside b a file says that the GPU is in use; a second b that finds it fails. b stays until $TOY_FOLDER/release exists.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from stages.base import Resources, StageContext, StageReport
from tests.flows.toy_stages import ToyStage
from tests.flows.toy_stages import stages as toy_stages


class GpuStage(ToyStage):
    """As its model, but on the GPU."""

    needs = Resources(memory_gb=0.1, gpu=True)

    def run(self, inputs: Any, config: Any, out: Path, context: StageContext) -> StageReport:
        assert context.device == "cuda"
        in_use = self._folder / "gpu in use"
        os.close(os.open(in_use, os.O_CREAT | os.O_EXCL))
        report = super().run(inputs, config, out, context)
        while not (self._folder / "release").exists():
            time.sleep(0.02)
        in_use.unlink()
        return report


def stages() -> tuple[ToyStage, ...]:
    """The toy graph; called in the child, it also gives that process its GPU."""
    if hasattr(sys.modules["__main__"], "device_for"):
        sys.modules["__main__"].device_for = lambda stage: "cuda" if stage.needs.gpu else "cpu"
    return tuple(GpuStage(s.name, s.inputs) if s.name == "b" else s for s in toy_stages())
