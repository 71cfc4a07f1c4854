"""`twin serve` for real: server, workers and watcher on free ports with the toy stages. One server for the whole file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows.web.password import authorization
from tests.flows.conftest import make_capture, wait_for
from tests.flows.served import PATIENCE_S, TOY, Served, flow_process_of, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "tmp").mkdir()
    _leave_bad_things(folder)
    server = Served(folder, {**TOY, "TMPDIR": str(folder / "tmp")})
    yield server
    assert server.stop() == 0, server.said()
    assert "stopped" in server.said() and not (server.store / "prefect" / "serve" / "address.json").exists()
    with pytest.raises(StopIteration):
        server.part("")


def _leave_bad_things(folder: Path) -> None:
    """What other programs and other versions may leave; the whole file runs beside them."""
    strange = make_capture(Path(os.fsdecode(os.fsencode(folder / "captures") + b"/caf\xe9")))
    (strange / "READY").touch()
    for part, content in (
        ("runs/20990101-000000-cup-0.json", "null"),
        ("runs/20990101-000001-cup-0.json", '{"schema_version": 99}'),
        ("leases/notes.lease", "[]"),
        ("captures/vase/READY.txt", ""),
    ):
        path = (folder if part.startswith("captures") else folder / "store") / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_what_cannot_be_read_is_named_and_stops_nothing(served):
    log = served.store / "prefect" / "serve" / "logs" / "watcher.log"
    for told in ("caf\\xe9: its name is not UTF-8", "READY.txt: the marker has to be named READY"):
        served.wait(lambda told=told: told in log.read_text())
    status = subprocess.run(
        [sys.executable, "-m", "flows.cli", "status"], env=served.env, capture_output=True, text=True
    )
    assert status.returncode == 0, status.stderr
    assert all(x in status.stdout for x in ("20990101-000000-cup-0.json", "newer version", "caf\\xe9", "READY.txt"))


def _capture(served: Served, name: str) -> Path:
    return _into(served.captures, name)


def _into(root: Path, name: str) -> Path:
    path = make_capture(root / name)
    (path / "text").write_text(name)
    (path / "calibration.json").write_text(json.dumps({"name": name}))
    return path


def test_a_ready_marker_starts_one_run_and_a_batch_does_not_repeat_it(served):
    (_capture(served, "cup") / "READY").touch()
    served.wait_state("cup", "Completed")
    assert (served.folder / "twins" / "cup" / "run.json").exists()
    batch = served.create("reconstruct-batch")
    wait_for(lambda: served.api(f"/flow_runs/{batch['id']}")["state_name"] == "Completed", PATIENCE_S)
    assert len(served.runs("cup")) == 1 and "done before" in (served.folder / "twins" / "batch.html").read_text()


def test_a_failed_stage_is_resumed_by_retry(served):
    (served.folder / "c.do").write_text("raise")
    before = {s: served.count(s) for s in "abcd"}
    (_capture(served, "jug") / "READY").touch()
    failed = served.wait_state("jug", "Failed")
    assert "frame 17 of right/ is missing" in failed["state"]["message"]
    artifacts = served.api("/artifacts/filter", {"artifacts": {"key": {"any_": ["failure"]}}})
    assert "copy it again" in artifacts[0]["data"]
    (served.folder / "c.do").write_text("")
    served.api(
        f"/flow_runs/{failed['id']}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    )
    served.wait_state("jug", "Completed")
    assert {s: served.count(s) - before[s] for s in "abcd"} == {"a": 1, "b": 1, "c": 2, "d": 1}


def test_one_bad_capture_of_a_batch_leaves_the_others(served):
    other = served.folder / "other"
    for name in ("good1", "bad", "good2"):
        (_into(other, name) / "READY").touch()
    (other / "bad" / "calibration.json").unlink()
    batch = served.create("reconstruct-batch", root=str(other))
    done = wait_for(
        lambda: (r := served.api(f"/flow_runs/{batch['id']}"))["state_name"] in ("Failed", "Completed") and r,
        PATIENCE_S,
    )
    assert done["state_name"] == "Failed" and "1 of 3 captures failed: bad" in done["state"]["message"]
    assert len(list((served.folder / "twins").glob("good*/run.json"))) == 2


def test_wrong_values_are_refused_before_a_run_exists(served):
    before = len(served.api("/flow_runs/filter", {}))
    for wrong in (
        {"capture": ""},
        {"capture": "cup", "profile": "best"},
        {"capture": "cup", "methods": {"b": "magic"}},
        {"capture": "cup", "settings": ["nonsense"]},
        {"capture": "cup", "box": {"left": -1, "top": 0, "right": 1, "bottom": 1}},
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            served.create("reconstruct-capture", **wrong)
        assert error.value.code == 409, wrong
    assert len(served.api("/flow_runs/filter", {})) == before


def _slow_b(served: Served, name: str, seconds: int) -> tuple[dict, dict[str, int]]:
    """A run whose stage b is under way and takes so long; the counts before it began."""
    before = {s: served.count(s) for s in "abcd"}
    (served.folder / "b.do").write_text(f"sleep {seconds}")
    run = served.create("reconstruct-capture", capture=str(_capture(served, name)))
    served.wait(lambda: served.count("b") > before["b"])
    (served.folder / "b.do").write_text("")  # whoever runs b again finds it quick
    return run, before


def _runs_of(served: Served, before: dict[str, int]) -> dict[str, int]:
    return {s: served.count(s) - before[s] for s in "abcd"}


def test_kill_of_a_stage_and_retry(served):
    run, before = _slow_b(served, "killed-stage", 300)
    os.kill(int((served.folder / "b.count").read_text().split()[-1]), signal.SIGKILL)
    served.wait_for(run["id"], "Failed")
    served.retry(run["id"])
    served.wait_for(run["id"], "Completed")
    assert _runs_of(served, before) == {"a": 1, "b": 2, "c": 1, "d": 1}


def test_kill_of_a_run(served):
    """Worker and watcher both notice. Where the worker is first, the run is Crashed and waits for Retry; else it has been brought back."""
    run, before = _slow_b(served, "killed-run", 300)
    os.kill(flow_process_of(int((served.folder / "b.count").read_text().split()[-1])), signal.SIGKILL)
    while served.wait_for(run["id"], "Crashed", "Completed")["state_name"] == "Crashed":
        served.retry(run["id"])
    assert _runs_of(served, before) == {"a": 1, "b": 2, "c": 1, "d": 1}


@pytest.mark.parametrize("victim", ["server", "worker\0twin\0"])
def test_kill_of_server_or_worker_does_not_interrupt_a_run(served, victim):
    run, before = _slow_b(served, f"survivor-{victim[:6]}", 8)
    served.kill(victim)
    served.wait_for(run["id"], "Completed")
    assert _runs_of(served, before) == dict.fromkeys("abcd", 1)
    assert f"{victim.split(chr(0))[0]} ended" in served.said() and len(served.runs(f"survivor-{victim[:6]}")) == 1


def test_reboot_in_the_middle_of_a_batch(served):
    """kill -9 of everything at once, `twin serve` again: the batch, the run under way and the one that waited come back by themselves."""
    before = {s: served.count(s) for s in "abcd"}
    night = served.folder / "night"
    for name in ("one", "three", "two"):
        (_into(night, name) / "READY").touch()
    (served.folder / "b.do").write_text("sleep 300")
    batch = served.create("reconstruct-batch", root=str(night))
    served.wait(lambda: served.count("b") == before["b"] + 2)  # two at once, the third waits
    assert served.kill_everything() > 8
    assert not [
        p for p in (served.folder / "tmp").rglob("*") if "prefect" in p.name or "runner" in p.name
    ]  # no folder stays behind
    (served.folder / "b.do").write_text("")
    served.start()
    served.wait_for(batch["id"], "Completed")
    assert _runs_of(served, before) == {"a": 3, "b": 5, "c": 3, "d": 3}
    assert (
        all(len(served.runs(name)) == 1 for name in ("one", "two", "three"))
        and len(list(served.twins.glob("*-*/run.json"))) >= 3
    )


def _twin(served: Served, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "flows.cli", *words], env=served.env, capture_output=True, text=True)


def test_a_second_serve_of_the_store_is_refused_with_the_address_of_the_first(served):
    second = _twin(served, "serve", "--port", str(free_port()))
    assert second.returncode == 5 and f"runs already at {served.ui} " in second.stderr
    assert f"serving {served.ui}" in _twin(served, "status").stdout  # the first keeps its address


def test_the_password_is_told_to_its_owner_and_to_no_log(served):
    assert _twin(served, "serve", "--link").stdout.strip() == served.link
    word = served.auth.partition(":")[2]
    files = [p for p in served.store.rglob("*") if p.is_file() and word.encode() in p.read_bytes()]
    assert {p.name for p in files} == {"password", "address.json"} and all(p.stat().st_mode & 0o077 == 0 for p in files)
    assert word not in served.said() and len(word) >= 32
    for number in served.processes():
        assert word.encode() not in Path(f"/proc/{number}/cmdline").read_bytes()  # which other users may read


def test_the_command_line_finds_server_and_password_by_itself(served):
    capture = _capture(served, "by-hand")
    served.env["PREFECT_API_URL"] = served.api_url
    try:
        done = _twin(served, "reconstruct", str(capture), "--out", str(served.folder / "by-hand"))
        other = subprocess.run(
            [sys.executable, "-m", "flows.cli", "schedule", "--remove"],
            capture_output=True,
            text=True,
            env={**served.env, "TWIN_STORE": str(served.folder / "other-store")},
        )
    finally:
        del served.env["PREFECT_API_URL"]
    assert done.returncode == 0, done.stderr
    assert any(str(capture) in json.dumps(r["parameters"]) for r in served.api("/flow_runs/filter", {}))
    assert other.returncode == 5 and "asks for another password" in other.stderr and "set TWIN_AUTH" in other.stderr


def test_files_are_served_but_not_listed(served):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.addheaders = [("Authorization", authorization(served.auth))]
    fetch, address = opener.open, f"http://127.0.0.1:{served.files_port}"
    (served.folder / "twins" / "cup").mkdir(exist_ok=True)
    (served.folder / "twins" / "cup" / "page.html").write_text("<p>")
    assert fetch(f"{address}/cup/page.html").read() == b"<p>"
    for path in ("/", "/cup/", "/.hidden", "/%2e%2e/serve.log"):
        with pytest.raises(urllib.error.HTTPError):
            fetch(address + path)
