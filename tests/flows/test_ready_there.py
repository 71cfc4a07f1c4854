"""Which captures of a bucket a batch takes, by what lies there: markers, twins, wishes. A real S3 server answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.captures.ready_there import arrived_there, left_to_do, wish_there
from flows.captures.sent_twin import send_twin
from flows.flow_run.batch_runs import parameters_of
from flows.records.run_record import RunRecords
from flows.ui.form import Methods, request_of
from stages.core.errors import CaptureError, ConfigError, StoreError
from tests.flows.conftest import Toy
from tests.flows.s3_captures import Bucket as Bare

pytest.importorskip(
    "obstore", reason="obstore is not installed (pip install 'stereotwin[s3]'): the bucket is NOT tested"
)
pytest.importorskip(
    "moto.server", reason="moto is not installed (pip install 'moto[s3]' flask flask-cors): the bucket is NOT tested"
)

from tests.core.s3_server import S3Server

ROOT = "s3://results/captures"


@pytest.fixture
def bare(fresh_s3: S3Server, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Bare:
    """Captures in a bucket, twins beside them."""
    monkeypatch.setenv("TWIN_CAPTURES_S3", ROOT)
    monkeypatch.setenv("TWIN_TWINS_S3", "s3://results/twins/")
    monkeypatch.setenv("TWIN_TWINS", str(toy.folder / "twins"))
    return Bare(fresh_s3)


def test_a_batch_takes_what_is_ready_there_and_not_made_yet(toy, bare):
    for key in ("day/ball", "cup", "not-ready"):
        bare.upload(toy.capture, f"captures/{key}", ready=key != "not-ready")
    for odd in ("READY", "a/b/c/d/READY", "cup/left/READY"):
        bare.put(f"captures/{odd}", b"")
    found, notes = arrived_there(ROOT)
    assert [c.name for c in found] == ["cup", "day/ball"] and len(notes) == 2
    ball = found[1]
    request = request_of(parameters_of(ball, "standard", [])["capture"], Methods(), None, [], None)
    assert (request.capture_from, request.twin_to) == (f"{ROOT}/day/ball", "s3://results/twins/day/ball")
    assert (request.capture, request.out) == (str(ball.path), str(toy.folder / "twins" / "day" / "ball"))

    def left(profile: str) -> list[str]:
        return [c.name for c in left_to_do(arrived_there(ROOT)[0], profile, [], RunRecords(toy.store))]

    assert left("standard") == ["cup", "day/ball"]
    _send(toy, request.twin_to, ball.marker)
    assert [left(p) for p in ("preview", "standard", "quality")] == [["cup"], ["cup"], ["cup", "day/ball"]]
    bare.put("twins/day/ball/twin.json", b"{}")
    assert left("standard") == ["cup", "day/ball"]
    _send(toy, request.twin_to, ball.marker + 1)  # of another marker
    assert left("standard") == ["cup", "day/ball"]


def _send(toy: Toy, address: str, marker: int) -> None:
    folder = toy.folder / "made"
    folder.mkdir(exist_ok=True)
    record = {
        "run": "r",
        "profile": "standard",
        "source": "s",
        "asked": {"settings": [], "started": 1.0, "marker": marker},
    }
    (Path(folder) / "run.json").write_text(json.dumps(record))
    send_twin(toy.store, folder, address, print)


def test_what_a_capture_there_wishes(toy, bare):
    bare.put("captures/cup/twin.yaml", b"start: {when: never}\n")
    bare.put("captures/jug/twin.yaml", b"start: {when: soon}\n")
    for name in ("cup", "jug", "vase"):
        bare.put(f"captures/{name}/READY", b"")
    cup, jug, vase = arrived_there(ROOT)[0]
    assert [wish_there(c).when for c in (cup, vase)] == ["never", "arrival"]
    with pytest.raises(ConfigError, match=r"s3://results/captures/jug/twin\.yaml"):
        wish_there(jug)


def test_a_wrong_root_is_said(toy, bare):
    with pytest.raises(CaptureError, match="nothing in s3://results/nights"):
        arrived_there("s3://results/nights")
    with pytest.raises(StoreError, match="no bucket of that name"):
        arrived_there("s3://nowhere/captures")
