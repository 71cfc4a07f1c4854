"""Flow runs that lost their worker or their process are brought back, without waiting for a heartbeat to stay away.

A run whose submission was cut short stays Pending for ever, and one whose process died with everything else stays Running: Prefect picks
up neither. On this host the lock of a run's record tells at once whether it lives. What a run has done lies in the store.
"""

from __future__ import annotations

import logging
import socket
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed, Scheduled

from flows.run_record import RunRecords
from stages.core.store import Store

log = logging.getLogger(__name__)
SUBMITTED_WITHIN = timedelta(seconds=90)
"""a worker starts a process within seconds, on a loaded machine within half a minute"""
RECORDED_WITHIN = timedelta(seconds=30)
"""from the state Running to the lock of the record"""
MOST_ATTEMPTS = 3
"""a run that takes the machine down is not tried for ever"""


def recover(client: SyncPrefectClient, store: Store, now: datetime | None = None) -> list[str]:
    """Look once; returns a line for each run that was brought back or given up."""
    now, records = now or datetime.now(UTC), RunRecords(store)
    states = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.PENDING, StateType.RUNNING]}}})
    done = []
    for run in client.read_flow_runs(flow_run_filter=states):
        if why := _lost(run, records, now):
            done.append(_bring_back(client, run, why))
    return done


def _lost(run: FlowRun, records: RunRecords, now: datetime) -> str:
    """Why the run is lost; empty if it is not, or if another host has to judge."""
    if run.state is None or run.deployment_id is None:
        return ""
    age = now - run.state.timestamp
    if run.state.is_pending():
        return "its worker was gone before it started" if age > SUBMITTED_WITHIN else ""
    record = records.find(flow_run=str(run.id))
    if record is None or record.host != socket.gethostname() or age < RECORDED_WITHIN:
        return ""
    return "its process is gone" if record.state == "died" else ""


def _bring_back(client: SyncPrefectClient, run: FlowRun, why: str) -> str:
    if run.run_count < MOST_ATTEMPTS:
        client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry", message=f"{why}: started again"), force=True)
        return f"{run.name}: {why}, started again"
    client.set_flow_run_state(run.id, Crashed(message=f"{why}, for the {run.run_count}th time. Press Retry to try once more."), force=True)
    return f"{run.name}: {why}, given up after {run.run_count} attempts"
