"""What the watcher starts by itself of a bucket: what is marked and complete, once, by the wish beside it. A real S3 server answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows.serve import arrivals
from flows.serve.bucket_arrivals import LOOK_EVERY_S, BucketArrivals
from stages.core.errors import CaptureError
from tests.flows.conftest import Toy, wait_for
from tests.flows.s3_captures import Bucket as Bare

pytest.importorskip(
    "obstore", reason="obstore is not installed (pip install 'stereotwin[s3]'): the bucket is NOT tested"
)
pytest.importorskip(
    "moto.server", reason="moto is not installed (pip install 'moto[s3]' flask flask-cors): the bucket is NOT tested"
)

from tests.core.s3_server import S3Server

ROOT = "s3://results/captures"


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bare(fresh_s3: S3Server, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Bare:
    monkeypatch.setenv("TWIN_CAPTURES_S3", ROOT)
    monkeypatch.setenv("TWIN_TWINS_S3", "s3://results/twins")
    monkeypatch.setenv("TWIN_CAPTURES", str(toy.folder / "captures"))
    monkeypatch.setenv("TWIN_SETTLE_S", "5")
    (toy.folder / "captures").mkdir()
    return Bare(fresh_s3)


def _due(watch: BucketArrivals) -> list[tuple[str, str]]:
    return [(d.capture.name, d.profile) for d in watch.find(ROOT)[0]]


def test_a_capture_is_taken_once_when_nothing_of_it_has_changed_for_the_setting(toy, bare):
    clock = _Clock()
    watch = BucketArrivals(toy.store, "standard", clock)
    with pytest.raises(CaptureError, match="nothing in"):
        watch.find(ROOT)
    bare.put("captures/cup/READY", b"")  # the marker first, the rest some seconds later
    assert _due(watch) == []
    for seconds in (3, 3, 3):
        clock.now += seconds
        bare.put("captures/cup/left/000000.png", str(clock.now).encode())
        assert _due(watch) == []
    clock.now += 4.9
    assert _due(watch) == []
    clock.now += 0.2
    assert _due(watch) == [("cup", "standard")] and _due(watch) == []
    again = BucketArrivals(
        toy.store, "standard", clock
    )  # of a watcher that was started anew: Prefect's key makes it one run
    assert _due(again) == []
    clock.now += 5
    assert _due(again) == [("cup", "standard")]


def test_wishes_beside_the_marker_count_and_what_is_wrong_is_told(toy, bare, monkeypatch):
    monkeypatch.setenv("TWIN_SETTLE_S", "0")
    wishes = {"day/fine": b"start: {profile: quality}\n", "later": b"start: {when: night}\n", "odd": b"start: soon\n"}
    for name in ("plain", *wishes):
        if name in wishes:
            bare.put(f"captures/{name}/twin.yaml", wishes[name])
        bare.put(f"captures/{name}/READY", b"")
    bare.put("captures/READY", b"")
    watch = BucketArrivals(toy.store, "standard")
    found, lines = watch.find(ROOT)
    assert [(d.capture.name, d.profile) for d in found] == [("day/fine", "quality"), ("plain", "standard")]
    assert (
        len(lines) == 2 and "captures/READY: is the folder of all captures" in lines[0] and "odd/twin.yaml" in lines[1]
    )


def test_the_watcher_starts_its_run_and_goes_on_while_the_bucket_is_away(toy, bare, s3_server, monkeypatch):
    monkeypatch.setenv("TWIN_SETTLE_S", "0")
    started: list[dict] = []
    monkeypatch.setattr(arrivals, "run_deployment", lambda name, **how: started.append(how))
    watch = arrivals.Arrivals(SimpleNamespace(read_flow_runs=lambda **more: []), toy.store)
    watch._bucket._clock = clock = _Clock()
    s3_server.drop_bucket()
    said = wait_for(watch.look)
    assert "s3://results/captures cannot be looked through: there is no bucket of that name" in said[0]
    s3_server.empty()
    bare.put("captures/cup/READY", b"")
    clock.now += LOOK_EVERY_S
    wait_for(lambda: watch.look() == [] and started)
    (how,) = started
    assert how["parameters"] == {"capture": f"{ROOT}/cup", "profile": "standard", "settings": []}
    assert watch.look() == [] and len(started) == 1
