"""What Prefect's server knows that no record does: runs that wait for a worker, since when, and which workers live."""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prometheus_client.metrics_core import Metric

from flows.flow_run.own_work import BATCH_POOL, DEPLOYMENTS, POOL
from flows.run.metrics import gauge

log = logging.getLogger(__name__)
STATES = ("SCHEDULED", "PENDING", "RUNNING")
FLOWS = [name.partition("/")[0] for name in DEPLOYMENTS]


def of_server() -> list[Metric]:
    """Whether it answers, and if it does, what it has to do. Nothing without PREFECT_API_URL."""
    if not os.environ.get("PREFECT_API_URL"):
        return []
    try:
        with get_client(sync_client=True) as client:
            found = _asked(client)
    except (httpx.HTTPError, PrefectHTTPStatusError, OSError) as e:
        log.warning("the Prefect server cannot be asked for its figures: %s", e)
        found = []
    return [gauge("twin_server_up", "Whether the Prefect server answers, 1 or 0.", float(bool(found))), *found]


def _asked(client: SyncPrefectClient) -> list[Metric]:
    now = datetime.fromtimestamp(time.time()).astimezone().isoformat()
    due = {
        "flows": {"name": {"any_": FLOWS}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"before_": now}},
    }
    counts = {}
    for state in STATES:
        asked = (
            due
            if state == "SCHEDULED"
            else {"flows": due["flows"], "flow_runs": {"state": {"type": {"any_": [state]}}}}
        )
        counts[state.lower()] = client.request("POST", "/flow_runs/count", json=asked).json()
    first = client.request(
        "POST", "/flow_runs/filter", json={**due, "sort": "EXPECTED_START_TIME_ASC", "limit": 1}
    ).json()
    waits = (
        max(0.0, time.time() - datetime.fromisoformat(first[0]["expected_start_time"]).timestamp()) if first else 0.0
    )
    workers = {pool: _online(client, pool) for pool in (POOL, BATCH_POOL)}
    return [
        gauge("twin_flow_runs", "Flow runs that are due and wait, are being started, or run.", counts, "state"),
        gauge(
            "twin_queue_oldest_seconds", "How long the first of the waiting flow runs has waited; 0 without one.", waits
        ),
        gauge("twin_workers", "Workers of the pool that have been heard of within their time.", workers, "pool"),
    ]


def _online(client: SyncPrefectClient, pool: str) -> int:
    found = client.request("POST", f"/work_pools/{pool}/workers/filter", json={}).json()
    return sum(w["status"] == "ONLINE" for w in found)
