"""Machines that share a bucket compute a result once: leases there, waited for, taken over from the dead. A real S3 server answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from stages.core import remote_lease
from stages.core.bucket import Bucket, RemoteTrouble, Superseded
from stages.core.remote_lease import RemoteLease, only_one_computes
from stages.core.store import Store
from tests.flows.conftest import Toy, wait_for

pytest.importorskip(
    "obstore", reason="obstore is not installed (pip install 'stereotwin[s3]'): the bucket is NOT tested"
)
pytest.importorskip(
    "moto.server", reason="moto is not installed (pip install 'moto[s3]' flask flask-cors): the bucket is NOT tested"
)

from tests.core.s3_server import S3Server


@pytest.fixture
def bucket(fresh_s3: S3Server, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("TWIN_STORE_S3", fresh_s3.environment["TWIN_STORE_S3"])
    monkeypatch.setattr(remote_lease, "LOOK_EVERY_S", 0.05)
    return Bucket("s3://results/of/ours")


def test_a_lease_is_held_by_one_beats_and_is_given_back(bucket):
    first, second = RemoteLease(bucket, "f" * 64, beat_s=0.1), RemoteLease(bucket, "f" * 64)
    assert first.take() and not second.take()
    with first:
        seen = {wait_for(lambda: first.seen())}
        wait_for(lambda: seen.add(first.seen()) or len(seen) > 2)
    assert second.seen() is None and second.take() and not first.take(over=next(iter(seen))[0])


def test_who_was_cut_off_notices_and_leaves_the_lease_of_the_other(bucket, caplog):
    first, second = RemoteLease(bucket, "f" * 64, beat_s=0.1), RemoteLease(bucket, "f" * 64, beat_s=0.1)
    assert first.take()
    tag, _ = first.seen()
    assert second.take(over=tag)  # it did not beat meanwhile
    with first, second:
        wait_for(lambda: "took this one for dead" in caplog.text)
        first.__exit__()
        assert second.seen() is not None
    assert second.seen() is None


def test_a_conditional_write_needs_what_it_replaces(bucket):
    tag = bucket.put("k", b"1")
    for over in (None, '"another"'):
        with pytest.raises(Superseded):
            bucket.put("k", b"2", over=over)
    assert bucket.get("k") == b"1" and bucket.put("k", b"2", over=tag) != tag
    with pytest.raises(Superseded):
        bucket.put("gone", b"1", over=tag)
    with pytest.raises(RemoteTrouble, match="no bucket of that name"):
        Bucket("s3://nowhere/x").put("k", b"1")


def test_a_result_that_came_meanwhile_is_not_computed(bucket):
    looks = iter([False, True, True])
    other = RemoteLease(bucket, "f" * 64)
    assert other.take()
    waited: list[str] = []
    with only_one_computes(bucket, "f" * 64, 60.0, lambda: next(looks), waited.append) as mine:
        assert not mine and len(waited) == 2
    bucket.delete(["leases/" + "f" * 64])
    with only_one_computes(bucket, "f" * 64, 60.0, lambda: True, waited.append) as mine:
        assert not mine and bucket.get("leases/" + "f" * 64) is None  # its maker had just given the lease back


def test_a_bucket_that_is_away_lets_all_compute(toy, s3_server, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = Bucket("s3://results/of/ours")
    monkeypatch.setattr("stages.core.bucket._RETRIES", {"max_retries": 0})
    with only_one_computes(away, "f" * 64, 60.0, lambda: False, print) as mine:
        assert mine


def _start(toy: Toy, machine: str, **env: str) -> subprocess.Popen:
    """A run on a machine with a store of its own."""
    words = ["reconstruct", str(toy.capture), "--out", str(toy.folder / machine / "twin"), "--no-prefect"]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words],
        env={**os.environ, "TWIN_STORE": str(toy.folder / machine), **env},
        stderr=subprocess.PIPE,
        text=True,
    )


def _twin(toy: Toy, machine: str) -> dict:
    return json.loads((toy.folder / machine / "twin" / "run.json").read_text())


@pytest.mark.slow
def test_two_machines_at_once_compute_each_stage_once(toy, bucket):
    for stage in "abcd":
        toy.order(stage, "sleep 2")
    both = [_start(toy, "one"), _start(toy, "two")]
    told = [p.communicate(timeout=300)[1] for p in both]
    assert [p.returncode for p in both] == [0, 0], told
    assert toy.counts() == dict.fromkeys("abcd", 1)
    assert sum(len(_twin(toy, m)["cached"]) for m in ("one", "two")) == 4 and not list(bucket.entries("leases"))


@pytest.mark.slow
def test_the_lease_of_a_machine_that_died_is_taken_over(toy, bucket):
    toy.order("b", "sleep 600")
    dying = _start(toy, "one")
    wait_for(lambda: toy.counts()["b"], 240)
    toy.order("b", "")
    living = _start(toy, "two", TWIN_LOST_AFTER_S="15")
    time.sleep(3.0)  # it waits, because the other one lives
    assert living.poll() is None and toy.counts()["b"] == 1
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    began = time.monotonic()
    _, told = living.communicate(timeout=300)
    print(f"taken over and done {time.monotonic() - began:.1f} s after the death")
    assert living.returncode == 0, told
    assert toy.counts() == {"a": 1, "b": 2, "c": 1, "d": 1} and not list(bucket.entries("leases"))
    assert {stage for stage, _, _ in Store(toy.folder / "two").results()} == set("abcd")
