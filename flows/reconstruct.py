"""From a capture folder to a twin folder: start reading here.

The order of the stages is derived from what each reads and writes (stages/graph.py):

    rectify -> depth -> masks -> track -> bundle -> surface -> texture -> physics -> package

`walk` is all there is to it. `reconstruct_as_flow` is the same under Prefect, where each stage is a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.attempt import begin_attempt, leave_if_over
from flows.request import Reconstruction
from flows.run import Beside, Run
from flows.run_record import RunRecords
from flows.stage_process import StageFault
from flows.stage_task import as_task
from flows.started_by import by_tags
from flows.ui_progress import UiProgress
from stages.base import Stage, StageResult
from stages.core.errors import TwinError
from stages.core.store import ArtifactRef, Store

RunStage = Callable[[Stage, Mapping[str, ArtifactRef]], StageResult]

BESIDE: ContextVar[Beside | None] = ContextVar("beside", default=None)
"""what the command line hands to the flow beside its parameters"""


@contextmanager
def handing_over(beside: Beside) -> Iterator[None]:
    """Runs inside this context get `beside`."""
    token = BESIDE.set(beside)
    try:
        yield
    finally:
        BESIDE.reset(token)



def walk(run: Run, run_stage: RunStage) -> Path | None:
    """Run the stages one after the other, each fed with what the ones before have made, then fill the twin folder."""
    while not _walk_once(run, run_stage):
        run.begin_again()
    return run.deliver()


def _walk_once(run: Run, run_stage: RunStage) -> bool:
    """False if the capture changed meanwhile, so that what was made is not of what is there. A stage that failed over it is no failure."""
    try:
        made = run.read_sources()
        for stage in run.stages:
            result = run_stage(stage, {kind: made[kind] for kind in stage.inputs})
            made |= result.refs
            if run.has_to_begin_again():
                return False
    except (TwinError, StageFault) as e:
        if not run.has_to_begin_again(e):
            raise
        return False
    return True


@flow(name="reconstruct", flow_run_name="{request.name}", persist_result=False)
def reconstruct_capture(request: Reconstruction) -> str | None:
    """Reconstruct one capture for the command line; returns the twin folder. The UI's flow is in deployments.py."""
    return reconstruct_as_flow(request, BESIDE.get())


def reconstruct_as_flow(request: Reconstruction, beside: Beside | None = None) -> str | None:
    """Inside a flow run, each stage a task. A flow run of a worker holds a lease, and a retry goes on with the run's record: what it has
    done is not forced again."""
    this = str(flow_run.id)
    begin_attempt()
    if beside is None:
        beside = Beside(UiProgress(get_run_logger()), RunRecords(Store()).find(flow_run=this), leave_if_over, by_tags(flow_run.tags or ()))
    try:
        return _walk_as_tasks(request, beside, this)
    finally:
        leave_if_over()


def _walk_as_tasks(request: Reconstruction, beside: Beside, this: str) -> str | None:
    try:
        run = Run(request, Store(), beside, flow_run=this)
    except TwinError as e:
        beside.watcher.run_refused(e.message, e.advice)
        raise
    with run:
        out = walk(run, as_task(run))
    return str(out) if out else None


def reconstruct_directly(request: Reconstruction) -> str | None:
    """The same without Prefect, for a machine on which its server cannot start."""
    with Run(request, Store(), BESIDE.get()) as run:
        out = walk(run, run.compute)
    return str(out) if out else None
