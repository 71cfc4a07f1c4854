"""The capture's digest: content and names count, place and age do not; the memo saves reading without hiding a change."""

import json
import os
import shutil

import pytest

from stages.core import capture
from stages.core.capture import capture_ref, find_files
from stages.core.errors import CaptureError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "cap"
    for side in ("left", "right"):
        (root / side).mkdir(parents=True)
        for k in range(3):
            (root / side / f"{k:03d}.png").write_bytes(f"{side}{k}".encode())
    (root / "calibration.json").write_text("{}")
    return root


def test_digest_ignores_place_age_and_foreign_files(folder, tmp_path):
    before = capture_ref(folder).fingerprint
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    (copy / "notes.txt").write_text("not read by any stage")
    os.utime(copy / "left" / "000.png", ns=(1, 1))
    assert capture_ref(copy).fingerprint == before


@pytest.mark.parametrize(
    "change", ["left/001.png", "calibration.json", "prompt.json", "masks/000.png", "depth/depth.json"]
)
def test_digest_follows_every_file_that_is_read(folder, change):
    before = capture_ref(folder).fingerprint
    (folder / change).parent.mkdir(exist_ok=True)
    (folder / change).write_text("changed")
    assert capture_ref(folder).fingerprint != before


def test_renamed_frame_changes_the_digest(folder):
    before = capture_ref(folder).fingerprint
    (folder / "left" / "002.png").rename(folder / "left" / "005.png")
    assert capture_ref(folder).fingerprint != before


@pytest.fixture
def settled(monkeypatch):
    """Files count as settled at once: nobody can set the time of change of a file, so the test would have to wait."""
    monkeypatch.setattr(capture, "_SETTLED_S", -1.0)


def test_memo_reads_unchanged_files_once(folder, tmp_path, monkeypatch, settled):
    plain = capture_ref(folder).fingerprint
    memo = tmp_path / "memo"
    assert capture_ref(folder, memo).fingerprint == plain
    read = []
    monkeypatch.setattr(capture, "digest_file", lambda p: read.append(p.name) or "0" * 64)
    assert capture_ref(folder, memo).fingerprint == plain and read == []
    (folder / "right" / "001.png").write_bytes(b"right1")  # same bytes, new time: must be looked at
    assert capture_ref(folder, memo).fingerprint != plain and read == ["001.png"]


def test_memo_does_not_trust_files_just_written(folder, tmp_path):
    capture_ref(folder, tmp_path / "memo")
    (stored,) = (tmp_path / "memo").glob("*.json") if any((tmp_path / "memo").glob("*.json")) else (None,)
    assert stored is None or json.loads(stored.read_text())[1] == {}


@pytest.mark.parametrize("damage", ["{broken", "null", "[1, 2]", "[1, null]", "digest", "before"])
def test_damaged_memo_is_rebuilt(folder, tmp_path, settled, damage):
    """`before`: of the version that knew no time of change."""
    plain = capture_ref(folder, tmp_path / "memo").fingerprint
    (stored,) = (tmp_path / "memo").glob("*.json")
    checksum, known = json.loads(stored.read_text())
    if damage == "digest":
        known["left/001.png"][-1] = "0" * 64
        damage = json.dumps([checksum, known])
    elif damage == "before":
        damage = json.dumps({n: [*stamp[:2], *stamp[3:]] for n, stamp in known.items()})
    stored.write_text(damage)
    assert capture_ref(folder, tmp_path / "memo").fingerprint == plain


def test_a_file_whose_time_was_set_back_is_read_again(folder, tmp_path, settled):
    """As a tool does that restores times after a copy, and as somebody does who wants a change to go unseen."""
    memo, path = tmp_path / "memo", folder / "left" / "001.png"
    plain, before = capture_ref(folder, memo).fingerprint, path.stat()
    path.write_bytes(b"LEFT1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_size == before.st_size
    assert capture_ref(folder, memo).fingerprint != plain


def test_a_memo_that_cannot_be_written_costs_nothing(folder, tmp_path, settled):
    (tmp_path / "file").write_text("")
    assert capture_ref(folder, tmp_path / "file" / "memo").fingerprint == capture_ref(folder).fingerprint


def test_missing_empty_and_half_captures_say_what_to_do(folder, tmp_path):
    with pytest.raises(CaptureError, match="not a folder"):
        find_files(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(CaptureError, match=r"void is empty\n  What to do: .*left/ and right/"):
        find_files(tmp_path / "void")
    (folder / "calibration.json").unlink()
    with pytest.raises(CaptureError, match="no calibration"):
        find_files(folder)
    shutil.rmtree(folder / "right")
    with pytest.raises(CaptureError, match="right"):
        find_files(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "a named pipe"),
        (lambda p: p.mkdir(), "a folder"),
        (lambda p: p.symlink_to("../.git/annex/objects/x"), r"a link to nothing \(\.\./"),
        (lambda p: p.symlink_to("/dev/zero"), "a device"),
        (lambda p: p.symlink_to(p.name), "a link to nothing"),
    ],
)
@pytest.mark.parametrize(
    "name", ["left/001.png", "calibration.json", "prompt.json", "masks/000.png", "depth/depth.json", "prompt/a.png"]
)
def test_what_is_no_file_is_refused_by_name(folder, name, make, words):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(CaptureError, match=rf"{name} is {words}") as caught:
        capture_ref(folder)
    assert caught.value.advice


def test_contents_that_were_not_fetched_are_counted(folder):
    for k in (0, 2):
        (folder / f"right/{k:03d}.png").unlink()
        (folder / f"right/{k:03d}.png").symlink_to(f"../.git/annex/objects/SHA256E-s{k}.png")
    with pytest.raises(
        CaptureError, match=r"right/000\.png is a link to nothing .*; 1 more in right/.*\n.*git annex get, dvc pull"
    ):
        find_files(folder)


def test_two_calibrations_or_two_videos_of_one_eye_are_refused_with_both_names(folder):
    (folder / "calibration.yml").write_text("M1: 1")
    with pytest.raises(CaptureError, match=r"2 calibrations: calibration\.json and calibration\.yml\n.*keep the one"):
        find_files(folder)
    (folder / "calibration.yml").unlink()
    for name in ("left.mp4", "left.avi"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(CaptureError, match=r"holds left\.avi and left\.mp4"):
        find_files(folder)
