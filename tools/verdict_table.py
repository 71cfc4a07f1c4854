"""What cases of tools/bench_verdict.py come to: verdict beside truth, expected beside true error.

A twin is off where its chamfer distance, aligned by the poses, is beyond 2 % of the object's longest side, or where it is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OFF_SHARE = 0.02
WITHIN = 1.5
"""an expected error within this factor of the true one is right"""
Case = Mapping[str, Any]


def is_off(case: Case) -> bool:
    """By the truth."""
    scores = case["scores"]
    return (
        "surface_pose_aligned" not in scores or not scores["watertight"] or _chamfer(case) > OFF_SHARE * case["size_mm"]
    )


def ratios(case: Case) -> tuple[float, float] | None:
    """Expected over true error, median and 95 %; None where nothing was expected or there is no score."""
    facts, scores = case["verdict"]["facts"], case["scores"].get("surface_pose_aligned")
    if scores is None or facts["error_median_mm"] is None:
        return None
    pairs = (
        (facts["error_median_mm"], scores["accuracy_median_mm"]),
        (facts["error_p95_mm"], scores["accuracy_p95_mm"]),
    )
    return tuple(expected / max(true, 1e-6) for expected, true in pairs)  # type: ignore[return-value]


def page(cases: Sequence[Case]) -> str:
    """Markdown: the counts, then a row per case."""
    made = [c for c in cases if "verdict" in c]
    usable = [c for c in made if c["verdict"]["word"] == "usable"]
    refused = [c for c in made if c["verdict"]["word"] == "do not use"]
    told = [r for c in made if c["verdict"]["word"] != "do not use" and (r := ratios(c))]
    near = [sum(1 / WITHIN <= r[k] <= WITHIN for r in told) for k in (0, 1)]
    lines = [
        f"{len(cases)} cases, {len(cases) - len(made)} of them stopped with a reason and made no twin.",
        "",
        f"- called *usable* and off: {sum(map(is_off, usable))} of {len(usable)}",
        f"- called *do not use* and right: {sum(not is_off(c) for c in refused)} of {len(refused)}",
        f"- expected error within a factor of {WITHIN} of the true one, of the {len(told)} not refused: median {near[0]}, 95 % {near[1]}",
        "",
        "| case | verdict | off? | chamfer, mm | expected / true median, mm | expected / true 95 %, mm | why |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_row(c) for c in cases])


def _row(case: Case) -> str:
    if "verdict" not in case:
        return f"| {case['case']} | none: stopped (exit code {case['exit_code']}) | | | | | |"
    verdict, scores = case["verdict"], case["scores"].get("surface_pose_aligned")
    facts, off = verdict["facts"], "yes" if is_off(case) else "no"
    if scores is None:
        return f"| {case['case']} | {verdict['word']} | {off} | no pose in common | | | {'; '.join(verdict['why'])} |"

    def pair(a, b):
        return f"{'–' if a is None else f'{a:.3g}'} / {b:.3g}"

    middle = pair(facts["error_median_mm"], scores["accuracy_median_mm"])
    most = pair(facts["error_p95_mm"], scores["accuracy_p95_mm"])
    return f"| {case['case']} | {verdict['word']} | {off} | {_chamfer(case):.2f} | {middle} | {most} | {'; '.join(verdict['why'])} |"


def _chamfer(case: Case) -> float:
    return case["scores"]["surface_pose_aligned"]["chamfer_mm"]
