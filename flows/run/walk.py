"""From a capture folder to a twin folder: start reading here.

The order of the stages is derived from what each reads and writes (stages/graph.py):

    rectify -> depth -> masks -> track -> bundle -> surface -> texture -> physics -> package

`walk` is all there is to it. Under Prefect (reconstruct.py) each stage is a task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from flows.records.request import Reconstruction
from flows.run.run import Beside, Run
from flows.run.stage_process import StageFault
from flows.run.travelling import capture_here, deliver
from stages.base import Stage, StageResult, inputs_of
from stages.core.errors import TwinError
from stages.core.store import ArtifactRef, Store

RunStage = Callable[[Stage, Mapping[str, ArtifactRef]], StageResult]


def walk(run: Run, run_stage: RunStage) -> Path | None:
    """Run the stages one after the other, each fed with what the ones before have made, then fill the twin folder."""
    while not _walk_once(run, run_stage):
        run.begin_again()
    return deliver(run)


def _walk_once(run: Run, run_stage: RunStage) -> bool:
    """False if the capture changed meanwhile, so that what was made is not of what is there. A stage that failed over it is no failure."""
    try:
        made = run.read_sources()
        for stage in run.stages:
            result = run_stage(stage, inputs_of(stage, made))
            made |= result.refs
            if run.has_to_begin_again():
                return False
    except (TwinError, StageFault) as e:
        if not run.has_to_begin_again(e):
            raise
        return False
    return True


def reconstruct_directly(request: Reconstruction, beside: Beside | None = None) -> str | None:
    """In this process, without Prefect: whoever does not need it does not wait for its import. Returns the twin folder."""
    beside, store = beside or Beside(), Store()
    with capture_here(request, store, beside.watcher), Run(request, store, beside) as run:
        out = walk(run, run.compute)
    return str(out) if out else None
