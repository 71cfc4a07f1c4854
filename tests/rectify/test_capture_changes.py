"""Captures that somebody changes while they are read, and captures whose links lead elsewhere."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from stages.base import StageContext, run_stage
from stages.core.capture import capture_ref, find_files
from stages.core.capture_links import open_inside
from stages.core.errors import CaptureError
from stages.core.store import Store
from stages.rectify.config import RectifyConfig
from stages.rectify.stage import STAGE

SWAPPED = "left/left000003.jpg"


def _run(capture: Path, ref, store: Store):
    return run_stage(STAGE, {"capture": ref}, RectifyConfig(), store, StageContext(threads=2))


@pytest.fixture
def swapped(capture) -> Path:
    """The capture, with one more picture beside its frames to put in place of another."""
    left = sorted((capture / "left").iterdir())
    assert left[3].name == Path(SWAPPED).name, left
    shutil.copyfile(left[5], capture / "other.jpg")
    shutil.copyfile(capture / SWAPPED, capture / "right one.jpg")
    return capture


def _swap(capture: Path, name: str) -> None:
    """Replace the picture by one rename, as a program does that writes carefully."""
    shutil.copyfile(capture / name, capture / "left" / ".new")
    (capture / "left" / ".new").replace(capture / SWAPPED)


def test_a_picture_replaced_while_it_is_read_and_put_back_is_not_stored(swapped, tmp_path, monkeypatch):
    """The attack: digest of the right picture, pixels of another, and the right one back before anybody looks."""
    store, ref = Store(tmp_path / "store"), capture_ref(swapped)
    _swap(swapped, "other.jpg")
    end, size = threading.Event(), (swapped / "other.jpg").stat().st_size

    def put_back() -> None:
        while not end.is_set():  # as soon as the picture has been read
            if any(p.stat().st_size == size for p in (tmp_path / "store" / "tmp").rglob(Path(SWAPPED).name)):
                _swap(swapped, "right one.jpg")
                return

    thread = threading.Thread(target=put_back)
    thread.start()
    try:
        with pytest.raises(CaptureError, match="changed") as error:
            _run(swapped, ref, store)
    finally:
        end.set()
        thread.join()
    assert SWAPPED in error.value.message and "nothing of it was stored" in error.value.advice
    assert not list((tmp_path / "store" / "artifacts").rglob("manifest.json")) and not list(
        (tmp_path / "store" / "tmp").iterdir()
    )
    _swap(swapped, "right one.jpg")
    pairs = _run(swapped, capture_ref(swapped), store).refs["pairs"].path
    assert sorted(p.name for p in pairs.iterdir()) == ["left", "right"]


def test_whatever_is_stored_is_what_the_fingerprint_says(swapped, tmp_path):
    """A thread puts another picture there and the right one back as fast as it can: each run is refused or right."""
    store, ref, end = Store(tmp_path / "store"), capture_ref(swapped), threading.Event()
    right = (swapped / "right one.jpg").read_bytes()
    config = RectifyConfig()

    def swap() -> None:
        while not end.is_set():
            _swap(swapped, "other.jpg")
            _swap(swapped, "right one.jpg")

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes = []
    try:
        for _ in range(3):
            try:
                result = run_stage(STAGE, {"capture": ref}, config, store, StageContext(threads=2), force=True)
                outcomes.append(result.refs["pairs"].path.joinpath("left", "000003.jpg").read_bytes() == right)
            except CaptureError as e:
                assert "changed" in e.message, e
    finally:
        end.set()
        thread.join()
    assert all(outcomes)
    found = run_stage(STAGE, {"capture": ref}, config, store, StageContext(threads=2)).refs["pairs"].path
    assert (found / "left" / "000003.jpg").read_bytes() == right


def test_a_change_that_stays_is_refused_too_and_is_another_capture_next_time(swapped, tmp_path):
    store, ref = Store(tmp_path / "store"), capture_ref(swapped)
    _swap(swapped, "other.jpg")
    with pytest.raises(CaptureError, match=f"last file to change was {SWAPPED}"):
        _run(swapped, ref, store)
    assert capture_ref(swapped).fingerprint != ref.fingerprint
    assert not _run(swapped, capture_ref(swapped), store).cached


def test_the_copy_that_is_read_does_not_stay(capture, tmp_path):
    result = _run(capture, capture_ref(capture), Store(tmp_path / "store"))
    assert not [n for n in result.manifest["files"] if n.startswith("capture")]


LINKS = ["left/left000003.jpg", "left", "calibration.json", "prompt.json", "masks", "twin.yaml", "relative"]


@pytest.fixture(params=LINKS)
def linked(request, capture, tmp_path) -> Path:
    """A capture one part of which is a link to the same thing elsewhere; returns the capture."""
    elsewhere, name = tmp_path / "elsewhere", request.param
    elsewhere.mkdir()
    if name in ("masks", "twin.yaml"):
        (capture / name).mkdir() if name == "masks" else (capture / name).write_text("rectify: {min_usable: 0.4}")
        if name == "masks":
            shutil.copyfile(capture / SWAPPED, capture / name / "000003.png")
    relative, name = name == "relative", "left" if name == "relative" else name
    shutil.move(capture / name, elsewhere / "x")
    (capture / name).symlink_to(Path("../elsewhere/x") if relative else elsewhere / "x")
    return capture


def test_links_out_of_a_capture_are_refused_until_their_folder_is_named(linked, tmp_path, monkeypatch):
    with pytest.raises(CaptureError, match="leads out of the capture") as error:
        find_files(linked)
    assert "TWIN_LINKS_INTO" in error.value.advice and str(tmp_path / "elsewhere") in error.value.message
    with pytest.raises(CaptureError, match="leads out of the capture"):
        capture_ref(linked)
    monkeypatch.setenv("TWIN_LINKS_INTO", f"/nowhere:{tmp_path / 'elsewhere'}")
    assert capture_ref(linked).fingerprint


def test_links_within_a_capture_and_to_a_capture_are_followed(capture, tmp_path):
    before = capture_ref(capture).fingerprint
    shutil.move(capture / "left", capture / "camera 0")
    (capture / "left").symlink_to("camera 0")
    (tmp_path / "link").symlink_to(capture)
    assert capture_ref(capture).fingerprint == capture_ref(tmp_path / "link").fingerprint == before


def test_a_link_that_is_put_there_after_the_check_is_not_read(capture, tmp_path):
    """Also where a whole folder is exchanged: the open file tells where it lies."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / Path(SWAPPED).name).write_bytes(b"of somebody else")
    with open_inside(capture / SWAPPED, capture) as file:
        assert file.read(2) == b"\xff\xd8"
    shutil.move(capture / "left", capture / "moved")
    (capture / "left").symlink_to(secret)
    with pytest.raises(CaptureError, match="leads out of the capture"):
        open_inside(capture / SWAPPED, capture)
    (capture / "left").unlink()
    os.mkfifo(capture / "left")
    with pytest.raises(CaptureError, match="no regular file"):
        open_inside(capture / "left", capture)
