"""The stage and what a user finds in sim/: the same numbers in every file, or a reason and no files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.camera import Rig
from stages.core.config import resolve
from stages.core.errors import ConfigError
from stages.core.frames import FramePose, write_poses
from stages.core.images import read_rgb
from stages.core.meshes import write_ply, write_textured
from stages.core.store import ArtifactRef, Store
from stages.core.twin import assemble_twin
from stages.package.stage import STAGE as PACKAGE
from stages.physics.config import PhysicsConfig
from stages.physics.materials import MATERIALS
from stages.physics.shapes import Shape
from stages.physics.stage import STAGE
from stages.physics.xml_files import read_inertial
from tests.physics.made import box, surface, textured
from tests.physics.test_support import floor

SIZE = (0.06, 0.1, 0.08)


def write_inputs(out: Path, shape: Shape, scene: np.ndarray) -> dict[str, ArtifactRef]:
    """What the stages before hand over."""
    out.mkdir(parents=True)
    write_ply(out / "mesh.ply", surface(shape))
    write_textured(out / "textured", textured(shape), np.full((32, 32), 3, np.uint8))
    np.savez(out / "points.npz", xyz=shape.vertices, scene_xyz=scene)
    return {p.name: ArtifactRef(p.name, p, f"digest of {p}") for p in out.iterdir()}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A box that stands on a floor."""
    return write_inputs(tmp_path_factory.mktemp("box") / "in", box(SIZE), floor(0.05))


@pytest.fixture(scope="module")
def made(inputs, tmp_path_factory):
    config = PhysicsConfig(material="wood", label="Wooden block", qcode="Q287")
    return run_stage(STAGE, inputs, config, Store(tmp_path_factory.mktemp("store")), StageContext(threads=2))


@pytest.fixture(scope="module")
def sim(made) -> Path:
    return made.refs["physics"].path / "sim"


def test_every_file_is_there_and_refers_to_its_neighbours(sim):
    names = {p.name for p in sim.iterdir()}
    assert names == {"meshes", "twin.xml", "scene.xml", "twin.urdf", "twin.sdf", "twin.usda", ".thumbs", "physics.json"}
    assert (sim / ".thumbs/256x256/twin.usda.png").is_file() and (sim / "meshes/twin_visual.usdc").is_file()
    for name in ("twin.xml", "twin.urdf", "twin.sdf"):
        text = (sim / name).read_text()
        named = (
            e.get("file") or e.get("filename") or e.text
            for e in Xml.fromstring(text).iter()
            if e.tag in ("mesh", "uri", "texture")
        )
        found = [f for f in named if f and "." in f]
        assert found and all((sim / f).is_file() or (sim / "meshes" / f).is_file() for f in found), name
        assert str(sim.parent) not in text and '"/' not in text


def test_one_set_of_numbers_in_all_files(sim):
    from pxr import Gf, Usd, UsdPhysics

    record = json.loads((sim / "physics.json").read_text())
    mass, centre, inertia = (
        record["mass"]["value"],
        np.array(record["centre_of_mass"]["value"]),
        np.array(record["inertia"]["value"]),
    )
    assert mass == pytest.approx(650 * np.prod(SIZE), rel=1e-3) and "given density" in record["mass"]["how"]
    assert np.allclose(centre, (0, 0, 0.05), atol=3e-4)
    own = read_inertial(sim / "twin.urdf")
    assert own[0] == mass and np.array_equal(own[1], centre) and np.array_equal(own[2], inertia)
    inertial = Xml.parse(sim / "twin.xml").getroot().find("worldbody/body/inertial").attrib
    assert float(inertial["mass"]) == mass and np.array_equal(np.array(inertial["pos"].split(), float), centre)
    six = np.array(inertial["fullinertia"].split(), float)
    assert np.array_equal(six, inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])
    link = Xml.parse(sim / "twin.sdf").getroot().find("model/link/inertial")
    assert float(link.find("mass").text) == mass and float(link.find("inertia/iyz").text) == inertia[1, 2]
    stage = Usd.Stage.Open(str(sim / "twin.usda"))
    api = UsdPhysics.MassAPI(stage.GetDefaultPrim())
    turn = api.GetPrincipalAxesAttr().Get()
    axes = np.array([Gf.Rotation(Gf.Quatd(turn)).TransformDir(Gf.Vec3d(*e)) for e in np.eye(3).tolist()]).T
    assert api.GetMassAttr().Get() == pytest.approx(mass, rel=1e-6)
    assert np.allclose(axes @ np.diag(api.GetDiagonalInertiaAttr().Get()) @ axes.T, inertia, rtol=1e-4, atol=1e-9)


