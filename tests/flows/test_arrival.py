"""Captures that are still being copied, markers that are none, and pictures that change: nothing is taken short, nothing passed over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.captures.listing import difference, digest_of, listing_of
from flows.captures.markers import look_through
from flows.captures.ready import arrived, changed_since, not_done, ready_captures
from flows.captures.settling import Settling, settle_s
from flows.cli import main as cli
from flows.records.run_record import RunRecords
from stages.core.errors import ConfigError
from tests.flows.conftest import make_capture, wait_for
from tests.flows.served import TOY, Served

COPIER = """
import sys, time
from pathlib import Path
folder, pause = Path(sys.argv[1]), float(sys.argv[2])
for name in ("READY", "calibration.json", *(f"{side}/{k:06}.png" for side in ("left", "right") for k in range(9)), "text"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    whole = {"calibration.json": f'{{"of": "{folder.name}"}}', "text": f"all of {folder.name} "}
    (folder / name).write_text(whole.get(name, name))
    time.sleep(pause)
"""
"""a copy in the order of the names: the marker first, what the toy stages read last"""


def _copy_slowly(folder: Path, pause_s: float) -> subprocess.Popen:
    """Under way when this returns."""
    process = subprocess.Popen([sys.executable, "-c", COPIER, str(folder), str(pause_s)])
    wait_for((folder / "READY").exists)
    return process


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settling(monkeypatch) -> tuple[Settling, _Clock]:
    monkeypatch.setenv("TWIN_SETTLE_S", "5")
    clock = _Clock()
    return Settling(clock), clock


def _after(settling: tuple[Settling, _Clock], folder: Path, most_s: int = 400) -> int:
    """After how many seconds of watching it has settled."""
    judge, clock = settling
    for seconds in range(most_s):
        if judge.settled(folder):
            return seconds
        clock.now += 1.0
    return most_s


def test_a_marked_capture_has_settled_after_the_setting(settling, tmp_path):
    capture = make_capture(tmp_path / "cup")
    (capture / "READY").touch()
    assert _after(settling, capture) == 5


@pytest.mark.parametrize("change", ["name", "size", "time", "hidden"])
def test_every_change_begins_the_wait_again(settling, tmp_path, change):
    capture, (judge, clock) = make_capture(tmp_path / "cup"), settling
    (capture / "READY").touch()
    for _ in range(4):
        assert not judge.settled(capture)
        clock.now += 1.0
    picture = capture / "left" / "000000.png"
    match change:
        case "name":
            picture.rename(capture / "left" / "000001.png")
        case "size":
            picture.write_bytes(b"longer than before")
        case "time":
            os.utime(picture, (1, 1))
        case "hidden":
            (capture / "right" / ".000001.png.part").touch()
    assert _after(settling, capture) == 5


def test_files_after_the_marker_lengthen_the_wait_and_so_does_what_is_missing(settling, tmp_path):
    late, bare = tmp_path / "late", tmp_path / "bare"
    for folder in (late, bare):
        folder.mkdir()
        (folder / "READY").touch()
    assert _after(settling, bare) == 60
    time.sleep(1.5)  # times of arrival cannot be set
    make_capture(tmp_path / "whole")
    for path in (tmp_path / "whole").iterdir():
        path.rename(late / path.name)
    assert _after(settling, late) == 10


def test_the_setting_is_a_number_of_seconds(monkeypatch):
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("TWIN_SETTLE_S", wrong)
        with pytest.raises(ConfigError, match=f"TWIN_SETTLE_S={wrong}"):
            settle_s()


def test_what_is_nearly_a_marker_or_lies_too_deep_is_told(tmp_path):
    for name in (
        "a/ready",
        "b/READY.txt",
        "c/Ready ",
        "d/already.txt",
        "e/f/.READY",
        "fine/READY",
        "fine/ready",
        "one/two/three/four/READY",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "g" / "READY").mkdir(parents=True)
    notes = [str(n).removeprefix(f"{tmp_path}/") for n in arrived(tmp_path)[1]]
    names = ["a/ready", "b/READY.txt", "c/Ready ", "e/f/.READY", "g/READY", "one/two/three/four/READY"]
    assert [n.partition(":")[0] for n in notes] == names
    assert (
        "4 folders deep" in notes[-1] and "no regular file" in notes[-2] and all("named READY" in n for n in notes[:4])
    )
    assert look_through(tmp_path).markers == [tmp_path / "fine" / "READY"]


def test_a_marker_in_the_captures_folder_itself_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_CAPTURES", str(tmp_path / "captures"))
    (tmp_path / "captures").mkdir()
    (tmp_path / "captures" / "READY").touch()
    captures, notes = arrived(tmp_path)
    assert captures == [] and "folder of all captures" in notes[0].why


@pytest.fixture
def places(toy, monkeypatch) -> Path:
    monkeypatch.setenv("TWIN_CAPTURES", str(toy.folder / "captures"))
    monkeypatch.setenv("TWIN_TWINS", str(toy.folder / "twins"))
    return toy.folder / "captures"


def _make(capture: Path) -> int:
    return cli.main(
        ["reconstruct", str(capture), "--out", str(capture.parents[1] / "twins" / capture.name), "--no-prefect"]
    )


def _due(root: Path, store) -> list[str]:
    return [c.name for c in not_done(ready_captures(root), "standard", (), RunRecords(store))]


@pytest.mark.parametrize("ahead_s", [86400, -86400 * 400])
def test_a_marker_of_another_clock_is_done_once(toy, places, ahead_s):
    marker = make_capture(places / "cup") / "READY"
    marker.touch()
    os.utime(marker, (time.time() + ahead_s,) * 2)
    assert _make(places / "cup") == 0 and _due(places, toy.store) == []
    for record in RunRecords(toy.store).all():  # by its twin; and by the record, if another twin lies there
        assert record.marker == marker.stat().st_mtime_ns
    (toy.folder / "twins" / "cup" / "run.json").write_text('{"schema_version": 1, "profile": "quality"}')
    assert _due(places, toy.store) == []
    os.utime(marker, (time.time() + ahead_s - 5,) * 2)
    assert _due(places, toy.store) == ["cup"]  # a new marker, though it is older than the run


def test_changed_pictures_without_a_new_marker_are_told(toy, places, capsys):
    capture = make_capture(places / "cup")
    (capture / "READY").touch()
    assert _make(capture) == 0 and not changed_since(ready_captures(places)[0])
    (capture / "Thumbs.db").touch()  # nothing that the pipeline reads
    assert not changed_since(ready_captures(places)[0])
    (capture / "left" / "000001.png").touch()
    assert changed_since(ready_captures(places)[0]) and _due(places, toy.store) == []
    capsys.readouterr()
    cli.main(["status"])
    assert f"{capture}: its files are others than those of its twin; touch READY" in capsys.readouterr().out


def test_a_run_begins_again_when_its_capture_changes(toy, places, capsys):
    capture = make_capture(places / "cup")
    toy.order("b", "sleep 2")
    thread = threading.Thread(
        target=lambda: (
            toy.wait_started("b"),
            (capture / "left" / "000001.png").write_text("late"),
            (capture / "text").write_text("more "),
            toy.order("b", ""),
        )
    )
    thread.start()
    assert _make(capture) == 0
    thread.join()
    assert "left/000001.png came): this run begins again" in capsys.readouterr().err
    assert toy.counts() == {"a": 2, "b": 2, "c": 1, "d": 1}
    asked = json.loads((toy.folder / "twins" / "cup" / "run.json").read_text())["asked"]
    assert asked["changed"] == "" and asked["listing"] == digest_of(listing_of(capture))
    assert "more " in next((toy.store.root / "artifacts" / "d").glob("*/d.txt")).read_text()


def test_a_stage_that_fails_over_a_half_copied_capture_is_no_failure(toy, places):
    capture = make_capture(places / "cup")
    toy.order("c", "raise 2")
    thread = threading.Thread(
        target=lambda: (
            toy.wait_started("c"),
            time.sleep(0.5),
            (capture / "right" / "000001.png").touch(),
            toy.order("c", ""),
        )
    )
    thread.start()
    assert _make(capture) == 0
    thread.join()
    assert toy.counts() == {"a": 2, "b": 1, "c": 2, "d": 1}  # b reads what a made, which is the same


def test_settings_that_come_last_count(toy, places):
    capture = make_capture(places / "cup")
    toy.order("a", "sleep 1")
    thread = threading.Thread(
        target=lambda: (toy.wait_started("a"), (capture / "twin.yaml").write_text("d: {gain: 7}"))
    )
    thread.start()
    assert _make(capture) == 0
    thread.join()
    found = json.loads((toy.folder / "twins" / "cup" / "run.json").read_text())
    assert found["stages"]["d"]["settings"]["gain"] == 7


def test_a_capture_that_never_rests_does_not_count_as_done(toy, places, monkeypatch, capsys):
    monkeypatch.setattr("flows.run.capture_watch.LONGEST_WAIT_S", 0.0)
    capture = make_capture(places / "cup")
    (capture / "READY").touch()
    stop, count = threading.Event(), iter(range(1, 10**6))

    def write() -> None:
        while not stop.wait(0.02):
            (capture / "left" / f"{next(count):06}.png").touch()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert _make(capture) == 0
    finally:
        stop.set()
        thread.join()
    assert toy.counts()["a"] == 5 and toy.counts()["d"] == 1
    assert "came" in json.loads((toy.folder / "twins" / "cup" / "run.json").read_text())["asked"]["changed"]
    capsys.readouterr()
    cli.main(["status"])
    assert "the capture changed while it was read, so this does not count as done" in capsys.readouterr().out
    assert _due(places, toy.store) == ["cup"]
    assert _make(capture) == 0 and _due(places, toy.store) == []


def test_differences_in_words():
    same = (1, 1, 1)
    before, now = {"a": same, "b": same, "d": same}, {"a": (1, 1, 2), "c": same, "e": same, "d": same}
    assert difference(before, now) == "2 files (c ..) came, b went, a changed"
    assert difference(now, now) == ""


@pytest.mark.slow
def test_a_slow_copy_with_its_marker_first_becomes_one_whole_twin(tmp_path):
    """Watcher and batches look while it goes on."""
    served = Served(tmp_path, {**TOY, "TWIN_SETTLE_S": "2"})
    try:
        served.captures.mkdir(exist_ok=True)
        copiers = [_copy_slowly(served.captures / "cup", 0.5)]
        batch = served.create("reconstruct-batch")
        elsewhere = served.folder / "elsewhere"
        (elsewhere / "jug").mkdir(parents=True)
        (elsewhere / "jug" / "ready").touch()
        copiers.append(_copy_slowly(elsewhere / "mug", 0.7))
        other = served.create("reconstruct-batch", root=str(elsewhere))
        for run in (batch, other):
            served.wait_for(run["id"], "Completed")
        assert [c.wait(0.1) for c in copiers] == [0, 0]  # over before the batches were
        texts = {p.read_text().partition("a(")[0] for p in (served.store / "artifacts" / "d").glob("*/d.txt")}
        assert texts == {"all of cup ", "all of mug "}
        assert len(served.runs("cup")) == len(served.runs("mug")) == 1 and served.count("d") == 2
        page = (served.twins / "batch.html").read_text()
        assert "jug/ready" in page and "the marker has to be named READY" in page
    finally:
        served.stop()
