"""A worker's next process, begun before there is a run for it: imports take some seconds, which runs would wait for one after the other.

Prefect's own way stays where there is none (it was killed, or the last run took it a moment ago).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

import anyio
import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.runner._process_manager import ProcessHandle, create_isolated_termination_scope
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.settings import get_current_settings
from prefect.utilities.processutils import command_from_string, sanitize_subprocess_env

from flows.flow_run.own_work import FLOW_ENVIRONMENT


class SpareProcess:
    """At most one that waits."""

    def __init__(self) -> None:
        self._process: anyio.abc.Process | None = None

    async def prepare(self) -> None:
        """See to it that one waits. A machine that has no room for it goes without."""
        if self._process is None or self._process.returncode is not None:
            with contextlib.suppress(OSError):
                self._process = await anyio.open_process(
                    [sys.executable, "-P", "-m", "flows.serve.spare_flow"],
                    stdin=subprocess.PIPE,
                    stdout=None,
                    stderr=None,
                    env=environment(FLOW_ENVIRONMENT),
                    start_new_session=True,
                )

    def take(self) -> anyio.abc.Process | None:
        """The one that waits, if it lives; it is the caller's from now on."""
        process, self._process = self._process, None
        return process if process is not None and process.returncode is None else None

    async def end(self) -> None:
        """The one that waits is not needed."""
        if (process := self.take()) is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class SpareStarter(EngineCommandStarter):
    """Prefect's starter, but for a process that waits already."""

    def __init__(self, spare: SpareProcess, **options: Any) -> None:
        super().__init__(**options)
        self._spare = spare

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Until the run's process ends, as Prefect's."""
        process = self._spare.take()
        if process is None or not await self._told(process, flow_run):
            await super().start(flow_run, task_status)
            return
        assert process.pid is not None
        task_status.started(ProcessHandle(process, termination_scope=create_isolated_termination_scope(process.pid)))
        await process.wait()

    async def _told(self, process: anyio.abc.Process, flow_run: FlowRun) -> bool:
        """False if it has died meanwhile."""
        job = {
            "flow": command_from_string(str(self._command))[-1],
            "environment": environment(self._env, self._of_run(flow_run)),
        }
        assert process.stdin is not None
        try:
            await process.stdin.send(json.dumps(job).encode() + b"\n")
            await process.stdin.aclose()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            self._forget(flow_run)
            return False
        return True

    def _of_run(self, flow_run: FlowRun) -> dict[str, str | None]:
        """What Prefect's starter adds for one run."""
        own = {
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
            "PREFECT__DEPLOYMENT_NAME": self._env.get("PREFECT__DEPLOYMENT_NAME"),
        }
        if self._control_channel is not None:
            with contextlib.suppress(RuntimeError):  # it could not listen: cancelling kills then, as without it
                port, token = self._control_channel.register(flow_run.id)
                own |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        return own

    def _forget(self, flow_run: FlowRun) -> None:
        if self._control_channel is not None:
            self._control_channel.unregister(flow_run.id)


def environment(*more: Any) -> dict[str, str]:
    """This process's, Prefect's settings as they are here, and more."""
    found: dict[str, str | None] = {**os.environ, **get_current_settings().to_environment_variables(exclude_unset=True)}
    for values in more:
        found.update(values)
    return sanitize_subprocess_env(found)