def test_usd_is_what_a_simulator_expects_and_complies(sim):
    from pxr import Kind, Usd, UsdGeom, UsdPhysics, UsdSemantics, UsdShade, UsdValidation

    stage = Usd.Stage.Open(str(sim / "twin.usda"))
    root = stage.GetDefaultPrim()
    assert root.GetName() == "wooden_block" and Usd.ModelAPI(root).GetKind() == Kind.Tokens.component
    assert (
        UsdGeom.GetStageMetersPerUnit(stage),
        UsdPhysics.GetStageKilogramsPerUnit(stage),
        UsdGeom.GetStageUpAxis(stage),
    ) == (1, 1, "Z")
    assert root.HasAPI(UsdPhysics.RigidBodyAPI) and root.HasAPI(UsdPhysics.MassAPI)
    assert list(UsdSemantics.LabelsAPI(root, "class").GetLabelsAttr().Get()) == ["Wooden block"]
    for choice, approximation in (("parts", "convexHull"), ("hull", "convexHull"), ("mesh", "sdf")):
        root.GetVariantSet("colliders").SetVariantSelection(choice)
        found = [p for p in stage.Traverse() if p.HasAPI(UsdPhysics.CollisionAPI)]
        assert found
        for prim in found:
            assert UsdGeom.Imageable(prim).GetPurposeAttr().Get() == "guide"
            assert UsdPhysics.MeshCollisionAPI(prim).GetApproximationAttr().Get() == approximation
            bound = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial("physics")[0]
            assert UsdPhysics.MaterialAPI(bound.GetPrim()).GetStaticFrictionAttr().Get() == pytest.approx(0.5)
        validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
        assert [e.GetErrorAsString() for e in UsdValidation.ValidationContext(validators).Validate(stage)] == []
    seen = UsdGeom.BBoxCache(0, ["default"]).ComputeWorldBound(root).ComputeAlignedRange()
    assert np.allclose(seen.GetSize(), (SIZE[0], SIZE[2], SIZE[1]), atol=2e-4) and abs(seen.GetMin()[2]) < 1e-4, (
        "upright, on the ground"
    )


def test_the_report_says_what_was_assumed(made):
    report = made.manifest["report"]
    assert report["metrics"]["support"] == "seen" and report["metrics"]["surface_from"] == "given material"
    assert report["metrics"]["volume_cm3"] == pytest.approx(1e6 * np.prod(SIZE), rel=0.01) and report["warnings"] == []
    assert (made.refs["physics"].path.parent / report["pictures"][0][1]).is_file()


def test_run_json_and_folder_of_the_twin(made, inputs, tmp_path):
    Rig(64, 48, 80.0, 80.0, 31.5, 23.5, 0.05).save(tmp_path / "rig.json")
    write_poses(tmp_path / "poses_refined.json", [FramePose(0, np.eye(4), "ok", 9, 0.1)])
    more = {n: ArtifactRef(n, tmp_path / n, n) for n in ("rig.json", "poses_refined.json")}
    packed = run_stage(
        PACKAGE, {**inputs, **made.refs}, PACKAGE.Config(preview_px=64), Store(tmp_path / "store"), StageContext()
    )
    manifests = {"physics": made.manifest, "package": packed.manifest}
    out = assemble_twin(tmp_path / "twin", {**inputs, **more, **made.refs, **packed.refs}, manifests)
    assert (out / "sim/twin.usda").is_file() and (out / "sim/meshes/twin.png").is_file()
    assert json.loads((out / "sim/twin.json").read_text())["usd_date_generated"].startswith("20")
    physics = json.loads((out / "run.json").read_text())["physics"]
    assert physics["files"] and physics["mass"]["value"] > 0
    upright_from_twin = np.array(physics["upright_from_object"])
    assert np.allclose(upright_from_twin @ [0, -0.05, 0, 1], [0, 0, 0, 1], atol=3e-4), (
        "the foot of the twin (y up) is on the ground"
    )
    again = assemble_twin(out, {**inputs, **more, **packed.refs}, {"package": packed.manifest})
    assert sorted(p.name for p in again.iterdir() if p.name.startswith("sim")) == ["sim"], (
        "not taken for a file of the user"
    )


