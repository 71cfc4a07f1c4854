"""The examples run as they stand, on the smallest real capture; what one computed the next takes from the store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows import tiny

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    tiny.write_tiny(tiny.render_base(folder / "base"), folder / "captures" / "cup", seed=1)
    return folder


def _run(folder: Path, example: str, *words: str | Path) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TWIN_"))}
    env |= {"TWIN_STORE": str(folder / "store"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, ROOT / "examples" / example, *map(str, words)], env=env, capture_output=True, text=True
    )


def test_examples_do_what_they_say(folder):
    cup = folder / "captures" / "cup"
    story = _run(folder, "one_capture.py", cup, *tiny.SETTINGS)
    assert story.returncode == 0, story.stderr
    assert "surface ..." in story.stdout and story.stdout.endswith("computed again: nothing\n")
    stages = _run(folder, "stages_from_python.py", cup)
    assert stages.returncode == 0 and stages.stdout.count("px of the object") == 3, stages.stderr
    shutil.rmtree(folder / "captures" / "twin")
    shutil.copytree(cup, folder / "captures" / "broken")
    (folder / "captures" / "broken" / "calibration.json").unlink()
    batch = _run(folder, "a_batch.py", folder / "captures", folder / "twins", *tiny.SETTINGS)
    assert batch.returncode == 1 and "broken: failed. " in batch.stdout and "What to do: " in batch.stdout, batch.stderr
    assert (folder / "twins" / "cup" / "run.json").is_file()
