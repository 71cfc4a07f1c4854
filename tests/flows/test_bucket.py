"""Results in an S3 bucket, shared by machines with a folder each: computed once, cut off, damaged, away, cleaned. A real server answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from flows.upkeep.bucket_cleaning import clean_bucket
from flows.upkeep.cleaning import Wish, clean_up
from stages.core.errors import ConfigError
from stages.core.remote_results import RemoteResults
from stages.core.store import Store
from tests.flows.conftest import Toy, wait_for

pytest.importorskip(
    "obstore", reason="obstore is not installed (pip install 'stereotwin[s3]'): the bucket is NOT tested"
)
pytest.importorskip(
    "moto.server", reason="moto is not installed (pip install 'moto[s3]' flask flask-cors): the bucket is NOT tested"
)

from tests.core.s3_server import S3Server

pytestmark = pytest.mark.slow


@pytest.fixture
def shared(toy: Toy, fresh_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """The toy pipeline, whose store has the bucket."""
    monkeypatch.setenv("TWIN_STORE_S3", fresh_s3.environment["TWIN_STORE_S3"])
    toy.store = Store()
    assert toy.store.remote is not None
    return toy


def _twin(toy: Toy, *words: str, machine: str = "store") -> subprocess.CompletedProcess:
    env = {**os.environ, "TWIN_STORE": str(toy.folder / machine)}
    return subprocess.run([sys.executable, "-m", "flows.cli", *words], env=env, capture_output=True, text=True)


def _reconstruct(toy: Toy, machine: str = "store") -> dict:
    done = _twin(
        toy,
        "reconstruct",
        str(toy.capture),
        "--out",
        str(toy.folder / f"twin-{machine}"),
        "--no-prefect",
        machine=machine,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(_twin(toy, "status", "--json", machine=machine).stdout)


def _bucket(toy: Toy) -> dict[str, bool]:
    """Stages in the bucket, and whether they are whole."""
    assert toy.store.remote is not None
    return {r.stage: bool(r.written) for r in toy.store.remote.results()}


def test_computed_on_one_machine_and_taken_by_another(shared):
    _reconstruct(shared)
    assert _bucket(shared) == dict.fromkeys("abcd", True)
    status = _reconstruct(shared, "elsewhere")
    assert set(shared.counts().values()) == {1} and all(s["cached"] for s in status["runs"][0]["stages"].values())
    for stage, fingerprint, folder in shared.store.results():
        other = Store(shared.folder / "elsewhere").artifact_dir(stage, fingerprint)
        assert {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == {
            p.relative_to(other): p.read_bytes() for p in other.rglob("*") if p.is_file()
        }
    assert status["not_in_bucket"] == 0 and not list((shared.folder / "elsewhere" / "tmp").glob("*"))


_MANY = """
import sys
from stages.core.store import Store
store, fingerprint = Store(), "f" * 64
with store.lock(fingerprint), store.workspace(fingerprint) as place:
    (place / "many").mkdir()
    for k in range(600):
        (place / "many" / f"{k}.bin").write_bytes(str(k).encode() * 2000)
    store.publish("a", fingerprint, place, ("many",), {"seconds": 1.0})
