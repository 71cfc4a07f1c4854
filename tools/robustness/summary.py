"""The results of many seeds as a page: the count, each seed's reason, what failures have in common, and trust against J."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

KINDS = ("good", "honest", "wrong")
TRUST_EDGES = (0.0, 0.2, 0.45, 0.6, 0.7, 0.8, 0.9, 0.97, 1.0001)


def page(results: Sequence[dict[str, Any]], head: str) -> str:
    """Markdown; `head` says command, machine, date and commit."""
    parts = [
        "# Robustness over random captures",
        head,
        count(results),
        by_property(results),
        trust_against_J(results),
        each_seed(results),
    ]
    return "\n\n".join(parts) + "\n"


def count(results: Sequence[dict[str, Any]]) -> str:
    """How many are good, honest and wrong."""
    kinds, n = Counter(r["verdict"] for r in results), len(results)
    share = "; ".join(f"**{k}** {kinds[k]} ({100 * kinds[k] / max(n, 1):.0f} %)" for k in KINDS)
    wall, cpu = (sum(r[name] for r in results) / max(n, 1) for name in ("seconds", "cpu_s"))
    return f"{n} seeds: {share}. A run takes {wall:.0f} s; a seed, with its rendering, {cpu:.0f} s of one core."


def each_seed(results: Sequence[dict[str, Any]]) -> str:
    """A row per seed."""
    rows = [
        "| seed | verdict | drawn | posed; worst mm | J mean / min | trust | chamfer mm | why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in sorted(results, key=lambda r: r["seed"]):
        posed = f"{r['posed']}/{r['frames']}; {_or_dash(r['pose_error_max_mm'])}" if "frames" in r else "-"
        J = f"{r['J_mean']} / {r['J_min']}" if "frames" in r else "-"
        why = "; ".join(r["reasons"]).replace("\n", " ").replace("|", "/")
        drawn, chamfer = ", ".join(r["properties"].values()), _or_dash(r.get("twin", {}).get("chamfer_mm"))
        rows.append(
            f"| {r['seed']} | {r['verdict']} | {drawn} | {posed} | {J} | {r.get('trust_median', '-')} | {chamfer} | {why} |"
        )
    return "## Each seed\n\n" + "\n".join(rows)


def by_property(results: Sequence[dict[str, Any]]) -> str:
    """Share of good and wrong seeds by each drawn property."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for r in results:
        for name, value in r["properties"].items():
            groups[name, value].append(r["verdict"])
    rows = ["| property | | seeds | good % | wrong % |", "|---|---|---|---|---|"]
    for (name, value), verdicts in sorted(groups.items()):
        good, wrong = (100 * verdicts.count(k) / len(verdicts) for k in ("good", "wrong"))
        rows.append(f"| {name} | {value} | {len(verdicts)} | {good:.0f} | {wrong:.0f} |")
    return "## By what was drawn\n\n" + "\n".join(rows)


def trust_against_J(results: Sequence[dict[str, Any]]) -> str:
    """J of the frames in bins of the trust that they were given: where trust is high, J must be."""
    pairs = np.array([(f["trust"], f["J"]) for r in results for f in r["per_frame"]]).reshape(-1, 2)
    rows = ["| trust | frames | J mean | J 10th percentile | J < 80, % |", "|---|---|---|---|---|"]
    for low, high in pairwise(TRUST_EDGES):
        J = pairs[(pairs[:, 0] >= low) & (pairs[:, 0] < high), 1]
        if len(J):
            bad = 100 * (J < 80).mean()
            rows.append(
                f"| {low:.2f} to {min(high, 1):.2f} | {len(J)} | {J.mean():.1f} | {np.percentile(J, 10):.1f} | {bad:.1f} |"
            )
    return "## Trust against J\n\n" + "\n".join(rows)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
