"""Full, read-only and overrun machines, on the toy pipeline: what the user reads, and that nothing computed is lost."""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from flows.cli import main as cli
from flows.run.stage_process import StageJob, run_stage_in_child
from stages.base import what_to_lower
from stages.core.capture import capture_ref
from stages.core.errors import StageError, StoreError
from stages.core.memory import memory_limit, out_of_memory
from stages.core.store import ArtifactRef
from stages.core.twin import assemble_twin
from stages.depth.config import DepthConfig
from stages.graph import stages
from tests.flows import toy_stages
from tests.flows.test_stage_process import ONCE


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[..., Path]]:
    """small_disk(kilobytes) -> a filesystem of its own; `change(options)` mounts it anew."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(kilobytes: int) -> Path:
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], capture_output=True
        ).returncode:
            pytest.skip("cannot mount a small file system here (needs root): disk test not run")
        return folder

    mount.change = lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    yield mount
    subprocess.run(["umount", folder], capture_output=True)


@pytest.fixture
def twin(toy, monkeypatch, capsys):
    """twin(out, *more) -> (exit code, stderr) of a run without Prefect; twin.store(folder) names the store."""

    def run(out: Path, *more: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(
            ["reconstruct", str(toy.capture), "--out", str(out), *("--no-prefect",)[: run.without_prefect], *more]
        )
        return code, capsys.readouterr().err

    run.without_prefect = 1
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    run.store = lambda folder: monkeypatch.setenv("TWIN_STORE", str(folder))
    return run


def test_a_read_only_store_gives_what_it_has(toy, twin, small_disk, tmp_path, capsys):
    mount = small_disk(20_000)
    twin.store(mount / "store")
    assert twin(tmp_path / "first")[0] == 0
    small_disk.change("ro")
    twin.without_prefect = 0
    code, err = twin(tmp_path / "second")
    assert (
        code == 0
        and (tmp_path / "second" / "report.html").exists()
        and toy.counts() == ONCE
        and "goes on without it" in err
    )
    assert cli.main(["status"]) == 0 and "4/4 stages done" in capsys.readouterr().out
    code, err = twin(tmp_path / "third", "c.gain=2")
    assert code == 5 and "read-only" in err and "TWIN_STORE" in err and "Traceback" not in err and toy.counts() == ONCE


def test_a_full_disk_gives_what_it_has(toy, twin, small_disk, tmp_path):
    mount = small_disk(20_000)
    twin.store(mount / "store")
    assert twin(tmp_path / "first")[0] == 0
    _fill(mount)
    twin.without_prefect = 0
    code, err = twin(tmp_path / "second")
    assert code == 0 and (tmp_path / "second" / "run.json").exists() and toy.counts() == ONCE
    assert "0 B are free on the disk" in err and "goes on without it" in err
    twin.without_prefect = 1
    code, err = twin(tmp_path / "third", "c.gain=2")
    assert (
        code == 5
        and "no space left" in err
        and "free on its disk" in err
        and "twin clean" in err
        and "Traceback" not in err
    )
    (mount / "filling").unlink()
    assert twin(tmp_path / "third", "c.gain=2")[0] == 0 and toy.counts() == {"a": 1, "b": 1, "c": 3, "d": 2}


def test_a_damaged_result_in_a_read_only_store_is_not_used(toy, twin, small_disk, tmp_path):
    mount = small_disk(20_000)
    twin.store(mount / "store")
    assert twin(tmp_path / "first")[0] == 0
    next((mount / "store" / "artifacts" / "b").glob("*/b.txt")).write_text("damaged")
    small_disk.change("ro")
    code, err = twin(tmp_path / "second")
    assert code == 5 and "read-only" in err and "b         computing: its result in the store was damaged" in err
    small_disk.change("rw")
    assert twin(tmp_path / "second")[0] == 0 and toy.counts() == {**ONCE, "b": 2}


def test_a_full_folder_for_temporary_files_is_named(toy, twin, small_disk, tmp_path, monkeypatch):
    mount = small_disk(2_000)
    monkeypatch.setenv("TMPDIR", str(mount))
    toy.order("b", "temporary 8")
    code, err = twin(tmp_path / "out")
    assert code == 5 and str(mount) in err and "set TMPDIR" in err and "Traceback" not in err
    _fill(mount)
    toy.order("b", "")
    assert twin(tmp_path / "out")[0] == 0 and toy.counts() == {**ONCE, "b": 2}  # what needs none of it goes on


def test_no_room_for_the_twin_says_how_much_it_takes(small_disk, tmp_path):
    mount, part = small_disk(6_000), tmp_path / "twin"
    part.mkdir()
    (part / "mesh.ply").write_bytes(b"x" * 5_000_000)
    refs = {"twin": ArtifactRef("twin", part, "")}
    with pytest.raises(
        StoreError, match=r"no space left.*6\.\d MB of 6\.\d MB free on its disk, about 9\.0 MB needed"
    ) as error:
        assemble_twin(mount / "out", refs, {})
    assert "--out" in error.value.advice and not list(mount.iterdir())


def test_a_library_that_hides_a_full_disk_or_want_of_memory_is_seen_through(toy, twin, tmp_path):
    toy.order("b", "library Error while serializing: I/O error: No space left on device (os error 28)")
    code, err = twin(tmp_path / "out")
    assert code == 5 and "no space left" in err and "twin clean" in err
    toy.order("b", "library DefaultCPUAllocator: can't allocate memory: you tried to allocate 99999999 bytes")
    code, err = twin(tmp_path / "out")
    assert code == 5 and "b ran out of memory" in err
    toy.order("b", "library something else")
    assert twin(tmp_path / "out")[0] == 1


@pytest.mark.parametrize("how", ["allocate", "kill 9"])
def test_want_of_memory_names_stage_peak_limit_and_setting(toy, how):
    toy.order("b", how)
    words = r"b (ran out of memory|was killed by the system).*: it held \d+\.\d\d GB at its peak; \w+ .* GB"
    with pytest.raises(StageError, match=words) as error:
        toy.run()
    assert "rectify.max_width" in error.value.advice and "finished stages are kept" in error.value.advice


def test_every_stage_names_settings_that_need_less_memory():
    for stage in stages():
        assert set(stage.needs.lower) <= {f.name for f in dataclasses.fields(stage.Config)}, stage.name
    depth = next(s for s in stages() if s.name == "depth")
    assert what_to_lower(depth, DepthConfig(method="sgm")) == ("depth.work_megapixels", "rectify.max_width")
    assert "depth.onnx_megapixels" in what_to_lower(depth, DepthConfig(method="onnx"))


def test_the_lowest_limit_is_the_one_that_is_named(tmp_path):
    (tmp_path / "memory.max").write_text("123000000")
    (tmp_path / "memory.current").write_text("23000000")
    assert memory_limit(tmp_path) == "its container may use 0.12 GB, of which 0.10 GB are free now"
    (tmp_path / "memory.max").write_text("max")
    assert "container" not in memory_limit(tmp_path)
    assert "lower a.x or b.y" in out_of_memory("a ran out", 10, ("a.x", "b.y")).advice


@contextmanager
def _files_left(count: int) -> Iterator[None]:
    """This process can open so many files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(opened.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in opened:
            os.close(descriptor)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_too_many_open_files_are_named(toy, count):
    ref = {"capture": capture_ref(toy.capture)}
    stage = toy_stages.stages()[0]
    with _files_left(count), pytest.raises(StoreError, match="too many open files") as error:
        run_stage_in_child(stage, ref, toy_stages.ToyConfig(), StageJob(toy.store))
    assert "ulimit -n" in error.value.advice
    toy.run()
    assert toy.counts() == ONCE


@pytest.mark.parametrize("count", [0, 1, 2])
def test_whole_results_are_not_set_aside_for_want_of_open_files(toy, count):
    """A result that cannot be looked at is not damaged."""
    toy.run()
    fingerprint = next((toy.store.root / "artifacts" / "a").iterdir()).name
    with _files_left(count), suppress(StoreError):
        toy.store.find("a", fingerprint)
    assert not (toy.store.root / "corrupt").exists() and toy.store.find("a", fingerprint)


def _fill(mount: Path) -> None:
    with (mount / "filling").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return
