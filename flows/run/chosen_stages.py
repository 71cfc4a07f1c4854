"""Which stages a run takes and which of them it computes again, as `--until`, `--from` and `--force` say."""

from __future__ import annotations

from flows.records.request import Reconstruction
from stages.base import Stage
from stages.core.errors import ConfigError
from stages.graph import downstream


def stages_until(every: tuple[Stage, ...], until: str | None) -> tuple[Stage, ...]:
    """The stages up to this one; all for None. Raises ConfigError for a name that none has."""
    if until is None:
        return every
    return every[: _index(every, until, "--until") + 1]


def forced_stages(every: tuple[Stage, ...], request: Reconstruction) -> set[str]:
    """Names of those to compute again. Raises ConfigError for a name that none has."""
    if request.force:
        return {s.name for s in every}
    if request.start_from is None:
        return set()
    _index(every, request.start_from, "--from")
    return set(downstream(request.start_from, every))


def _index(every: tuple[Stage, ...], name: str, option: str) -> int:
    names = [s.name for s in every]
    if name not in names:
        raise ConfigError(f"{option} {name}: there is no such stage", f"choose one of {', '.join(names)}")
    return names.index(name)
