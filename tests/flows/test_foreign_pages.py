"""What a web page of somebody else, and work of somebody else, can do with a `twin serve` that has not even a password: nothing.

A real browser on pages of other origins, requests with forged headers, and runs that ask for a command of their own.
"""

from __future__ import annotations

import http.client
import http.server
import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.flows.conftest import make_capture
from tests.flows.served import TOY, Served

pytestmark = pytest.mark.slow
PAGE = b"<!doctype html><title>elsewhere</title><p>a page of somebody else"
ATTACK = """
const [api, files, deployment, done] = arguments, found = {}
const tell = (name, promise) => promise.then(said => { found[name] = said }, error => { found[name] = "refused: " + error })
const read = (path, init = {}) => fetch(path, init).then(async r => r.type + " " + r.status + " " + (await r.text()).slice(0, 60))
const body = JSON.stringify({parameters: {capture: "cup"}, state: {type: "SCHEDULED"}, job_variables: {command: "touch MARKER"}})
const socket = (path, kind) => new Promise((yes, no) => {
  const s = new WebSocket(api.replace("http", "ws") + path, kind)
  s.onopen = () => { s.send(JSON.stringify({type: "auth", token: null})) }
  s.onmessage = m => yes("said " + m.data)
  s.onclose = s.onerror = () => no("closed") })
const picture = source => new Promise((yes, no) => {
  const i = new Image(); i.onload = () => yes("shown"); i.onerror = () => no("not shown"); i.src = source })
const run = `${api}/deployments/${deployment}/create_flow_run`
Promise.all([
  tell("run", read(run, {method: "POST", body, headers: {"Content-Type": "application/json"}})),
  tell("run, simple", read(run, {method: "POST", body, mode: "no-cors"})),
  tell("run, as text", read(run, {method: "POST", body, headers: {"Content-Type": "text/plain"}})),
  tell("pool", read(`${api}/work_pools/`, {method: "POST", body: '{"name": "theirs", "type": "process"}', mode: "no-cors"})),
  tell("token", read(`${api}/csrf-token?client=theirs`)),
  tell("runs", read(`${api}/flow_runs/filter`, {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}})),
  tell("metrics", read(`${api}/metrics`)),
  tell("settings", read(`${api}/admin/settings`)),
  tell("file", read(`${files}/cup/secret.txt`)),
  tell("picture", picture(`${files}/cup/secret.png`)),
  tell("events in", socket("/events/in", ["prefect"])),
  tell("events out", socket("/events/out", ["prefect"])),
  tell("logs out", socket("/logs/out", ["prefect"])),
]).then(() => done(found))
"""
MAY_BE_BLIND = {"run, simple": "opaque 0 ", "pool": "opaque 0 "}
"""a page is not told how such a request ended; that nothing came of it is looked up"""


class Open(Served):
    """Without a password: what is refused here, is refused by the guard alone."""

    options = ("--no-password",)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """The page of somebody else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Open(tmp_path_factory.mktemp("open"), {**TOY, "PREFECT_API_ENABLE_METRICS": "true"})
    folder = server.twins / "cup"
    folder.mkdir(parents=True)
    (folder / "secret.txt").write_text("a secret of ours")
    cv2.imwrite(str(folder / "secret.png"), np.full((4, 4), 200, np.uint8))
    yield server
    assert server.stop() == 0, server.said()


@pytest.fixture(scope="module")
def elsewhere():
    """Port of a server that shows a page of somebody else."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _files(served: Served) -> str:
    return f"http://{served.host}:{served.files_port}"


def _deployment(served: Served) -> str:
    return served.api("/deployments/name/reconstruct-capture/one-capture")["id"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])  # another site, and another origin of the same site
def test_a_page_of_another_origin_can_do_nothing(served, browser, elsewhere, host):
    runs, pools = (len(served.api(f"/{what}/filter", {})) for what in ("flow_runs", "work_pools"))
    marker = served.folder / "taken"
    browser.open(f"http://{host}:{elsewhere}/")
    browser.driver.set_script_timeout(60)
    attack = ATTACK.replace("MARKER", str(marker))
    found = browser.driver.execute_async_script(attack, served.api_url, _files(served), _deployment(served))
    for name, said in found.items():
        assert said.startswith("refused: ") or said == MAY_BE_BLIND.get(name), f"{name}: {said}"
    assert [len(served.api(f"/{what}/filter", {})) for what in ("flow_runs", "work_pools")] == [runs, pools]
    assert not marker.exists()


