"""Flow runs of which Prefect has heard nothing for ten minutes are marked Crashed.

The watcher judges sooner and better, by the leases in the store (serve/recovery.py). This is for runs without one, and for the time when no
watcher runs. Hence the long window: heartbeats travel through the server, and its restart must not mark healthy runs. (Three intervals
is the least that does not fire on healthy runs anyway; Prefect's documented sample, 90 s at the default of 180 s, does.) Marking a run
Crashed does not end a process: a retry that overlaps its predecessor waits for its lease.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.run.lease import HEARTBEAT_S

SILENT_FOR = timedelta(seconds=20 * HEARTBEAT_S)
CRASH_MESSAGE = f"no heartbeat for {SILENT_FOR.total_seconds() / 60:.0f} minutes: its process is gone. Retry it."
"""serve/recovery.py knows by it that no worker saw the process end"""
NAME = "twin: mark runs without heartbeat as crashed"


def register_crash_watch() -> None:
    """Create the automation, or bring the one that is there up to date."""
    described = _automation().model_dump(mode="json", exclude={"owner_resource"})  # an update may not name it
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/automations/filter", json={"automations": {"name": {"any_": [NAME]}}}).json()
        if found:
            client.request("PUT", f"/automations/{found[0]['id']}", json=described)
        else:
            client.request("POST", "/automations/", json=described)


def _automation() -> AutomationCore:
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENT_FOR,
    )
    action = ChangeFlowRunState(state=StateType.CRASHED, message=CRASH_MESSAGE)
    return AutomationCore(
        name=NAME,
        description="A flow run sends a heartbeat every 30 s; 10 minutes of silence mean that it is dead.",
        trigger=trigger,
        actions=[action],
    )
