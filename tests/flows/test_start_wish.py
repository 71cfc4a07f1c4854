"""When runs begin by themselves and with which profile; a stage that died for want of memory is tried once more."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import batch
from flows.captures.start_wish import StartWish, wish_of
from flows.cli import main as cli
from flows.records.run_record import RunRecords
from flows.serve import arrivals
from stages.core.config import resolve
from stages.core.errors import ConfigError
from stages.core.store import Store
from tests.flows.conftest import make_capture
from tests.flows.toy_stages import ToyConfig


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    for name in ("TWIN_CAPTURES", "TWIN_TWINS", "TWIN_STORE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("TWIN_SETTLE_S", "0")
    return tmp_path / "TWIN_CAPTURES"


def _capture(root: Path, name: str, start: str = "") -> Path:
    folder = make_capture(root / name)
    (folder / "READY").touch()
    if start:
        (folder / "twin.yaml").write_text(f"start: {start}\n")
    return folder


def test_the_nearest_file_that_says_it_counts(root, monkeypatch):
    cup = _capture(root, "monday/cup", "{profile: quality}")
    assert wish_of(cup) == StartWish("arrival", "quality")
    (root / "monday" / "twin.yaml").write_text("start: {when: night, profile: preview}\n")
    assert wish_of(cup) == StartWish("night", "quality")
    monkeypatch.setenv("TWIN_START_WHEN", "never")
    assert wish_of(_capture(root, "jug")) == StartWish("never", "") and wish_of(cup).when == "night"


@pytest.mark.parametrize("said", ["{when: noon}", "{profile: best}", "{whem: night}", "night"])
def test_what_nobody_understands_names_the_file(root, said):
    cup = _capture(root, "cup", said)
    with pytest.raises(ConfigError, match=r"cup/twin\.yaml: start"):
        wish_of(cup)


def test_a_run_takes_the_settings_beside_it(root):
    cup = _capture(root, "cup", "{when: night}\na: {gain: 3}")
    assert resolve({"a": ToyConfig}, "standard", cup / "twin.yaml", packaged=False).stages["a"].gain == 3


def test_the_watcher_starts_what_is_for_arrival_with_its_profile_and_tells_what_is_wrong(root, monkeypatch):
    for name, start in (
        ("now", ""),
        ("fine", "{profile: quality}"),
        ("later", "{when: night}"),
        ("wrong", "{when: noon}"),
        ("hand", "{when: never}"),
    ):
        _capture(root, name, start)
    started = {}
    monkeypatch.setattr(
        arrivals,
        "run_deployment",
        lambda name, parameters, **more: started.update({Path(parameters["capture"]).name: parameters["profile"]}),
    )
    watch = arrivals.Arrivals(SimpleNamespace(read_flow_runs=lambda **more: []), Store())
    told = watch.look() + watch.look()
    assert started == {"now": "standard", "fine": "quality"}
    assert sum("wrong/twin.yaml" in line for line in told) == 1


def test_a_batch_takes_all_but_what_is_for_hands_each_with_its_profile(root, monkeypatch):
    import asyncio

    for name, start in (
        ("now", ""),
        ("fine", "{profile: quality}"),
        ("later", "{when: night}"),
        ("wrong", "{when: noon}"),
        ("hand", "{when: never}"),
    ):
        _capture(root, name, start)
    seen = {}

    class Runs(batch.BatchRuns):
        async def outcomes(self):
            seen.update({c.name: self._profile_of(c) for c in self._arriving})
            for outcome in ():
                yield outcome

    async def table(*args, **more) -> None: ...

    for name, value in (
        ("BatchRuns", Runs),
        ("acreate_table_artifact", table),
        ("begin_attempt", lambda: None),
        ("leave_if_over", lambda: None),
        ("get_run_logger", lambda: logging.getLogger("test")),
    ):
        monkeypatch.setattr(batch, name, value)
    monkeypatch.setattr(batch, "flow_run", SimpleNamespace(id="b", run_count=1, tags=[]))
    asyncio.run(batch.reconstruct_batch.fn(profile="preview"))
    assert seen == {"now": "preview", "fine": "quality", "later": "preview"}
    page = (root.parent / "TWIN_TWINS" / "batch.html").read_text()
    assert "only by hand" in page and "start.when is" in page


def test_a_death_for_want_of_memory_is_tried_once_more_with_memory_auto(toy, capsys):
    toy.order("b", "allocate while fixed")
    words = ["reconstruct", str(toy.capture), "--out", str(toy.folder / "twin"), "--no-prefect", "b.memory=fixed"]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert toy.counts() == {"a": 1, "b": 2, "c": 1, "d": 1}
    record = RunRecords(toy.store).all()[0]
    assert "Tried once more with b.memory=auto" in Path(record.log).read_text()
    toy.order("c", "allocate")
    assert cli.main([*words, "c.memory=fixed", "c.gain=2"]) == 5 and toy.counts()["c"] == 3  # once more, and no oftener
