"""Runs the same stages and store as the command line, without Prefect's server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from stages.core.fingerprint import plain
from stereotwin.twin import Twin

log = logging.getLogger(__name__)
Profile = Literal["preview", "standard", "quality"]
Progress = Callable[[str, int, int, str], None]
"""called with (stage, done, total, note)"""
Settings = Mapping[str, Any] | Sequence[str]
"""{"stage.key": value}, or "stage.key=value" texts as on the command line"""


def reconstruct(
    capture: str | Path,
    out: str | Path,
    profile: Profile = "standard",
    box: tuple[float, float, float, float] | None = None,
    settings: Settings = (),
    progress: Progress | None = None,
) -> Twin:
    """Reconstruct a capture folder into the twin folder `out`; stages whose result is in the store are not computed again.

    box: x0, y0, x1, y1 of the object in the first left picture, px. Raises CaptureError, ConfigError, StageError, StoreError, WeightsError,
    all of them TwinError with `message` and `advice`.
    """
    return Twin.open(_run(capture, out, profile, box, settings=settings, progress=progress, until=None))


def run_until(
    stage: str,
    capture: str | Path,
    profile: Profile = "standard",
    box: tuple[float, float, float, float] | None = None,
    settings: Settings = (),
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Run the stages up to `stage` and return where their outputs lie in the store, by kind (docs/artifacts.md). Read only."""
    from flows.records.run_record import RunRecords
    from stages.core.store import Store

    _run(capture, Path(capture), profile, box, settings=settings, progress=progress, until=stage)
    store, found = Store(), {}
    record = RunRecords(store).of_capture(Path(capture).expanduser().resolve())[0]
    for name in record.done():
        folder = store.artifact_dir(name, record.stages[name].fingerprint)
        manifest = store.manifest(name, record.stages[name].fingerprint) or {"outputs": {}}
        found |= {kind: folder / kind for kind in manifest["outputs"]}
    return found


def _run(capture, out, profile, box, settings, progress, until) -> str:
    from flows.records.request import Reconstruction
    from flows.run.before_work import check_places
    from flows.run.run import Beside
    from flows.serve.session import reconstruct_here

    source, target = (Path(p).expanduser().resolve() for p in (capture, out))
    check_places(str(source), None if until else str(target))
    request = Reconstruction(
        capture=str(source), out=str(target), profile=profile, box=box, settings=_texts(settings), until=until
    )
    return reconstruct_here(request, Beside(_watcher(progress)), log.warning, use_prefect=False) or ""


def _watcher(progress: Progress | None):
    from flows.run.watcher import Watcher

    class Told(Watcher):
        def progress(self, stage: str, done: int, total: int, note: str) -> None:
            if progress is not None:
                progress(stage, done, total, note)

    return Told()


def _texts(settings: Settings) -> tuple[str, ...]:
    if not isinstance(settings, Mapping):
        return tuple(settings)
    return tuple(f"{key}={_text(value)}" for key, value in settings.items())


def _text(value: Any) -> str:
    value = plain(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
