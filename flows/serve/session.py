"""Runs the reconstruction flow from a process of one's own: against the Prefect server named by PREFECT_API_URL, else an embedded one,
else, when that cannot start, without Prefect."""

from __future__ import annotations

import os
from collections.abc import Callable

from flows.records.request import Reconstruction
from flows.run.run import Beside
from flows.web.address import read_address, use_server
from flows.web.embedded_server import EmbeddedServer, ServerUnavailable, answers
from stages.core.disk_errors import disk_is_full
from stages.core.errors import TwinError
from stages.core.store import Store


def reconstruct_here(
    request: Reconstruction, beside: Beside, say: Callable[[str], None], use_prefect: bool = True
) -> str | None:
    """Run the flow and return the twin folder (None if it was to stop early). Raises what the stages raise."""
    if not use_prefect:
        return _directly(request, beside)
    if url := os.environ.get("PREFECT_API_URL"):
        if not answers(url, 5.0):
            raise TwinError(
                f"no Prefect server answers at {url}",
                "start it, or unset PREFECT_API_URL to use the embedded one, or add --no-prefect",
            )
        use_server(Store())  # its password, if it is the `twin serve` of this store
        return _as_flow(request, beside, lambda: None)
    if beside.resumed is not None and (served := read_address(Store())) and answers(served.api, 1.0):
        use_server(Store())  # a run goes on where its history is: no second server beside the one that runs
        return _as_flow(request, beside, lambda: None)
    try:
        return _embedded(request, beside)
    except Exception as e:  # whatever Prefect makes of a server that cannot write its database any more
        if isinstance(e, TwinError) or not (isinstance(e, ServerUnavailable) or disk_is_full(Store().root)):
            raise
        why = str(e) if isinstance(e, ServerUnavailable) else "the disk is full"
        say(
            f"Prefect's embedded server cannot work ({why}). The run goes on without it: same results, but no history in the Prefect UI."
        )
        return _directly(request, beside)


def _embedded(request: Reconstruction, beside: Beside) -> str | None:
    server = EmbeddedServer(Store().root / "prefect")
    before = {name: os.environ.get(name) for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")}
    os.environ.update(server.environment())
    try:
        return _as_flow(request, beside, server.wait_ready)
    finally:
        del os.environ["PREFECT_API_URL"]
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.stop()


def _as_flow(request: Reconstruction, beside: Beside, wait_ready: Callable[[], None]) -> str | None:
    # imported here: Prefect reads the environment when it is imported, and its import takes a second that the server needs anyway
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows import reconstruct

    wait_ready()
    # the heartbeat thread is for servers that look for dead runs; here it would only delay the end by a second
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), reconstruct.handing_over(beside):
        return reconstruct.reconstruct_capture(request)


def _directly(request: Reconstruction, beside: Beside) -> str | None:
    from flows.run.walk import reconstruct_directly

    return reconstruct_directly(request, beside)
