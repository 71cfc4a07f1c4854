"""Runs that lost their process or their machine are brought back: set to AwaitingRetry, so that any worker of the pool goes on with them.

Prefect picks up neither a run whose submission was cut short (Pending for ever) nor one whose process died with its worker (Running for
ever). The lease of a run (run/lease.py) tells whether it lives:

    lock held                                       alive, however late its beats are
    lock free, its holder had this machine's kernel dead, on one kernel flock does not deceive; unless its worker says so within 8 s
    lock free, its holder was another machine       dead when it has not beaten for `lost_after_s`, seen from here
    no lease, but the state is Running              dead after three times that: its process ended before it had one

Silence is counted by this process's own clock and only while it looks, so neither clocks that differ nor a pause of the judge or of the
filesystem make a healthy run look dead. One process at a time judges, over all machines: the one that holds <store>/leases/judge.lock.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Crashed, Scheduled

from flows.flow_run.crash_watch import CRASH_MESSAGE
from flows.records.names import printable
from flows.run.lease import NOBODY, SUFFIX, Holder, forget, leases_folder, read_holder, this_machine, write_holder
from flows.run.lost_after import lost_after_s
from stages.core.file_locks import is_the_file, try_lock
from stages.core.store import Store

log = logging.getLogger(__name__)
CONFIRMED_AFTER_S = 8.0
"""if its worker lives, that one reports the death, within a second and under load within a few: this must not come between"""
SUBMITTED_WITHIN_S = 90.0
"""a worker starts a process within seconds, on a loaded machine within half a minute"""
NO_LEASE_FACTOR = 3
LONGEST_STEP_S = 6.0
"""what one look adds to a silence at the most, however long ago the look before was"""
FLOWS = ("reconstruct-capture", "reconstruct-batch")
"""whose processes hold leases; others on this server are left alone"""
MOST_ATTEMPTS = 3
"""a run that takes the machine down is not tried for ever"""


@dataclass
class Stillness:
    """For how many seconds each of several things has stayed as it is, while somebody looked."""

    _now: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _before: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _looked: float | None = None
    _step: float = 0.0

    def look(self, now: float) -> None:
        """Begin a look; what is not asked for in it is forgotten."""
        self._step = 0.0 if self._looked is None else min(now - self._looked, LONGEST_STEP_S)
        self._looked, self._before, self._now = now, self._now, {}

    def seconds(self, name: str, value: Any) -> float:
        """0 when it is seen for the first time or has changed."""
        old, still = self._before.get(name, (None, 0.0))
        still = still + self._step if old == value else 0.0
        self._now[name] = (value, still)
        return still


class Recovery:
    """Looks after the runs of one server and one store; call `look` every few seconds."""

    def __init__(self, client: SyncPrefectClient, store: Store) -> None:
        self._client, self._folder, self._lost_after = client, leases_folder(store), lost_after_s()
        self._leases, self._others = Stillness(), Stillness()
        self._judge: IO[bytes] | None = None
        self._strange: set[str] = set()

    def look(self, now: float | None = None) -> list[str]:
        """A line for each run that was brought back or given up. `now`: monotonic seconds."""
        if not self._may_judge():
            return []
        now = time.monotonic() if now is None else now
        self._leases.look(now)
        self._others.look(now)
        return [line for line in [*self._look_at_leases(), *self._look_at_others()] if line]

    def _may_judge(self) -> bool:
        judging = self._folder / "judge.lock"
        if self._judge is not None and not is_the_file(
            judging, self._judge
        ):  # of a machine that was cut off and is back
            self._judge.close()
            self._judge = None
        if self._judge is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._judge = try_lock(judging, make=True)
        return self._judge is not None

    def _look_at_leases(self) -> list[str]:
        named = {number: p for p in self._folder.glob(f"*{SUFFIX}") if (number := self._flow_run_of(p)) is not None}
        free = {number: h for number, p in named.items() if (h := _holder_if_free(p)) is not None}
        return [self._look_at_lease(run, free[run.id]) for run in self._read(id={"any_": list(free)})] if free else []

    def _flow_run_of(self, path: Path) -> UUID | None:
        try:
            return UUID(path.stem)
        except ValueError:
            if path.name not in self._strange:
                log.warning("%s is no lease: its name is no flow run's", printable(path))
            self._strange.add(path.name)
            return None

    def _look_at_lease(self, run: FlowRun, holder: Holder) -> str:
        if (
            run.state is None or run.state.is_scheduled() or run.state.is_pending()
        ):  # brought back: it waits for a worker
            return ""
        path = self._folder / f"{run.id}{SUFFIX}"
        if run.state.is_final() and not _marked_by_watch(run):
            forget(path)
            return ""
        here = holder.machine == this_machine()
        silent = self._leases.seconds(str(run.id), (holder, run.state.id))
        if silent < (CONFIRMED_AFTER_S if here else self._lost_after) or not _take(path, holder):
            return ""
        return self._bring_back(
            run, "its process is gone" if here else f"its machine {holder.host or '(name unknown)'} is gone"
        )

    def _look_at_others(self) -> list[str]:
        """Runs that are about to start, or say that they run, without a lease."""
        return [
            self._look_at_other(r) for r in self._read(state={"type": {"any_": [StateType.PENDING, StateType.RUNNING]}})
        ]

    def _look_at_other(self, run: FlowRun) -> str:
        if (
            run.state is None
            or run.deployment_id is None
            or (run.state.is_running() and (self._folder / f"{run.id}{SUFFIX}").exists())
        ):
            return ""
        still = self._others.seconds(str(run.id), run.state.id)
        if run.state.is_pending():
            return self._bring_back(run, "its worker was gone before it started") if still > SUBMITTED_WITHIN_S else ""
        return (
            self._bring_back(run, "its process ended and could not say so")
            if still > NO_LEASE_FACTOR * self._lost_after
            else ""
        )

    def _bring_back(self, run: FlowRun, why: str) -> str:
        if run.state and run.state.is_cancelling():
            self._client.set_flow_run_state(run.id, Cancelled(message=why), force=True)
            return f"{run.name}: {why} while it was cancelled"
        if run.run_count < MOST_ATTEMPTS:
            # at its old time: it comes before those that have not begun
            again = Scheduled(
                name="AwaitingRetry", message=f"{why}: started again", scheduled_time=run.expected_start_time
            )
            self._client.set_flow_run_state(run.id, again, force=True)
            return f"{run.name}: {why}, started again"
        self._client.set_flow_run_state(
            run.id, Crashed(message=f"{why}, for the {run.run_count}th time. Press Retry to try once more."), force=True
        )
        return f"{run.name}: {why}, given up after {run.run_count} attempts"

    def _read(self, **what: dict[str, Any]) -> list[FlowRun]:
        flows = FlowFilter.model_validate({"name": {"any_": FLOWS}})
        return list(self._client.read_flow_runs(flow_filter=flows, flow_run_filter=FlowRunFilter.model_validate(what)))


def _marked_by_watch(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_crashed() and run.state.message == CRASH_MESSAGE


def _holder_if_free(path: Path) -> Holder | None:
    """Who held it last; None while its lock is held, or when it is gone or cannot be read."""
    try:
        handle = try_lock(path)
        if handle is None:
            return None
        with handle:
            return read_holder(path)
    except OSError:
        return None


def _take(path: Path, seen: Holder) -> bool:
    """Write nobody's name into a lease that is still as it was seen: should its holder come back, it finds that and ends."""
    try:
        handle = try_lock(path)
        if handle is None:
            return False
        with handle:
            if read_holder(path) != seen:
                return False
            write_holder(path, NOBODY)
    except OSError as e:
        log.warning("%s cannot be taken over: %s", path.name, e)
        return False
    return True
