"""The verdict: usable, partial, or do not use.

Each rule compares one fact with two thresholds: beyond the first the twin is partial, beyond the second it is not to be used. They were
set on rendered captures with known truth; `make bench-verdict` compares verdicts and expected errors with the truth again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stages.core.fingerprint import plain
from stages.core.verdict.facts import Facts

USABLE, PARTIAL, DO_NOT_USE = "usable", "partial", "do not use"
WORDS = (USABLE, PARTIAL, DO_NOT_USE)
VERSION = 2
LEAST_FRAMES = 6
"""fewer frames are too few for the stages to check each other"""
_MISSING_FEW, _MISSING_MANY = 0.5, 0.75
"""share of the surface: one side filmed with care (a relief, a board) is worth having; a turn that broke off after a few frames is not"""
_DISAGREEING = 3.0
"""usual differences: nearly twice what right poses give (`python -m tools.bench_disagreement`)"""


@dataclass(frozen=True)
class Rule:
    """`text` applies beyond `doubt`; beyond `bad` it is reason enough not to use the twin."""

    value: float | None
    doubt: float
    bad: float
    text: str

    def level(self) -> int:
        """0 fine or not known, 1 doubt, 2 bad."""
        return 0 if self.value is None else int(self.value > self.doubt) + int(self.value > self.bad)


@dataclass(frozen=True)
class Verdict:
    """word: one of WORDS; why: the reasons, worst first; line: all in one sentence."""

    word: str
    why: tuple[str, ...]
    facts: Facts

    @property
    def line(self) -> str:
        """For people: the word, the reasons, the error to be expected."""
        return f"{self.word}: {'; '.join(self.why)}. {self.expected}"

    @property
    def expected(self) -> str:
        """The error to be expected where cameras looked."""
        f = self.facts
        if f.error_median_mm is None or f.error_p95_mm is None:
            return "Expected error: unknown"
        if self.word == DO_NOT_USE:
            return f"Expected error: more than {_length(f, f.error_p95_mm)}, how much cannot be told"
        return f"Expected error where it was seen: {_length(f, f.error_median_mm)} (95 %: {_length(f, f.error_p95_mm)})"

    @property
    def whole(self) -> bool:
        """Closed and seen well enough for its size to be the object's; else the size is a lower bound."""
        return self.word == USABLE

    def record(self) -> dict[str, Any]:
        """Plain data for run.json."""
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in plain(self.facts).items()}
        facts = {**rounded, "missing_share": round(self.facts.missing_share, 4)}
        return {"version": VERSION, "word": self.word, "line": self.line, "why": list(self.why), "facts": facts}


def judge(facts: Facts) -> Verdict:
    """The verdict on what is known."""
    found = sorted(((r.level(), r) for r in _rules(facts) if r.level()), key=lambda x: -x[0])
    why = tuple(r.text for _, r in found) or (_fine(facts),)
    return Verdict(WORDS[max((level for level, _ in found), default=0)], why, facts)


def _rules(f: Facts) -> Iterator[Rule]:
    def percent(share):
        return f"{100 * (share or 0):.0f} %"

    yield Rule(1 - f.posed / max(f.frames, 1), 0.1, 0.5, f"{f.posed} of {f.frames} frames have a pose that is certain")
    yield Rule(LEAST_FRAMES - f.posed, 0, LEAST_FRAMES - 3, f"only {f.posed} frames")
    missing = f"about {percent(f.missing_share)} of the object's surface is missing or was never seen{_where(f)}"
    yield Rule(f.missing_share, 0.25, _MISSING_FEW if f.posed < LEAST_FRAMES else _MISSING_MANY, missing)
    yield Rule(f.open_edges, 0, float("inf"), f"the mesh is open (rim of {_length(f, f.rim_mm, 3)})")
    yield Rule(
        f.uncovered_share,
        0.05,
        0.15,
        f"the pictures show the object where the twin has nothing ({percent(f.uncovered_share)})",
    )
    yield Rule(f.masks_doubtful_share, 0.2, 0.6, f"{percent(f.masks_doubtful_share)} of the masks are doubtful")
    distrust = None if f.mask_trust is None else 1 - f.mask_trust
    yield Rule(distrust, 0.4, 0.6, f"the masks are little trusted (median {f.mask_trust or 0:.2f})")
    yield Rule(
        f.disagreement_ratio,
        _DISAGREEING,
        float("inf"),
        f"some pictures show the object elsewhere than others ({f.disagreement_ratio or 0:.1f} times the usual difference)",
    )
    yield Rule(
        None if f.psnr_db is None else -f.psnr_db,
        -22,
        -18,
        f"the twin does not look like the pictures ({f.psnr_db or 0:.1f} dB)",
    )
    yield Rule(
        _of_size(f.error_median_mm, f),
        0.01,
        0.03,
        f"expected error of {percent(_of_size(f.error_median_mm, f))} of its size",
    )


def _length(f: Facts, mm: float, digits: int = 2) -> str:
    """With its unit."""
    if not f.metric:
        return f"{mm / 1000:.{digits}g} units"
    return f"{mm:.0f} mm" if mm >= 10**digits else f"{mm:.{digits}g} mm"


def _of_size(error_mm: float | None, f: Facts) -> float | None:
    return None if error_mm is None or not f.size_mm else error_mm / f.size_mm


def _where(f: Facts) -> str:
    """From which side it would have to be filmed, where up is known."""
    if f.unseen_direction is None or not f.up_is_known or f.directions_unseen_share < 0.1:
        return ""
    up = f.unseen_direction[1]
    return ", mostly from below" if up < -0.7 else ", mostly from above" if up > 0.7 else ", mostly from one side"


def _fine(f: Facts) -> str:
    closed = "closed" if not f.open_edges else "open"
    return f"{closed}, {f.posed} of {f.frames} frames posed, {100 * f.missing_share:.0f} % of its surface never seen"
