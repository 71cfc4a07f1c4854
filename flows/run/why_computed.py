"""Why a stage was computed: its identity (settings, inputs, version, weights, seed) against the nearest earlier result of the same stage.

An input that differs is followed to the stage that made it, until a setting, a version, a weight or the capture itself is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.store import Store

Identity = Mapping[str, Any]
"""a manifest, or what `stages.base.identity_of` returns"""


@dataclass(frozen=True)
class Difference:
    """One thing that differs: `what` in words such as "depth.method", and the two values."""

    what: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what} changed from {_show(self.before)} to {_show(self.now)}"


def why_computed(identity: Identity, known: Sequence[Identity]) -> str:
    """One sentence. `known`: manifests of all stages that this capture's runs have made so far, newest first."""
    earlier = [m for m in known if m["stage"] == identity["stage"]]
    if not earlier:
        return "no earlier result for this capture"
    found = differences(identity, earlier, known)
    return "; ".join(map(str, found)) if found else "its earlier result is gone from the store or was damaged"


def differences(identity: Identity, earlier: Sequence[Identity], known: Sequence[Identity]) -> list[Difference]:
    """What differs between `identity` and the nearest of `earlier` (same stage), traced back through the makers among `known`."""
    nearest = min(earlier, key=lambda m: len(_direct(m, identity)))
    makers = {(kind, digest): m for m in reversed(known) for kind, digest in m["outputs"].items()}
    return _roots(nearest, identity, makers)


def known_manifests(store: Store, fingerprints: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Manifests of (stage, fingerprint) pairs that are still in the store, each once, in order."""
    found = (store.manifest(stage, fingerprint) for stage, fingerprint in dict.fromkeys(fingerprints) if fingerprint)
    return [m for m in found if m is not None]


def _direct(before: Identity, now: Identity) -> list[Difference]:
    """Differences of two identities of one stage, inputs by their digests."""
    out = []
    if before["version"] != now["version"]:
        out.append(Difference(f"{now['stage']} version", before["version"], now["version"]))
    if before["seed"] != now["seed"]:
        out.append(Difference("seed", before["seed"], now["seed"]))
    for part, label in (("settings", f"{now['stage']}."), ("weights", f"{now['stage']} weights "), ("inputs", "")):
        a, b = before[part], now[part]
        out += [Difference(label + k, a.get(k), b.get(k)) for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
    return out


def _roots(before: Identity, now: Identity, makers: Mapping[tuple[str, str], Identity]) -> list[Difference]:
    out: list[Difference] = []
    for d in _direct(before, now):
        out += [c for c in (_causes(d, makers) if d.what in now["inputs"] else [d]) if c not in out]
    return out


def _causes(changed: Difference, makers: Mapping[tuple[str, str], Identity]) -> list[Difference]:
    """Why an input differs: the differences of the two results that made it, or the input itself when they are not known."""
    a, b = makers.get((changed.what, changed.before)), makers.get((changed.what, changed.now))
    if a is not None and b is not None and (deeper := _roots(a, b, makers)):
        return deeper
    label = "the content of the capture" if changed.what == "capture" else f"input {changed.what}"
    return [Difference(label, changed.before, changed.now)]


def _show(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) >= 40 and all(c in "0123456789abcdef" for c in text) else text
