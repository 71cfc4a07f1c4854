"""The store, the run records and the twin folder on a disk that fails: every change refused in turn, the power cut before each in turn.

Whatever happened, what is opened afterwards is whole, and the same again gives the right result.
"""

from __future__ import annotations

import errno
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.records.run_record import RunRecord, RunRecords
from stages.base import Resources, Stage, StageReport, run_stage
from stages.core.disk import Disk
from stages.core.errors import StoreError
from stages.core.store import ArtifactRef, Store
from stages.core.twin import assemble_twin
from tests.core.faulty_disk import LOST, NAMES_ONLY, FaultyDisk, PowerCut, PowerCutDisk, QuickDisk

LUCKS = [LOST, NAMES_ONLY, *range(4)]
"""numbers are seeds"""
FAULTS = [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)]


@dataclass(frozen=True)
class _Config:
    text: str = "right"


class _Stage(Stage):
    """Writes a file and a folder, through the store's disk, so that its own writes fail as well."""

    name, version, inputs, outputs, needs, Config = "made", 1, (), ("mesh.ply", "pairs"), Resources(), _Config

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def check(self, inputs, config) -> None: ...

    def run(self, inputs, config, out: Path, context) -> StageReport:
        self._disk.write(out / "mesh.ply", config.text.encode())
        self._disk.make_folders(out / "pairs" / "left")
        for k in range(2):
            self._disk.write(out / "pairs" / "left" / f"{k}.png", f"{config.text} {k}".encode())
        return StageReport()


def _compute(root: Path, disk: Disk, force: bool = False) -> bool:
    """Whether the result came from the store; it is read to the end."""
    store = Store(root, disk)
    result = run_stage(_Stage(disk), {}, _Config(), store, force=force)
    assert result.refs["mesh.ply"].path.read_bytes() == b"right"
    assert sorted(p.read_bytes() for p in result.refs["pairs"].path.rglob("*.png")) == [b"right 0", b"right 1"]
    return result.cached


def _damaged_store(root: Path) -> None:
    _compute(root, QuickDisk())
    next((root / "artifacts").rglob("1.png")).write_bytes(b"flipped")


def _prepare(root: Path, before: str) -> None:
    root.mkdir(parents=True)
    if before == "whole":
        _compute(root, QuickDisk())
    elif before == "damaged":
        _damaged_store(root)


@pytest.mark.parametrize("before", ["empty", "whole", "damaged"])
def test_a_refused_change_in_the_store_costs_no_more_than_this_result(tmp_path, before):
    for disk, number in _faulty_disks():
        root = tmp_path / f"{disk.number}{disk.stays}{disk.fail_at}"
        _prepare(root, before)
        try:
            _compute(root, disk, force=before == "whole")
        except StoreError as e:
            assert e.advice and ("no space left" in e.message or number == errno.EIO), e
        if not disk.refused:
            continue
        _compute(root, QuickDisk())
        assert _compute(root, QuickDisk()) and not list((root / "tmp").iterdir())


def _faulty_disks() -> Iterator[tuple[FaultyDisk, int]]:
    """For each fault a disk that refuses the first change, the second, .. until one has refused none; and the number of the fault."""
    for number, stays in FAULTS:
        for n in itertools.count(1):
            disk = FaultyDisk(n, number, stays)
            yield disk, number
            if not disk.refused:
                assert n > 5
                break


def _cuts(
    tmp_path: Path, prepare: Callable[[Path], None], work: Callable[[Path, Disk], None]
) -> Iterator[tuple[Path, bool]]:
    """(what is left on the disk, whether `work` was done) for a cut before each change and at the end, with all kinds of luck."""
    for n in itertools.count(1):
        root = tmp_path / f"cut{n}"
        root.mkdir()
        prepare(root)
        disk, done = PowerCutDisk(root, n), False
        try:
            work(root, disk)
            done = True
        except PowerCut:
            pass
        for k, luck in enumerate(LUCKS):
            yield disk.left(tmp_path / f"cut{n}.{k}", random.Random(luck) if isinstance(luck, int) else luck), done
        if done:
            assert n > 5
            return


@pytest.mark.parametrize("before", ["empty", "whole", "damaged"])
def test_a_power_cut_leaves_whole_results_or_none(tmp_path, before):
    def prepare(root: Path) -> None:
        _prepare(root / "store", before)

    def work(root: Path, disk: Disk) -> None:
        _compute(root / "store", disk, force=before == "whole")

    for left, done in _cuts(tmp_path, prepare, work):
        root = left / "store"
        damaged_before = len(list((root / "corrupt").glob("*")))
        there = _compute(root, QuickDisk())
        assert there or not done, "a result that was published is gone"
        assert before == "damaged" or len(list((root / "corrupt").glob("*"))) == damaged_before == 0, (
            "half a result was to be seen"
        )
        assert _compute(root, QuickDisk())


def _record(records: RunRecords) -> RunRecord:
    record = records.new({"capture": "/c", "out": "/o"}, ["a"], "12345678")
    record.id = "20260101-000000-c-12345678"
    return record


def _save_twice(root: Path, disk: Disk) -> list[str]:
    """States that were saved for certain."""
    records, saved = RunRecords(Store(root, disk)), []
    record = _record(records)
    for state in ("failed", "done"):
        record.state = state
        records.save(record)
        saved.append(state)
    return saved


