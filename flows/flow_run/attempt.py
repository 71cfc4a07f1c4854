"""Whether this process still is the one that runs its flow run.

A machine may be suspended, or cut off, at any moment and for any time; meanwhile another one goes on with the run and finishes it. So
before anything is made known (a result, a twin, a state) the process looks: the lease says whether the run was taken over, and the server
whether it is over or was begun again, also where no lease could be written or the process was suspended before it had one.
"""

from __future__ import annotations

import logging

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import deployment, flow_run

from flows.run.lease import keep_lease, leave, leave_if_taken
from stages.core.store import Store

log = logging.getLogger(__name__)


def begin_attempt() -> None:
    """Hold the lease of the flow run under way, if a worker started it: then a machine that is gone is noticed."""
    if deployment.id:
        keep_lease(Store(), str(flow_run.id))
        leave_if_over()


def leave_if_over() -> None:
    """End this process, silently, if its run is another's by now or over. Runs that no worker started are always one's own."""
    if not deployment.id:
        return
    leave_if_taken()
    now = _as_the_server_knows_it()
    if now is not None and is_over(now, int(flow_run.run_count or 1)):
        leave()


def is_over(now: FlowRun, attempt: int) -> bool:
    """Whether the `attempt` of a run that stands like this has ended. Crashed does not end it: that is what others think of it."""
    if now.state is None or now.state.is_crashed():
        return False
    return now.run_count > attempt or now.state.is_final() or now.state.is_scheduled() or now.state.is_pending()


def _as_the_server_knows_it() -> FlowRun | None:
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run.id)
    except (httpx.TransportError, PrefectHTTPStatusError, ObjectNotFound) as e:
        log.warning("the server cannot be asked whether this run is still wanted (%s)", type(e).__name__)
        return None