def test_a_name_that_is_pointed_here_is_not_answered(served, browser):
    """DNS rebinding: to the browser, page and API are of one origin."""
    for port, path in ((served.port, "/"), (served.port, "/api/admin/version"), (served.files_port, "/cup/secret.txt")):
        browser.open(f"http://rebound.example:{port}{path}")
        assert "rebound.example" in browser.see("not a name of this server") and "secret of ours" not in browser.text
    said = browser.driver.execute_async_script(
        "fetch('/cup/secret.txt').then(r => arguments[0](r.status), e => arguments[0](String(e)))"
    )
    assert said == 403


def test_the_own_ui_works_by_every_name_of_this_machine(served, browser):
    for host in ("127.0.0.1", "localhost"):
        browser.open(f"http://{host}:{served.port}/v2/deployments")
        browser.see("reconstruct-capture", "reconstruct-batch", "evaluate-twin")
    browser.open(f"http://localhost:{served.port}/open")
    browser.wait(lambda: "/dashboard" in browser.driver.current_url)  # nothing to be logged in to


def _status(port: int, path: str, method: str = "GET", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"host": f"127.0.0.1:{port}", **headers}.items():
        if value:
            connection.putheader(name.replace("_", "-"), value)
    connection.putheader("content-length", "0")
    connection.endheaders()
    return connection.getresponse().status


UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec_websocket_version": "13",
    "sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
FORGED = [
    {"host": "evil.example"},
    {"host": "evil.example:4200"},
    {"host": "127.0.0.1.evil.example"},
    {"host": ""},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
]


@pytest.mark.parametrize("forged", FORGED, ids=str)
def test_requests_of_others_are_refused_everywhere(served, forged):
    for path in (
        "/api/admin/version",
        "/api/metrics",
        "/api/health",
        "/",
        "/v2/dashboard",
        "/docs",
        "/openapi.json",
        "/open",
    ):
        assert _status(served.port, path, **forged) in (400, 403), path
    assert _status(served.port, "/api/flow_runs/filter", "POST", **forged) in (400, 403)
    assert _status(served.files_port, "/cup/secret.txt", **forged) == 403
    for path in (
        "/api/events/in",
        "/api/events/out",
        "/api/logs/out",
        "/api/task_runs/subscriptions/scheduled",
        "/api/work_pools/twin/workers/connect",
    ):
        assert _status(served.port, path, **UPGRADE, **forged) in (400, 403), path


def test_requests_of_our_own_are_answered(served):
    visit = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    page = {"origin": f"http://127.0.0.1:{served.port}", "sec_fetch_site": "same-origin"}
    for own in ({}, {"host": f"localhost:{served.port}"}, page, {"sec_fetch_site": "same-origin"}, visit):
        assert _status(served.port, "/api/admin/version", **own) == 200, own
        assert _status(served.port, "/v2/dashboard", accept="text/html", **own) == 200, own
    assert _status(served.port, "/api/metrics") == 200
    assert _status(served.port, "/api/events/out", **UPGRADE) == 101
    assert _status(served.files_port, "/cup/secret.txt", **visit) == 200
    assert (
        _status(served.port, "/api/flow_runs/filter", "POST") == 403
    )  # a change or search without the token of a program


def test_a_warning_is_said_without_a_password(served):
    assert "WARNING      no password is set: every user and program of this machine" in served.said()
    assert not (served.store / "prefect" / "serve" / "password").exists()


def _capture(served: Served, name: str) -> str:
    """Its path; of content of its own, so that nothing of it is known yet."""
    folder = make_capture(served.captures / name)
    (folder / "text").write_text(name)
    (folder / "calibration.json").write_text(json.dumps({"name": name}))
    return str(folder)


