"""kill -9 of the parts of a `twin serve` that other tests leave alive. Its captures come from a bucket and its twins go to one: a batch, a
sending cut off in the middle, and what arrives by itself. Prefect's real server and a real S3 server.

`python -m pytest -s` of this file prints the times that stand in docs/operating.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest

from flows.web.password import authorization
from tests.flows.conftest import make_capture
from tests.flows.s3_captures import Bucket as Bare
from tests.flows.served import TOY, Served, kill_tree

pytest.importorskip(
    "obstore", reason="obstore is not installed (pip install 'stereotwin[s3]'): kills are NOT tested with a bucket"
)
pytest.importorskip("moto.server", reason="moto is not installed (pip install 'moto[s3]' flask flask-cors): as above")

from tests.core.s3_server import S3Server

pytestmark = pytest.mark.slow
PATIENCE_S = 900.0
OVER = ("Completed", "Failed", "Crashed")
SMALL_PARTS = {"watcher": "watcher", "files": "files\0", "batch-worker": "worker\0twin-batch\0"}
EVERY_PART = ("server\0", "worker\0twin\0", *SMALL_PARTS.values())
NOTES, SOME = 60, 5
"""a megabyte each, beside a twin, so that sending it takes a while; how many have come when it is cut off"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    started = S3Server()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def served(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    of_bucket = {k: v for k, v in server.environment.items() if k != "TWIN_STORE_S3"}
    places = {"TWIN_CAPTURES_S3": "s3://results/captures", "TWIN_TWINS_S3": "s3://results/twins"}
    running = Served(tmp_path_factory.mktemp("killed"), {**TOY, **of_bucket, **places}, patience_s=PATIENCE_S)
    yield running
    assert running.stop() == 0, running.said()


@pytest.fixture
def bare(server: S3Server) -> Bare:
    return Bare(server)


def _upload(bare: Bare, served: Served, key: str, text: str = "") -> None:
    capture = make_capture(served.folder / "made" / key)
    for file in ("text", "calibration.json"):  # or the store would have the stages of the capture before
        (capture / file).write_text(json.dumps({"name": f"{key} {text}"}))
    bare.upload(capture, key)


def _twins(bare: Bare) -> dict[str, dict[str, bytes]]:
    """What a reader gets who goes by the manifests, by the folder's name; every file has to be as they say."""
    found, there = {}, bare.files("twins")
    for key in (k for k in there if k.endswith("/twin.json")):
        folder, manifest = key.removesuffix("/twin.json"), json.loads(there[key])
        files = {n: there[f"{folder}/{manifest['version']}/{n}"] for n in manifest["files"]}
        assert {n: hashlib.sha256(d).hexdigest() for n, d in files.items()} == {
            n: f["sha256"] for n, f in manifest["files"].items()
        }
        found[folder] = files
    return found


def _counts(served: Served) -> Counter[str]:
    return Counter({s: served.count(s) for s in "abcd"})


def _orders(served: Served, words: str) -> None:
    """To stage b: "hold" or nothing."""
    (served.folder / "b.do").write_text(words)


def _number(served: Served, part: str) -> int | None:
    with contextlib.suppress(StopIteration):
        return served.part(part)
    return None


def _metrics(served: Served) -> bool:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{served.files_port}/metrics", headers={"Authorization": authorization(served.auth)}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
        return "twin_server_up 1" in answer.read().decode()


def _tell(killed: str, **seconds: float) -> None:
    print(f"\nkilled: {killed}: " + ", ".join(f"{what.replace('_', ' ')} {s:.1f} s" for what, s in seconds.items()))


def _completed(served: Served, run: dict, attempts: int = 1) -> None:
    ended = served.wait_for(run["id"], *OVER)
    assert (ended["state_name"], ended["run_count"]) == ("Completed", attempts), ended["state"]["message"]


