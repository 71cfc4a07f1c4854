"""What an operator sees of a served store: /metrics while runs go on, messages about failures, who started what, the run table."""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from flows.web.password import authorization
from tests.flows.conftest import make_capture
from tests.flows.served import TOY, Served

pytestmark = pytest.mark.slow
MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
NAME = re.compile(r"\btwin_[a-z_]+")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operated")
    server = Served(folder, TOY, runs=1, patience_s=90.0)
    yield server
    assert server.stop() == 0, server.said()


def _metrics(served: Served, auth: str | None = None) -> str:
    request = urllib.request.Request(
        f"http://{served.host}:{served.files_port}/metrics",
        headers={"Authorization": authorization(served.auth if auth is None else auth)},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return reply.read().decode()


def _twin(served: Served, *words: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words], env={**served.env, **more}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def hook():
    """A webhook: what was posted to it."""
    posted: list[dict] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?key=s3cret", posted
        server.shutdown()


@pytest.fixture
def mailbox():
    """The least of a mail server: the mails it took."""
    mails: list[str] = []

    class Mail(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            def say(text):
                return self.wfile.write(f"{text}\r\n".encode())

            say("220 here")
            while line := self.rfile.readline().decode().strip():
                match line.split()[0].upper():
                    case "DATA":
                        say("354 go on")
                        mails.append("".join(iter(lambda: self.rfile.readline().decode(), ".\r\n")))
                        say("250 taken")
                    case "QUIT":
                        return say("221 bye")
                    case _:
                        say("250 fine")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", mails
        server.shutdown()


def _ready(served: Served, name: str) -> None:
    folder = make_capture(served.captures / name)
    (folder / "text").write_text(name)  # or its results would come from the store
    (folder / "calibration.json").write_text(json.dumps({"name": name}))
    (folder / "READY").touch()


def test_metrics_are_fresh_while_a_run_goes_on_and_ask_for_the_password(served):
    (served.folder / "b.do").write_text("sleep 6")
    _ready(served, "cup")
    _ready(served, "bowl")
    text = served.wait(lambda: (t := _metrics(served)) and 'twin_stage_running{stage="b"} 1.0' in t and t)
    assert (
        'twin_runs{state="running"} 1.0' in text
        and "twin_server_up 1.0" in text
        and 'twin_workers{pool="twin"} 1.0' in text
    )
    assert re.search(r"^twin_run_oldest_seconds [0-9.]*[1-9]", text, re.MULTILINE)
    served.wait(lambda: 'twin_flow_runs{state="scheduled"} 1.0' in _metrics(served))  # one run at once: the other waits
    (served.folder / "b.do").write_text("")
    for name in ("cup", "bowl"):
        served.wait_state(name, "Completed")
    assert 'twin_runs{state="done"} 2.0' in _metrics(served)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        _metrics(served, "twin:wrong")


def test_every_figure_that_alerts_and_board_name_is_served(served):
    there = set(NAME.findall(_metrics(served)))
    rules = [r for g in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for r in g["rules"]]
    board = json.loads((MONITORING / "grafana-board.json").read_text())
    drawn = [t["expr"] for p in board["panels"] for t in p["targets"]]
    asked = set(NAME.findall(" ".join([*(r["expr"] for r in rules), *drawn])))
    assert len(rules) >= 8 and len(drawn) >= 12 and asked >= {"twin_runs", "twin_workers", "twin_stage_seconds_sum"}
    assert asked <= there, asked - there
    assert all(r["alert"] and r["annotations"]["summary"] and r["annotations"]["description"] for r in rules)
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"]) and board["schemaVersion"]
    documented = (MONITORING.parents[1] / "docs" / "operating.md").read_text()
    assert not [n for n in there if n.removesuffix("_sum").removesuffix("_count") not in documented]


def test_a_failure_is_told_by_webhook_and_mail_with_its_reason(served, hook, mailbox):
    (url, posted), (smtp, mails) = hook, mailbox
    assert "webhook" in _twin(served, "notify", "webhook", url)
    _twin(
        served,
        "notify",
        "email",
        "a@example.org,b@example.org",
        "--smtp",
        smtp,
        "--sender",
        "twin@example.org",
        "--name",
        "team",
    )
    listed = _twin(served, "notify", "--list")
    assert (
        "webhook: runs and batches that are failed, crashed" in listed and "team:" in listed and "s3cret" not in listed
    )
    _twin(served, "notify", "--test", "team")
    assert "a test" in mails[0] and "To: a@example.org, b@example.org" in mails[0]
    (served.folder / "c.do").write_text("raise")
    _ready(served, "jug")
    served.wait_state("jug", "Failed")
    served.wait(lambda: posted and len(mails) > 1)
    (served.folder / "c.do").write_text("")
    assert (
        "Failed" in posted[0]["subject"]
        and "frame 17 of right/ is missing" in posted[0]["body"]
        and served.ui in posted[0]["body"]
    )
    assert "frame 17 of right/ is missing" in mails[1]
    _twin(served, "notify", "--remove", "webhook")
    _twin(served, "notify", "--remove", "team")
    assert "nobody" in _twin(served, "notify", "--list")


def test_who_started_what(served):
    by_hand = served.create("reconstruct-capture", capture="jug")
    served.wait_for(by_hand["id"], "Completed")
    runs = {r["flow_run"]: r for r in json.loads(_twin(served, "status", "--json"))["runs"]}
    told = json.loads(_twin(served, "audit", "--json"))
    assert runs[by_hand["id"]]["started_by"] == "UI or API"
    assert {r["started_by"].partition(",")[0] for r in runs.values() if r["flow_run"] != by_hand["id"]} == {"READY"}
    entry = next(e for e in told if e.get("id") == by_hand["id"])
    assert (entry["user"], entry["from"], entry["status"]) == ("twin", "127.0.0.1", 201) and entry["path"].endswith(
        "/create_flow_run"
    )
    assert any("/automations" in e.get("path", "") for e in told) and not any(
        "set_state" in e.get("path", "") for e in told
    )
    assert served.auth.partition(":")[2] not in _twin(served, "audit")
    served.set_state(by_hand["id"], "CANCELLED", "Cancelled")
    cancelled = served.wait(
        lambda: next((e for e in json.loads(_twin(served, "audit", "--json")) if e.get("state") == "Cancelled"), None)
    )
    assert by_hand["id"] in cancelled["path"]


def test_resume_goes_on_where_the_history_is(served):
    (served.folder / "c.do").write_text("raise")
    _ready(served, "pot")
    served.wait_state("pot", "Failed")
    (served.folder / "c.do").write_text("")
    run = json.loads(_twin(served, "status", "--json", "--capture", "pot"))["runs"][0]["id"]
    before = served.count("a")
    assert "twin " in _twin(served, "resume", run)
    flows = served.api("/flow_runs/filter", {"flows": {"name": {"any_": ["reconstruct"]}}})
    assert [f["state_name"] for f in flows] == ["Completed"] and served.count("a") == before
    assert not (served.store / "prefect" / "prefect.db").exists()  # no second server


def test_the_run_table_is_narrowed(served):
    def narrowed(*words):
        return json.loads(_twin(served, "status", "--json", *words))["runs"]

    names = [Path(r["request"]["capture"]).name for r in narrowed("--state", "failed")]
    assert names == ["jug"], [(r["request"]["capture"], r["state"], r["started_by"], r["error"]) for r in narrowed()]
    assert (
        len(narrowed("--capture", "JUG")) == 2
        and len(narrowed("--failed-in", "c")) == 1
        and not narrowed("--failed-in", "a")
    )
    assert len(narrowed("--days", "1")) == 5 and not narrowed("--profile", "quality") and not narrowed("--days", "0")
    assert "no run fits" in _twin(served, "status", "--capture", "nothing")
