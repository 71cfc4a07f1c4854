"""The worker of one machine: Prefect's own, which starts each flow run in a process, with two faults mended and only for work of ours.

Both faults meet a run that is started again (Retry, or brought back by the watcher) within seconds of the death of its process. What is
ours, and why a worker looks at that, is in flow_run/own_work.py.
"""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runner._flow_run_executor import FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.states import Failed, Scheduled
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult
from pydantic import PrivateAttr

from flows.flow_run.own_work import FLOW_ENVIRONMENT, command_of, entrypoint_of, why_foreign
from flows.run.admission import Admission, why_paused
from flows.serve.spare_process import SpareProcess, SpareStarter

FREE_AFTER_S = 0.2


class OwnConfiguration(ProcessJobConfiguration):
    """How the process of a run is started. Nothing of it comes from the server."""

    _foreign: str = PrivateAttr(default="")

    @classmethod
    async def resolve_for_flow_run(
        cls,
        flow_run: FlowRun,
        *,
        client: PrefectClient,
        work_pool: WorkPool,
        worker_name: str,
        worker_id: UUID | None = None,
        deployment: DeploymentResponse | None = None,
    ) -> OwnConfiguration:
        """The command by the deployment, and whether the run is ours; what pool, deployment and run ask for else is not taken."""
        if deployment is None and flow_run.deployment_id:
            deployment = await client.read_deployment(flow_run.deployment_id)
        entrypoint = entrypoint_of(deployment.entrypoint) if deployment else None
        found = cls(command=command_of(entrypoint) if entrypoint else None, env=FLOW_ENVIRONMENT)
        found._foreign = why_foreign(flow_run, deployment)
        found.prepare_for_flow_run(
            flow_run, deployment, await client.read_flow(flow_run.flow_id), work_pool, worker_name, worker_id
        )
        return found


