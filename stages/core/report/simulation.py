"""What the report and the Prefect artifact say of the files for simulators: each number with how it came about, the drop, the verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

ROWS = (("mass", 1.0, "kg"), ("volume", 1e6, "cm³"), ("density", 1.0, "kg/m³"), ("centre_of_mass", 1e3, "mm"),
        ("principal_moments", 1e6, "kg mm²"), ("static_friction", 1.0, ""), ("dynamic_friction", 1.0, ""),
        ("restitution", 1.0, ""))  # fmt: skip
"""(key of physics.json, factor, unit shown)"""
Table = list[tuple[str, str, str]]


def mass_table(physics: Mapping[str, Any]) -> Table:
    """(number, value with unit, how) of physics.json; empty where there are no files for simulators."""
    out = []
    for key, factor, unit in ROWS if physics.get("files") else ():
        found = physics[key]
        values = found["value"] if isinstance(found["value"], list) else [found["value"]]
        out.append(
            (key.replace("_", " "), f"{', '.join(f'{factor * v:.4g}' for v in values)} {unit}".strip(), found["how"])
        )
    return out


def read_validation(twin: Path) -> list[dict[str, Any]]:
    """Of validation.json in the twin folder."""
    path = twin / "validation.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def verdict_table(physics: Mapping[str, Any], validation: list[dict[str, Any]]) -> Table:
    """(who, verdict, what it says) of each validator, and of the drop."""
    out = []
    for v in validation:
        word = {True: "passed", False: "found faults", None: "not run"}[v["passed"]]
        out.append((f"{v['name']} {v['version']}".strip(), word, "; ".join(v["says"])))
    if drop := physics.get("drop"):
        faults = [f"{d['pose']}: {d['fault']}" for d in drop["drops"] if d["fault"]]
        word = "not run" if not drop["drops"] else "found faults" if faults else "passed"
        out.append(("drop test", word, "; ".join([drop["says"], *faults])))
    return out


def section(physics: Mapping[str, Any] | None, twin: Path) -> str:
    """HTML; "" for a twin without the stage's record and without verdicts."""
    physics = physics or {}
    validation = read_validation(twin)
    if not physics and not validation:
        return ""
    if physics and not physics.get("files"):
        first = f'<p class="soft">No files for simulators: {escape(str(physics.get("reason", "")))}.</p>'
    else:
        first = _html(("number", "value", "how"), mass_table(physics))
    proof = _html(("proof", "verdict", "says"), verdict_table(physics, validation))
    return f'<section id="simulation"><h2>Simulation</h2>{first}{proof}</section>'


def markdown(physics: Mapping[str, Any]) -> str:
    """The mass table and the drop, for the Prefect artifact."""
    rows = [("number", "value", "how"), ("---", "---", "---"), *mass_table(physics)]
    table = "\n".join(f"| {' | '.join(c.replace('|', '/') for c in row)} |" for row in rows) if len(rows) > 2 else ""
    drop = physics.get("drop", {"says": "", "drops": []})
    poses = "\n".join(f"- {d['pose']}: {d['fault'] or 'at rest'} after {d['seconds']:g} s" for d in drop["drops"])
    return "\n\n".join(filter(None, [table, drop["says"] and f"**Drop:** {drop['says']}", poses]))


def _html(head: tuple[str, str, str], rows: Table) -> str:
    if not rows:
        return ""

    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    return f'<div class="sideways"><table>{line(head, "th")}{"".join(line(r, "td") for r in rows)}</table></div>'
