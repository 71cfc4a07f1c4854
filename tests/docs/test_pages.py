"""The pages: links lead somewhere, the index has all of them, what is generated is fresh, what is shown as code runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.core.store import Store
from tools import settings_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "examples").glob("*.md"),
    ]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them."""
    words = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h) for h in HEADING.findall(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", w.strip().lower()).replace(" ", "-") for w in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(page):
    wrong = []
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            wrong.append(link)
    assert not wrong


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in LINK.findall(index)}
    assert {p for p in (ROOT / "docs").rglob("*.md") if p.name != "README.md"} <= linked


def test_the_settings_page_is_fresh():
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page.page(), "python -m tools.settings_page"


def test_the_files_that_the_architecture_names_are_there():
    named = re.findall(r"`((?:stages|flows|stereotwin)/[\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text())
    assert len(named) >= 8 and all((ROOT / n).is_file() for n in named)


def test_the_stage_of_the_tutorial_runs_as_it_stands(tmp_path):
    text = (ROOT / "docs" / "add_a_stage.md").read_text()
    (tmp_path / "sharpness_stage.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    for side in ("left", "right"):
        (tmp_path / "capture" / side).mkdir(parents=True)
        cv2.imwrite(
            str(tmp_path / "capture" / side / "000000.png"), np.indices((40, 40)).sum(0).astype(np.uint8) % 2 * 255
        )
    (tmp_path / "capture" / "calibration.json").write_text("{}")
    command = next(line for line in text.splitlines() if "TWIN_STAGES=sharpness_stage:stages" in line).split()
    words = [w.replace("CAPTURE", str(tmp_path / "capture")).replace("OUT", str(tmp_path / "out")) for w in command[2:]]
    env = {
        **os.environ,
        "TWIN_STORE": str(tmp_path / "store"),
        "TWIN_STAGES": "sharpness_stage:stages",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    done = subprocess.run([sys.executable, "-m", "flows.cli", *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = next(f for stage, _, f in Store(tmp_path / "store").results() if stage == "sharpness")
    assert 1 < json.loads((folder / "sharpness.json").read_text())["000000.png"] < 1000  # a million without the blur