def test_a_refused_change_leaves_the_record_as_it_was(tmp_path, caplog):
    for disk, _ in _faulty_disks():
        root = tmp_path / f"{disk.number}{disk.stays}{disk.fail_at}"
        _save_twice(root, disk)  # a run goes on without its record
        if not disk.refused:
            continue
        assert "cannot write the record" in caplog.text
        found = RunRecords(Store(root)).all()
        assert [r.state for r in found] in (["failed"], ["done"], []) and not list(root.glob("runs/*.partial"))
        _save_twice(root, QuickDisk())
        assert [r.state for r in RunRecords(Store(root)).all()] == ["done"]


def test_a_power_cut_leaves_the_last_record_that_was_saved(tmp_path):
    saved: list[str] = []

    def work(root: Path, disk: Disk) -> None:
        saved.clear()
        records = RunRecords(Store(root / "store", disk))
        record = _record(records)
        for record.state in ("interrupted", "failed", "done"):
            records.save(record)
            saved.append(record.state)

    for left, _ in _cuts(tmp_path, lambda root: (root / "store").mkdir(), work):
        states = [r.state for r in RunRecords(Store(left / "store")).all()]
        allowed = (
            ["interrupted", "failed", "done", None][max(0, len(saved) - 1) :][:2] if saved else [None, "interrupted"]
        )
        assert (states[0] if states else None) in allowed, (states, saved)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, dict[str, ArtifactRef]]:
    """Outputs of two runs, in small."""
    runs = {}
    for name in ("old", "new"):
        folder = tmp_path_factory.mktemp(name)
        for part in ("twin", "disparity/sigma", "masks_final"):
            (folder / part).mkdir(parents=True)
        for part in (
            "twin/mesh.ply",
            "twin/twin.obj",
            "disparity/000000.png",
            "disparity/sigma/000000.png",
            "masks_final/000000.png",
        ):
            (folder / part).write_text(f"{name} {part}")
        runs[name] = {kind: ArtifactRef(kind, folder / kind, name) for kind in ("twin", "disparity", "masks_final")}
    return runs


MANIFESTS = {
    "package": {"outputs": {"twin": "x"}, "seconds": 1.0, "report": {"metrics": {}, "pictures": [], "warnings": []}}
}


def _assemble(made, name: str, root: Path, disk: Disk) -> None:
    assemble_twin(root / "out", made[name], MANIFESTS, {"run": name}, disk)


def _twin(root: Path) -> str:
    """Which twin lies there, checked to be whole."""
    out = root / "out"
    name = json.loads((out / "run.json").read_text())["run"]
    for part in ("mesh.ply", "twin.obj"):
        assert (out / part).read_text() == f"{name} twin/{part}"
    assert (out / "disparity" / "000000.png").read_text() == f"{name} disparity/000000.png" and (
        out / "report.html"
    ).stat().st_size > 1000
    assert (out / "masks" / "000000.png").exists() and not (out / "disparity" / "sigma").exists()
    assert (out / "notes" / "mine.txt").read_text() == "years of work"
    return name


def _old_twin(made, root: Path) -> None:
    _assemble(made, "old", root, QuickDisk())
    (root / "out" / "notes").mkdir()
    (root / "out" / "notes" / "mine.txt").write_text("years of work")


def test_a_refused_change_leaves_the_old_twin_or_the_new_one(tmp_path, made):
    for disk, number in _faulty_disks():
        root = tmp_path / f"{disk.number}{disk.stays}{disk.fail_at}"
        root.mkdir()
        _old_twin(made, root)
        try:
            _assemble(made, "new", root, disk)
        except StoreError as e:
            assert "--out" in e.advice or number == errno.EIO
        if not disk.refused:
            continue
        if (root / "out").exists():
            assert _twin(root) in ("old", "new")
        _assemble(made, "new", root, QuickDisk())
        assert _twin(root) == "new" and [p.name for p in root.iterdir()] == ["out"]


def test_a_power_cut_leaves_the_old_twin_or_the_new_one(tmp_path, made):
    for left, done in _cuts(
        tmp_path, lambda root: _old_twin(made, root), lambda root, disk: _assemble(made, "new", root, disk)
    ):
        if (left / "out").exists():
            assert _twin(left) == "new" or not done
        _assemble(made, "new", left, QuickDisk())
        assert _twin(left) == "new" and [p.name for p in left.iterdir()] == ["out"]


def test_the_disks_of_these_tests_lose_what_was_not_synced(tmp_path):
    """The test of the test: without a sync of the file or of its folder the right content is not to be relied on."""

    def work(root: Path, disk: Disk, sync: tuple[str, ...]) -> None:
        disk.write(root / "x.partial", b"new")
        if "file" in sync:
            disk.sync(root / "x.partial")
        disk.move(root / "x.partial", root / "x")
        if "folder" in sync:
            disk.sync(root)

    for k, (sync, sure) in enumerate(
        [((), False), (("file",), False), (("folder",), False), (("file", "folder"), True)]
    ):
        root = tmp_path / f"{k}"
        root.mkdir()
        (root / "x").write_text("old")
        disk = PowerCutDisk(root)
        work(root, disk, sync)
        found = set()
        for j, luck in enumerate(LUCKS):
            path = disk.left(tmp_path / f"{k}.{j}", random.Random(luck) if isinstance(luck, int) else luck) / "x"
            found.add(path.read_bytes() if path.exists() else None)
        assert (found == {b"new"}) is sure, (sync, found)
