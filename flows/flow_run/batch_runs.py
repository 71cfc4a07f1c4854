"""The flow runs of a batch: started a few at a time, followed by asking, so that a server that is started again loses none of them.

Prefect's own `wait_for_flow_run` waits for an event; one that is sent while the server or the connection is down never comes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment
from prefect.exceptions import PrefectHTTPStatusError

from flows.captures.ready import ReadyCapture
from flows.captures.ready_there import left_to_do
from flows.captures.settling import Settling
from flows.flow_run.own_work import DEPLOYMENTS
from flows.records.places import twin_folder
from flows.records.run_record import RunRecords
from flows.records.started_by import tag
from flows.ui.batch_page import ARRIVING, Outcome
from stages.core.fingerprint import digest_mapping
from stages.core.store import Store

DEPLOYMENT = DEPLOYMENTS[0]
AT_ONCE = 50
"""flow runs with the server at a time, topped up as they end: hundreds queued make it slow"""
ASK_EVERY_S = 3.0
LOOK_EVERY_S = 1.0
STILL_ARRIVING_S = 3600.0
"""a capture that is being copied is waited for so long"""
OUTAGE_S = 900.0
"""so long a server may be gone before the batch gives up"""

T = TypeVar("T")


def start_key(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> str:
    """Prefect starts one run per key, whoever asks: batch, schedule or watcher, and however often."""
    return f"{capture.key}-{digest_mapping({'profile': str(profile), 'settings': list(settings)})[:12]}"


def parameters_of(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> dict[str, Any]:
    """The form's content for one capture."""
    return {"capture": capture.address or str(capture.path), "profile": str(profile), "settings": list(settings)}


class BatchRuns:
    """One flow run per capture. `attempt` counts how often this batch itself was started (Retry, or brought back after a crash)."""

    def __init__(
        self,
        captures: Sequence[ReadyCapture],
        profile: str,
        settings: Sequence[str],
        batch: str,
        attempt: int,
        again: bool,
    ):
        self._waiting, self._profile, self._settings = deque(captures), profile, settings
        self._keys = [f"-{batch}-{k}" for k in range(1, attempt + 1)]
        self.profiles: dict[Path, str] = {}
        """of the captures whose folder names one"""
        self.tags = [tag(f"batch {batch}")]
        if not again:
            self._keys.insert(0, "")
        self._under_way: dict[UUID, ReadyCapture] = {}
        self._arriving: list[ReadyCapture] = []
        self._settling, self._patience = Settling(), math.inf
        self.ended = 0

    def add_once_settled(self, captures: Sequence[ReadyCapture]) -> None:
        """These too, each as soon as it has settled; for those that have not after an hour the outcome says so."""
        self._arriving += captures
        self._patience = time.monotonic() + STILL_ARRIVING_S

    async def outcomes(self) -> AsyncIterator[Outcome]:
        """Each capture's outcome as soon as it is known."""
        async with get_client() as client:
            while self._waiting or self._under_way or self._arriving:
                for late in self._take_settled():
                    self.ended += 1
                    yield late
                while self._waiting and len(self._under_way) < AT_ONCE:
                    capture = self._waiting.popleft()
                    if refused := await self._start(client, capture):
                        self.ended += 1
                        yield refused
                for number, run in (await patiently(lambda: self._ended_runs(client))).items():
                    self.ended += 1
                    yield _outcome(self._under_way.pop(number), run)
                if self._under_way or self._arriving:
                    await asyncio.sleep(LOOK_EVERY_S if self._arriving else ASK_EVERY_S)

    def _take_settled(self) -> list[Outcome]:
        """Those that have settled wait from now on; an outcome for each that was waited for too long."""
        settled = [c for c in self._arriving if c.address or self._settling.settled(c.path)]
        self._waiting += settled
        self._arriving = [c for c in self._arriving if c not in settled]
        if time.monotonic() < self._patience:
            return []
        late, self._arriving = self._arriving, []
        return [
            Outcome(
                c.name,
                ARRIVING,
                reason="its files still change: the next batch takes it once they do not",
                capture=str(c.path),
            )
            for c in late
        ]

    async def _start(self, client: PrefectClient, capture: ReadyCapture) -> Outcome | None:
        """Join the run that is under way for this capture, else start one; an outcome only if the server refuses it."""
        profile = self._profile_of(capture)
        key, parameters = start_key(capture, profile, self._settings), parameters_of(capture, profile, self._settings)
        try:
            # the first key joins a run that watcher or schedule began; if that has ended without a twin, this batch tries once more,
            # and once more each time it is itself started again
            for suffix in self._keys:
                begin = partial(
                    arun_deployment,
                    DEPLOYMENT,
                    client,
                    parameters,
                    timeout=0,
                    tags=self.tags,
                    idempotency_key=key + suffix,
                )
                run = await patiently(begin)
                if not _is_final(run) or self._made_meanwhile(capture, run):
                    break
        except PrefectHTTPStatusError as e:
            return Outcome(capture.name, "refused", reason=e.response.text[:300], capture=str(capture.path))
        self._under_way[run.id] = capture
        return None

    def _profile_of(self, capture: ReadyCapture) -> str:
        return self.profiles.get(capture.path, self._profile)

    def _made_meanwhile(self, capture: ReadyCapture, run: FlowRun) -> bool:
        """The run that was under way when this batch looked has ended with the twin that is asked for."""
        made = run.state is not None and run.state.is_completed()
        return made and not left_to_do([capture], self._profile_of(capture), self._settings, RunRecords(Store()))

    async def _ended_runs(self, client: PrefectClient) -> dict[UUID, FlowRun | None]:
        """By id; None for a run that somebody deleted."""
        if not self._under_way:
            return {}
        asked = FlowRunFilter.model_validate({"id": {"any_": list(self._under_way)}})
        runs = {r.id: r for r in await client.read_flow_runs(flow_run_filter=asked, limit=AT_ONCE)}
        return {k: runs.get(k) for k in self._under_way if k not in runs or _is_final(runs[k])}


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The call's value, however often the server is started again meanwhile. Raises what the call raises after OUTAGE_S."""
    deadline = time.monotonic() + OUTAGE_S
    while True:
        try:
            return await call()
        except (httpx.TransportError, PrefectHTTPStatusError) as e:
            if time.monotonic() > deadline or (isinstance(e, PrefectHTTPStatusError) and e.response.status_code < 500):
                raise
            get_run_logger().warning("the Prefect server does not answer (%s): asking again", type(e).__name__)
            await asyncio.sleep(ASK_EVERY_S)


def _is_final(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()


def _outcome(capture: ReadyCapture, run: FlowRun | None) -> Outcome:
    out = str(twin_folder(capture.path))
    if run is None or run.state is None:
        return Outcome(capture.name, "deleted", reason="its flow run was deleted", out=out, capture=str(capture.path))
    record = RunRecords(Store()).find(flow_run=str(run.id))
    seconds = round(run.total_run_time.total_seconds(), 1)
    if run.state.is_completed():
        changed = record.changed if record else ""
        told = f"the capture changed while it was read, so the next batch takes it again: {changed}" if changed else ""
        return Outcome(capture.name, "Completed", seconds, told, out=out, capture=str(capture.path))
    reason = record.error if record and record.error else run.state.message or ""
    return Outcome(capture.name, run.state.name or "Failed", seconds, reason, out=out, capture=str(capture.path))
