"""The section "Measured" of docs/operating.md, from the figures of bench_operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KINDS = ("without Prefect", "embedded", "running server")
BEGIN, END = "<!-- figures of `make bench-operations`: not edited by hand -->", "<!-- end of figures -->"


def write_section(known: dict[str, Any], page: Path) -> None:
    """Replace what stands between the marks."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n\n".join(write(known[name]) for name, write in SECTIONS.items() if name in known)
    page.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")


def _overhead(found: dict) -> str:
    rows = [[kind, f"{found[kind]['wall_s']:.1f}", f"{found[kind]['cpu_s']:.1f}"] for kind in KINDS]
    return (
        f"The same command when all eight results are in the store, so that only orchestration is left (median of "
        f"{found['embedded']['repeats']}; {_where(found)}):\n\n" + _table(["run", "wall, s", "processor, s"], rows)
    )


def _served(found: dict) -> str:
    rows = [
        [words, f"{found[name]['median']:.1f}", f"{found[name]['max']:.1f}"]
        for name, words in (
            ("computing_s", "computing of its stages"),
            ("processes_s", "their processes beside it"),
            ("flow_s", "the flow beside them"),
            ("idle_s", "from its end to the start of the next run"),
        )
    ]
    return (
        f"A served run of a tiny capture, all stages computed, the next one waiting, one at a time ({found['repeats']} runs; "
        f"{_where(found)}):\n\n" + _table(["seconds", "median", "most"], rows)
    )


def _nights(found: dict) -> str:
    return (
        f"{found['nights']} nights of {found['night_s']:.0f} s each, toy stages, {found['captures']} captures that arrive in between: "
        f"{found['captures_with_one_run']} captures with exactly one run, {found['runs']} runs, {found['twins']} twins; a batch began "
        f"{found['late_s']['median']:.1f} s after its time, at most {found['late_s']['max']:.1f} s ({_where(found)})."
    )


def _ready(found: dict) -> str:
    return (
        f"From `touch READY` to the run's state Running: {found['to_running_s']['median']:.1f} s, at most "
        f"{found['to_running_s']['max']:.1f} s; to its first stage {found['to_first_stage_s']['median']:.1f} s "
        f"({found['repeats']} times; {_where(found)})."
    )


def _cancel(found: dict) -> str:
    return (
        f"From Cancel to the end of the stage's process: {found['to_process_gone_s']['median']:.1f} s, at most "
        f"{found['to_process_gone_s']['max']:.1f} s; the run says so after {found['to_cancelled_s']['median']:.1f} s. "
        f"Unfinished results left in the store: {found['work_folders_left']} ({found['repeats']} times; {_where(found)})."
    )


def _kills(found: dict) -> str:
    rows = []
    for name, drill in found.items():
        if isinstance(drill, dict):
            again = "not interrupted" if drill["running_again_s"] is None else f"{drill['running_again_s']:.1f}"
            twice = [stage for stage, n in drill["executions"].items() if n > 1]
            rows.append([name, f"{drill['back_s']:.1f}", again, str(drill["attempts"]), ", ".join(twice) or "none"])
    return (
        f"kill -9 while the stage surface computes; every run ended Completed ({_where(found)}). For stage and flow process, Retry is "
        'pressed as soon as the run says Failed or Crashed; everything else mends itself. "Everything" is a power cut: all processes '
        "at once, then `twin serve` again.\n\n"
        + _table(
            ["killed", "back after, s", "stage computes again after, s", "attempts", "stages computed twice"], rows
        )
    )


def _batch(found: dict) -> str:
    memory = "; ".join(
        f"{name} {m['before']} -> {m['after']} (highest {m['highest']})" for name, m in found["memory_mb"].items()
    )
    states = ", ".join(f"{n} {state}" for state, n in found["states"].items())
    trouble = ", ".join(f"{n} x {what}" for what, n in found["trouble_in_logs"].items()) or "none"
    disk = ", ".join(f"{name} {mb:.0f}" for name, mb in found["disk_mb"].items())
    cpu = ", ".join(f"{name} {s:.1f}" for name, s in found["cpu_s_per_capture"].items())
    rows = [
        ["flow runs", states],
        ["captures with exactly one run", str(found["captures_with_one_run"])],
        ["twins", str(found["twins"])],
        ["stages computed twice", ", ".join(found["stages_computed_twice"]) or "none"],
        ["errors in the logs of server and workers", trouble],
        ["seconds per capture", f"{found['seconds_per_capture']:.1f}"],
        ["of it processor seconds", cpu],
        ["resident memory, MB", memory],
        ["disk at the end, MB", disk],
    ]
    return (
        f"A batch of {found['captures']} tiny captures, one of them bad, {found['runs_at_once']} at a time ({_where(found)}):\n\n"
        + _table(["", ""], rows)
    )


def _where(found: dict) -> str:
    return f"{found['date']}, {found['machine']}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


SECTIONS = {
    "overhead": _overhead,
    "served": _served,
    "ready": _ready,
    "cancel": _cancel,
    "kills": _kills,
    "nights": _nights,
    "batch": _batch,
}
