"""`twin serve` with a password, on an address of its own: what is refused, what is let in, and that nothing is told to anybody else."""

from __future__ import annotations

import base64
import http.client
from pathlib import Path

import pytest

from tests.flows.conftest import make_capture
from tests.flows.served import TOY, Served

pytestmark = pytest.mark.slow
USER, PASSWORD = "admin", "correct horse: battery"


class Guarded(Served):
    """One setting, TWIN_AUTH, and an address that is not the usual one."""

    host = "127.0.0.2"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {**TOY, "TWIN_AUTH": f"{USER}:{PASSWORD}"}, runs=1)

    def status(self, port: int, path: str, auth: str | None = None, method: str = "GET") -> int:
        """Of one request."""
        connection = http.client.HTTPConnection(self.host, port, timeout=30)
        headers = {} if auth is None else {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
        connection.request(method, path, headers=headers)
        return connection.getresponse().status


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    assert server.stop() == 0, server.said()


def test_api_and_files_ask_for_the_password_and_a_marked_capture_becomes_a_twin(guarded):
    good, bad = f"{USER}:{PASSWORD}", f"{USER}:wrong"
    assert guarded.status(guarded.port, "/api/admin/version") == 401
    assert guarded.status(guarded.port, "/api/admin/version", bad) == 401
    assert guarded.status(guarded.port, "/api/admin/version", good) == 200
    assert (
        guarded.status(guarded.port, "/api/deployments/count", good, "POST") == 403
    )  # without the token that forged ones lack
    assert guarded.api("/deployments/count", {}) == 3
    capture = make_capture(guarded.captures / "cup")
    (capture / "READY").touch()
    guarded.wait_state("cup", "Completed")  # watcher, worker and flow run know the password
    for method in ("GET", "HEAD"):
        assert guarded.status(guarded.files_port, "/cup/run.json", method=method) == 401
        assert guarded.status(guarded.files_port, "/cup/run.json", bad, method) == 401
        assert guarded.status(guarded.files_port, "/cup/run.json", good, method) == 200
    assert PASSWORD not in guarded.said() and not (guarded.store / "prefect" / "serve" / "password").exists()
    logs = "".join(p.read_text() for p in (guarded.store / "prefect" / "serve" / "logs").glob("*.log"))
    assert PASSWORD not in logs and base64.b64encode(good.encode()).decode() not in logs


def test_it_listens_where_it_was_told_and_nowhere_else(guarded):
    for port in (guarded.port, guarded.files_port):
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()


def test_telemetry_is_off(guarded):
    settings = guarded.api("/admin/settings")
    assert settings["server"]["analytics_enabled"] is False
    assert settings["server"]["ui"]["show_promotional_content"] is False
    environment = Path(f"/proc/{guarded.part('server')}/environ").read_bytes().split(b"\0")
    assert b"DO_NOT_TRACK=1" in environment
    connection = http.client.HTTPConnection(guarded.host, guarded.port, timeout=30)
    connection.request("GET", "/v2/dashboard")
    assert "connect-src 'self'" in (connection.getresponse().getheader("Content-Security-Policy") or "")


def test_files_and_watcher_are_started_again(guarded):
    """As server and worker are, in test_serve.py."""
    for part in ("files", "watcher"):
        guarded.kill(part)
    guarded.wait(
        lambda: all(
            f"{part} ended (exit code -9): starting it again" in guarded.said() for part in ("files", "watcher")
        )
    )
    guarded.wait(lambda: guarded.status(guarded.files_port, "/") == 401)
    (make_capture(guarded.captures / "jug") / "READY").touch()
    guarded.wait_state("jug", "Completed")


def test_a_link_with_another_password_lets_nobody_in(guarded, browser):
    browser.open(f"{guarded.ui}/open#{USER}:wrong")
    assert "wrong" not in browser.see("This link is not valid") + browser.driver.current_url
    browser.open(f"{guarded.ui}/open")
    browser.see("This address lacks what follows #")
    assert browser.driver.execute_script("return localStorage.getItem('prefect-password')") is None


def test_the_ui_asks_for_the_password(guarded, browser):
    origin = f"http://{guarded.host}:{guarded.port}"
    browser.forget(origin)  # by a first try of this test
    browser.open(f"{origin}/v2/deployments")
    browser.see("Login")
    field = browser.find("//input[@type='password']")
    field.send_keys(f"{USER}:wrong")
    browser.press("Login")
    browser.wait(
        lambda: (
            "reconstruct-capture" not in browser.text
            and browser.driver.find_elements("xpath", "//input[@type='password']")
        )
    )
    field = browser.find("//input[@type='password']")
    browser.wait(field.is_enabled)  # not while the wrong one is still being refused
    field.clear()
    field.send_keys(f"{USER}:{PASSWORD}")
    browser.press("Login")
    browser.see("reconstruct-capture", "reconstruct-batch", "evaluate-twin")
    assert browser.hosts() <= {f"{guarded.host}:{guarded.port}"}
