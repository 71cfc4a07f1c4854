"""The worker of one machine: Prefect's own, which starts each flow run in a process, with one fault mended."""

from __future__ import annotations

from typing import Any

from prefect.workers.process import ProcessWorker


class OneProcessPerRun(ProcessWorker):
    """Leaves a flow run alone while its former process has not quite ended, as when Retry is pressed at once.

    Prefect 3.8 takes it up again, finds that it holds a place already, and the whole worker ends with "this borrower is already holding one
    of this CapacityLimiter's tokens". Left alone, the run is offered again three seconds later.
    """

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[Any]) -> list[Any]:
        held = set(self._limiter.statistics().borrowers) if self._limiter else set()
        return await super()._submit_scheduled_flow_runs([r for r in flow_run_response if r.flow_run.id not in held])
