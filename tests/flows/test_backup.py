"""Back-up while a run goes on, restore on another machine, and what other versions of this program left or will leave."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.records.run_record import RunRecords
from flows.upkeep.backup import Parts, back_up, restore
from stages.core.errors import StoreError
from stages.core.store import MANIFEST, Store
from tests.flows.conftest import Toy, make_capture
from tests.flows.served import TOY, Served

BEFORE = Path(__file__).parent / "store_before"
"""a store as the version before checksums wrote it: one run of the toy stages, with its results"""
RECORD = "20261128-220000-cup-f5282351"


def _twin(env: dict[str, str] | None, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "flows.cli", *words], env=env, capture_output=True, text=True)


def _reconstruct(toy: Toy) -> None:
    done = _twin(None, "reconstruct", str(toy.capture), "--out", str(toy.folder / "twin"), "--no-prefect")
    assert done.returncode == 0, done.stderr


def _store_before(toy: Toy) -> None:
    shutil.copytree(BEFORE, toy.store.root)
    record = toy.store.root / "runs" / f"{RECORD}.json"
    record.write_text(
        record.read_text().replace("/srv/captures/cup", str(toy.capture)).replace("/srv", str(toy.folder))
    )


def test_the_store_of_an_earlier_version_is_used(toy, monkeypatch):
    monkeypatch.setenv("TWIN_STAGES", "tests.flows.toy_stages:stages_before")
    _store_before(toy)
    _reconstruct(toy)
    assert not any(toy.counts().values())  # all four results were taken as they are
    new, old = json.loads(_twin(None, "status", "--json").stdout)["runs"]
    assert old["id"] == RECORD and old["state"] == "done" and old["started_by"] == ""
    assert all(s["cached"] for s in new["stages"].values()) and not list((toy.store.root / "corrupt").glob("*"))


def test_what_a_newer_version_wrote_into_a_record_outlives_this_one(toy):
    toy.order("c", "raise")
    _twin(None, "reconstruct", str(toy.capture), "--out", str(toy.folder / "twin"), "--no-prefect")
    path = next((toy.store.root / "runs").glob("*.json"))
    newer = json.loads(path.read_text())
    newer |= {"energy_wh": 3.5, "beyond": "a word of ours"}
    newer["request"]["priority"] = {"class": "night"}
    newer["stages"]["a"]["device"] = "gpu7"
    newer["stages"]["c"]["device"] = "of the result that failed"
    path.write_text(json.dumps(newer))
    toy.order("c", "")
    assert _twin(None, "resume", "--no-prefect").returncode == 0
    after = json.loads(path.read_text())
    assert after["state"] == "done" and after["energy_wh"] == 3.5 and after["request"]["priority"] == {"class": "night"}
    assert (
        after["beyond"] == "a word of ours"
        and after["stages"]["c"]["state"] == "done"
        and "device" not in after["stages"]["c"]
    )
    assert after["schema_version"] == newer["schema_version"] == 1


def test_back_up_and_restore_of_results_and_records(toy):
    _reconstruct(toy)
    folder, elsewhere = toy.folder / "backup", Store(toy.folder / "elsewhere")
    first = back_up(toy.store, folder)
    again = back_up(toy.store, folder)
    assert (first.records, first.results, first.kept) == (1, 4, 0) and (again.records, again.results, again.kept) == (
        0,
        0,
        4,
    )
    done = restore(folder, elsewhere)
    assert (done.records, done.results) == (1, 4) and [r.state for r in RunRecords(elsewhere).all()] == ["done"]
    for stage, fingerprint, _ in toy.store.results():
        assert elsewhere.lookup(stage, fingerprint) == toy.store.lookup(stage, fingerprint) is not None
    assert not [p for p in folder.rglob("*") if p.is_file() and p.suffix in (".partial", ".lock")]


def test_a_damaged_result_is_not_backed_up_nor_restored(toy):
    _reconstruct(toy)
    (stage, _, where), other = list(toy.store.results())[:2]
    (where / f"{stage}.txt").write_text("rot")
    folder = toy.folder / "backup"
    done = back_up(toy.store, folder)
    assert done.results == 3 and len(done.left_out) == 1 and f"{stage}.txt" in done.left_out[0]
    (folder / "store" / "artifacts" / other[0] / other[1] / f"{other[0]}.txt").write_text("rot of the back-up")
    back = restore(folder, Store(toy.folder / "elsewhere"))
    assert back.results == 2 and len(back.left_out) == 1
    assert {s for s, _, _ in Store(toy.folder / "elsewhere").results()} == {"a", "b", "c", "d"} - {stage, other[0]}


def test_a_back_up_that_was_cut_off_holds_no_half_result(toy):
    _reconstruct(toy)
    folder = toy.folder / "backup"
    back_up(toy.store, folder)
    stage, fingerprint, where = next(iter(toy.store.results()))
    copy = Store(folder / "store")
    shutil.rmtree(copy.artifact_dir(stage, fingerprint))
    half = folder / "store" / "tmp" / f"{fingerprint}.99999999"  # as kill -9 leaves it: files, no manifest
    shutil.copytree(where, half)
    (half / MANIFEST).unlink()
    (folder / "backup.json").unlink()
    with pytest.raises(StoreError, match="no finished back-up"):
        restore(folder, Store(toy.folder / "elsewhere"))
    assert back_up(toy.store, folder).results == 1 and copy.lookup(stage, fingerprint) is not None and not half.exists()


def test_prune_follows_the_store_but_never_into_an_empty_one(toy):
    _reconstruct(toy)
    folder = toy.folder / "backup"
    back_up(toy.store, folder)
    shutil.rmtree(toy.store.root / "artifacts" / "a")
    assert back_up(toy.store, folder).removed == 0 and back_up(toy.store, folder, Parts(prune=True)).removed == 1
    shutil.rmtree(toy.store.root / "artifacts")
    assert (
        back_up(toy.store, folder, Parts(prune=True)).removed == 0 and len(list(Store(folder / "store").results())) == 3
    )


def test_folders_that_are_no_place_for_a_back_up_are_refused(toy):
    toy.store.root.mkdir()
    for folder, words in ((toy.store.root / "backup", "in the store itself"), (toy.capture, "holds other things")):
        done = _twin(None, "backup", str(folder))
        assert done.returncode == 5 and words in done.stderr and "Traceback" not in done.stderr
    assert _twin(None, "restore", str(toy.capture)).returncode == 5


def _downgraded(database: Path, env: dict[str, str]) -> tuple[str, str]:
    """The schema before and after one of Prefect's own steps back: a database as an earlier Prefect left it."""

    def revision():
        return sqlite3.connect(database).execute("SELECT version_num FROM alembic_version").fetchone()[0]

    newest = revision()
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "downgrade", "-r=-1", "-y"],
        check=True,
        capture_output=True,
        env={
            **env,
            "PREFECT_HOME": str(database.parent),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        },
    )
    return newest, revision()


