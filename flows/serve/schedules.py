"""The times at which reconstruct-batch runs by itself: made, listed and removed by name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort

from flows.flow_run.own_work import DEPLOYMENTS
from stages.core.errors import ConfigError

DEPLOYMENT = DEPLOYMENTS[2]
FLOW = DEPLOYMENT.partition("/")[0]
MOST = 200
"""deployments of the flow, and runs that wait, which are looked at"""


@dataclass(frozen=True)
class Schedule:
    """One time at which a batch is started. `name` is the one it was made with; of those made in the UI, the first digits of its id."""

    name: str
    when: str
    active: bool
    parameters: dict[str, Any] = field(default_factory=dict)
    next_run: datetime | None = None
    """when the server will start it next; None while it is paused or the server has not planned it yet"""

    def __str__(self) -> str:
        what = (
            ", ".join(f"{k} {v}" for k, v in self.parameters.items() if v not in ("", [], False))
            or "as the deployment says"
        )
        state = (
            "paused"
            if not self.active
            else f"next {self.next_run:%Y-%m-%d %H:%M %Z}"
            if self.next_run
            else "not planned yet"
        )
        return f"{self.name}: {self.when}; {what}; {state}"


@dataclass(frozen=True)
class _Known:
    """A schedule as the server has it, with the deployment that it belongs to."""

    deployment: DeploymentResponse
    schedule: DeploymentSchedule

    @property
    def name(self) -> str:
        return getattr(self.schedule, "slug", None) or str(self.schedule.id)[:8]

    def remove(self, client: SyncPrefectClient) -> None:
        client.delete_deployment_schedule(self.deployment.id, self.schedule.id)


def set_schedule(cron: str, timezone: str, parameters: dict[str, Any], name: str = "") -> str:
    """Add a schedule and return its name. One of the same name, or without a name of the same time and zone, is replaced.

    Raises ConfigError for a time that cannot be read.
    """
    try:
        times = CronSchedule(cron=cron, timezone=timezone)
    except ValueError as e:
        raise ConfigError(
            f"'{cron}' in {timezone} is not a time", "give five fields ('0 2 * * *') and a zone (Europe/Berlin)"
        ) from e
    with get_client(sync_client=True) as client:
        known = _known(client)
        old = [k for k in known if (k.name == name if name else _is_at(k.schedule, times))]
        name = name or (old[0].name if old else _free_name({k.name for k in known}))
        for k in old:
            k.remove(client)
        made = DeploymentScheduleCreate(schedule=times, active=True, parameters=parameters, slug=name)
        deployment = client.read_deployment_by_name(DEPLOYMENT).id
        client.create_deployment_schedules(deployment, [made])
        client.request(
            "POST", f"/deployments/{deployment}/schedule", json={}
        )  # planned now, not when the server looks again
    return name


def list_schedules() -> list[Schedule]:
    """All of every deployment of the batch, those made in the UI too, by name."""
    with get_client(sync_client=True) as client:
        known = _known(client)
        planned = _planned(client)
    return sorted(
        (
            Schedule(
                k.name,
                _in_words(k.schedule.schedule),
                bool(k.schedule.active),
                {**k.deployment.parameters, **k.schedule.parameters},
                next_run=planned.get(str(k.schedule.id)),
            )
            for k in known
        ),
        key=lambda s: s.name,
    )


def remove_schedules(names: Collection[str] = ()) -> list[str]:
    """Remove those, or all; returns the names of what was removed. Raises ConfigError, and removes nothing, if one of them is unknown."""
    with get_client(sync_client=True) as client:
        known = _known(client)
        if unknown := set(names) - {k.name for k in known}:
            there = ", ".join(sorted(k.name for k in known)) or "none"
            raise ConfigError(
                f"there is no schedule {', '.join(sorted(unknown))}", f"there are: {there} (twin schedule --list)"
            )
        gone = [k for k in known if not names or k.name in names]
        for k in gone:
            k.remove(client)
    return sorted(k.name for k in gone)


def _known(client: SyncPrefectClient) -> list[_Known]:
    return [_Known(d, s) for d in client.read_deployments(flow_filter=_of_the_batch(), limit=MOST) for s in d.schedules]


def _of_the_batch() -> FlowFilter:
    return FlowFilter.model_validate({"name": {"any_": [FLOW]}})


def _planned(client: SyncPrefectClient) -> dict[str, datetime]:
    """{id of a schedule: the earliest time at which a run of it waits}."""
    waiting = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.SCHEDULED]}}})
    runs = client.read_flow_runs(
        flow_filter=_of_the_batch(), flow_run_filter=waiting, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=MOST
    )
    planned: dict[str, datetime] = {}
    for run in runs:
        if run.created_by and run.created_by.type == "SCHEDULE" and run.expected_start_time:
            planned.setdefault(str(run.created_by.id), run.expected_start_time)
    return planned


def _is_at(old: DeploymentSchedule, times: CronSchedule) -> bool:
    return isinstance(old.schedule, CronSchedule) and (old.schedule.cron, old.schedule.timezone) == (
        times.cron,
        times.timezone,
    )


def _free_name(taken: set[str]) -> str:
    return next(name for n in count(1) if (name := f"batch-{n}") not in taken)


def _in_words(times: Any) -> str:
    match times:
        case CronSchedule():
            return f"at '{times.cron}' ({times.timezone or 'UTC'})"
        case IntervalSchedule():
            return f"every {times.interval} from {times.anchor_date:%Y-%m-%d %H:%M %Z}"
    return f"by the rule {' '.join(str(times.rrule).split())} ({times.timezone or 'UTC'})"
