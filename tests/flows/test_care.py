"""Cleaning by size and kind, the metrics file, and the log beside the twin, on the toy pipeline."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from flows.cli import main as cli
from flows.records.request import Reconstruction
from flows.records.run_record import RunRecord, RunRecords, StageRecord
from flows.run.metrics import Figures
from flows.run.metrics_file import write_metrics
from flows.upkeep.cleaning import Keeper, Wish, clean_up, size_of
from flows.upkeep.result_use import results_by_use
from stages.core.errors import ConfigError
from stages.core.fingerprint import digest_file
from stages.core.manifest import seal
from stages.core.store import Store
from tests.flows.conftest import make_capture

SAMPLE = re.compile(r'^[a-z_]+(\{[a-z]+="[^"]*"\})? -?[0-9.e+]+$')


@pytest.fixture
def run(toy, monkeypatch):
    """Reconstructs the toy capture in this process without Prefect."""
    monkeypatch.setenv("TWIN_CAPTURES", str(toy.folder / "arriving"))

    def run(*more: str) -> int:
        return cli.main(["reconstruct", str(toy.capture), "--out", str(toy.folder / "twin"), "--no-prefect", *more])

    return run


def _made(store: Store, stage: str, fingerprint: str, megabytes: int, age_s: float) -> Path:
    folder = store.artifact_dir(stage, fingerprint)
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(b"x" * (megabytes * 1_000_000))
    files = {"data": {"sha256": digest_file(folder / "data"), "bytes": megabytes * 1_000_000}}
    (folder / "manifest.json").write_text(
        json.dumps(seal({"stage": stage, "fingerprint": fingerprint}, files, ("data",)))
    )
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def _recorded(store: Store, stage: str, fingerprint: str, state: str, age_s: float = 0.0) -> RunRecord:
    records = RunRecords(store)
    record = records.new(Reconstruction(capture="/c", out="/o").model_dump(mode="json"), [stage])
    record.state, record.started = state, time.time() - age_s
    record.stages[stage] = StageRecord(state=state, fingerprint=fingerprint)
    records.save(record)
    return record


def test_size_takes_what_was_not_used_for_longest(toy):
    store = toy.store
    made = {
        name: _made(store, *name, 2, age)
        for name, age in ((("a", "1"), 500), (("a", "2"), 400), (("b", "3"), 300), (("b", "4"), 200), (("d", "5"), 600))
    }
    _recorded(store, "a", "1", "done", age_s=10)  # made first, but used a moment ago
    running = _recorded(store, "a", "2", "running")
    with RunRecords(store).hold(running), store.lock("4"):
        assert clean_up(store, Wish(keep_gb=0.007), dry_run=True).folders == 2 and all(
            f.exists() for f in made.values()
        )
        clean_up(store, Wish(keep_gb=0.0095))
        assert {k for k, f in made.items() if not f.exists()} == {("b", "3")}  # not the twin, though it is the oldest
        clean_up(store, Wish(keep_gb=0.0))
        assert {k[1] for k, f in made.items() if f.exists()} == {"2", "4", "5"}  # held twice, and the twin
        clean_up(store, Wish(keep_gb=0.0, twins_too=True))
        assert {k[1] for k, f in made.items() if f.exists()} == {"2", "4"}
        assert clean_up(store, Wish(intermediate=True)).held == 2
    assert clean_up(store, Wish(keep_gb=0.0)).folders == 2 and not list((store.root / "tmp").iterdir())


def test_a_served_store_is_kept_below_its_size(toy, monkeypatch):
    old, new = (_made(toy.store, "a", name, 2, age) for name, age in (("1", 500), ("2", 400)))
    assert Keeper.from_environment(toy.store).look() is None and old.exists()
    monkeypatch.setenv("TWIN_KEEP_GB", "0.003")
    keeper = Keeper.from_environment(toy.store)
    assert keeper.look().folders == 1 and new.exists() and not old.exists()
    assert keeper.look() is None  # not every three seconds
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("TWIN_KEEP_GB", wrong)
        with pytest.raises(ConfigError, match=r"TWIN_KEEP_GB|--keep-gb"):
            Keeper.from_environment(toy.store)


def test_age_counts_from_the_last_use(toy):
    store, day = toy.store, 86400.0
    old, used = _made(store, "a", "1", 1, 9 * day), _made(store, "a", "2", 1, 9 * day)
    _recorded(store, "a", "2", "done", age_s=day)
    assert [r.folder for r in results_by_use(store)] == [old, used]
    clean_up(store, Wish(older_than_days=5))
    assert used.exists() and not old.exists()


@pytest.mark.parametrize(
    "wrong", [("--older-than", "-1"), ("--older-than", "nan"), ("--keep-gb", "-0.5"), ("--keep-gb", "inf")]
)
def test_ages_and_sizes_that_would_take_everything_are_refused(toy, run, capsys, wrong):
    run()
    assert cli.main(["clean", *wrong]) == 2 and "0 or more" in capsys.readouterr().err
    assert len(list(toy.store.results())) == 4 and RunRecords(toy.store).all()


def test_damaged_manifests_go_with_the_damaged_results_and_nothing_else_does(toy, run, capsys):
    """Also of captures that no run asks for any more, and without reading the files of whole results."""
    run()
    folder = next((toy.store.root / "artifacts" / "b").iterdir())
    (folder / "manifest.json").write_text("null")
    busy = next((toy.store.root / "artifacts" / "c").iterdir())
    (busy / "manifest.json").write_text("{")
    with toy.store.lock(busy.name):
        assert cli.main(["clean", "--corrupt"]) == 0 and "removed 1 folders" in capsys.readouterr().out
    assert not folder.exists() and busy.exists() and len(list((toy.store.root / "artifacts").glob("*/*"))) == 3
    run()
    assert toy.counts() == {"a": 1, "b": 2, "c": 2, "d": 1}


def test_intermediate_leaves_the_twins(toy, run, capsys):
    run()
    assert cli.main(["clean", "--intermediate"]) == 0 and "removed 3 folders" in capsys.readouterr().out
    assert [p.name for p in (toy.store.root / "artifacts").glob("*") if list(p.iterdir())] == ["d"]
    assert cli.main(["clean", "--keep-gb", "0"]) == 0 and "--twins-too" in capsys.readouterr().out
    assert (toy.folder / "twin" / "run.json").exists() and size_of(toy.store.root / "artifacts") > 0
    run()
    assert toy.counts() == {"a": 2, "b": 2, "c": 2, "d": 1}


def test_the_log_lies_beside_the_twin_and_is_named_in_the_record(toy, run, capsys):
    run()
    text = (toy.folder / "twin" / "run.log").read_text()
    assert "a: computing" in text and "d: computed" in text
    run()
    assert "a: from the store" in (toy.folder / "twin" / "run.log").read_text()  # of this run, not of the one before
    toy.order("c", "raise")
    assert run("c.gain=2") == 3
    record = RunRecords(toy.store).all()[0]
    assert "frame 17" in Path(record.log).read_text()
    cli.main(["status"])
    assert f"log: {record.log}" in capsys.readouterr().out


def test_metrics_after_runs(toy, run):
    ready = make_capture(toy.folder / "arriving" / "cup")
    (ready / "READY").touch()
    run()
    run()
    toy.order("c", "raise")
    run("c.gain=2")
    lines = (toy.store.root / "metrics.prom").read_text().splitlines()
    assert all(SAMPLE.match(x) for x in lines if not x.startswith("#"))
    for line in (
        'twin_runs{state="done"} 2.0',
        'twin_runs{state="failed"} 1.0',
        'twin_runs{state="running"} 0.0',
        'twin_stage_failures{stage="c"} 1.0',
        'twin_stage_seconds_count{stage="d"} 1.0',
        'twin_stage_from_store{stage="a"} 2.0',
        "twin_run_seconds_count 2.0",
        "twin_captures_waiting 1.0",
    ):
        assert line in lines, line
    families = [x.split()[2] for x in lines if x.startswith("# TYPE")]
    assert len(families) == len(set(families)) and not list(toy.store.root.glob("*.partial"))


def test_metrics_of_an_empty_store_and_of_one_that_cannot_be_written(toy, monkeypatch, caplog):
    monkeypatch.setenv("TWIN_CAPTURES", str(toy.folder / "nowhere"))
    write_metrics(toy.store, [])
    text = (toy.store.root / "metrics.prom").read_text()
    assert 'twin_runs{state="done"} 0.0' in text and "twin_captures_waiting" not in text
    assert Figures(toy.store).text().endswith("\n")
    (toy.folder / "file").write_text("")
    write_metrics(Store(toy.folder / "file"), [])
    assert "cannot write" in caplog.text


def test_schedule_says_the_password(monkeypatch, capsys, toy):
    for name, value in (
        ("TWIN_AUTH", "user:secret"),
        ("PREFECT_API_AUTH_STRING", ""),
        ("PREFECT_API_URL", "http://127.0.0.1:1/api"),
    ):
        monkeypatch.setenv(name, value)
    os.environ.pop("PREFECT_API_AUTH_STRING")
    monkeypatch.setattr("flows.web.address.answers", lambda url, timeout_s: True)
    monkeypatch.setattr("flows.serve.schedules.remove_schedules", lambda names: [])
    assert cli.main(["schedule", "--remove"]) == 0 and "removed 0" in capsys.readouterr().out
    assert os.environ["PREFECT_API_AUTH_STRING"] == "user:secret"
