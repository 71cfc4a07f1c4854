"""The worker of one machine: Prefect's own, which starts each flow run in a process, with two faults mended.

Both meet a run that is started again (Retry, or brought back by the watcher) within seconds of the death of its process.
"""

from __future__ import annotations

from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker


class OneProcessPerRun(ProcessWorker):
    """As Prefect's, for runs that come back soon."""

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[Any]) -> list[Any]:
        """Leave a run alone while its former process has not quite ended; it is offered again three seconds later.

        Prefect 3.8 takes it up, finds that it holds a place already, and the whole worker ends with "this borrower is already holding one
        of this CapacityLimiter's tokens".
        """
        held = set(self._limiter.statistics().borrowers) if self._limiter else set()
        return await super()._submit_scheduled_flow_runs([r for r in flow_run_response if r.flow_run.id not in held])

    async def _propose_crashed_state(self, flow_run: FlowRun, message: str, client: PrefectClient | None = None) -> None:
        """Say nothing of an attempt that is over: Prefect 3.8 reports a killed process twice, the second time five seconds later, and
        would mark the next attempt Crashed."""
        try:
            now = await (client or self.client).read_flow_run(flow_run.id)
        except (httpx.TransportError, ObjectNotFound, PrefectHTTPStatusError):
            now = None
        if now is None or not started_again(flow_run, now):
            await super()._propose_crashed_state(flow_run, message, client)


def started_again(submitted: FlowRun, now: FlowRun) -> bool:
    """Whether a flow run is waiting for, or in, a later attempt than the one for which it was `submitted`."""
    if now.state is not None and now.state.is_scheduled():
        return True
    attempt = submitted.run_count + 1
    waiting = now.state is not None and now.state.is_pending()
    return now.run_count > attempt or (waiting and now.run_count == attempt)
