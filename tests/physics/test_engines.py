"""Proof in real engines: what lies in sim/ falls from 5 cm in seven poses, comes to rest, sinks nowhere and gains no energy."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flows.cli import main as cli
from stages.base import StageContext, run_stage
from stages.core.drop import failures
from stages.core.drop.result import poses
from stages.core.store import Store
from stages.physics.config import PhysicsConfig
from stages.physics.stage import STAGE
from tests.physics.made import MUG_HALF, mug
from tests.physics.test_stage import write_inputs
from tests.physics.test_support import floor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sim(tmp_path_factory) -> Path:
    """A mug that stood on a floor: two hollows, no symmetry."""
    folder = tmp_path_factory.mktemp("mug")
    given = write_inputs(folder / "in", mug(0.002), floor(MUG_HALF))
    config = PhysicsConfig(material="ceramic", label="mug", collider_error_mm=5)
    made = run_stage(STAGE, given, config, Store(folder / "store"), StageContext())
    assert made.manifest["report"]["metrics"]["support"] == "seen"
    return made.refs["physics"].path / "sim"


def engine(name: str):
    if name == "pybullet" and sys.version_info[:2] != (3, 11) and find_spec(name) is None:
        pytest.skip("pybullet is made for Python 3.11 at the most: not dropped in it")
    pytest.importorskip(name, reason=f"{name} is not installed (extra simulate): not dropped in it")
    from importlib import import_module

    return import_module({"mujoco": "stages.core.drop.in_mujoco", "pybullet": "stages.core.drop.in_bullet"}[name])


@pytest.mark.parametrize("name, file", [("mujoco", "twin.xml"), ("mujoco", "twin.urdf"), ("pybullet", "twin.urdf")])
def test_it_falls_and_comes_to_rest(sim, name, file):
    drops = engine(name).drop_all(sim / file)
    assert [d.pose for d in drops] == list(poses())
    assert failures(drops) == []
    assert drops[0].tilted_deg < 1.5, "it stands as it stood"
    assert max(d.path[0, 2] for d in drops) > 0.05 and all(d.path[-1, 2] < d.path[0, 2] - 0.02 for d in drops), (
        "it fell"
    )
    assert all(abs(d.sunk_mm) < 1.1 for d in drops), "it lies on the ground, not above it"


def test_mujoco_has_the_mass_that_the_record_says(sim):
    model, _ = engine("mujoco").load(sim / "twin.xml")
    record = json.loads((sim / "physics.json").read_text())
    assert model.body_mass[1] == pytest.approx(record["mass"]["value"], rel=1e-9)
    assert np.allclose(np.sort(model.body_inertia[1]), record["principal_moments"]["value"], rtol=1e-6)
    assert np.allclose(model.body_ipos[1], record["centre_of_mass"]["value"], atol=1e-9)


def test_mujoco_opens_the_scene_with_its_picture(sim):
    engine("mujoco")
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(sim / "scene.xml"))
    assert model.ntex == 1 and model.nmesh > 1
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 500)
    assert abs(data.qpos[2]) < 1e-3, "it stands where the file puts it"


def test_colliders_that_give_way_are_caught(sim, tmp_path):
    """The test of the test: contacts as soft as foam, into which it sinks."""
    drop_all = engine("mujoco").drop_all
    shutil.copytree(sim, tmp_path / "sim")
    path = tmp_path / "sim/twin.xml"
    path.write_text(path.read_text().replace('condim="6"', 'condim="6" solref="0.2 1" solmix="1000"'))
    assert any("sank by" in f for f in failures(drop_all(path)))


def test_the_command_drops_and_says_why_it_cannot(sim, tmp_path, capsys):
    engine("mujoco")
    assert cli.main(["drop", str(sim), "--engine", "mujoco"]) == 0
    assert "14 drops from 5 cm, all came to rest" in capsys.readouterr().out
    assert cli.main(["drop", str(sim), "--engine", "mujoco", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["failures"] == []


def test_the_command_on_what_has_no_files(tmp_path, capsys):
    assert cli.main(["drop", str(tmp_path)]) == 2
    assert "no twin folder" in capsys.readouterr().err
    (tmp_path / "run.json").write_text(json.dumps({"physics": {"files": False, "reason": "the mesh is not closed"}}))
    assert cli.main(["drop", str(tmp_path)]) == 4
    assert "the mesh is not closed" in capsys.readouterr().err
