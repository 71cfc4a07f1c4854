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


@pytest.mark.parametrize("change", ["left/001.png", "calibration.json", "prompt.json", "masks/000.png", "depth/depth.json"])
def test_digest_follows_every_file_that_is_read(folder, change):
    before = capture_ref(folder).fingerprint
    (folder / change).parent.mkdir(exist_ok=True)
    (folder / change).write_text("changed")
    assert capture_ref(folder).fingerprint != before


def test_renamed_frame_changes_the_digest(folder):
    before = capture_ref(folder).fingerprint
    (folder / "left" / "002.png").rename(folder / "left" / "005.png")
    assert capture_ref(folder).fingerprint != before


def test_memo_reads_unchanged_files_once(folder, tmp_path, monkeypatch):
    for p in folder.rglob("*"):
        os.utime(p, ns=(10**18, 10**18))          # long settled
    plain = capture_ref(folder).fingerprint
    memo = tmp_path / "memo"
    assert capture_ref(folder, memo).fingerprint == plain
    read = []
    monkeypatch.setattr(capture, "digest_file", lambda p: read.append(p.name) or "0" * 64)
    assert capture_ref(folder, memo).fingerprint == plain and read == []
    (folder / "right" / "001.png").write_bytes(b"right1")     # same bytes, new time: must be looked at
    assert capture_ref(folder, memo).fingerprint != plain and read == ["001.png"]


def test_memo_does_not_trust_files_just_written(folder, tmp_path):
    capture_ref(folder, tmp_path / "memo")
    (stored,) = (tmp_path / "memo").glob("*.json") if any((tmp_path / "memo").glob("*.json")) else (None,)
    assert stored is None or json.loads(stored.read_text()) == {}


def test_damaged_memo_is_rebuilt(folder, tmp_path):
    for p in folder.rglob("*"):
        os.utime(p, ns=(10**18, 10**18))
    plain = capture_ref(folder, tmp_path / "memo").fingerprint
    (stored,) = (tmp_path / "memo").glob("*.json")
    stored.write_text("{broken")
    assert capture_ref(folder, tmp_path / "memo").fingerprint == plain


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


@pytest.mark.parametrize(("make", "words"), [
    (os.mkfifo, "a named pipe"), (lambda p: p.mkdir(), "a folder"),
    (lambda p: p.symlink_to("../.git/annex/objects/x"), r"a link to nothing \(\.\./"),
    (lambda p: p.symlink_to("/dev/zero"), "a device"), (lambda p: p.symlink_to(p.name), "a link to nothing")])
@pytest.mark.parametrize("name", ["left/001.png", "calibration.json", "prompt.json", "masks/000.png", "depth/depth.json", "prompt/a.png"])
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
    with pytest.raises(CaptureError, match=r"right/000\.png is a link to nothing .*; 1 more in right/.*\n.*git annex get, dvc pull"):
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
