"""Weights: a download that is cut goes on, a wrong file is never taken, and what to do is always said. Loopback only, tiny files."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from stages.core import weights
from stages.core.config import resolve
from stages.core.errors import ConfigError, WeightsError
from stages.core.licences import of_run, refuse_non_commercial
from stages.core.weight_files import add, fetch

CONTENT = bytes(range(256)) * 4000
ROOT = Path(__file__).parents[2]
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT with byte ranges; `cut_after`: bytes of each answer after which the connection breaks."""

    cut_after: int | None = None
    content = CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.asked: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content, wanted = self.server.content, self.headers.get("Range")
        self.server.ranges.append(wanted)
        self.server.asked.append(self.path)
        tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
        start = int(wanted[6:-1]) if wanted and self.headers.get("If-Range", tag) == tag else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.cut_after])

    def log_message(self, *args) -> None: ...


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("stages.core.weight_files.time.sleep", lambda seconds: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty weights folder."""
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def register(
    folder: Path, address: str | None = None, sha256: str | None = DIGEST, download: str = "toy.onnx", **more
) -> None:
    values = {
        "title": "a toy",
        "page": "https://example.org/toy",
        "licence": "MIT",
        "commercial": True,
        "download": download,
        "address": address,
        "sha256": sha256,
        **more,
    }
    (folder / "registry.yaml").write_text(json.dumps({"toy": values}))


def address_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/toy.onnx"


def test_fetch_verifies_and_the_second_time_does_nothing(server, folder):
    register(folder, address_of(server))
    seen = []
    added = fetch("toy", progress=lambda *x: seen.append(x))
    assert (
        added.path == folder / "toy.onnx"
        and added.path.read_bytes() == CONTENT
        and seen[-1] == (len(CONTENT), len(CONTENT))
    )
    assert weights.require("toy").sha256 == DIGEST
    assert fetch("toy") is None and len(server.ranges) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["registry.yaml", "toy.onnx", "toy.onnx.origin.json"]


def test_a_cut_download_goes_on_where_it_stopped(server, folder):
    register(folder, address_of(server))
    server.cut_after = 300_000
    assert fetch("toy").path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_the_next_run_goes_on_too(server, folder):
    register(folder, address_of(server))
    server.cut_after = 1000
    with pytest.raises(WeightsError, match=r"broke after 5,000 bytes[\s\S]*goes on from there"):
        fetch("toy")
    server.cut_after = None
    assert fetch("toy").path.read_bytes() == CONTENT and server.ranges[-1] == "bytes=5000-"


def test_a_file_that_changed_meanwhile_is_sent_from_its_beginning(server, folder):
    register(folder, address_of(server))
    server.content, server.cut_after = b"other" * 1000, 100
    with pytest.raises(WeightsError):
        fetch("toy")
    server.content, server.cut_after = CONTENT, None
    assert fetch("toy").path.read_bytes() == CONTENT


def test_a_wrong_file_is_not_kept(server, folder):
    register(folder, address_of(server))
    server.content = b"a page that says log in"
    found = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(WeightsError, match=f"expected {DIGEST}, found {found}"):
        fetch("toy")
    assert [p.name for p in folder.iterdir()] == ["registry.yaml"]


def test_no_network_says_what_to_do_by_hand(folder):
    register(folder, "http://127.0.0.1:9/toy.onnx", bytes=len(CONTENT))
    with pytest.raises(WeightsError) as e:
        fetch("toy")
    assert "cannot be reached" in e.value.message
    for part in (
        "HTTPS_PROXY",
        "--from FOLDER",
        "1,024,000 bytes",
        DIGEST,
        "http://127.0.0.1:9/toy.onnx",
        "`twin weights add toy.onnx`",
    ):
        assert part in e.value.advice


def test_through_a_proxy(server, folder, monkeypatch):
    """The proxy is asked for the whole address; a host that only it can reach is reached."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    register(folder, "http://weights.invalid/files/toy.onnx")
    server.cut_after = 400_000
    assert fetch("toy").path.read_bytes() == CONTENT
    assert set(server.asked) == {"http://weights.invalid/files/toy.onnx"} and server.ranges == [
        None,
        "bytes=400000-",
        "bytes=800000-",
    ]


def test_nothing_half_made_is_ever_in_place(server, folder, monkeypatch):
    """Until the digest is checked the file has another name, and a disk that fills up leaves what was there before."""
    register(folder, address_of(server))
    (folder / "toy.onnx").write_bytes(b"an older file")
    seen = []
    fetch("toy", progress=lambda done, total: seen.append((folder / "toy.onnx").read_bytes()))
    assert set(seen) == {b"an older file"} and (folder / "toy.onnx").read_bytes() == CONTENT

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "toy.onnx.part")

    (folder / "toy.onnx").write_bytes(b"an older file")
    monkeypatch.setattr("stages.core.weight_files._copy", full)
    (folder / "mirror").mkdir()
    (folder / "mirror/toy.onnx").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"no space left[\s\S]*TWIN_WEIGHTS"):
        fetch("toy", mirror=folder / "mirror")
    assert (folder / "toy.onnx").read_bytes() == b"an older file"


