"""`twin weights` and `twin licences` as a user meets them. No network: what is fetched comes from a folder."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest

from flows.cli import main as cli
from flows.records.run_record import RunRecords, StageRecord
from stages.core.store import Store
from tests.core.test_weights import Server

CONTENT = b"toy network"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def twin(tmp_path, monkeypatch, capsys):
    """Runs `twin` with an empty store and a weights folder that knows one toy; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    entry = {
        "title": "a toy",
        "page": "https://example.org",
        "licence": "Research only",
        "commercial": False,
        "download": "toy.onnx",
        "sha256": DIGEST,
        "instead": "the plain method",
    }
    (tmp_path / "weights/registry.yaml").write_text(json.dumps({"toy": entry}))

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(list(words))
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_from_missing_to_verified(twin, tmp_path):
    code, out, _ = twin("weights", "list")
    assert code == 0 and "toy" in out and "missing" in out and "NOT for commercial use" in out
    assert twin("weights", "verify", "toy")[0] == 6
    code, _, err = twin("weights", "fetch", "toy")
    assert code == 6 and "What to do: download toy.onnx" in err and DIGEST in err and "twin weights add toy.onnx" in err
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/toy.onnx").write_bytes(CONTENT)
    assert twin("weights", "fetch", "toy", "--from", str(tmp_path / "downloads"))[0] == 0
    assert twin("weights", "verify", "toy")[1].split()[:2] == ["toy", "ok"]
    (tmp_path / "weights/toy.onnx").write_bytes(b"damaged")
    code, out, _ = twin("weights", "verify")
    assert code == 6 and "WRONG" in out
    assert twin("weights", "add", str(tmp_path / "downloads/toy.onnx"))[0] == 0 and twin("weights", "verify")[0] == 0


def test_fetch_as_a_user_does_it(twin, tmp_path, monkeypatch):
    """From a server that breaks off: the command says that it goes on, and does; then the file is verified, and a second fetch is free."""
    monkeypatch.setattr("stages.core.weight_files.time.sleep", lambda seconds: None)
    content = bytes(range(256)) * 500
    digest = hashlib.sha256(content).hexdigest()
    entry = {
        "title": "a toy",
        "page": "https://example.org/toy",
        "licence": "MIT",
        "commercial": True,
        "download": "big.onnx",
        "sha256": digest,
        "bytes": len(content),
    }
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/big.onnx"
        (tmp_path / "weights/registry.yaml").write_text(json.dumps({"big": {**entry, "address": address}}))
        server.content, server.cut_after = content, 10_000
        code, _, err = twin("weights", "fetch", "big")
        assert code == 6 and "broke after 50,000 bytes" in err and "goes on from there" in err
        assert (tmp_path / "weights/big.onnx.part").stat().st_size == 50_000 and not (
            tmp_path / "weights/big.onnx"
        ).exists()
        server.cut_after = None
        code, out, _ = twin("weights", "fetch", "big")
        assert code == 0 and "MIT" in out and server.ranges[-1] == "bytes=50000-"
        assert twin("weights", "verify", "big")[1].split()[1:] == ["ok", "sha256", digest]
        code, out, _ = twin("weights", "fetch", "big")
        assert code == 0 and "already there" in out and len(server.ranges) == 6
        server.shutdown()
    (tmp_path / "weights/big.onnx").unlink()
    code, _, err = twin("weights", "fetch", "big")  # nobody answers any more
    assert code == 6 and "cannot be reached" in err
    for part in (
        "HTTPS_PROXY",
        "--from FOLDER",
        f"{len(content):,} bytes",
        digest,
        address,
        "`twin weights add big.onnx`",
    ):
        assert part in err, part
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick/big.onnx").write_bytes(b"not it")
    code, _, err = twin("weights", "fetch", "big", "--from", str(tmp_path / "stick"))
    assert code == 6 and f"sha256 expected {digest}, found {hashlib.sha256(b'not it').hexdigest()}" in err
    assert not (tmp_path / "weights/big.onnx").exists()


def test_licences_of_the_default_and_of_a_run_that_used_weights(twin, tmp_path):
    code, out, _ = twin("licences", "--commercial")
    assert code == 0 and "numpy" in out and "toy" not in out
    store, fingerprint = Store(), "a" * 64
    with store.lock(fingerprint), store.workspace(fingerprint) as work:
        (work / "x").write_text("x")
        store.publish("depth", fingerprint, work, ("x",), {"weights": {"toy": DIGEST, "toy model": "0"}})
    records = RunRecords(store)
    record = records.new({"capture": str(tmp_path), "out": "o"}, ["depth"])
    record.stages["depth"] = StageRecord(state="done", fingerprint=fingerprint)
    records.save(record)
    code, out, err = twin("licences", record.id, "--commercial")
    assert code == 2 and "Research only" in out and "instead of toy use the plain method" in err


def test_a_library_that_settings_ask_for_counts_as_weights_do(twin, synthetic_capture, tmp_path):
    store, fingerprint = Store(), "b" * 64
    with store.lock(fingerprint), store.workspace(fingerprint) as work:
        (work / "x").write_text("x")
        store.publish("texture", fingerprint, work, ("x",), {"weights": {}, "settings": {"refine": "nvdiffrast"}})
    records = RunRecords(store)
    record = records.new({"capture": str(tmp_path), "out": "o"}, ["texture"])
    record.stages["texture"] = StageRecord(state="done", fingerprint=fingerprint)
    records.save(record)
    code, out, err = twin("licences", record.id, "--commercial")
    assert code == 2 and "nvdiffrast" in out and "instead of nvdiffrast use texture.refine=raycast" in err
    words = (
        "reconstruct",
        str(synthetic_capture),
        "--out",
        str(tmp_path / "twin"),
        "--no-prefect",
        "texture.refine=nvdiffrast",
    )
    code, out, err = twin(*words, "licence=commercial")
    assert code == 2 and "does not permit library nvdiffrast" in err and "rectify" not in out


def test_a_run_that_lacks_weights_says_so_before_any_work(twin, synthetic_capture, tmp_path):
    words = (
        "reconstruct",
        str(synthetic_capture),
        "--out",
        str(tmp_path / "twin"),
        "--no-prefect",
        "depth.method=onnx",
    )
    code, out, err = twin(*words, "depth.onnx_weights=toy")
    assert code == 6 and "rectify" not in out and "not on this machine" in err
    code, _, err = twin(*words, "depth.onnx_weights=toy", "licence=commercial")
    assert code == 2 and "does not permit weights toy" in err