"""


def test_a_kill_in_the_middle_of_an_upload_loses_nothing_and_leaves_no_half_result(shared):
    remote, fingerprint = shared.store.remote, "f" * 64
    uploading = subprocess.Popen([sys.executable, "-c", _MANY])
    wait_for(lambda: any(len(r.blobs) > 5 for r in remote.results()))
    uploading.send_signal(signal.SIGKILL)
    uploading.wait()
    (cut,) = remote.results()
    assert not cut.written and 5 < len(cut.blobs) < 600  # in the middle indeed
    other = Store(shared.folder / "elsewhere", remote=remote)
    assert other.find("a", fingerprint) is None and not list(other.results())
    assert len(shared.store.lookup("a", fingerprint)["files"]) == 600  # here it is whole
    assert shared.store.pending() == [("a", fingerprint)] and shared.store.send_pending() == 0
    assert other.find("a", fingerprint) == shared.store.find("a", fingerprint) is not None
    assert next(iter(remote.results())).written


def test_a_run_sends_what_a_killed_one_could_not(shared):
    _reconstruct(shared)
    (result,) = [r for r in shared.store.remote.results() if r.stage == "b"]
    shared.store.remote.remove(result)
    shared.store.disk.replace(shared.store.root / "pending" / f"b.{result.fingerprint}", b"")
    assert _reconstruct(shared)["not_in_bucket"] == 0 and _bucket(shared) == dict.fromkeys("abcd", True)


def test_files_of_an_upload_that_was_cut_off_go_after_a_day(shared, s3_server):
    _reconstruct(shared)
    s3_server.put(f"results/a/{'e' * 64}/blobs/{'0' * 64}", b"of a machine that died")
    cut = next(r for r in shared.store.remote.results() if not r.written)
    assert shared.store.remote.sweep(cut, time.time()) == 0 and clean_bucket(shared.store, Wish()).folders == 0
    assert shared.store.remote.sweep(cut, time.time() + 90000) == 1 and len(list(shared.store.remote.results())) == 4


def test_two_machines_that_made_the_same_result_agree_on_one(shared):
    first, second = shared.store, Store(shared.folder / "elsewhere", remote=shared.store.remote)
    manifests = []
    for store, text in ((first, "as the first found it"), (second, "as the second found it")):
        with store.lock("d" * 64), store.workspace("d" * 64) as place:
            (place / "d.txt").write_text(text)
            manifests.append(store.publish("d", "d" * 64, place, ("d.txt",), {"seconds": 1.0}))
    assert manifests[0]["outputs"] == manifests[1]["outputs"]
    assert (second.artifact_dir("d", "d" * 64) / "d.txt").read_text() == "as the first found it"
    with second.lock("d" * 64), second.workspace("d" * 64) as place:  # asked for again
        (place / "d.txt").write_text("computed anew")
        second.publish("d", "d" * 64, place, ("d.txt",), {"seconds": 1.0}, replace=True)
    shutil.rmtree(first.root / "artifacts")
    assert first.find("d", "d" * 64) and (first.artifact_dir("d", "d" * 64) / "d.txt").read_text() == "computed anew"


def test_what_is_damaged_in_the_bucket_is_computed_again_and_mended_there(shared, s3_server):
    _reconstruct(shared)
    victim = next(r for r in shared.store.remote.results() if r.stage == "b")
    for digest in victim.blobs:
        s3_server.put(f"results/b/{victim.fingerprint}/blobs/{digest}", b"rot")
    _reconstruct(shared, "elsewhere")
    assert shared.counts() == {"a": 1, "b": 2, "c": 1, "d": 1}
    _reconstruct(shared, "third")
    assert shared.counts() == {"a": 1, "b": 2, "c": 1, "d": 1}  # it was mended there


def test_a_bucket_that_is_away_is_told_before_work_and_costs_no_result_after(shared, s3_server):
    remote = RemoteResults("s3://results/of/ours")
    shared.store.remote = remote
    s3_server.stop()
    try:
        refused = _twin(
            shared, "reconstruct", str(shared.capture), "--out", str(shared.folder / "twin"), "--no-prefect"
        )
        assert refused.returncode == 5 and "TWIN_STORE_S3" in refused.stderr and "AWS_ENDPOINT_URL" in refused.stderr
        with shared.store.lock("c" * 64), shared.store.workspace("c" * 64) as place:
            (place / "c.txt").write_text("made while it was away")
            shared.store.publish("c", "c" * 64, place, ("c.txt",), {"seconds": 1.0})
        assert shared.store.pending() == [("c", "c" * 64)]
        assert not clean_up(shared.store, Wish(keep_gb=0, twins_too=True)).folders  # it is nowhere else
    finally:
        s3_server.start()
    assert shared.store.send_pending() == 0 and [r.stage for r in remote.results()] == ["c"]


def test_cleaning_here_and_there(shared):
    _reconstruct(shared)
    assert _twin(shared, "clean", "--keep-gb", "0", "--twins-too").returncode == 0
    assert not list(shared.store.results()) and len(_bucket(shared)) == 4
    _reconstruct(shared)  # fetched, not computed
    assert set(shared.counts().values()) == {1} and len(list(shared.store.results())) == 4
    assert "would remove 4 folders" in _twin(shared, "clean", "--remote", "--older-than", "0", "--dry-run").stdout
    assert _twin(shared, "clean", "--remote", "--keep-gb", "0").returncode == 0
    assert set(_bucket(shared)) == {"d"}  # the twin's own
    assert _twin(shared, "clean", "--remote", "--older-than", "0").returncode == 0 and not _bucket(shared)
    assert len(list(shared.store.results())) == 4


def test_the_bucket_belongs_to_one_folder(shared, tmp_path):
    assert Store(tmp_path / "backup").remote is None and Store(shared.folder / "store").remote is not None
    with pytest.raises(ConfigError, match="names no bucket"):
        RemoteResults("/a/folder")
