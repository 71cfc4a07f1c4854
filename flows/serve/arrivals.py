"""A run for each capture whose READY marker appears, not too many at a time: hundreds that wait make Prefect's server slow."""

from __future__ import annotations

import time
from collections import deque

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError

from flows.captures.memo import CapturesMemo
from flows.captures.ready import ReadyCapture, arrived, not_done
from flows.captures.settling import Settling
from flows.captures.start_wish import wish_of
from flows.flow_run.batch_runs import AT_ONCE, DEPLOYMENT, parameters_of, start_key
from flows.records.places import captures_root
from flows.records.run_record import RunRecords
from flows.records.started_by import watcher_tag
from flows.serve.bucket_arrivals import BucketArrivals
from stages.core.errors import CaptureError, ConfigError
from stages.core.store import Store

PROFILE = "standard"
NOTES_EVERY_S = 60.0
"""what is not taken is looked for less often: that goes deeper"""


class Arrivals:
    """Call `look` every few seconds. Prefect's idempotency key makes it one run per marker, whoever asks and however often."""

    def __init__(self, client: SyncPrefectClient, store: Store) -> None:
        self._client, self._records = client, RunRecords(store)
        self.captures = CapturesMemo()
        self._seen: set[str] = set()
        self._due: deque[ReadyCapture] = deque()
        self._settling, self._arriving = Settling(), dict[str, ReadyCapture]()
        self._told: set[str] = set()
        self._profiles: dict[str, str] = {}
        """of those that arrive or are due"""
        self._wrong: list[str] = []
        self._notes_due = 0.0
        self._bucket = BucketArrivals(store, PROFILE)

    @property
    def hurried(self) -> bool:
        """Whether something arrives at this moment, so that looking again soon is worth it."""
        return bool(self._arriving)

    def look(self) -> list[str]:
        """Start what has arrived, as far as there is room; a line for each thing that is not taken, once."""
        lines = self._new([*self._look_into_folder(), *self._look_into_bucket()])
        room = AT_ONCE - self._waiting() if self._due else 0
        for _ in range(min(room, len(self._due))):
            lines += self._start(self._due[0])
            self._due.popleft()
        return lines

    def _look_into_folder(self) -> list[str]:
        try:
            captures = self.captures.ready(captures_root())
        except CaptureError as e:
            return [str(e)]
        lines = self._notes()
        self._follow(captures)
        lines += self._wrong
        self._wrong = []
        return lines

    def _look_into_bucket(self) -> list[str]:
        found, lines = self._bucket.look()
        for due in found:
            self._profiles[due.capture.key] = due.profile
            self._due.append(due.capture)
        return lines

    def _follow(self, captures: list[ReadyCapture]) -> None:
        """Those that are new wait until they have settled; then they are due."""
        there = {c.key: c for c in captures}
        for key in self._arriving.keys() - there.keys():
            self._settling.forget(self._arriving.pop(key).path)
        new = [c for c in captures if c.key not in self._seen and c.key not in self._arriving]
        due = {c.key: c for c in self._due_of(new)}
        self._seen |= {c.key for c in new} - due.keys()
        self._arriving |= due
        for capture in [c for c in self._arriving.values() if self._settling.settled(c.path)]:
            del self._arriving[capture.key]
            self._settling.forget(capture.path)
            self._seen.add(capture.key)
            self._due.append(capture)

    def _due_of(self, new: list[ReadyCapture]) -> list[ReadyCapture]:
        """Those that are to begin on arrival and are not done with their profile. What is said wrongly of one is told, and it waits."""
        by_profile: dict[str, list[ReadyCapture]] = {}
        for capture in new:
            try:
                wish = wish_of(capture.path)
            except ConfigError as e:
                self._wrong.append(f"not taken: {e}")
                continue
            if wish.when == "arrival":
                self._profiles[capture.key] = wish.profile or PROFILE
                by_profile.setdefault(self._profiles[capture.key], []).append(capture)
        return [c for profile, captures in by_profile.items() for c in not_done(captures, profile, (), self._records)]

    def _start(self, capture: ReadyCapture) -> list[str]:
        try:
            profile = self._profiles.get(capture.key, PROFILE)
            run_deployment(
                DEPLOYMENT,
                parameters=parameters_of(capture, profile, ()),
                timeout=0,
                idempotency_key=start_key(capture, profile, ()),
                tags=[watcher_tag()],
            )
        except PrefectHTTPStatusError as e:
            if e.response.status_code >= 500:
                raise
            return [f"{capture.address or capture.path} was refused: {e.response.text[:300]}"]
        return []

    def _notes(self) -> list[str]:
        if time.monotonic() < self._notes_due:
            return []
        self._notes_due = time.monotonic() + NOTES_EVERY_S
        return [f"not taken: {note}" for note in arrived(captures_root())[1]]

    def _new(self, lines: list[str]) -> list[str]:
        new = [line for line in lines if line not in self._told]
        self._told.update(new)
        return new

    def _waiting(self) -> int:
        runs = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.SCHEDULED]}}})
        flows = FlowFilter.model_validate({"name": {"any_": [DEPLOYMENT.partition("/")[0]]}})
        return len(self._client.read_flow_runs(flow_filter=flows, flow_run_filter=runs, limit=AT_ONCE))