@pytest.mark.parametrize(
    "flaw, reason", [("open", "not closed"), ("inside out", "look inwards"), ("flat", "no volume")]
)
def test_what_cannot_be_simulated_says_why_and_leaves_no_files(flaw, reason, tmp_path):
    shape = box(SIZE)
    shape = {
        "open": Shape(shape.vertices, shape.faces[1:]),
        "inside out": Shape(shape.vertices, shape.faces[:, ::-1]),
        "flat": Shape(shape.vertices * [1, 1e-9, 1], shape.faces),
    }[flaw]
    given = write_inputs(tmp_path / "in", shape, np.zeros((0, 3)))
    made = run_stage(STAGE, given, PhysicsConfig(), Store(tmp_path / "store"), StageContext())
    assert sorted(p.name for p in made.refs["physics"].path.iterdir()) == ["levels", "physics.json"], (
        "what one looks at comes all the same"
    )
    record = json.loads((made.refs["physics"].path / "physics.json").read_text())
    assert record["files"] is False and reason in record["reason"]
    warning = made.manifest["report"]["warnings"][0]
    assert reason in warning and "twin itself is complete" in warning


def test_a_twin_of_unknown_scale_gets_no_mass(inputs, tmp_path):
    np.savez(tmp_path / "points.npz", xyz=np.zeros((9, 3)), metric=False)
    given = {**inputs, "points.npz": ArtifactRef("points.npz", tmp_path / "points.npz", "of posed pictures")}
    made = run_stage(STAGE, given, PhysicsConfig(), Store(tmp_path / "store"), StageContext())
    assert (
        "scale is unknown" in made.manifest["report"]["warnings"][0]
        and not (made.refs["physics"].path / "sim").exists()
    )
    np.savez(tmp_path / "points.npz", xyz=np.zeros((9, 3)), metric=True)
    given["points.npz"] = ArtifactRef("points.npz", tmp_path / "points.npz", "of posed pictures with a scale")
    made = run_stage(STAGE, given, PhysicsConfig(colliders="hull"), Store(tmp_path / "store"), StageContext())
    assert made.manifest["report"]["metrics"]["support"] == "stable pose"


def test_files_can_be_left_out_without_a_warning(inputs, tmp_path):
    made = run_stage(STAGE, inputs, PhysicsConfig(files=False), Store(tmp_path), StageContext())
    assert made.manifest["report"]["warnings"] == [] and not (made.refs["physics"].path / "sim").exists()


SENSELESS = [
    ("material=wod", "did you mean wood"),
    ("mass_kg=-1", "more than 0"),
    ("max_hulls=0", "1 to 256"),
    ("density_kg_m3=0", "more than 0"),
    ("qcode=Apple", "Wikidata"),
    ("label=' '", "printable"),
    ("author=" + 201 * "x", "at most 200"),
]


@pytest.mark.parametrize("setting, word", SENSELESS)
def test_settings_that_mean_nothing_are_refused_before_any_work(setting, word):
    with pytest.raises(ConfigError, match=word):
        resolve({"physics": PhysicsConfig}, overrides=[f"physics.{setting}"], packaged=False)
    with pytest.raises(ConfigError, match="both given"):
        resolve(
            {"physics": PhysicsConfig}, overrides=["physics.mass_kg=1", "physics.density_kg_m3=900"], packaged=False
        )


def test_the_page_lists_the_materials_as_they_are():
    page = (Path(__file__).resolve().parents[2] / "docs/methods/physics.md").read_text()
    for name, m in MATERIALS.items():
        row = f"| `{name}` | {m.density:g} | {m.static_friction:g} | {m.dynamic_friction:g} | {m.restitution:g} | {m.source} |"
        assert row in page


def test_provenance_in_usd_is_what_was_given_and_no_more(inputs, tmp_path):
    from pxr import Usd, UsdSemantics, UsdShade

    config = PhysicsConfig(
        colliders="hull", material="wood", label="Wooden block", author="A. Maker", licence="CC-BY-4.0", mass_kg=0.25
    )
    made = run_stage(STAGE, inputs, config, Store(tmp_path), StageContext())
    stage = Usd.Stage.Open(str(made.refs["physics"].path / "sim/twin.usda"))
    told = stage.GetRootLayer().customLayerData["SimReady_Metadata"]
    assert (told["author"], told["asset_license"], told["asset_name"]) == (
        "A. Maker",
        "CC-BY-4.0",
        "wooden_block",
    ) and "qcode" not in told
    assert told["mass"] == 0.25 and np.allclose(told["asset_extents"], (SIZE[0], SIZE[2], SIZE[1]), atol=2e-4)
    materials = [p for p in stage.Traverse() if p.IsA(UsdShade.Material)]
    assert len(materials) == 2 and all(
        list(UsdSemantics.LabelsAPI(m, "material").GetLabelsAttr().Get()) == ["wood"] for m in materials
    )
    picture = read_rgb(made.refs["physics"].path / "sim/.thumbs/256x256/twin.usda.png")
    assert picture.shape == (256, 256, 3) and np.abs(picture[128, 128].astype(int) - (180, 90, 40)).max() < 3, (
        "the block's own colour"
    )
