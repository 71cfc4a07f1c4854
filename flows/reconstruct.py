"""The same walk as in run/walk.py, as a Prefect flow in which each stage is a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.flow_run.attempt import begin_attempt, leave_if_over
from flows.flow_run.stage_task import as_task
from flows.records.request import Reconstruction
from flows.records.run_record import RunRecords
from flows.records.started_by import by_tags
from flows.run.run import Beside, Run
from flows.run.travelling import capture_here
from flows.run.walk import walk
from flows.ui.progress import UiProgress
from stages.core.errors import TwinError
from stages.core.store import Store

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
        beside = Beside(
            UiProgress(get_run_logger()),
            RunRecords(Store()).find(flow_run=this),
            leave_if_over,
            by_tags(flow_run.tags or ()),
        )
    try:
        return _walk_as_tasks(request, beside, this)
    finally:
        leave_if_over()


def _walk_as_tasks(request: Reconstruction, beside: Beside, this: str) -> str | None:
    with ExitStack() as open_:
        try:
            open_.enter_context(capture_here(request, Store(), beside.watcher))
            run = Run(request, Store(), beside, flow_run=this)
        except TwinError as e:
            beside.watcher.run_refused(e.message, e.advice)
            raise
        with run:
            out = walk(run, as_task(run))
    return str(out) if out else None
