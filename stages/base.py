"""What a stage is, and `run_stage`, the one way to run it: command line, flow, notebook and test all call this.

A stage reads its inputs through `ArtifactRef`s and writes one file or folder per output kind into `out`: the output named
`"disparity"` is the folder `out / "disparity"`, the output named `"rig.json"` is the file `out / "rig.json"`. Downstream stages get
`inputs["disparity"].path`. `pictures/` may be written too (small JPEGs named in the report); it is kept but no stage reads it.
"""

from __future__ import annotations

import dataclasses
import logging
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.disk_errors import disk_fault, store_error
from stages.core.errors import MachineError, StageError, TwinError
from stages.core.fingerprint import digest_mapping, plain
from stages.core.memory import lacks_memory, out_of_memory
from stages.core.parallel import usable_cores
from stages.core.store import ArtifactRef, Store
from stages.core.work import Progress, Work, nobody

if TYPE_CHECKING:
    from stages.core.aside import Aside

__all__ = [
    "ArtifactRef",
    "Progress",
    "Resources",
    "Stage",
    "StageContext",
    "StageError",
    "StageReport",
    "StageResult",
    "fingerprint_of",
    "identity_of",
    "inputs_of",
    "run_stage",
]

log = logging.getLogger(__name__)
Inputs = Mapping[str, ArtifactRef]


@dataclass(frozen=True)
class Resources:
    """What a stage needs at the least: memory in GB for its default settings, whether it can use a CUDA device, and what needs less."""

    memory_gb: float = 1.0
    gpu: bool = False
    lower: tuple[str, ...] = ()
    """settings of the stage that, lowered, make it need less memory"""


@dataclass(frozen=True)
class StageContext:
    """What the machine gives a run. Nothing here may change the result beyond the stage's stated tolerance."""

    threads: int = 0
    """worker threads; 0 = all cores this process may use"""
    seed: int = 0
    device: str = "cpu"
    """"cpu" or a GPU by torch's name for it (stages/core/devices.py)"""
    progress: Progress = nobody
    aside: Aside | None = None
    """where pictures of the work under way go, if anybody asked for them; they must change nothing"""

    @property
    def workers(self) -> int:
        """Threads to use, at least 1."""
        return self.threads or usable_cores()

    @property
    def work(self) -> Work:
        """What of this travels on to what computes."""
        return Work(self.workers, self.seed, self.progress)