def test_from_a_mirror_folder(folder, tmp_path):
    register(folder)
    with pytest.raises(WeightsError, match=r"neither toy/toy\.onnx nor toy\.onnx"):
        fetch("toy", mirror=tmp_path)
    (tmp_path / "toy.onnx").write_bytes(CONTENT)
    assert fetch("toy", mirror=tmp_path).path.read_bytes() == CONTENT


def test_an_unpinned_digest_is_shown_refused_then_accepted_and_held(server, folder):
    register(folder, address_of(server), sha256=None)
    with pytest.raises(WeightsError, match=DIGEST):
        fetch("toy")
    with pytest.raises(WeightsError, match="not on this machine"):
        weights.require("toy")
    added = fetch("toy", accept_unverified=True)
    assert added.pinned_now and len(server.ranges) == 2  # the second only asked whether the file was whole
    assert weights.require("toy").sha256 == DIGEST
    added.path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=f"expected {DIGEST}"):
        weights.require("toy")


def test_add_knows_a_file_by_its_digest_or_its_name(folder, tmp_path):
    register(folder)
    (tmp_path / "renamed (1).bin").write_bytes(CONTENT)
    assert add(tmp_path / "renamed (1).bin").path == folder / "toy.onnx"
    (tmp_path / "toy.onnx").write_bytes(b"no")
    with pytest.raises(WeightsError, match=f"expected {DIGEST}, found {hashlib.sha256(b'no').hexdigest()}"):
        add(tmp_path / "toy.onnx")
    assert weights.require("toy")  # the good one stays
    (tmp_path / "stranger.onnx").write_bytes(b"no")
    with pytest.raises(WeightsError, match=r"known files: .*toy\.onnx"):
        add(tmp_path / "stranger.onnx")


def test_a_state_dict_becomes_safetensors_and_a_program_is_refused(folder, tmp_path):
    import torch
    from safetensors.torch import load_file

    good, bad = tmp_path / "net.pth", tmp_path / "bad.pth"
    torch.save({"epoch": 3, "model": {"a.weight": torch.arange(6.0).reshape(2, 3)}}, good)
    register(folder, sha256=hashlib.sha256(good.read_bytes()).hexdigest(), download="net.pth")
    added = add(good)
    assert added.path.name == "net.safetensors" and weights.require("toy").sha256 != added.source_sha256
    assert load_file(added.path)["a.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    torch.save(threading.Thread, bad)
    register(folder, sha256=hashlib.sha256(bad.read_bytes()).hexdigest(), download="bad.pth")
    with pytest.raises(WeightsError, match="not a plain state dict"):
        add(bad)
    assert not (folder / "bad.safetensors").exists()


def test_the_projects_registry_is_whole():
    for e in weights.registry().values():
        assert e.page.startswith("https://") or (ROOT / e.page).is_file(), (
            f"{e.name}: {e.page} is neither an address nor a file here"
        )
        assert e.licence and (e.commercial or e.instead)
        assert e.sha256 is None or len(e.sha256) == 64
        assert e.sha256 or e.note, f"{e.name}: say why no digest is pinned"
    with pytest.raises(WeightsError, match="did you mean foundationstereo"):
        weights.require("foundationsterio")


def test_licences_of_a_run_and_what_commercial_refuses():
    found = {l.name: l for l in of_run(["c-fast-foundationstereo", "foundationstereo"])}
    assert found["numpy"].text and found["numpy"].commercial and "prefect" in found
    assert found["c-fast-foundationstereo"].commercial and not found["foundationstereo"].commercial
    refuse_non_commercial(["c-fast-foundationstereo"])
    with pytest.raises(ConfigError, match=r"weights foundationstereo[\s\S]*use c-fast-foundationstereo"):
        refuse_non_commercial(["foundationstereo"])


def test_licence_is_a_setting_of_the_whole_run(tmp_path):
    (tmp_path / "twin.yaml").write_text("licence: commercial\n")
    assert resolve({}).licence == "any" and resolve({}, capture_file=tmp_path / "twin.yaml").licence == "commercial"
    assert resolve({}, overrides=["licence=any"], capture_file=tmp_path / "twin.yaml").licence == "any"
    with pytest.raises(ConfigError, match="any, commercial"):
        resolve({}, overrides=["licence=mine"])
    with pytest.raises(ConfigError, match="did you mean licence"):
        resolve({}, overrides=["license=commercial"])
