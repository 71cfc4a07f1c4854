"""One reconstruction under way: its settings, its record, and how a stage of it is run. No Prefect here.

with Run(request, store, beside) as run:
    reconstruct.walk(run, run.compute)
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flows.records.places import twin_lock
from flows.records.request import Reconstruction
from flows.records.run_record import RunRecord, RunRecords, StageRecord
from flows.records.started_by import at_a_terminal
from flows.records.twin_place import place_of
from flows.run.admission import needed_gb
from flows.run.before_work import check_places
from flows.run.capture_look import FIRST
from flows.run.capture_watch import CaptureWatch
from flows.run.chosen_stages import forced_stages, stages_until
from flows.run.less_memory import with_less_memory
from flows.run.metrics_file import write_metrics_after_run
from flows.run.neighbours import among_neighbours, share_of_cores
from flows.run.progress_pictures import ProgressPictures
from flows.run.routes import refuse_of_other_route, refuse_unfit
from flows.run.run_log import close_log, log_to
from flows.run.stage_child import load_stages
from flows.run.stage_process import StageFault, StageJob, run_stage_in_child
from flows.run.time_left import expected_seconds, in_words
from flows.run.warm_process import WarmProcess
from flows.run.watcher import Watcher
from flows.run.why_computed import known_manifests, why_computed
from stages.base import Stage, StageResult, identity_of
from stages.core.backends import check_torch
from stages.core.capture import capture_ref
from stages.core.config import Settings, resolve
from stages.core.errors import CaptureError, OutOfMemory, TwinError
from stages.core.fingerprint import digest_mapping
from stages.core.licences import refuse_non_commercial
from stages.core.merged_capture import session_refs
from stages.core.store import ArtifactRef, Store
from stages.core.twin import assemble_twin
from stages.core.weights import entry as weights_entry
from stages.core.weights import require
from stages.graph import SOURCE, asked_stages, look_at, with_asked

log = logging.getLogger(__name__)
RECENT_RUNS = 100
"""enough to know how long a stage takes"""


@dataclass(frozen=True)
class Beside:
    """What a run gets beside its request, which has to be plain data."""

    watcher: Watcher = field(default_factory=Watcher)
    resumed: RunRecord | None = None
    """the record to go on with"""
    leave_if_over: Callable[[], None] = lambda: None
    """called before anything is made known: it ends this process if the run is another's by now"""
    started_by: str = ""
    """empty: the user of this process"""
    pictures: ProgressPictures | None = None
    """where pictures of the work under way go, if anybody asks for them"""


