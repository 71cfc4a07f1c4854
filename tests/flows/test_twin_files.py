"""The file server, in this process: what it shows, what lies outside, and thousands of connections that say nothing."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.web import twin_files
from flows.web.guard import Allowed
from flows.web.password import authorization, cookie_name, cookie_value
from flows.web.twin_files import Shown, TwinFileServer, open_inside

AUTH = "twin:a word"


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "twins"
    (folder / "cup").mkdir(parents=True)
    (folder / "cup" / "report.html").write_text("<p>a report")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("a secret")
    return folder


@contextmanager
def _serving(root: Path, auth: str = ""):
    with TwinFileServer(("127.0.0.1", 0), Shown(root, Allowed.at("127.0.0.1"), auth)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def _ask(server: TwinFileServer, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_a_file_is_shown_with_its_type(root):
    with _serving(root) as server:
        reply = _ask(server, "/cup/report.html?again=1")
        assert reply.status == 200 and reply.read() == b"<p>a report"
        assert reply.headers["Content-Type"] == "text/html" and reply.headers["X-Content-Type-Options"] == "nosniff"
        head = _ask(server, "/cup/report.html", "HEAD")
        assert head.status == 200 and head.headers["Content-Length"] == "11" and head.read() == b""


def test_links_out_of_the_folder_are_not_followed(root):
    (root / "cup" / "key.txt").symlink_to(root.parent / "secret" / "key.txt")
    (root / "jug").symlink_to(root.parent / "secret")
    (root / "cup" / "same.html").symlink_to("report.html")
    (root / "again").symlink_to("cup")
    os.mkfifo(root / "cup" / "pipe")
    with _serving(root) as server:
        for path in (
            "/cup/key.txt",
            "/jug/key.txt",
            "/cup/pipe",
            "/cup/../../secret/key.txt",
            "/cup/%2e%2e/%2e%2e/secret/key.txt",
            "/%2fetc/hostname",
            "//etc/hostname",
            "/cup/..%2f..%2fsecret/key.txt",
            "/",
            "/cup",
            "/cup/",
            "/nothing",
            "/cup/%00",
            "/.x",
        ):
            reply = _ask(server, path)
            assert reply.status == 404 and b"secret" not in reply.read(), path
        for path in ("/cup/same.html", "/again/report.html"):  # inside, links are as good as copies
            assert _ask(server, path).status == 200, path


def test_a_root_that_is_itself_a_link(root):
    (root.parent / "link").symlink_to(root)
    file = open_inside(root.parent / "link", Path("cup/report.html"))
    assert file is not None and file.read() == b"<p>a report"
    file.close()
    assert open_inside(root.parent / "link", Path("/etc/hostname")) is None


def test_password_and_cookie(root):
    with _serving(root, AUTH) as server:
        port = str(server.server_address[1])
        cookie = f"other=1; {cookie_name(port)}={cookie_value(AUTH)}"
        for headers, status in (
            ({}, 401),
            ({"Authorization": authorization("twin:another")}, 401),
            ({"Authorization": authorization(AUTH)}, 200),
            ({"Cookie": cookie}, 200),
            ({"Cookie": f"{cookie_name('1')}={cookie_value(AUTH)}"}, 401),
            ({"Cookie": f"{cookie_name(port)}={cookie_value('twin:another')}"}, 401),
            ({"Cookie": "\x01;;="}, 401),
        ):
            assert _ask(server, "/cup/report.html", **headers).status == status, headers
        assert "a word" not in cookie


def test_connections_that_say_nothing_leave_room_for_others(root):
    with _serving(root) as server:
        silent = [socket.create_connection(server.server_address) for _ in range(300)]
        for number, s in enumerate(silent):
            if number % 2:
                s.sendall(b"GET /cup/rep")  # half a request
        began = threading.active_count()
        assert began < twin_files.MOST_CONNECTIONS + 20
        for _ in range(3):
            assert _ask(server, "/cup/report.html").status == 200
        for s in silent:
            s.close()


def test_a_request_has_to_come_in_time_even_byte_by_byte(root, monkeypatch):
    monkeypatch.setattr(twin_files, "REQUEST_WITHIN_S", 0.5)
    with _serving(root) as server, socket.create_connection(server.server_address) as slow:
        slow.settimeout(10)
        ended = None
        for letter in b"GET /cup/report.html HTTP/1.0\r\nHost: localhost\r\nX-Slow: " + b"x" * 200:
            try:
                slow.sendall(bytes([letter]))
                time.sleep(0.05)
            except OSError as e:
                ended = e
                break
        assert ended is not None or slow.recv(1) == b""
        assert _ask(server, "/cup/report.html").status == 200
