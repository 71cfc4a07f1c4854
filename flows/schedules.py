"""The times at which reconstruct-batch runs by itself."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule

from stages.core.errors import ConfigError

BATCH = "reconstruct-batch/twin"


def set_schedule(cron: str, timezone: str, parameters: dict[str, Any]) -> None:
    """Add a schedule; the same time again replaces its parameters. Raises ConfigError for a time that cannot be read."""
    try:
        times = CronSchedule(cron=cron, timezone=timezone)
    except ValueError as e:
        raise ConfigError(f"'{cron}' in {timezone} is not a time", "give five fields ('0 2 * * *') and a zone (Europe/Berlin)") from e
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(BATCH)
        for old in deployment.schedules:
            if getattr(old.schedule, "cron", None) == cron:
                client.delete_deployment_schedule(deployment.id, old.id)
        client.create_deployment_schedules(deployment.id, [DeploymentScheduleCreate(schedule=times, active=True, parameters=parameters)])


def clear_schedules() -> int:
    """Remove all; returns how many there were."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(BATCH)
        for old in deployment.schedules:
            client.delete_deployment_schedule(deployment.id, old.id)
        return len(deployment.schedules)