class OneProcessPerRun(ProcessWorker):
    """As Prefect's, for runs that come back soon, and for our flows only."""

    job_configuration: ClassVar[type[ProcessJobConfiguration]] = OwnConfiguration
    admission: Admission | None = None
    """of a worker that takes as many runs as its machine has room for; without it, as many as its limit says"""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.spare = SpareProcess()
        self._said, self._told = "", set[tuple[UUID, int]]()

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[Any]) -> list[Any]:
        """Leave a run alone while its former process has not quite ended; it is offered again three seconds later.

        Prefect 3.8 takes it up, finds that it holds a place already, and the whole worker ends with "this borrower is already holding one
        of this CapacityLimiter's tokens".
        """
        held = set(self._limiter.statistics().borrowers) if self._limiter else set()
        offered = [r for r in flow_run_response if r.flow_run.id not in held]
        if offered and self.admission is not None:
            offered = await self._admitted(offered, {str(h) for h in held})
        return await super()._submit_scheduled_flow_runs(offered)

    async def _admitted(self, offered: list[Any], held: set[str]) -> list[Any]:
        """The first of them, as many as this machine has room for; the rest is offered again three seconds later, here or elsewhere."""
        assert self.admission is not None
        if paused := await anyio.to_thread.run_sync(why_paused, self.admission.store):
            self._say(paused)
            for run in (r.flow_run for r in offered):
                await self._tell(run, paused)
            return []
        profile = str(offered[0].flow_run.parameters.get("profile", "standard"))
        room = await anyio.to_thread.run_sync(self.admission.room, held, profile)
        self._say("" if room.runs >= len(offered) else f"{len(offered) - room.runs} runs wait: {room.why}")
        return offered[: room.runs]

    def _say(self, words: str) -> None:
        """Into the worker's log, once for each reason."""
        reason = words.partition(":")[2][:40] or words
        if words and reason != self._said:
            self._logger.info(words)
        self._said = reason

    async def _tell(self, run: FlowRun, why: str) -> None:
        """In the state of a run that waits, which the UI shows; once for each attempt."""
        if (run.id, run.run_count) in self._told:
            return
        self._told.add((run.id, run.run_count))
        name = run.state.name if run.state is not None else None
        when = run.next_scheduled_start_time or run.expected_start_time
        await self.client.set_flow_run_state(
            run.id, Scheduled(name=name or "Scheduled", scheduled_time=when, message=why), force=True
        )

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
    ) -> None:
        """Say nothing of an attempt that is over: Prefect 3.8 reports a killed process twice, the second time five seconds later, and
        would mark the next attempt Crashed."""
        try:
            now = await (client or self.client).read_flow_run(flow_run.id)
        except (httpx.TransportError, ObjectNotFound, PrefectHTTPStatusError):
            now = None
        if now is None or not told_already(flow_run, now):
            await super()._propose_crashed_state(flow_run, message, client)

    async def __aenter__(self) -> OneProcessPerRun:
        """Without the Runner of Prefect's process worker: it is for flows handed over in this process, and its folder in the temporary
        one stays behind when the worker is killed."""
        await super(ProcessWorker, self).__aenter__()
        await self._prepare()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        """As __aenter__."""
        await self.spare.end()
        await super(ProcessWorker, self).__aexit__(*exc_info)

    async def _prepare(self) -> None:
        """The next run's process, a batch's too: it begins at its minute and not when its imports are done."""
        await self.spare.prepare()

    async def _look_at_once(self) -> None:
        """For the next run, once the place of the last is free, and not when the interval is over."""
        await anyio.sleep(FREE_AFTER_S)
        with contextlib.suppress(httpx.TransportError, PrefectHTTPStatusError):  # asked again in three seconds
            await self.get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: OwnConfiguration,
        task_status: anyio.abc.TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
    ) -> ProcessWorkerResult:
        """Start the process and wait for its end; a run that is not ours is marked Failed instead.

        Prefect's own way makes two temporary folders, which stay behind when the worker is killed, and reads the deployment a second
        time, when it may be another one.
        """
        if configuration._foreign:
            self.get_flow_run_logger(flow_run).error(configuration._foreign)
            await self.client.set_flow_run_state(flow_run.id, Failed(message=configuration._foreign), force=True)
            task_status.started(0)  # no process
            return ProcessWorkerResult(status_code=0, identifier="none")
        async with FlowRunExecutorContext() as context:
            executor = _executor(context, flow_run, configuration, self.spare)
            result = None

            async def execute(*, task_status: anyio.abc.TaskStatus[ProcessHandle]) -> None:
                nonlocal result
                result = await executor.submit(task_status=task_status)

            async with anyio.create_task_group() as group:
                handle = await group.start(execute)
                task_status.started(handle.pid)
                await self._prepare()
        if self._runs_task_group is not None:
            self._runs_task_group.start_soon(self._look_at_once)
        if result is None or result.status_code is None:
            raise RuntimeError("the process of the flow run could not be started")
        return ProcessWorkerResult(status_code=result.status_code, identifier=str(result.handle.pid))


class NoHooks:
    """What runs in the worker itself when a run crashes or is cancelled. Prefect would load the code that the deployment names by then."""

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Our flows have none."""

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Our flows have none."""


def _executor(
    context: FlowRunExecutorContext, flow_run: FlowRun, configuration: OwnConfiguration, spare: SpareProcess
) -> FlowRunExecutor:
    starter = SpareStarter(
        spare,
        command=configuration.command,
        env=configuration.env,
        stream_output=configuration.stream_output,
        control_channel=context.control_channel,
        isolate_process_group=True,
        env_overrides_settings=True,
    )
    return context.create_executor(flow_run, starter, propose_submitting=False, hook_runner=NoHooks())


def told_already(submitted: FlowRun, now: FlowRun) -> bool:
    """Whether the end of the attempt for which a flow run was `submitted` is known to the server: the run has ended, or goes on.

    An ended one is left alone too: a Retry that comes between this look and the report would be lost by the report.
    """
    return started_again(submitted, now) or (now.state is not None and now.state.is_final())


def started_again(submitted: FlowRun, now: FlowRun) -> bool:
    """Whether a flow run is waiting for, or in, a later attempt than the one for which it was `submitted`."""
    if now.state is not None and now.state.is_scheduled():
        return True
    attempt = submitted.run_count + 1
    waiting = now.state is not None and now.state.is_pending()
    return now.run_count > attempt or (waiting and now.run_count == attempt)
