"""Resuming with the real stages on a tiny capture: what was finished is never computed again, whoever resumes and however."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.flows.conftest import REPOSITORY, wait_for
from tests.flows.tiny import SETTINGS, render_base, write_tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tmp_path):
    """Starts `twin` on a store of its own, without Prefect."""
    env = {**os.environ, "TWIN_STORE": str(tmp_path / "store"), "PYTHONPATH": str(REPOSITORY)}
    env.pop("TWIN_STAGES", None)
    return lambda *words: subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words, "--no-prefect"], env=env, stderr=subprocess.PIPE
    )


def _records(store: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in (store / "runs").glob("*.json")]


def _executions(store: Path) -> Counter:
    lines = [line for r in _records(store) for line in Path(r["log"]).read_text().splitlines()]
    return Counter(line.split(": ")[1] for line in lines if ": computing (" in line)


def test_kill_in_track_then_resume_then_the_same_command(command, tmp_path):
    capture, store, out = (
        write_tiny(render_base(tmp_path / "base"), tmp_path / "tiny", 1),
        tmp_path / "store",
        tmp_path / "twin",
    )
    asked = ("reconstruct", str(capture), "--out", str(out), "--profile", "preview", *SETTINGS)
    first = command(*asked)
    wait_for(
        lambda: _executions(store)["track"] == 1, 120
    )  # its record says "running" a moment before the log says "computing"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    once = dict.fromkeys(("rectify", "depth", "masks", "bundle", "surface", "texture", "physics", "package"), 1)
    for again in (("resume",), asked):
        said = command(*again).communicate()[1]
        assert (out / "twin.glb").exists(), said.decode()[-2000:]
        assert _executions(store) == {**once, "track": 2}
