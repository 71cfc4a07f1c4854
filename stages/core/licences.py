"""Which licences a run stands on: the installed distributions it needs, and its weights. `licence: commercial` refuses by this list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from stages.core.errors import ConfigError
from stages.core.weights import Entry, entry

PROJECT = "stereotwin"
_NON_COMMERCIAL = re.compile(
    r"non-?commercial|cc[- ]by(-|[- ]sa-)?nc|research (use|only|purposes)|1-way commercial", re.IGNORECASE
)
_KNOWN = {"nvdiffrast": "NVIDIA Source Code Licence (1-way commercial): non-commercial use only"}
"""Licences of distributions that do not state them in their metadata."""
_INSTEAD = {"nvdiffrast": "texture.refine=raycast, or the default none"}


@dataclass(frozen=True)
class Licence:
    """One library or one file of weights."""

    kind: str
    """library or weights"""
    name: str
    version: str
    text: str
    """"" where it is not stated"""
    commercial: bool
    """False only where the licence is known to forbid commercial use; an unstated one is shown as such, for a human to read"""
    instead: str = ""


def of_run(weights: Iterable[str], libraries: Iterable[str] = ()) -> list[Licence]:
    """Of everything a run with these weights and optional libraries (by name) stands on: the weights first, then libraries by name."""
    entries = [entry(name) for name in sorted(set(weights))]
    needed = {name for e in entries for name in e.libraries} | set(libraries)
    found = of_libraries({PROJECT, *needed})
    missing = sorted(
        _KNOWN.keys() & needed - {l.name for l in found}
    )  # asked for, not installed: its licence is known all the same
    return (
        [of_weights(e) for e in entries]
        + found
        + [Licence("library", n, "", _KNOWN[n], commercial=False, instead=_INSTEAD.get(n, "")) for n in missing]
    )


def of_weights(wanted: Entry) -> Licence:
    """As the registry states it."""
    return Licence(
        "weights",
        wanted.name,
        (wanted.sha256 or "")[:12],
        wanted.licence,
        commercial=wanted.commercial,
        instead=wanted.instead,
    )


def of_libraries(roots: Iterable[str]) -> list[Licence]:
    """The installed distributions that `roots` and what they require need on this machine, without the project itself."""
    return [_of_distribution(d) for name, d in sorted(_closure(roots).items()) if name != PROJECT]


def refuse_non_commercial(weights: Iterable[str], libraries: Iterable[str] = ()) -> None:
    """Raises ConfigError that names everything not licensed for commercial use, and what to use instead."""
    refused = [l for l in of_run(weights, libraries) if not l.commercial]
    if not refused:
        return
    named = "; ".join(f"{l.kind} {l.name} ({l.text})" for l in refused)
    advice = "; ".join(f"instead of {l.name} use {l.instead}" for l in refused if l.instead) or "leave them out"
    raise ConfigError(
        f"licence: commercial does not permit {named}", f"{advice}; or set licence=any if the use is not commercial"
    )


def _of_distribution(d: metadata.Distribution) -> Licence:
    name = _canonical(d.metadata["Name"])
    text = _KNOWN.get(name) or _stated(d)
    return Licence(
        "library", name, d.version, text, commercial=not _NON_COMMERCIAL.search(text), instead=_INSTEAD.get(name, "")
    )


def _stated(d: metadata.Distribution) -> str:
    """The SPDX expression, else the classifiers, else the first line of the licence field."""
    get = d.metadata.get_all
    if expression := get("License-Expression"):
        return expression[0]
    licences = [c for c in get("Classifier") or () if c.startswith("License ::") and c != "License :: OSI Approved"]
    classifiers = [c.rpartition(" :: ")[2] for c in licences]
    free = [line.strip() for line in (get("License") or [""])[0].splitlines() if line.strip()]
    return " / ".join(classifiers) or (free[0][:80] if free else "")


def _closure(roots: Iterable[str]) -> dict[str, metadata.Distribution]:
    """Installed distributions reachable through requirements that apply here; what is not installed cannot have been used."""
    from packaging.requirements import Requirement

    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, frozenset[str]()) for name in roots]
    while waiting:
        name, extras = waiting.pop()
        name = _canonical(name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            d = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = d
        for text in d.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras or {""}):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
