"""Flow runs whose process is gone are marked Crashed: by a heartbeat that stays away for four times its interval.

Three intervals is the least that does not fire on healthy runs; Prefect's documented sample (90 s at the default of 180 s) does.
Marking a run Crashed does not end a process: a retry that overlaps its predecessor waits at the store's locks.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.serve import HEARTBEAT_S

SILENT_FOR = timedelta(seconds=4 * HEARTBEAT_S)
NAME = "twin: mark runs without heartbeat as crashed"


def register_crash_watch() -> None:
    """Create the automation, or leave it if it is there."""
    with get_client(sync_client=True) as client:
        if client.request("POST", "/automations/filter", json={"automations": {"name": {"any_": [NAME]}}}).json():
            return
        client.request("POST", "/automations/", json=_automation().model_dump(mode="json"))


def _automation() -> AutomationCore:
    trigger = EventTrigger(after={"prefect.flow-run.heartbeat"}, expect={"prefect.flow-run.*"},
                           match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}), for_each={"prefect.resource.id"},
                           posture=Posture.Proactive, threshold=1, within=SILENT_FOR)
    action = ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat for two minutes: its process is gone. Retry it.")
    return AutomationCore(name=NAME, description="A flow run sends a heartbeat every 30 s; 2 minutes of silence mean that it is dead.",
                          trigger=trigger, actions=[action])
