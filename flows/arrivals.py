"""A run for each capture whose READY marker appears, not too many at a time: hundreds that wait make Prefect's server slow."""

from __future__ import annotations

from collections import deque

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment

from flows.batch_runs import AT_ONCE, DEPLOYMENT, parameters_of, start_key
from flows.places import captures_root
from flows.ready import ReadyCapture, not_done, ready_captures
from flows.run_record import RunRecords
from stages.core.store import Store

PROFILE = "standard"


class Arrivals:
    """Call `look` every few seconds. Prefect's idempotency key makes it one run per marker, whoever asks and however often."""

    def __init__(self, client: SyncPrefectClient, store: Store) -> None:
        self._client, self._records = client, RunRecords(store)
        self._seen: set[str] = set()
        self._due: deque[ReadyCapture] = deque()

    def look(self) -> None:
        """Start what has arrived, as far as there is room."""
        new = [c for c in ready_captures(captures_root()) if c.key not in self._seen]
        self._due += not_done(new, PROFILE, (), self._records)
        self._seen |= {c.key for c in new}
        room = AT_ONCE - self._waiting() if self._due else 0
        for _ in range(min(room, len(self._due))):
            capture = self._due[0]
            run_deployment(DEPLOYMENT, parameters=parameters_of(capture, PROFILE, ()), timeout=0,
                           idempotency_key=start_key(capture, PROFILE, ()))
            self._due.popleft()

    def _waiting(self) -> int:
        runs = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.SCHEDULED]}}})
        flows = FlowFilter.model_validate({"name": {"any_": [DEPLOYMENT.partition("/")[0]]}})
        return len(self._client.read_flow_runs(flow_filter=flows, flow_run_filter=runs, limit=AT_ONCE))
