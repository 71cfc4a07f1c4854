"""An environment in which Prefect's schedules would never start a run is refused, with what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main as cli
from flows.web.library_versions import refuse_faulty_libraries

REPOSITORY = Path(__file__).resolve().parents[2]
SERVE, SERVER = (
    ["flows.cli", "serve", "--port", "1"],
    ["flows.serve.part", str(os.getpid()), "server", "127.0.0.1", "1"],
)


@pytest.fixture
def newer_sqlalchemy(tmp_path: Path) -> Path:
    """A folder that, first in the path, makes a SQLAlchemy 2.1 the installed one, as far as its version goes."""
    about = tmp_path / "packages" / "sqlalchemy-2.1.9.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: SQLAlchemy\nVersion: 2.1.9\n")
    return about.parent


@pytest.mark.parametrize("words", (SERVE, SERVER), ids=("serve", "server"))
def test_no_server_starts(newer_sqlalchemy, tmp_path, words):
    places = {"TWIN_STORE": str(tmp_path / "store"), "PREFECT_HOME": str(tmp_path)}
    env = {**os.environ, **places, "PYTHONPATH": f"{newer_sqlalchemy}:{REPOSITORY}"}
    done = subprocess.run([sys.executable, "-m", *words], env=env, capture_output=True, text=True, timeout=400)
    assert (
        done.returncode in (1, 2)
        and "SQLAlchemy 2.1.9" in done.stderr
        and "pip install 'SQLAlchemy<2.1'" in done.stderr
    )


def test_doctor_says_so(newer_sqlalchemy, monkeypatch, capsys):
    refuse_faulty_libraries()
    monkeypatch.syspath_prepend(newer_sqlalchemy)
    assert cli.main(["doctor", "--json"]) == 1
    assert "FAILS: SQLAlchemy 2.1.9" in json.loads(capsys.readouterr().out)["libraries"]["sqlalchemy"]
