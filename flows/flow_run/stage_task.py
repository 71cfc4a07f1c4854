"""A stage as a Prefect task: it shows what happens, the store decides what is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.flow_run.failed_state import failed_state
from flows.run.run import Run
from flows.ui.artifacts import show_stage
from stages.base import Stage, StageResult
from stages.core.errors import TwinError
from stages.core.store import ArtifactRef


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def stage_task(name: str, compute: Callable[[], StageResult]) -> Any:
    """Run one stage; a result from the store ends in the state Cached, an error that a user can mend in Failed with its words."""
    try:
        result = compute()
    except TwinError as e:
        return failed_state(str(e), e)
    show_stage(name, result)
    return Completed(name="Cached", message=result.manifest["fingerprint"], data=result) if result.cached else result


def as_task(run: Run) -> Callable[[Stage, Mapping[str, ArtifactRef]], StageResult]:
    """`run.compute` as a task of the flow run under way."""

    def run_stage(stage: Stage, inputs: Mapping[str, ArtifactRef]) -> StageResult:
        # called in this thread, not submitted: so that an interrupt or a cancellation reaches the wait for the child at once.
        # return_state, because a task that returns a State hands that State, not its value, to a direct caller.
        state = stage_task(stage.name, lambda: run.compute(stage, inputs), return_state=True)
        return state.result()

    return run_stage
