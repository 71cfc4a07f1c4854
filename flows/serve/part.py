"""One part of `twin serve`: python -m flows.serve.part PARENT_PID PART [arguments]."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.records.places import twins_root
from flows.run.stage_child import die_with_parent
from flows.web.library_versions import refuse_faulty_libraries
from stages.core.store import Store

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

BATCHES_AT_ONCE = 5
LOOK_FOR_CAPTURES_EVERY_S, LOOK_AGAIN_S = 3.0, 1.0
"""sooner while something arrives"""


def server(host: str, port: str) -> None:
    """API, UI and background services."""
    refuse_faulty_libraries()
    from flows.web.api_server import serve

    serve(host, int(port))


def worker(pool: str, limit: str, health: bool = False) -> None:
    """Starts the flow runs of a pool, each in a process of its own: at most `limit` at once, or with "auto" as many as the machine has room
    for. `health`: whether it answers a probe, see deployed.py."""
    import asyncio

    warnings.filterwarnings("ignore", "Type 'OneProcessPerRun'")  # that it takes the place of Prefect's own is meant
    from flows.flow_run.own_work import POOL
    from flows.run.admission import MOST_AT_ONCE, Admission, limit_of
    from flows.serve.worker import OneProcessPerRun

    most = limit_of(limit)
    many = MOST_AT_ONCE if pool == POOL else BATCHES_AT_ONCE
    ours = OneProcessPerRun(work_pool_name=pool, limit=most or many, name=f"{pool}-{os.uname().nodename}")
    if pool == POOL:  # a batch only waits for its captures
        ours.admission = Admission(Store(), most)
    asyncio.run(ours.start(with_healthcheck=health))


def register() -> None:
    """Deployments, pools, crash watch."""
    from flows.deployments import register as register_all

    register_all()


def files(host: str, port: str, with_metrics: str = "") -> None:
    """The twins, read only, without listing folders, with the password of the API if there is one; /metrics too if asked for."""
    from flows.web.twin_files import serve

    serve(host, int(port), twins_root(), _auth(), metrics=_figures() if with_metrics else None)


def metrics(host: str, port: str) -> None:
    """/metrics alone, with the password of the API."""
    from flows.web.twin_files import serve

    serve(host, int(port), None, _auth(), metrics=_figures())


def _auth() -> str:
    return os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "")


def _figures() -> Callable[[], str]:
    from flows.run.metrics import Figures

    def of_server() -> list[Metric]:
        from flows.serve.metrics_server import of_server  # Prefect's client, once somebody asks: it takes 100 MB

        return of_server()

    return Figures(Store(), of_server).text


def watcher() -> None:
    """Starts a run for each capture whose READY marker appears, brings back runs that lost their process, offers captures in the
    form, and keeps the store below its size and twins as long as they shall be kept."""
    from prefect.client.orchestration import get_client

    from flows.deployments import CaptureOffer
    from flows.serve.alive import say_alive
    from flows.serve.arrivals import Arrivals
    from flows.serve.recovery import Recovery
    from flows.upkeep.cleaning import Keeper
    from flows.upkeep.retention import TwinKeeper

    twins, keeper = TwinKeeper.from_environment(Store()), Keeper.from_environment(Store())
    with get_client(sync_client=True) as client:
        arrivals, recovery, offer = Arrivals(client, Store()), Recovery(client, Store()), CaptureOffer(client)
        while True:
            say_alive()
            for line in [*arrivals.look(), *recovery.look()]:
                print(line, flush=True)  # noqa: T201 - into the part's log
            offer.look(arrivals.captures.changes)
            if (removed := keeper.look()) and removed.folders:
                print(f"removed {removed.folders} results, {removed.bytes / 1e9:.1f} GB", flush=True)  # noqa: T201
            if (removed := twins.look()) and removed.folders:
                print(f"removed {removed.folders} old twins, {removed.bytes / 1e9:.1f} GB", flush=True)  # noqa: T201
            time.sleep(LOOK_AGAIN_S if arrivals.hurried else LOOK_FOR_CAPTURES_EVERY_S)


PARTS = {
    "server": server,
    "worker": worker,
    "register": register,
    "files": files,
    "metrics": metrics,
    "watcher": watcher,
}


def main() -> None:
    """Run one part until it is told to stop."""
    # started in the background by some shells, SIGINT is ignored, and so would be a worker's polite end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent(int(sys.argv[1]))
    PARTS[sys.argv[2]](*sys.argv[3:])


if __name__ == "__main__":
    main()
