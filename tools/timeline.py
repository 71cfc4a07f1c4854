"""Cores busy over time in a reconstruction, stage by stage: where the machine idles. For tools/profile_run.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

EVERY_S = 0.25
BEGUN = re.compile(r"^(\S+ \S+) INFO flows\.run\.run: (\w+): computing", re.MULTILINE)
ENDED = re.compile(r"^(\S+ \S+) INFO flows\.run\.run: (\w+): computed in", re.MULTILINE)
IDLE_BELOW = 0.8
"""of the cores: below that share a moment counts as serial"""
WIDTH, HEIGHT, LEFT, TOP = 1100, 220, 40, 46
COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377")


@dataclass(frozen=True)
class Timeline:
    """`times` (N,) s since the epoch; `spent` (N,) s of all cores until then; `stages` (name, begin, end), s since the epoch."""

    times: np.ndarray
    spent: np.ndarray
    stages: list[tuple[str, float, float]]
    cores: int

    def busy(self) -> np.ndarray:
        """(N-1,) cores that computed between two samples."""
        return np.diff(self.spent) / np.maximum(np.diff(self.times), 1e-6)

    def figures(self) -> dict[str, dict[str, float]]:
        """By stage: wall and core seconds, cores busy on average, seconds in which fewer than 0.8 of the cores were."""
        middle, step, busy = (self.times[1:] + self.times[:-1]) / 2, np.diff(self.times), self.busy()
        found = {}
        for name, begin, end in self.stages:
            inside = (middle >= begin) & (middle < end)
            used = float(np.interp(end, self.times, self.spent) - np.interp(begin, self.times, self.spent))
            serial = float(step[inside & (busy < IDLE_BELOW * self.cores)].sum())
            found[name] = {
                "wall_s": round(end - begin, 1),
                "core_s": round(used, 1),
                "cores_busy": round(used / max(end - begin, 1e-6), 2),
                "not_full_s": round(serial, 1),
            }
        return found

    def picture(self, title: str) -> str:
        """As SVG."""
        first, last = self.times[0], self.times[-1]

        def x(t):
            return LEFT + (WIDTH - LEFT) * (t - first) / max(last - first, 1e-6)

        def y(cores):
            return TOP + HEIGHT * (1 - min(cores / self.cores, 1.1))

        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 10}" height="{TOP + HEIGHT + 30}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="14">{title}</text>'
        ]
        for k, (name, begin, end) in enumerate(self.stages):
            parts.append(
                f'<rect x="{x(begin):.1f}" y="{TOP}" width="{x(end) - x(begin):.1f}" height="{HEIGHT}" '
                f'fill="{COLOURS[k % len(COLOURS)]}" opacity="0.25"/>'
                f'<text x="{x(begin) + 2:.1f}" y="{TOP - 4 - 13 * (k % 2)}">{name}</text>'
            )
        steps = zip(pairwise(self.times), self.busy(), strict=True)
        edges = [f"{x(t):.1f},{y(b):.1f} {x(after):.1f},{y(b):.1f}" for (t, after), b in steps]
        parts.append(f'<polyline fill="none" stroke="#222222" points="{" ".join(edges)}"/>')
        for cores in sorted({0, 1, self.cores}):
            parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(cores):.1f}" y2="{y(cores):.1f}" stroke="#999999" stroke-dasharray="3"/>'
                f'<text x="8" y="{y(cores) + 4:.1f}">{cores}</text>'
            )
        marks = range(0, int(last - first) + 1, max(1, round((last - first) / 10)))
        parts += [f'<text x="{x(first + s):.1f}" y="{TOP + HEIGHT + 16}">{s} s</text>' for s in marks]
        return "\n".join([*parts, "</svg>\n"])


def watch(capture: Path, work: Path, *more: str) -> Timeline:
    """Reconstruct `capture` without Prefect into the folder `work`, and look at its processes meanwhile. Raises CalledProcessError."""
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(work / "twin"),
        "--no-prefect",
        *more,
    ]
    root, samples = Path(__file__).resolve().parents[1], []
    with (work / "timeline.log").open("w") as log:
        own = {"TWIN_STORE": str(work / "store"), "PYTHONPATH": str(root)}
        process = psutil.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
        while process.poll() is None:
            samples.append((time.time(), _spent(process)))
            time.sleep(EVERY_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, (work / "timeline.log").read_text())
    times, spent = np.array(samples).T
    cores = len(os.sched_getaffinity(0))
    return Timeline(times, np.maximum.accumulate(spent), stages_of((work / "twin" / "run.log").read_text()), cores)


def stages_of(log: str) -> list[tuple[str, float, float]]:
    """(name, begin, end), s since the epoch, of each stage that the log of a run says was computed."""
    ended = {name: _seconds(when) for when, name in ENDED.findall(log)}
    return [(name, _seconds(when), ended[name]) for when, name in BEGUN.findall(log) if name in ended]


def _seconds(when: str) -> float:
    return datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").timestamp()


def _spent(process: psutil.Popen) -> float:
    """Core seconds of a process and all that it has or had below it; what ended counts in whoever waited for it."""
    total = 0.0
    for one in (process, *_below(process)):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _below(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []
