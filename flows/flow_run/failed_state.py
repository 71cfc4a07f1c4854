"""A flow or a task that failed for a reason a user can mend ends in a state with that reason, and its log stays readable.

An exception would do the same job, with its traceback through Prefect's engine written into the run's log three times and the reason lost
in it. A returned state still makes the engine log twice that something failed, once with a traceback of its own: those are left out.
"""

from __future__ import annotations

import logging

from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.states import Failed


def failed_state(message: str, error: Exception | None = None) -> State:
    """To be returned by a flow or a task; `error` is what a caller in this process gets from the state's `result`."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_tells)  # the same filter again changes nothing
    return Failed(message=message, data=error)


def _tells(record: logging.LogRecord) -> bool:
    """False for what the engine says of a returned state: that has told it already."""
    return not record.exc_info or record.exc_info[0] not in (None, FailedRun)
