"""One bad item, whatever it is, stops nothing: it is left out and named, and everything beside it goes on."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.captures.ready import arrived, not_done, ready_captures
from flows.cli import main as cli
from flows.records import twin_record
from flows.records.run_record import SCHEMA_VERSION, RunRecord, RunRecords
from flows.records.saved import Unreadable, read_object, saved_as
from flows.ui.batch_page import figures
from flows.ui.form_schema import offered_captures
from stages.core.errors import StoreError
from tests.flows.conftest import make_capture

FINE = {
    "schema_version": 1,
    "id": "bad",
    "request": {"capture": "/c", "out": "/o"},
    "state": "done",
    "stages": {"a": {"state": "done"}},
}
DAMAGED = {
    "null": b"null",
    "list": b"[]",
    "number": b"17",
    "empty": b"",
    "cut off": b'{"schema_version": 1, "id": "ba',
    "not text": b"\xff\xfe{}",
    "deep": b"[" * 200_000,
    "long number": b'{"schema_version": ' + b"9" * 10_000 + b"}",
    "no version": b'{"id": "bad"}',
    **{
        name: json.dumps({**FINE, **change}).encode()
        for name, change in {
            "newer version": {"schema_version": SCHEMA_VERSION + 1},
            "version as text": {"schema_version": "1"},
            "other id": {"id": "../../x"},
            "request null": {"request": None},
            "request list": {"request": []},
            "capture null": {"request": {"capture": None, "out": "/o"}},
            "not UTF-8": {"request": {"capture": "/caf\udce9", "out": "/o"}},
            "settings": {"request": {**FINE["request"], "settings": 5}},
            "profile": {"request": {**FINE["request"], "profile": "best"}},
            "state": {"state": "well"},
            "stages list": {"stages": []},
            "stage null": {"stages": {"a": None}},
            "started": {"started": "yesterday"},
            "started never": {"started": float("nan")},
            "started late": {"started": 1e300},
            "fingerprint": {"stages": {"a": {"fingerprint": "../../../etc"}}},
            "stage name": {"stages": {"../a": {"state": "done"}}},
            "error": {"error": {}},
            "seconds": {"seconds": -1},
        }.items()
    },
}


@pytest.fixture
def twin(toy, monkeypatch, capsys):
    """Runs `twin`, which has to end well; what it printed."""
    monkeypatch.setenv("TWIN_CAPTURES", str(toy.folder / "captures"))
    monkeypatch.setenv("TWIN_TWINS", str(toy.folder / "twins"))
    monkeypatch.setattr(twin_record, "_told", set())

    def run(*words: str) -> str:
        capsys.readouterr()
        code = cli.main(list(words))
        out = capsys.readouterr()
        assert code == 0, out.err
        return out.out

    twins = toy.folder / "twins"
    run.make = lambda capture, *more: run(
        "reconstruct", str(capture), "--out", str(twins / capture.name), "--no-prefect", *more
    )
    return run


@pytest.mark.parametrize("name", DAMAGED)
def test_a_bad_run_record_is_left_out(toy, name):
    path = toy.store.root / "runs" / "bad.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(DAMAGED[name])
    records = RunRecords(toy.store)
    assert records.all() == [] and [u.path for u in records.survey()[1]] == [path]
    with pytest.raises(StoreError, match=r"bad\.json"):
        records.load("bad")


def test_a_bad_run_record_is_named_and_goes_when_it_is_old(toy, twin):
    path = toy.store.root / "runs" / "bad.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"null")
    assert "runs/bad.json: " in twin("status") and any(
        "bad.json" in note for note in json.loads(twin("status", "--json"))["notes"]
    )
    assert "runs/bad.json: " in twin("clean", "--older-than", "1") and path.exists()
    os.utime(path, (1, 1))
    assert "1 run records" in twin("clean", "--older-than", "1") and not path.exists()


def test_everything_runs_beside_all_of_them(toy, twin, caplog):
    runs = toy.store.root / "runs"
    runs.mkdir(parents=True)
    for k, content in enumerate(DAMAGED.values()):
        (runs / f"bad{k}-capture-0.json").write_bytes(content)
    (runs / "folder-capture-0.json").mkdir()
    os.mkfifo(runs / "pipe-capture-0.json")
    Path(os.fsdecode(os.fsencode(runs) + b"/caf\xe9-capture-0.json")).write_text(json.dumps(FINE))
    twin.make(toy.capture)
    assert "c.gain changed" in twin.make(toy.capture, "c.gain=2") + twin("inspect", str(toy.capture), "c")
    twin("resume", "--no-prefect")
    twin("clean", "--keep-gb", "100")
    out = twin("status", "--all")
    assert (
        out.count("a run's record is left out") == len(DAMAGED) + 3 and "caf\\xe9" in out and "no regular file" in out
    )
    assert cli.main(["resume", "folder"]) == 5 and cli.main(["inspect", "pipe", "a"]) == 5


def test_a_newer_versions_fields_are_ignored(toy, twin):
    path = toy.store.root / "runs" / "bad.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps(
            {
                **FINE,
                "mood": "fine",
                "stages": {"a": {"state": "done", "colour": 3}},
                "request": {**FINE["request"], "speed": 9},
            }
        )
    )
    record = RunRecords(toy.store).load("bad")
    assert record.done() == ["a"] and "speed" not in record.request and record.request["profile"] == "standard"


def test_what_a_run_holds_whose_record_cannot_be_read_stays(toy, twin):
    twin.make(toy.capture)
    records = RunRecords(toy.store)
    held = RunRecord("newer", FINE["request"])
    (records.folder / "newer.json").write_text('{"schema_version": 2}')
    os.utime(records.folder / "newer.json", (1, 1))
    with records.hold(held):
        assert "kept 4" in twin("clean", "--keep-gb", "0", "--intermediate", "--older-than", "0")
        assert (records.folder / "newer.json").exists() and len(list(toy.store.results())) == 4
    twin("clean", "--older-than", "0")
    assert not list(toy.store.results())


BAD_TWINS = {
    "null": "null",
    "list": "[1]",
    "asked null": '{"schema_version": 1, "profile": "standard", "asked": null}',
    "cut off": "{",
    "asked text": '{"schema_version": 1, "asked": "yes"}',
    "stages": '{"schema_version": 1, "stages": [1]}',
    "started": '{"schema_version": 1, "asked": {"started": []}}',
    "settings": '{"schema_version": 1, "asked": {"settings": null}}',
    "frames": '{"schema_version": 1, "stages": {"track": {"frames": {"ok": "all"}}}}',
    "newer": '{"schema_version": 2}',
}


@pytest.mark.parametrize("name", BAD_TWINS)
def test_a_twin_with_a_bad_record_counts_as_none_and_is_named(toy, twin, caplog, name):
    for capture in ("cup", "jug"):
        (make_capture(toy.folder / "captures" / capture) / "READY").touch()
        twin.make(toy.folder / "captures" / capture)
    (toy.folder / "twins" / "cup" / "run.json").write_text(BAD_TWINS[name])
    for record in RunRecords(toy.store).all():
        RunRecords(toy.store).remove(record.id)
    captures, notes = arrived(toy.folder / "captures")
    assert [c.name for c in not_done(captures, "standard", (), RunRecords(toy.store))] == ["cup"]
    assert [n.why.partition(":")[0] for n in notes] == ["counts as no twin"] and "cup/run.json" in notes[0].why
    assert "twins/cup/run.json" in twin("status") and figures(str(toy.folder / "twins" / "cup")) == {}
    assert cli.main(["licences", str(toy.folder / "twins" / "cup")]) == 2
    twin.make(toy.folder / "captures" / "cup")
    assert not_done(captures, "standard", (), RunRecords(toy.store)) == []


def test_figures_that_are_no_figures_are_left_out(tmp_path):
    texture = {"metrics": {"psnr_db": {"x": 1}, "unseen_texels_percent": 1.234}}
    stages = {"bundle": {"metrics": {"rms_px": float("inf")}}, "texture": texture}
    (tmp_path / "run.json").write_text(json.dumps({"schema_version": 1, "stages": stages}))
    assert figures(str(tmp_path)) == {"unseen, %": 1.23}


def _strange(folder: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    (make_capture(path) / "READY").touch()
    return path


def test_a_name_that_is_not_utf_8_is_passed_over_and_named(toy, twin, monkeypatch):
    from flows.serve import arrivals

    root = toy.folder / "captures"
    for name in ("cup", "jug"):
        (make_capture(root / name) / "READY").touch()
    strange = _strange(root)
    assert [c.name for c in ready_captures(root)] == offered_captures(root) == ["cup", "jug"]
    assert "caf\\xe9: its name is not UTF-8" in twin("status")
    monkeypatch.setenv("TWIN_SETTLE_S", "0")
    started = []
    monkeypatch.setattr(
        arrivals, "run_deployment", lambda name, parameters, **more: started.append(Path(parameters["capture"]).name)
    )
    watch = arrivals.Arrivals(SimpleNamespace(read_flow_runs=lambda **more: []), toy.store)
    assert [line for line in watch.look() if "caf\\xe9" in line] and started == ["cup", "jug"]
    assert watch.look() == [] and len(started) == 2  # told once
    assert cli.main(["reconstruct", str(strange), "--out", str(toy.folder / "out"), "--no-prefect"]) == 3


def test_a_capture_that_the_server_refuses_does_not_hold_up_the_others(toy, monkeypatch):
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    from flows.serve import arrivals

    monkeypatch.setenv("TWIN_CAPTURES", str(toy.folder / "captures"))
    monkeypatch.setenv("TWIN_SETTLE_S", "0")
    for name in ("bad", "good"):
        (make_capture(toy.folder / "captures" / name) / "READY").touch()
    started = []

    def start(name, parameters, **more):
        if parameters["capture"].endswith("bad"):
            request = httpx.Request("POST", "http://server")
            raise PrefectHTTPStatusError(
                "refused", request=request, response=httpx.Response(409, text="too long", request=request)
            )
        started.append(parameters["capture"])

    monkeypatch.setattr(arrivals, "run_deployment", start)
    lines = arrivals.Arrivals(SimpleNamespace(read_flow_runs=lambda **more: []), toy.store).look()
    assert len(started) == 1 and any("bad was refused: too long" in line for line in lines)


def test_the_reader_waits_for_nobody_and_takes_no_giant(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "giant").open("wb") as f:
        f.truncate(1 << 40)
    for name in ("pipe", "giant", "."):
        began = time.monotonic()
        with pytest.raises(Unreadable):
            read_object(tmp_path / name)
        assert time.monotonic() - began < 5
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "nothing")


def test_versions_agree():
    from stages.core.report.run_record import SCHEMA_VERSION as written

    assert twin_record.NEWEST == written
    assert saved_as(twin_record.TwinRecord, {}, Path("x")).asked.started == 0
