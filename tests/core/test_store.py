"""The store by itself: publish, verify, lock, sweep, and what it says when it cannot write."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stages.core.disk_errors import store_error
from stages.core.errors import StoreError
from stages.core.fingerprint import canonical_json, digest_mapping, plain
from stages.core.store import Store

NAME = digest_mapping({"a": 1})


def publish(store: Store, text: str = "content", name: str = NAME) -> dict:
    with store.lock(name), store.workspace(name) as work:
        (work / "mesh.ply").write_text(text)
        (work / "pairs").mkdir()
        (work / "pairs" / "0.png").write_text(text)
        (work / "pictures").mkdir()
        (work / "pictures" / "p.jpg").write_text("picture")
        return store.publish("depth", name, work, ("mesh.ply", "pairs"), {"report": {}})


def test_publish_and_look_up(tmp_path):
    store = Store(tmp_path)
    manifest = publish(store)
    assert store.lookup("depth", NAME) == manifest
    refs = store.refs("depth", NAME, manifest)
    assert refs["mesh.ply"].path.read_text() == "content" and (refs["pairs"].path / "0.png").exists()
    assert refs["mesh.ply"].fingerprint != refs["pairs"].fingerprint
    assert store.lookup("depth", "0" * 64) is None and not list((tmp_path / "tmp").iterdir())


def test_digest_of_an_output_is_its_content_and_names_only(tmp_path):
    first, second = publish(Store(tmp_path / "1")), publish(Store(tmp_path / "2"), name="1" * 64)
    assert first["outputs"] == second["outputs"]
    assert publish(Store(tmp_path / "3"), "other")["outputs"] != first["outputs"]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "manifest"])
def test_damage_is_found_and_set_aside(tmp_path, harm):
    store = Store(tmp_path)
    publish(store)
    folder = store.artifact_dir("depth", NAME)
    path = folder / "pairs" / "0.png"
    match harm:
        case "flip":
            path.write_text("cintent")
        case "cut":
            path.write_text("con")
        case "remove":
            path.unlink()
        case "manifest":
            (folder / "manifest.json").write_text('{"files": ')
    assert store.lookup("depth", NAME) is None
    assert not folder.exists() and len(list((tmp_path / "corrupt").iterdir())) == 1
    assert publish(store)["files"]["pairs/0.png"]["bytes"] == 7


def test_a_declared_output_has_to_be_written(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(ValueError, match="wrote no such file"), store.lock(NAME), store.workspace(NAME) as work:
        (work / "other").write_text("x")
        store.publish("depth", NAME, work, ("mesh.ply",), {})
    assert not list((tmp_path / "tmp").iterdir()) and store.manifest("depth", NAME) is None


def test_lock_is_exclusive_and_freed_by_death(tmp_path):
    store = Store(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from stages.core.store import Store\n"
        "with Store(Path(sys.argv[1])).lock(sys.argv[2]): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), NAME],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert holder.stdout.readline() == "held\n"
    assert store.is_locked(NAME)
    with pytest.raises(StoreError, match="another process"), store.lock(NAME, timeout_s=0.3):
        pass
    holder.kill()
    holder.communicate()
    assert not store.is_locked(NAME)
    with store.lock(NAME, timeout_s=0.3):
        pass


def test_sweep_spares_what_is_held(tmp_path):
    store = Store(tmp_path)
    for name in ("0" * 64, "1" * 64):
        (tmp_path / "tmp" / f"{name}.99").mkdir(parents=True)
    with store.lock("1" * 64):
        assert store.sweep() == 1
    assert [p.name[0] for p in (tmp_path / "tmp").iterdir()] == ["1"]


def test_old_locks_are_forgotten_and_whoever_waited_for_one_still_excludes_others(tmp_path):
    store, order = Store(tmp_path), []
    lock_file = tmp_path / "locks" / f"{NAME}.lock"

    def wait_and_hold() -> None:
        with store.lock(NAME):
            order.append(store.is_locked(NAME))  # of the file that others see, not of the one that was removed

    with store.lock(NAME):
        assert store.forget_locks(-1.0) == 0
        waiter = threading.Thread(target=wait_and_hold)
        waiter.start()
        time.sleep(0.3)  # it has opened the file and waits
        lock_file.unlink()
    waiter.join(10)
    assert order == [True]
    assert store.forget_locks(3600.0) == 0 and lock_file.exists()
    assert store.forget_locks(-1.0) == 1 and not lock_file.exists()
    assert not store.is_locked(NAME) and not lock_file.exists()  # asking makes no file


def test_fingerprints_hold_plain_data_only():
    assert canonical_json({"b": (1, 2.5), "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert digest_mapping({"x": 1, "y": 2}) == digest_mapping({"y": 2, "x": 1})
    with pytest.raises(TypeError, match="cannot be part of a fingerprint"):
        plain({"path": Path("x")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left.* of .* free on its disk"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "cannot write"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "fault"),
        (errno.EMFILE, "too many open files.*may open [0-9]+"),
    ],
)
def test_words_for_failed_writes(number, words):
    error = store_error(OSError(number, os.strerror(number)), Path("store"))
    assert re.search(words, error.message) and error.advice and "store" in error.message