def _start(served: Served, deployment: str, parameters: dict, **more) -> dict:
    run = served.api(
        f"/deployments/{deployment}/create_flow_run", {"parameters": parameters, "state": {"type": "SCHEDULED"}, **more}
    )
    return served.wait_for(run["id"], "Failed", "Crashed", "Completed")


@pytest.fixture
def theirs(served) -> tuple[Path, str]:
    """A file that tells that a command of theirs was executed, and that command."""
    marker = served.folder / "executed"
    return marker, f"touch {marker}"


def test_a_run_brings_no_command_and_no_environment(served, theirs):
    marker, command = theirs
    capture = {"capture": _capture(served, "cup")}
    for variables, named in (
        ({"command": command}, "command"),
        ({"env": {"PYTHONSTARTUP": "x"}}, "env.PYTHONSTARTUP"),
        ({"env.PREFECT__FLOW_ENTRYPOINT": "os.getcwd"}, "env.PREFECT__FLOW_ENTRYPOINT"),
        ({"working_dir": "/tmp"}, "working_dir"),
    ):
        ended = _start(served, _deployment(served), capture, job_variables=variables)
        assert (
            ended["state_name"] == "Failed"
            and f"it sets the job variables {named}, which no run may" in ended["state"]["message"]
        )
    assert not marker.exists() and not served.count("a")


def test_deployments_and_pools_of_others_are_not_executed(served, theirs):
    marker, command = theirs
    flow = served.api("/flows/", {"name": "theirs"})["id"]
    shell = [{"prefect.deployments.steps.run_shell_script": {"script": command}}]
    ours = {"entrypoint": "flows.deployments.reconstruct_capture", "work_pool_name": "twin", "flow_id": flow}
    for name, more, why in (
        ("code", {"entrypoint": "os.getcwd"}, "names the code 'os.getcwd'"),
        ("steps", {"pull_steps": shell}, "has the pull steps prefect.deployments.steps.run_shell_script"),
        ("variables", {"job_variables": {"command": command}}, "sets the job variables command"),
    ):
        made = served.api("/deployments/", {"name": name, **ours, **more})
        ended = _start(served, made["id"], {})
        assert ended["state_name"] == "Failed" and why in ended["state"]["message"], ended["state"]["message"]
    bare = served.api(
        "/flow_runs/", {"name": "bare", "flow_id": flow, "work_pool_name": "twin", "state": {"type": "SCHEDULED"}}
    )
    assert "belongs to no deployment" in served.wait_for(bare["id"], "Failed", "Crashed")["state"]["message"]
    assert not marker.exists()


def test_what_others_write_into_our_pool_has_no_effect(served, theirs):
    """Their command as the default of the pool: the run is ours, and is started as ours."""
    marker, command = theirs
    template = served.api("/work_pools/twin")["base_job_template"]
    template["variables"]["properties"]["command"]["default"] = command
    served.api("/work_pools/twin", {"base_job_template": template}, method="PATCH")
    ended = _start(served, _deployment(served), {"capture": _capture(served, "jug")})
    assert ended["state_name"] == "Completed" and not marker.exists()


def test_crash_and_cancel_load_no_code_into_the_worker(served, theirs):
    """Prefect would look the deployment up again for its hooks, when somebody may have put his own steps into it."""
    marker, command = theirs
    (served.folder / "b.do").write_text("sleep 300")
    before = served.count("b")
    run = served.create("reconstruct-capture", capture=_capture(served, "pot"))
    served.wait(lambda: served.count("b") > before)
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": command}}]
    deployment = served.api(f"/deployments/{run['deployment_id']}")
    served.api(
        "/deployments/",
        {**{k: deployment[k] for k in ("name", "flow_id", "entrypoint", "work_pool_name")}, "pull_steps": steps},
    )
    served.set_state(run["id"], "CANCELLING", "Cancelling")
    served.wait_for(run["id"], "Cancelled")
    (served.folder / "b.do").write_text("")
    assert not marker.exists()
    refused = _start(served, _deployment(served), {"capture": "pot"})
    assert "pull steps" in refused["state"]["message"] and not marker.exists()
