"""What a damaged or foreign manifest costs: its result is set aside with a note and computed again; never is it believed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.base import Resources, Stage, StageReport, run_stage
from stages.core import manifest as manifests
from stages.core.manifest import Damaged
from stages.core.store import Store


@dataclass(frozen=True)
class _Config:
    gain: float = 0.1
    size: tuple[int, ...] = (2, 3)


class _Stage(Stage):
    name, version, inputs, outputs, needs, Config = "depth", 1, (), ("mesh.ply", "pairs"), Resources(), _Config

    def check(self, inputs, config) -> None: ...

    def run(self, inputs, config, out: Path, context) -> StageReport:
        (out / "mesh.ply").write_bytes(b"content")
        (out / "pairs").mkdir()
        (out / "pairs" / "0.png").write_bytes(b"picture")
        return StageReport(metrics={"error_px": 0.1, "count": 3}, warnings=["a note"])


@pytest.fixture
def made(tmp_path):
    """(store, fingerprint, manifest's path) of one result."""
    store = Store(tmp_path)
    result = run_stage(_Stage(), {}, _Config(), store)
    fingerprint = result.manifest["fingerprint"]
    return store, fingerprint, store.artifact_dir("depth", fingerprint) / manifests.NAME


def _again(root: Path) -> bool:
    return run_stage(_Stage(), {}, _Config(), Store(root)).cached


def _reseal(data: dict) -> dict:
    """With a checksum that fits, as somebody would who can write into the store."""
    rest = {k: v for k, v in data.items() if k != "checksum"}
    return {**rest, "checksum": manifests.digest_mapping(rest)}


DAMAGE = {
    "outputs": lambda m: {**m, "outputs": {**m["outputs"], "mesh.ply": "0" * 64}},
    "report": lambda m: {**m, "report": {**m["report"], "metrics": {"error_px": 0.2}}},
    "seconds": lambda m: {**m, "seconds": m["seconds"] + 1},
    "fingerprint": lambda m: {**m, "fingerprint": "0" * 64},
    "fingerprint, sealed": lambda m: _reseal({**m, "fingerprint": "0" * 64}),
    "stage, sealed": lambda m: _reseal({**m, "stage": "masks"}),
    "settings, sealed": lambda m: _reseal({**m, "settings": {**m["settings"], "gain": 0.2}}),
    "outputs, sealed": lambda m: _reseal({**m, "outputs": {**m["outputs"], "mesh.ply": "0" * 64}}),
    "version 99": lambda m: {**m, "schema_version": 99},
    "version 99, sealed": lambda m: _reseal({**m, "schema_version": 99}),
    "version true": lambda m: _reseal({**m, "schema_version": True}),
    "version 1 with a wrong checksum": lambda m: {**m, "schema_version": 1, "checksum": "0" * 64},
    "no checksum": lambda m: {k: v for k, v in m.items() if k != "checksum"},
    "no files": lambda m: _reseal({k: v for k, v in m.items() if k != "files"}),
    "a file outside": lambda m: _reseal({**m, "files": {**m["files"], "../x": m["files"]["mesh.ply"]}}),
    "an output outside": lambda m: _reseal({**m, "outputs": {"/etc": "0" * 64}}),
    "an entry of no shape": lambda m: _reseal({**m, "files": {**m["files"], "mesh.ply": "abc"}}),
    "null": lambda m: None,
    "a list": lambda m: [m],
    "a number": lambda m: 5,
    "deep": lambda m: "[" * 100_000,
    "cut": lambda m: json.dumps(m)[:-20],
    "empty": lambda m: "",
    "not UTF-8": lambda m: b"\xff\xfe" + b"{}",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_manifest_is_set_aside_and_computed_again(made, damage, caplog):
    store, fingerprint, path = made
    data = DAMAGE[damage](json.loads(path.read_text()))
    path.write_bytes(
        data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()
    )
    assert store.manifest("depth", fingerprint) is None
    assert not _again(store.root)
    (aside,) = (store.root / "corrupt").iterdir()
    name, _, why = (aside / "why.txt").read_text().strip().partition(": ")
    assert name == f"depth {fingerprint}" and f"was damaged: {why}; set aside" in caplog.text
    assert (aside / "result" / "mesh.ply").read_bytes() == b"content"
    assert _again(store.root)


@pytest.mark.parametrize("what", ["folder", "missing", "file"])
def test_what_is_no_manifest_at_all(made, what):
    store, _, path = made
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "file":  # in place of the whole result
        store.disk.remove(path.parent)
        path.parent.write_text("x")
    assert not _again(store.root) and len(list((store.root / "corrupt").iterdir())) == 1 and _again(store.root)


def test_manifests_of_the_version_before_still_hold(made):
    """They have no checksum; the rest of them is checked."""
    store, fingerprint, path = made
    old = {**{k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}, "schema_version": 1}
    path.write_text(json.dumps(old, indent=1))
    assert _again(store.root) and store.manifest("depth", fingerprint) == old
    for part, value in (
        ("outputs", {"mesh.ply": "0" * 64}),
        ("settings", {"gain": 0.2, "size": [2, 3]}),
        ("report", None),
        ("files", {}),
        ("seconds", "long"),
        ("report", {"warnings": 3}),
    ):
        path.write_text(json.dumps({**old, part: value}))
        assert not _again(store.root), part
        assert _again(store.root)
        path.write_text(json.dumps(old))


def test_every_flipped_bit_of_a_manifest_is_found(made):
    _, fingerprint, path = made
    data, whole = path.read_bytes(), json.loads(path.read_text())
    for at in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        try:
            found = manifests.read(bytes(flipped), "depth", fingerprint)
        except Damaged:
            continue
        assert found == whole, (
            f"bit {at} changes what is read and was not found"
        )  # for example a blank that became a tab


def test_every_flipped_bit_of_the_files_is_found(made):
    store, fingerprint, path = made
    manifest = store.manifest("depth", fingerprint)
    for name in manifest["files"]:
        file = path.parent / name
        data = file.read_bytes()
        for at in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[at // 8] ^= 1 << at % 8
            file.write_bytes(flipped)
            assert store.damaged_files("depth", fingerprint, manifest) == [name]
        file.write_bytes(data)
    assert store.damaged_files("depth", fingerprint, manifest) == [] and _again(store.root)
