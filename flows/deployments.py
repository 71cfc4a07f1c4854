"""What can be started from the Prefect UI, by schedule or by event: the flows with their forms, and how a server learns of them.

python -m flows.deployments        registers everything at PREFECT_API_URL; doing it again changes nothing
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from prefect import Flow, flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.utilities.callables import parameter_schema
from pydantic import Field

from flows.batch import reconstruct_batch
from flows.flow_run.crash_watch import register_crash_watch
from flows.flow_run.failed_state import failed_state
from flows.flow_run.own_work import BATCH_POOL, ENTRYPOINTS, FLOW_ENVIRONMENT, FORMER_NAME, POOL
from flows.flow_run.own_work import DEPLOYMENTS as NAMES
from flows.reconstruct import reconstruct_as_flow
from flows.records.places import capture_folder, captures_root
from flows.records.twin_verdict import failure_of
from flows.ui.form import Box, Methods, Profile, RouteChoice, Setting, StageName, request_of
from flows.ui.form_schema import draw_form, offered_captures
from flows.ui.progress import show_scores
from stages.core.errors import TwinError

OFFERED_ANEW_S = 60.0


@flow(name="reconstruct-capture", flow_run_name="{capture}", persist_result=False)
def reconstruct_capture(
    capture: Annotated[str, Field(min_length=1, max_length=400)],
    profile: Profile = Profile.standard,
    methods: Methods = Methods(),  # noqa: B008
    box: Box | None = None,
    start_from: StageName | None = None,
    force: bool = False,
    settings: Annotated[list[Setting], Field(max_length=100)] = [],  # noqa: B006
    time_limit_min: Annotated[float | None, Field(gt=0, le=1440)] = None,
    route: RouteChoice = RouteChoice.auto,
) -> Any:
    """Turn one capture into its twin. Stages whose result is known are not computed again.

    Args:
        capture: One of those in the captures folder, the absolute path of another, or s3://BUCKET/FOLDER/NAME.
        profile: preview takes about a minute; quality is slow and fine.
        methods: Method of each stage; auto needs no weights.
        box: Round the object in the first left picture, px. Left empty, prompt.json is read, or the object is found.
        start_from: Compute this stage and all that follow again. Left empty, only what is not known yet is computed.
        force: Compute every stage again.
        settings: More settings, at most 100, each as stage.key=value; twin settings lists them all.
        time_limit_min: A stage that takes longer is ended: more than 0, at most 1440. Left empty, there is no limit.
        route: stereo capture, posed: pictures with known cameras, rgbd: depth camera, turntable: depth camera before marks that turn with
            the object, merge: what twin merge wrote; auto goes by what lies in the folder.
    """
    try:
        out = reconstruct_as_flow(
            request_of(
                capture,
                methods,
                box,
                settings,
                time_limit_min=time_limit_min,
                profile=profile,
                start_from=start_from,
                force=force,
                route=route,
            )
        )
        reason = failure_of(out)
        return failed_state(reason) if reason else out
    except TwinError as e:
        return failed_state(str(e))


@flow(name="evaluate-twin", flow_run_name="{capture}", persist_result=False)
def evaluate_twin(capture: Annotated[str, Field(min_length=1)], twin: Annotated[str, Field(min_length=1)]) -> None:
    """Score a twin against the known truth of its capture.

    Args:
        capture: Capture with ground truth (gt/): name in the captures folder, or an absolute path.
        twin: Twin folder, an absolute path.
    """
    from stages.core.metrics import evaluate

    scores = evaluate(capture_folder(capture), Path(twin))
    get_run_logger().info("%s", scores)
    show_scores(scores)


@dataclass(frozen=True)
class _Deployment:
    flow: Flow
    entrypoint: str
    name: str
    pool: str
    amend: Callable[[dict[str, Any]], None] = lambda schema: None


DEPLOYMENTS = (
    _Deployment(reconstruct_capture, ENTRYPOINTS[0], NAMES[0], POOL, amend=draw_form),
    _Deployment(evaluate_twin, ENTRYPOINTS[1], NAMES[1], POOL),
    _Deployment(reconstruct_batch, ENTRYPOINTS[2], NAMES[2], BATCH_POOL),
)


def register() -> list[str]:
    """Pools, deployments and the crash watch; returns the deployments' names. Schedules that were made are kept."""
    with get_client(sync_client=True) as client:
        for pool in (POOL, BATCH_POOL):
            _make_pool(client, pool)
        names = [_make_deployment(client, d) for d in DEPLOYMENTS]
        for d in DEPLOYMENTS:
            _mark_former(client, d)
        register_crash_watch()
    return names


class CaptureOffer:
    """Keeps the captures in the form up to date, as long as someone asks it to look."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client, self._offered = client, None
        self._changes, self._due = -1, 0.0

    def look(self, changes: int | None = None) -> None:
        """Register the form again if captures came or went; the first time always. `changes`: how often something changed in their folder,
        as far as the caller knows; while it stays the same, they are looked through once a minute."""
        if changes is not None and changes == self._changes and time.monotonic() < self._due:
            return
        self._changes, self._due = -1 if changes is None else changes, time.monotonic() + OFFERED_ANEW_S
        if (names := offered_captures(captures_root())) != self._offered:
            _make_deployment(self._client, DEPLOYMENTS[0])
            self._offered = names


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    from prefect.workers.process import ProcessWorker

    try:
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", base_job_template=ProcessWorker.get_default_base_job_template())
        )
    except ObjectAlreadyExists:
        return


def _make_deployment(client: SyncPrefectClient, d: _Deployment) -> str:
    """Made, or brought up to date. Prefect's way of making one again takes its schedules away, and changing it drops the runs that they
    have planned: so it is changed only where it differs."""
    schema = parameter_schema(d.flow).model_dump_for_openapi()
    d.amend(schema)
    wanted = {
        "entrypoint": d.entrypoint,
        "work_pool_name": d.pool,
        "job_variables": {"env": FLOW_ENVIRONMENT},
        "description": d.flow.description,
        "parameter_openapi_schema": json.loads(json.dumps(schema)),
        "enforce_parameter_schema": True,
        "pull_steps": None,
    }
    try:
        there = client.read_deployment_by_name(d.name)
    except ObjectNotFound:
        client.create_deployment(flow_id=client.create_flow(d.flow), name=d.name.partition("/")[2], **wanted)
        return d.name
    if changed := {k: v for k, v in wanted.items() if getattr(there, k) != v}:
        client.update_deployment(there.id, DeploymentUpdate(**changed))
    return d.name


def _mark_former(client: SyncPrefectClient, d: _Deployment) -> None:
    """A deployment cannot be renamed, and without it the runs that it started cannot be tried again: it stays, and says what it is."""
    words = f"Of an earlier version: use {d.name}. Its schedules go on, and its runs can be tried again."
    try:
        there = client.read_deployment_by_name(f"{d.flow.name}/{FORMER_NAME}")
    except ObjectNotFound:
        return
    if there.description != words:
        client.update_deployment(there.id, DeploymentUpdate(description=words))


if __name__ == "__main__":
    register()