@dataclass
class StageReport:
    """What a stage says of its result: figures with the unit in the key, warnings in plain words, small pictures."""

    method: str = "default"
    reason: str = ""
    """why `method: auto` chose it"""
    metrics: dict[str, float | int | str | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    """(caption, path relative to the stage's output folder), JPEG, PNG or WebP up to 150 kB"""
    frames: dict[str, int] = field(default_factory=dict)
    """count of frames by status"""


class Stage:
    """A step of the pipeline, which inherits what it has no answer of its own to; see stages/<name>/stage.py for each."""

    name: str
    version: int
    needs: Resources
    Config: type
    inputs: tuple[str, ...]
    inputs_where_made: tuple[str, ...] = ()
    """kinds that are read in runs that make them, and count for the fingerprint only there"""
    outputs: tuple[str, ...]

    def check(self, inputs: Inputs, config: Any) -> None:
        """Fail before any work: files, weights, memory. Raises TwinError."""

    def run(self, inputs: Inputs, config: Any, out: Path, context: StageContext) -> StageReport:
        """Compute and write every output below `out`."""
        raise NotImplementedError

    def asked_for(self, config: Any) -> bool:
        """Whether the settings want it, of a stage that is in no route by itself."""
        return True

    def check_machine(self, config: Any) -> None:
        """Before the first stage of a run: raises MachineError for what the settings ask for and this machine lacks."""

    def needs_weights(self, config: Any) -> tuple[str, ...]:
        """Names in weights/registry.yaml that the settings use, whether they are there or not; `licence: commercial` refuses by them."""
        return ()

    def needs_libraries(self, config: Any) -> tuple[str, ...]:
        """Names of optional libraries that the settings use; `licence: commercial` refuses by them too."""
        return ()

    def card_gb(self, config: Any) -> float:
        """GB of a GPU's memory that the settings take where the stage computes on one; 0 where it does not, on this machine."""
        return 0.0

    def weights_used(self, config: Any) -> dict[str, str]:
        """{name: sha256} of the weights that decide the result. Raises WeightsError where one is missing."""
        return {}

    def auto_choice(self, config: Any) -> tuple[str, str] | None:
        """(method, reason): what `method: auto` picks on this machine, as `twin doctor` prints it; None where there is no choice."""
        return None


@dataclass(frozen=True)
class StageResult:
    """A finished stage: its outputs by kind, whether they came from the store, and its manifest."""

    refs: dict[str, ArtifactRef]
    cached: bool
    manifest: dict[str, Any]


def inputs_of(stage: Stage, made: Inputs) -> dict[str, ArtifactRef]:
    """What the stage reads of all that is made: its inputs, and of its `inputs_where_made` those that are there."""
    more = (k for k in stage.inputs_where_made if k in made)
    return {k: made[k] for k in (*stage.inputs, *more)}


def fingerprint_of(stage: Stage, inputs: Inputs, config: Any, seed: int = 0) -> str:
    """sha256 of stage name, version, the settings it reads, seed, digests of its inputs and hashes of the weights it will use."""
    return digest_mapping(identity_of(stage, inputs, config, seed))


def run_stage(
    stage: Stage, inputs: Inputs, config: Any, store: Store, context: StageContext = StageContext(), force: bool = False
) -> StageResult:
    """The stage's result from the store, or computed under its lock and published atomically.

    Raises TwinError (with advice) for anything a user can mend; other exceptions are faults of the program.
    """
    inputs = inputs_of(stage, inputs)
    identity = identity_of(stage, inputs, config, context.seed)
    fingerprint = digest_mapping(identity)
    if not force and (manifest := store.find(stage.name, fingerprint)) is not None:
        return StageResult(store.refs(stage.name, fingerprint, manifest), True, manifest)
    with store.lock(fingerprint):
        # another process may have made it while this one waited
        if not force and (manifest := store.lookup(stage.name, fingerprint)) is not None:
            return StageResult(store.refs(stage.name, fingerprint, manifest), True, manifest)
        stage.check(inputs, config)
        with store.workspace(fingerprint) as out:
            started = time.perf_counter()
            report = _run(stage, inputs, config, out, context=context)
            record = {
                **identity,
                "report": plain(report),
                "seconds": round(time.perf_counter() - started, 3),
                "peak_memory_mb": _peak_memory_mb(),
                "software": {"python": platform.python_version(), "machine": platform.machine()},
            }
            manifest = store.publish(stage.name, fingerprint, out, stage.outputs, record=record, replace=force)
    return StageResult(store.refs(stage.name, fingerprint, manifest), False, manifest)


def _run(stage: Stage, inputs: Inputs, config: Any, out: Path, context: StageContext) -> StageReport:
    try:
        return stage.run(inputs, config, out, context)
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        raise MachineError(
            f"what is asked of {stage.name} needs torch, which is not installed",
            "pip install 'stereotwin[torch]', or leave the setting out that asks for it",
        ) from e
    except OSError as e:
        raise disk_fault(e, out) or store_error(e, out) from e
    except MemoryError as e:
        raise out_of_memory(f"{stage.name} ran out of memory", _peak_memory_mb(), what_to_lower(stage, config)) from e


def what_to_lower(stage: Stage, config: Any) -> tuple[str, ...]:
    """The settings that make the stage need less memory, of those that have an effect with its method; smaller pictures always help."""
    method = getattr(config, "method", "auto")
    only_for = (
        {f.name: f.metadata.get("only_for", ()) for f in dataclasses.fields(config)}
        if dataclasses.is_dataclass(config)
        else {}
    )
    own = [
        f"{stage.name}.{k}"
        for k in stage.needs.lower
        if method == "auto" or not only_for.get(k) or method in only_for[k]
    ]
    return (*own, "rectify.max_width")


def trouble_of_the_machine(error: BaseException, stage: Stage, config: Any, store: Store) -> TwinError | None:
    """What an unforeseen error of a stage says if memory or the disk is behind it, whichever library raised it; None if it is a fault."""
    if lacks_memory(error):
        return out_of_memory(f"{stage.name} ran out of memory", _peak_memory_mb(), what_to_lower(stage, config))
    return disk_fault(error, store.root)


def identity_of(stage: Stage, inputs: Inputs, config: Any, seed: int = 0) -> dict[str, Any]:
    """All that decides a result, as plain data; the manifest repeats it, and its digest is the fingerprint."""
    weights = stage.weights_used(config)
    return {
        "stage": stage.name,
        "version": stage.version,
        "settings": plain(config),
        "seed": seed,
        "inputs": {k: ref.fingerprint for k, ref in sorted(inputs_of(stage, inputs).items())},
        "weights": plain(weights),
    }


def _peak_memory_mb() -> int:
    """Peak resident memory of this process so far; a stage runs in a process of its own, so this is the stage's.

    VmHWM where there is one: getrusage counts in what the parent held at the moment it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) // 1024
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
