"""Twins that are older than a deployment keeps them: their files go, their record stays, and no capture is made anew because of it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from flows.captures.ready import not_done, ready_captures
from flows.cli import main as cli
from flows.records.places import twin_lock
from flows.records.run_record import RunRecords
from flows.upkeep.retention import TwinKeeper, retire_twins
from stages.core.errors import ConfigError
from tests.flows.conftest import make_capture

DAY_S = 86400.0


@pytest.fixture
def twins(toy, monkeypatch) -> Path:
    """Two twins of marked captures, the one called old 100 days old, and things of others beside them."""
    for name in ("captures", "twins"):
        monkeypatch.setenv(f"TWIN_{name.upper()}", str(toy.folder / name))
    for name in ("2026/old", "new"):
        capture = make_capture(toy.folder / "captures" / name)
        (capture / "READY").touch()
        assert cli.main(["reconstruct", str(capture), "--out", str(toy.folder / "twins" / name), "--no-prefect"]) == 0
    twins = toy.folder / "twins"
    (twins / "batch.html").write_text("page")
    (twins / "2026" / "old" / "notes.md").write_text("of the user")
    (twins / "theirs").mkdir()
    (twins / "theirs" / "run.json").write_text('{"what": "no twin of ours"}')
    (twins / "theirs" / "data").write_text("kept")
    for path in (*twins.rglob("batch.html"), *(twins / "2026" / "old").rglob("*"), *(twins / "theirs").rglob("*")):
        os.utime(path, (time.time() - 100 * DAY_S,) * 2)
    return twins


def _files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_old_twins_go_but_for_their_record_and_are_not_made_anew(toy, twins, capsys):
    before = _files(twins)
    capsys.readouterr()
    assert cli.main(["clean", "--twins-older-than", "90", "--dry-run"]) == 0
    assert "would remove 1 twins" in capsys.readouterr().out and _files(twins) == before
    assert cli.main(["clean", "--twins-older-than", "90"]) == 0 and "removed 1 twins" in capsys.readouterr().out
    assert _files(twins / "2026" / "old") == {"run.json", "removed.txt", "notes.md"}
    assert {name for name in before if not name.startswith("2026/old/")} == {
        n for n in _files(twins) if not n.startswith("2026/old/")
    }
    assert "touch READY" in (twins / "2026" / "old" / "removed.txt").read_text()
    for record in RunRecords(toy.store).all():
        RunRecords(toy.store).remove(record.id)
    captures = ready_captures(toy.folder / "captures")
    assert len(captures) == 2 and not not_done(captures, "standard", (), RunRecords(toy.store))
    assert not retire_twins(toy.store, 90).folders


def test_it_is_whole_again_after_another_run(toy, twins):
    retire_twins(toy.store, 90)
    out, counts = twins / "2026" / "old", toy.counts()
    assert (
        cli.main(["reconstruct", str(toy.folder / "captures" / "2026" / "old"), "--out", str(out), "--no-prefect"]) == 0
    )
    assert {"report.html", "notes.md"} < _files(out) and not (out / "removed.txt").exists() and toy.counts() == counts


def test_a_twin_that_is_being_replaced_is_waited_for(toy, twins):
    old = twins / "2026" / "old"
    with toy.store.lock(twin_lock(old)):
        cleaning = threading.Thread(target=retire_twins, args=(toy.store, 90))
        cleaning.start()
        time.sleep(0.3)
        assert "report.html" in _files(old)
        (old / "run.json").touch()  # what a run that delivers does
    cleaning.join()
    assert "report.html" in _files(old)


def test_an_installation_does_so_by_itself_if_told(toy, twins, monkeypatch):
    assert TwinKeeper.from_environment(toy.store).look() is None
    monkeypatch.setenv("TWIN_KEEP_TWINS_DAYS", "90")
    keeper = TwinKeeper.from_environment(toy.store)
    assert keeper.look().folders == 1 and keeper.look() is None  # not every three seconds
    for wrong in ("0", "-1", "nan", "long"):
        monkeypatch.setenv("TWIN_KEEP_TWINS_DAYS", wrong)
        with pytest.raises(ConfigError, match="TWIN_KEEP_TWINS_DAYS"):
            TwinKeeper.from_environment(toy.store)
        with pytest.raises(ConfigError):
            retire_twins(toy.store, float("nan") if wrong == "long" else float(wrong))
