"""Validators of others on a twin's files: what they find is told, what did not run says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stages.base import StageContext, run_stage
from stages.core.store import Store
from stages.package.config import PackageConfig
from stages.package.stage import STAGE as PACKAGE
from stages.package.validators import VARIABLE, usd_issues, verdicts, versions_here
from stages.physics.config import PhysicsConfig
from stages.physics.stage import STAGE
from tests.physics.made import box
from tests.physics.test_stage import write_inputs
from tests.physics.test_support import floor

pytestmark = pytest.mark.slow
GIVEN = {"label": "Wooden block", "qcode": "Q287", "author": "A. Maker", "licence": "CC0-1.0"}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("box") / "in", box((0.06, 0.1, 0.08)), floor(0.05))


def packed(given, store: Path, **settings):
    """The result of the package stage."""
    made = run_stage(STAGE, given, PhysicsConfig(colliders="hull", **settings), Store(store), StageContext())
    return run_stage(PACKAGE, {**given, **made.refs}, PackageConfig(preview_px=64), Store(store), StageContext())


def needs(name: str) -> None:
    if name in versions_here():
        return
    if sys.version_info[:2] != (3, 11):
        pytest.skip(f"the validators are made for Python 3.11: {name} not run")
    pytest.skip(
        f"{name} is not installed ({VARIABLE} names the folder that `python -m tools.validate --install` makes): not run"
    )


@pytest.fixture(scope="module")
def complete(given, tmp_path_factory):
    """With all that only a user knows, judged by whoever is here."""
    return packed(given, tmp_path_factory.mktemp("complete"), **GIVEN)


@pytest.mark.parametrize("name", ["omniverse-asset-validator", "simready-validate", "khronos gltf-validator"])
def test_a_twin_passes(complete, name):
    needs(name)
    found = {v["name"]: v for v in json.loads((complete.refs["twin"].path / "validation.json").read_text())}
    assert found[name]["passed"] is True, found[name]["says"]
    assert complete.manifest["report"]["warnings"] == []
    assert not (complete.refs["twin"].path / "sim/twin.json").exists(), "the stand-in for the day is gone"


def test_what_is_missing_is_told(given, tmp_path):
    needs("simready-validate")
    warnings = packed(given, tmp_path).manifest["report"]["warnings"]
    assert any("simready-validate" in w and "author" in w for w in warnings)


def test_faults_in_usd_are_found(given, tmp_path, monkeypatch):
    """The test of the test: a file without units."""
    monkeypatch.delenv(VARIABLE, raising=False)
    path = packed(given, tmp_path).refs["twin"].path / "sim/twin.usda"
    assert usd_issues(path) == []
    text = path.read_text()
    path.write_text(text.replace("metersPerUnit = 1", "", 1))
    assert any("metersPerUnit" in issue for issue in usd_issues(path))


def test_without_their_environments_the_report_says_so(given, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    result = packed(given, tmp_path)
    figures = result.manifest["report"]["metrics"]
    assert figures["validator_usd-core"] == "passed" and "make validate" in figures["validator_simready-validate"]
    told = json.loads((result.refs["twin"].path / "validation.json").read_text())
    assert [v["passed"] for v in told] == [True, None, None, None]


def test_an_environment_that_is_broken_is_no_pass(given, tmp_path, monkeypatch):
    (tmp_path / "versions.json").write_text(json.dumps({"omniverse-asset-validator": "1.18.0"}))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (found,) = [
        v
        for v in verdicts(packed(given, tmp_path / "store").refs["twin"].path)
        if v.name == "omniverse-asset-validator"
    ]
    assert found.passed is False and "did not run to its end" in found.says[0]
