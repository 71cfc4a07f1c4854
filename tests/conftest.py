"""Fixtures that every test folder uses: the generated captures, inputs made from their truth, and the data set beside the checkout."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests import truth_inputs

os.environ.setdefault("DO_NOT_TRACK", "1")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
"""that tests run in at once, and share the cores"""
if PROCESSES > 1:
    os.environ["OMP_NUM_THREADS"] = str(max(1, CORES // PROCESSES))


pytest_plugins = ("tests.skipped",)


TIMED = {"flows", "deploy", "notebooks"}
"""test folders that start processes, servers and browsers and wait for them"""


def pytest_xdist_auto_num_workers() -> int:
    """Processes of `make test`: one for each core, as far as memory goes: each needs up to 5 GB with the stages that it starts."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return max(1, min(CORES, int(memory_gb // 5), 8))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests last, servers and browsers after the others, those with most first, so that a mistake shows early and no
    process is left with a long file at the end. The tests of a file stay together, in one process: they share its fixtures. What waits for
    other processes has a second try, if it does not say otherwise, which the summary counts as a rerun: a machine that is busy elsewhere
    for a minute is not a fault of the program."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    timed = {item.path for item in items if TIMED.intersection(item.path.relative_to(item.config.rootpath).parts)}
    for item in items:
        if item.path in timed and not item.get_closest_marker("flaky"):
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=lambda item: (item.path in slow, item.path in slow and item.path in timed, -slow[item.path]))


def _capture(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Path:
    from stages.core.synthetic.capture import CaptureSpec, write_capture

    folder = tmp_path_factory.mktemp(f"capture_{kind}")
    return write_capture(folder, CaptureSpec(kind=kind, frames=16, width=400, height=300, voxel_m=0.001), workers=CORES)


@pytest.fixture(scope="session")
def synthetic_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pairs of 400x300: the camera goes round the built-in object. Read only; copy it before you break it."""
    return _capture(tmp_path_factory, "orbit")


@pytest.fixture(scope="session")
def synthetic_inhand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pairs of 400x300: the object turns before a still camera. Read only."""
    return _capture(tmp_path_factory, "inhand")


@pytest.fixture(scope="session")
def truth(synthetic_capture: Path, tmp_path_factory: pytest.TempPathFactory):
    """{kind: ArtifactRef} for the orbit capture, from its truth, disparity noise 0.08 px. Read only."""
    return truth_inputs.make(synthetic_capture, tmp_path_factory.mktemp("truth_orbit"))


@pytest.fixture(scope="session")
def truth_inhand(synthetic_inhand: Path, tmp_path_factory: pytest.TempPathFactory):
    """The same for the in-hand capture."""
    return truth_inputs.make(synthetic_inhand, tmp_path_factory.mktemp("truth_inhand"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The data set beside the checkout; tests that need it skip, and say so, where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    if not (beside / "captures").is_dir():
        pytest.skip(f"no data set beside the checkout ({beside.name}/captures): real-data test not run")
    return beside


@pytest.fixture
def cuda():
    """A CUDA device, or a loud skip."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: GPU test not run")
    return torch.device("cuda")