@pytest.mark.slow
def test_back_up_while_a_run_goes_on_and_restore_on_another_machine(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    served = Served(tmp_path / "one", TOY, runs=1)
    try:
        done = served.create("reconstruct-capture", capture=str(make_capture(served.captures / "cup")))
        served.wait_for(done["id"], "Completed")
        assert _twin(served.env, "schedule", "--cron", "0 2 * * *", "--name", "nightly").returncode == 0
        (served.folder / "b.do").write_text("sleep 300")
        other = make_capture(served.captures / "jug")
        (other / "text").write_text("jug ")
        (other / "calibration.json").write_text('{"of": "jug"}')
        under_way = served.create("reconstruct-capture", capture=str(other))
        served.wait(lambda: served.count("b") == 2)
        told = _twin(served.env, "backup", str(tmp_path / "backup"))
        assert told.returncode == 0 and "5 copied" in told.stdout, told.stderr
        refused = _twin(served.env, "restore", str(tmp_path / "backup"))
        assert refused.returncode == 5 and "a `twin serve`" in refused.stderr
    finally:
        served.kill_everything()  # the machine is lost
    env = {**served.env, "TWIN_STORE": str(tmp_path / "two" / "store")}
    told = _twin(env, "restore", str(tmp_path / "backup"))
    assert told.returncode == 0 and "5 copied" in told.stdout, told.stderr
    newest, older = _downgraded(tmp_path / "two" / "store" / "prefect" / "serve" / "prefect.db", env)
    assert older != newest
    new = Served(tmp_path / "two", TOY, runs=1)
    try:
        assert new.auth == served.auth and new.flow_run(done["id"])["state_name"] == "Completed"
        new.retry(under_way["id"])  # by itself after three times TWIN_LOST_AFTER_S
        new.wait_for(under_way["id"], "Completed")
        assert {s: new.count(s) for s in "abcd"} == {"a": 0, "b": 1, "c": 1, "d": 1}
        assert "nightly" in _twin(new.env, "schedule", "--list").stdout
        assert {r["state"] for r in json.loads(_twin(new.env, "status", "--json").stdout)["runs"]} == {"done"}
    finally:
        new.stop()