class Run:
    """Opened as a context: inside it the run is held, logged and recorded."""

    def __init__(self, request: Reconstruction, store: Store, beside: Beside | None = None, flow_run: str = "") -> None:
        beside = beside or Beside()
        self.request, self.store, self.watcher, self.leave_if_over = (
            request,
            store,
            beside.watcher,
            beside.leave_if_over,
        )
        check_places(request.capture, None if request.until else request.out, request.route)
        if store.remote is not None:
            store.remote.check()
        self.route = request.taken()
        self.settings = self._resolved(load_stages(self.route))
        every = self._with_asked()
        self.stages: tuple[Stage, ...] = stages_until(every, request.until)
        self._check_needs()
        self.records = RunRecords(store)
        self.record = beside.resumed or self.records.new(
            request.model_dump(mode="json"), [s.name for s in self.stages], flow_run
        )
        self.record.started_by = self.record.started_by or beside.started_by or at_a_terminal()
        self._watch = CaptureWatch(Path(request.capture))
        self._pictures = beside.pictures
        self._forced = forced_stages(every, request) - set(beside.resumed.done() if beside.resumed else ())
        self._manifests: dict[str, Mapping[str, Any]] = {}
        self._refs: dict[str, ArtifactRef] = {}
        self._warm, self._seen = WarmProcess(), ExitStack()

    def __enter__(self) -> Self:
        self._hold = self.records.hold(self.record)
        self._log = log_to(self.log_file)
        self.store.sweep()
        self.store.send_pending()
        self._started = time.monotonic()
        self.record.state, self.record.error, self.record.advice = "running", "", ""
        self.records.save(self.record)
        log.info("run %s, profile %s", self.record.id, self.request.profile)
        past = self.records.of_capture(Path(self.request.capture))
        self._known = known_manifests(self.store, [(n, s.fingerprint) for r in past for n, s in r.stages.items()])
        recent = self.records.recent(RECENT_RUNS)
        self._seen.enter_context(
            among_neighbours(self.record.id, self.record.flow_run, needed_gb(self.request.profile, recent))
        )
        self.watcher.run_started(
            self.record, expected_seconds([s.name for s in self.stages], self.request.profile, recent)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._warm.close()
        self._seen.close()
        self.leave_if_over()
        self.record.seconds = round(time.monotonic() - self._started, 3)
        _judge(self.record, error)
        if error is not None:
            advice = f"\nWhat to do: {self.record.advice}" if self.record.advice else ""
            fault = None if isinstance(error, TwinError) else error
            log.error("run %s: %s%s", self.record.state, self.record.error, advice, exc_info=fault)
        self.records.save(self.record)
        self.watcher.run_ended(self.record)
        close_log(self._log)
        self._leave_behind()
        if self._hold is not None:
            self._hold.close()

    def _leave_behind(self) -> None:
        """The log beside the twin, and the store's metrics. The twin is there by now: a full disk must not fail its run."""
        if self.record.state == "done" and not self.request.until:
            try:
                shutil.copyfile(self.log_file, Path(self.request.out) / "run.log")
            except OSError as e:
                log.warning("the log is not copied beside the twin: %s", e)
        write_metrics_after_run(self.store, self.records)

    def _resolved(self, every: tuple[Stage, ...]) -> Settings:
        """The settings. Raises ConfigError."""
        refuse_of_other_route(self.request.overrides(), self.route, (*every, *asked_stages()))
        settings = resolve(
            {s.name: s.Config for s in load_stages()},
            self.request.profile,
            Path(self.request.capture) / "twin.yaml",
            self.request.overrides(),
            packaged="TWIN_STAGES" not in os.environ,
        )
        if "TWIN_STAGES" not in os.environ:
            refuse_unfit(settings.stages, self.route)
        return settings

    def _with_asked(self) -> tuple[Stage, ...]:
        """The stages of the route, and those that the settings ask for."""
        every = load_stages(self.route)
        return every if "TWIN_STAGES" in os.environ else with_asked(every, self.settings.stages)

    def _check_needs(self) -> None:
        """Raises ConfigError, WeightsError, MachineError for what the settings ask for and is not there."""
        weights = {name for s in self.stages for name in s.needs_weights(self.settings.stages[s.name])}
        libraries = {name for s in self.stages for name in s.needs_libraries(self.settings.stages[s.name])}
        _check_weights(weights, libraries, self.settings.licence)
        for stage in self.stages:
            stage.check_machine(self.settings.stages[stage.name])

    def read_capture(self) -> ArtifactRef:
        """The capture as it is now; from here on its changes are noticed."""
        self.record.listing, self.record.changed = self._watch.begin(), ""
        self.record.marker = self._watch.marker
        self._tell_what_is_there()
        return capture_ref(Path(self.request.capture), self.store.root / "digests", route=self.route)

    def read_sources(self) -> dict[str, ArtifactRef]:
        """What the first stage reads, by kind: the capture, and the results of the sessions where it merges some."""
        capture = self.read_capture()
        return {SOURCE: capture} | (session_refs(capture.path, self.store) if self.route == "merge" else {})

    def _tell_what_is_there(self) -> None:
        """By names, headers and small files; `twin check` reads pictures too, as the first stage will."""
        if "TWIN_STAGES" in os.environ:
            return
        found = look_at(Path(self.request.capture), self.settings.stages[FIRST[self.route]], pictures=False)
        for line in found.lines():
            log.info("capture: %s", line)
        self.watcher.capture_looked_at(found)

    def has_to_begin_again(self, error: Exception | None = None) -> bool:
        """Whether the capture has changed since it was read: it was still being copied, say. Where it goes on changing, the record says so
        and the run goes on."""
        if isinstance(error, CaptureError):
            self._watch.let_it_arrive()
        if not (change := self._watch.change()):
            return False
        if not self._watch.may_begin_again:
            if not self.record.changed:
                log.warning(
                    "the capture goes on changing (%s): this twin is made of what was there, and does not count as done",
                    change,
                )
            self.record.changed = change
            return False
        self._say(f"the capture changed while it was read ({change}): this run begins again once it has settled")
        return True

    def begin_again(self) -> None:
        """Once the capture has settled; its own settings may have come meanwhile."""
        self._watch.wait()
        self.settings = self._resolved(load_stages(self.route))
        self.stages = stages_until(self._with_asked(), self.request.until)
        self._check_needs()
        for entry in self.record.stages.values():
            entry.state = "waiting"
        self.records.save(self.record)

    def _say(self, message: str) -> None:
        log.warning("%s", message)
        self.watcher.capture_changed(message)

    @property
    def log_file(self) -> Path:
        """What the stages said, in full."""
        return self.records.folder / f"{self.record.id}.log"

    def compute(self, stage: Stage, inputs: Mapping[str, ArtifactRef]) -> StageResult:
        """The stage's result, from the store or computed in a child process; recorded either way. One that died for want of memory is tried
        once more where it can lower its own needs."""
        try:
            return self._compute(stage, inputs, self.settings.stages[stage.name])
        except OutOfMemory as e:
            if (lower := with_less_memory(self.settings.stages[stage.name])) is None:
                raise
            self._say(
                f"{e.message}. Tried once more with {stage.name}.memory=auto, which lowers its settings as far as it takes"
            )
            return self._compute(stage, inputs, lower)

    def _compute(self, stage: Stage, inputs: Mapping[str, ArtifactRef], config: Any) -> StageResult:
        entry = self.record.stages[stage.name] = StageRecord(state="running")
        self.record.beyond.get("stages", {}).pop(stage.name, None)  # it told of the result before
        identity = identity_of(stage, inputs, config, self.settings.seed)
        entry.fingerprint = digest_mapping(identity)
        forced = stage.name in self._forced

        def computing() -> None:
            entry.why = (
                "asked for"
                if forced
                else self.store.set_aside.get(entry.fingerprint) or why_computed(identity, self._known)
            )
            log.info("%s: computing (%s)", stage.name, entry.why)
            self.watcher.stage_computing(stage.name, entry.why)

        job = StageJob(
            self.store,
            seed=self.settings.seed,
            threads=self.request.threads or share_of_cores(),
            force=forced,
            time_limit_s=self.request.time_limit_s,
            computing=computing,
            warm=self._warm,
            aside=self._pictures and self._pictures.aside,
            progress=lambda done, total, note: self.watcher.progress(stage.name, done, total, note),
        )
        self.records.save(self.record)
        self.watcher.stage_started(stage.name)
        started = time.monotonic()
        try:
            result = run_stage_in_child(stage, inputs, config, job)
        except BaseException as e:
            entry.state = "failed" if isinstance(e, Exception) else "interrupted"
            raise
        finally:
            self.leave_if_over()
            entry.seconds = round(time.monotonic() - started, 3)
        self._finish(stage.name, entry, result)
        return result

    def _finish(self, name: str, entry: StageRecord, result: StageResult) -> None:
        manifest = result.manifest
        entry.state, entry.cached = "done", result.cached
        entry.computed_in_s, entry.peak_memory_mb = manifest["seconds"], manifest["peak_memory_mb"]
        self._manifests[name], self._known = manifest, [manifest, *self._known]
        self._refs |= result.refs
        if self._pictures is not None:
            self._pictures.finished(name, next(iter(result.refs.values())).path.parent)
        self.records.save(self.record)
        how = "from the store" if entry.cached else f"computed in {in_words(entry.seconds)}, {entry.peak_memory_mb} MB"
        log.info("%s: %s", name, how)
        for warning in manifest["report"]["warnings"]:
            log.warning("%s: %s", name, warning)
        self.watcher.stage_finished(name, entry, list(manifest["report"]["warnings"]))

    def deliver(self) -> Path | None:
        """Fill the twin folder from what the stages made; None for a run that stops early. Where a better twin is kept, the folder is
        another one than asked for, which the record then names."""
        if self.request.until:
            return None
        self.leave_if_over()
        asked, source = Path(self.request.out), self._source()
        extra = {
            "source": source,
            "run": self.record.id,
            "capture": self.request.name,
            "profile": self.request.profile,
            "seed": self.settings.seed,
            "asked": {
                "settings": list(self.request.settings),
                "started": self.record.started,
                "marker": self.record.marker,
                "listing": self.record.listing,
                "changed": self.record.changed,
            },
            "seconds_wall": round(time.monotonic() - self._started, 3),
            "cached": [n for n, s in self.record.stages.items() if s.cached],
        }
        with self.store.lock_where_possible(twin_lock(asked)):
            out = place_of(asked, Path(self.request.capture), self.request.profile, source)
            assemble_twin(out, self._refs, self._manifests, extra, disk=self.store.disk)
        if out != asked:
            self.request = self.request.model_copy(update={"out": str(out)})
            self.record.request["out"] = str(out)
        return out

    def _source(self) -> str:
        """Digest of the capture, as the stages that read it found it."""
        found = (m["inputs"][SOURCE] for m in self._manifests.values() if SOURCE in m["inputs"])
        return next(found, "")


def _check_weights(names: set[str], libraries: set[str], licence: str) -> None:
    """Before the first stage, not after an hour. Raises ConfigError, WeightsError."""
    if licence == "commercial":
        refuse_non_commercial(names, libraries)
    for name in sorted(names):
        require(name)
        if "torch" in weights_entry(name).libraries:
            check_torch(f"the network {name}")


def _judge(record: RunRecord, error: BaseException | None) -> None:
    match error:
        case None:
            record.state = "done"
        case TwinError():
            record.state, record.error, record.advice = "failed", error.message, error.advice
        case StageFault():
            record.state, record.error = "failed", error.message
        case Exception():
            record.state, record.error = "failed", f"{type(error).__name__}: {error}"
        case _:
            record.state, record.error = "interrupted", "interrupted"
