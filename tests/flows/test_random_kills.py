"""kill -9 of runs and of their stages at random moments: what is resumed is bit for bit what an undisturbed run makes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from flows.run.warm_process import WarmProcess
from stages.core.store import Store
from tests.flows.conftest import wait_for

KILLS = 6


def _made(store: Store) -> dict[str, dict[str, str]]:
    """{stage: digests of all its files}, each result checked byte by byte."""
    found = {}
    for stage, fingerprint, _ in store.results():
        manifest = store.lookup(stage, fingerprint)
        assert manifest is not None
        found[f"{stage} {fingerprint}"] = {n: e["sha256"] for n, e in manifest["files"].items()}
    return found


@pytest.mark.parametrize("way", ["plain", "warm"])
def test_random_kills_are_resumed_bit_for_bit(toy, tmp_path, way):
    rng, started = random.Random(3), multiprocessing.get_context("spawn")
    for stage in "abcd":
        toy.order(stage, "sleep 0.4")
    for kill in range(KILLS):
        before = sum(toy.counts().values())
        toy.warm = WarmProcess() if way == "warm" else None
        run = started.Process(target=toy.run)
        run.start()
        wait_for(lambda run=run, before=before: sum(toy.counts().values()) > before or not run.is_alive())
        time.sleep(rng.uniform(0.0, 1.2))
        under = _children(run.pid)
        stages = [pid for warm in under for pid in _children(warm)]
        victims = ([run.pid], under, stages or under)[
            kill % 3
        ]  # the run itself, what it started, or the stage that forked off that
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.join(60)
    toy.warm = None
    toy.run()
    toy.store.sweep()
    undisturbed = Store(tmp_path / "undisturbed")
    resumed = _made(toy.store)
    toy.store = undisturbed
    toy.run()
    assert len(resumed) == 4 and resumed == _made(undisturbed)
    for store in (tmp_path / "store", tmp_path / "undisturbed"):
        assert not list((store / "tmp").iterdir()) and not (store / "corrupt").exists()
    assert json.loads(next((tmp_path / "store" / "artifacts" / "d").glob("*/manifest.json")).read_text())["checksum"]


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