def test_watcher_files_and_batch_worker_are_killed_in_a_batch_of_a_prefix(served, bare):
    """Its captures go on, its own process too; what arrives in the bucket while the watcher is dead is taken, and nothing twice."""
    before = _counts(served)
    _orders(served, "hold")
    for name in ("ball", "cup"):
        _upload(bare, served, f"night/{name}")
    batch = served.create("reconstruct-batch", root="s3://results/night")
    served.wait(lambda: served.count("b") > before["b"])
    former = {part: served.part(words) for part, words in SMALL_PARTS.items()}
    began = time.monotonic()
    for number in former.values():
        os.kill(number, signal.SIGKILL)
    _upload(bare, served, "captures/day/jug")
    for part, words in SMALL_PARTS.items():
        served.wait(lambda w=words, n=former[part]: _number(served, w) not in (None, n))
        assert f"{part} ended (exit code -9)" in served.said()
        _tell(part, started_again=time.monotonic() - began)
    served.wait(lambda: _metrics(served))
    _tell("files", answers_again=time.monotonic() - began)
    served.wait(lambda: served.runs("jug"))
    _tell("watcher", capture_taken=time.monotonic() - began)
    _orders(served, "")
    _completed(served, batch)
    served.wait_state("jug", "Completed")
    assert _counts(served) - before == dict.fromkeys("abcd", 3)
    twins = _twins(bare)
    assert sorted(name.partition("-")[0] for name in twins) == ["ball", "cup", "day/jug"]
    for name, files in twins.items():
        record = json.loads(files["run.json"])
        assert record["profile"] == "standard" and "d" in record["stages"], name
    _completed(served, served.create("reconstruct-batch"))  # of TWIN_CAPTURES_S3, by the new worker: all of it is done
    assert _counts(served) - before == dict.fromkeys("abcd", 3)
    assert [len(served.runs(name)) for name in ("ball", "cup", "jug")] == [1, 1, 1]


def test_a_worker_that_is_killed_in_the_middle_of_a_sending_costs_the_sending_only(served, server, bare):
    """The former twin stays until the next attempt has sent the whole new one; what a user put beside it makes it large."""
    _upload(bare, served, "sent/vase")
    _completed(served, served.create("reconstruct-capture", capture="s3://results/sent/vase"))
    (name,) = [n for n in _twins(bare) if n.startswith("vase-")]
    former, kept, before = _twins(bare)[name], set(bare.names(f"twins/{name}")), _counts(served)
    for k in range(NOTES):
        (served.twins / name / f"note{k}.bin").write_bytes(os.urandom(1 << 20))
    _upload(bare, served, "sent/vase", "another text")
    run = served.create("reconstruct-capture", capture="s3://results/sent/vase")

    def come() -> int:
        return len(set(bare.names(f"twins/{name}")) - kept)

    served.wait(lambda: come() > SOME, every_s=0.02)
    began = time.monotonic()
    with server.still():  # or all of it might have come by now
        kill_tree(served.part("worker\0twin\0"))  # with its run
    assert SOME < come() < NOTES and _twins(bare)[name] == former
    _completed(served, run, attempts=2)
    _tell("worker with its run", run_completed=time.monotonic() - began)
    vase = _twins(bare)[name]
    assert sum(file.startswith("note") for file in vase) == NOTES and vase["run.json"] != former["run.json"]
    assert (
        len(bare.names(f"twins/{name}")) == len(vase) + 1
    )  # nothing is left of the former one and of what was cut off
    assert _counts(served) - before == dict.fromkeys("abcd", 1)


def test_twin_serve_itself_dies_and_takes_its_parts_along(served, bare):
    """Not the process of a run: that waits for a server. (systemd ends it too: that is the power cut of test_serve.py.)"""
    before = _counts(served)
    _orders(served, "hold")
    _upload(bare, served, "one/under-way")
    run = served.create("reconstruct-capture", capture="s3://results/one/under-way")
    served.wait(lambda: served.count("b") > before["b"])
    served.wait(lambda: all(_number(served, part) for part in EVERY_PART))
    began = time.monotonic()
    served.process.kill()
    served.process.wait()
    served.wait(lambda: not any(_number(served, part) for part in EVERY_PART))
    _tell("twin serve", parts_gone=time.monotonic() - began, ready_again=served.start())
    _orders(served, "")
    _completed(served, run)
    assert _counts(served) - before == dict.fromkeys("abcd", 1)
