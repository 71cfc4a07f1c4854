"""What the watcher remembers of the captures folder is what lies there, whatever happens to it; and figures of many runs."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from flows.captures.memo import CapturesMemo
from flows.captures.ready import ready_captures
from flows.records.run_record import RunRecords
from flows.run.metrics_file import FILE, MANY, write_metrics_after_run
from stages.core.errors import CaptureError
from stages.core.store import Store


def _do(draw: random.Random, root: Path) -> None:
    """One thing that users and programs do in such a folder."""
    folder = root / draw.choice("ab") / draw.choice("cd") / draw.choice("ef") / draw.choice("gh")
    folder = Path(*folder.parts[: len(root.parts) + draw.randint(1, 4)])
    match draw.randint(0, 6):
        case 0 | 1:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "READY").touch()  # of a folder of that name: its time
        case 2:
            (folder / "left").mkdir(parents=True, exist_ok=True)
        case 3:
            shutil.rmtree(folder, ignore_errors=True)
        case 4 if (folder / "READY").is_file():
            (folder / "READY").unlink()
        case 5 if folder.exists() and not (target := folder.with_name("renamed")).exists():
            folder.rename(target)
        case 6 if folder.exists():
            (folder / "READY").mkdir(exist_ok=True) if not (folder / "READY").exists() else os.utime(folder / "READY")


@pytest.mark.parametrize("seed", range(3))
def test_it_always_knows_what_a_look_would_find(tmp_path, seed):
    draw, memo, root = random.Random(seed), CapturesMemo(settled_s=0.0), tmp_path / "captures"
    root.mkdir()
    for step in range(150):
        _do(draw, root)
        time.sleep(0.006)  # a tick of the clock that folders' times are taken from
        before = memo.changes
        assert memo.ready(root) == ready_captures(root), f"after step {step}"
        assert memo.ready(root) == ready_captures(root) and memo.changes <= before + 1


def test_a_folder_that_changed_a_moment_ago_is_read_again(tmp_path):
    memo = CapturesMemo()
    (tmp_path / "cup").mkdir()
    stamp = tmp_path.stat().st_mtime_ns
    assert memo.ready(tmp_path) == []
    (tmp_path / "cup").rmdir()
    (tmp_path / "jug").mkdir()
    (tmp_path / "jug" / "READY").touch()
    os.utime(tmp_path, ns=(stamp, stamp))  # as where times are coarse
    assert [c.name for c in memo.ready(tmp_path)] == ["jug"]


def test_a_marker_that_is_touched_again_is_another_capture(tmp_path):
    memo = CapturesMemo(settled_s=0.0)
    (tmp_path / "cup").mkdir()
    (tmp_path / "cup" / "READY").touch()
    time.sleep(0.02)
    (first,), changes = memo.ready(tmp_path), memo.changes
    os.utime(tmp_path / "cup" / "READY", ns=(1, first.marker + 1))
    (second,) = memo.ready(tmp_path)
    assert second.key != first.key and memo.changes == changes + 1
    with pytest.raises(CaptureError):
        memo.ready(tmp_path / "none")


def test_with_many_runs_their_figures_are_not_counted_at_each_end(tmp_path):
    store = Store(tmp_path)
    records = RunRecords(store)
    for k in range(MANY + 1):
        record = records.new({"capture": f"/c/{k}", "out": f"/o/{k}", "profile": "standard"}, ["a"])
        record.state = "done"
        (records.folder).mkdir(exist_ok=True)
        records.save(record)
    write_metrics_after_run(store, records)
    assert f'twin_runs{{state="done"}} {MANY + 1}.0' in (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text("of a moment ago")
    write_metrics_after_run(store, records)
    assert (tmp_path / FILE).read_text() == "of a moment ago"
    os.utime(tmp_path / FILE, (1, 1))
    write_metrics_after_run(store, records)
    assert "twin_runs" in (tmp_path / FILE).read_text()
