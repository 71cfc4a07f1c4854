"""Through the pipeline: pictures of a glossy ball with known cameras, with the light left in the texture and taken out of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from flows.records.request import Reconstruction
from flows.run.walk import reconstruct_directly
from stages.base import StageContext, fingerprint_of, identity_of, run_stage
from stages.core.camera import Rig
from stages.core.config import resolve
from stages.core.errors import ConfigError, StageError
from stages.core.frames import FramePose, write_poses, write_table
from stages.core.glb import read_glb
from stages.core.images import read_rgb, write_mask, write_rgb
from stages.core.meshes import SurfaceMesh, TexturedMesh, read_textured, write_ply, write_textured
from stages.core.store import ArtifactRef, Store
from stages.core.twin_frame import TWIN_FROM_OBJECT
from stages.graph import every_stage, posed_stages, stages, with_asked
from stages.material.config import MaterialConfig
from stages.material.stage import STAGE
from stages.package.config import PackageConfig
from stages.package.stage import STAGE as PACKAGE
from stages.package.usd_library import usd_version
from tests.material.scene import BASES, RADIUS, ROUGH, camera, kinds, light, picture, view_points
from tests.package.gltf_rules import broken_rules

SIZE, FOCAL, EXPOSURE, VIEWS, TEXTURE = 100, 200.0, 0.25, 22, 128
CONFIG = MaterialConfig(method="solved", points=800, rounds=8, align_views=False, exposure=False)


def unwrapped_ball() -> TexturedMesh:
    """The ball in the object frame, its texture one grey."""
    from stages.core.texels.unwrap import unwrap

    ball = trimesh.creation.icosphere(3, RADIUS)
    found = unwrap(ball.vertices, ball.faces, TEXTURE, 4)
    normals = ball.vertices / np.linalg.norm(ball.vertices, axis=1, keepdims=True)
    return TexturedMesh(
        np.asarray(ball.vertices),
        np.asarray(ball.faces),
        found.uv,
        found.faces_uv,
        normals,
        np.full((TEXTURE, TEXTURE, 3), 128, np.uint8),
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, ArtifactRef]:
    """What the stages before hand over, of true shape and cameras; the texture is the mean colour of the pictures."""
    out = tmp_path_factory.mktemp("ball")
    rig = Rig(SIZE, SIZE, FOCAL, FOCAL, (SIZE - 1) / 2, (SIZE - 1) / 2, 0.06)
    rig.save(out / "rig.json")
    poses, rows = [], []
    for k, place in enumerate(view_points(VIEWS)):
        pose = camera(place)
        shown = picture(pose, SIZE, FOCAL, EXPOSURE)
        for folder in ("pairs/left", "masks_final"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        write_rgb(out / f"pairs/left/{k:06d}.png", np.ascontiguousarray(shown[..., :3]))
        write_mask(out / f"masks_final/{k:06d}.png", shown[..., 3] > 0)
        turn = np.eye(4)
        turn[:3, :3] = TWIN_FROM_OBJECT
        poses.append(FramePose(k, turn @ pose, "ok"))
        rows.append({"frame": k, "status": "ok", "left": f"left/{k:06d}.png", "right": None, "sharpness": 1.0})
    write_poses(out / "poses_refined.json", poses)
    write_table(out / "frames.parquet", rows)
    mesh = unwrapped_ball()
    write_textured(out / "textured", mesh, np.full((TEXTURE, TEXTURE), 5, np.uint8))
    write_ply(
        out / "mesh.ply",
        SurfaceMesh(
            mesh.vertices,
            mesh.faces,
            np.full((len(mesh.vertices), 3), 128, np.uint8),
            np.ones(len(mesh.vertices), np.float32),
        ),
    )
    (out / "physics").mkdir()
    return {p.name: ArtifactRef(p.name, p, f"digest of {p.name}") for p in out.iterdir()}


@pytest.fixture(scope="module")
def made(inputs, tmp_path_factory):
    return run_stage(STAGE, inputs, CONFIG, Store(tmp_path_factory.mktemp("store")), StageContext(threads=2))


def test_maps_are_those_of_the_ball(inputs, made):
    from stages.core.texels.atlas import texels
    from stages.core.texels.exposure import linear_from_srgb

    folder, mesh = made.refs["material"].path, read_textured(inputs["textured"].path)
    t = texels(mesh.vertices, mesh.faces, mesh.normals, mesh.uv, mesh.faces_uv, TEXTURE)
    kind = kinds((t.position / np.linalg.norm(t.position, axis=1, keepdims=True)) @ TWIN_FROM_OBJECT.T)[t.inside]
    base = linear_from_srgb(read_rgb(folder / "base_colour.png").reshape(-1, 3)[t.index[t.inside]])
    truth = BASES[kind]
    scale = (base * truth).sum(0) / (base**2).sum(0)
    assert -10 * np.log10(((base * scale - truth) ** 2).mean()) > 18
    packed = read_rgb(folder / "metallic_roughness.png").reshape(-1, 3)[t.index[t.inside]]
    assert (packed[:, 2] == 0).all() and np.abs(packed[:, 1] / 255 - ROUGH[kind]).mean() < 0.12
    assert (read_rgb(folder / "roughness.png")[..., 0] == read_rgb(folder / "metallic_roughness.png")[..., 1]).all()
    metrics, report = made.manifest["report"]["metrics"], made.manifest["report"]
    assert metrics["change_between_views_explained_percent"] > 30 and report["warnings"] == []
    assert (
        all((folder.parent / p).stat().st_size < 150_000 for _, p in report["pictures"])
        and len(report["pictures"]) == 4
    )


def test_the_light_opens_as_a_radiance_picture(made):
    from stages.material.light import directions

    found = cv2.cvtColor(
        cv2.imread(str(made.refs["material"].path / "probe.hdr"), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2RGB
    )
    assert found.shape == (16, 32, 3) and found.dtype == np.float32 and found.min() >= 0
    truth = light(directions(16)).reshape(16, 32, 3)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.6


def test_same_bits_twice_and_taken_from_the_store(inputs, made, tmp_path):
    store = Store(tmp_path)
    again = run_stage(STAGE, inputs, CONFIG, store, StageContext(threads=2))
    for name in ("base_colour.png", "metallic_roughness.png", "probe.hdr"):
        assert (again.refs["material"].path / name).read_bytes() == (made.refs["material"].path / name).read_bytes()
    assert not again.cached and run_stage(STAGE, inputs, CONFIG, store).cached


def test_the_twins_files_carry_the_maps(inputs, made, tmp_path):
    config = PackageConfig(preview_px=64, glb_image="png")
    plain = run_stage(PACKAGE, inputs, config, Store(tmp_path)).refs["twin"].path
    twin = run_stage(PACKAGE, {**inputs, **made.refs}, config, Store(tmp_path)).refs["twin"].path
    folder = made.refs["material"].path
    glb = read_glb(twin / "twin.glb")
    assert (
        glb.surface_image == (folder / "metallic_roughness.png").read_bytes()
        and broken_rules((twin / "twin.glb").read_bytes()) == []
    )
    (mesh,) = trimesh.load(twin / "twin.glb").geometry.values()
    assert (np.asarray(mesh.visual.material.baseColorTexture)[..., :3] == read_rgb(folder / "base_colour.png")).all()
    assert (
        np.asarray(mesh.visual.material.metallicRoughnessTexture)[..., 1] == read_rgb(folder / "roughness.png")[..., 0]
    ).all()
    assert (mesh.visual.material.metallicFactor, mesh.visual.material.roughnessFactor) == (1.0, 1.0)
    assert "map_Pr twin_roughness.png" in (twin / "twin.mtl").read_text()
    for ours, theirs in (
        ("twin.png", "base_colour.png"),
        ("twin_roughness.png", "roughness.png"),
        ("probe.hdr", "probe.hdr"),
    ):
        assert (twin / ours).read_bytes() == (folder / theirs).read_bytes()
    assert (
        not {p.name for p in plain.iterdir()} & {"probe.hdr", "twin_roughness.png"}
        and read_glb(plain / "twin.glb").surface_image == b""
    )
    if usd_version():
        _usd_has_the_maps(twin / "twin.usdz")


def _usd_has_the_maps(path: Path) -> None:
    from pxr import Usd, UsdShade

    stage = Usd.Stage.Open(str(path))
    surface = UsdShade.Shader(stage.GetPrimAtPath("/twin/material/surface"))
    for name, channel in (("roughness", "g"), ("metallic", "b"), ("diffuseColor", "rgb")):
        source, output, _ = surface.GetInput(name).GetConnectedSource()
        assert output == channel
        assert (
            UsdShade.Shader(source.GetPrim())
            .GetInput("file")
            .Get()
            .path.endswith("twin.png" if output == "rgb" else "roughness.png")
        )
    assert (
        UsdShade.Shader(stage.GetPrimAtPath("/twin/material/surface_map")).GetInput("sourceColorSpace").Get() == "raw"
    )


def test_off_changes_nothing(inputs):
    configs = resolve({s.name: s.Config for s in every_stage()}, "standard").stages
    assert configs["material"].method == "off"
    assert with_asked(stages(), configs) is stages() and with_asked(posed_stages(), configs) is posed_stages()
    more = {**inputs, "material": ArtifactRef("material", inputs["textured"].path, "m")}
    assert identity_of(PACKAGE, inputs, PackageConfig())["inputs"].keys() == {"mesh.ply", "textured", "physics"}
    assert fingerprint_of(PACKAGE, inputs, PackageConfig()) != fingerprint_of(PACKAGE, more, PackageConfig())
    with pytest.raises(StageError, match="nothing to solve"):
        STAGE.check(inputs, MaterialConfig())
    on = {**configs, "material": CONFIG}
    for route in (stages(), posed_stages()):
        names = [s.name for s in with_asked(route, on)]
        assert names.index("texture") < names.index("material") < min(names.index("physics"), names.index("package"))
        assert sorted(names) == sorted(["material", *(s.name for s in route)])


def test_too_few_pictures_are_refused(inputs, tmp_path):
    out = tmp_path / "in"
    out.mkdir()
    rows = [
        {"frame": k, "status": "ok", "left": f"left/{k:06d}.png", "right": None, "sharpness": 1.0} for k in range(2)
    ]
    write_table(out / "frames.parquet", rows)
    given = {**inputs, "frames.parquet": ArtifactRef("frames.parquet", out / "frames.parquet", "two")}
    with pytest.raises(StageError, match="gloss shows only between views"):
        run_stage(STAGE, given, CONFIG, Store(tmp_path / "store"))


@pytest.mark.parametrize(
    "bad", ["material.method=on", "material.brightest=2", "material.light_height=4", "material.points=3"]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ConfigError):
        resolve({s.name: s.Config for s in every_stage()}, "standard", overrides=(bad,))


@pytest.mark.slow
def test_a_whole_run(tmp_path, monkeypatch):
    """From pictures and cameras to a twin: off, solved, and off again, which is the first one from the store."""
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    folder = tmp_path / "thing"
    (folder / "images").mkdir(parents=True)
    frames = []
    for k, place in enumerate(view_points(VIEWS)):
        pose = camera(place)
        shown = picture(pose, SIZE, FOCAL, EXPOSURE)
        cv2.imwrite(str(folder / f"images/{k:03d}.png"), cv2.cvtColor(shown, cv2.COLOR_RGBA2BGRA))
        frames.append({"file_path": f"images/{k:03d}", "transform_matrix": (pose @ np.diag([1.0, -1, -1, 1])).tolist()})
    (folder / "transforms_train.json").write_text(
        json.dumps({"camera_angle_x": 2 * float(np.arctan(SIZE / 2 / FOCAL)), "frames": frames})
    )
    quick = (
        "posed.metres_per_unit=1",
        "surface.method=fusion",
        "surface.rounds=1",
        "physics.files=off",
        "texture.size=128",
        "texture.align_views=false",
        "material.align_views=false",
        "posed.check_silhouettes=false",
        "package.preview_px=64",
        "novel_views.score_every=0",
        "material.points=300",
        "material.rounds=3",
    )

    def run(name: str, *more: str) -> tuple[Path, dict]:
        asked = Reconstruction(
            capture=str(folder), out=str(tmp_path / name), profile="preview", settings=(*quick, *more)
        )
        out = reconstruct_directly(asked)
        assert out is not None
        return Path(out), json.loads((Path(out) / "run.json").read_text())

    plain, record = run("plain")
    assert "material" not in record["stages"] and not (plain / "probe.hdr").exists()
    solved, record = run("solved", "material.method=solved")
    assert list(record["stages"]).index("material") < list(record["stages"]).index("package")
    assert (solved / "probe.hdr").is_file() and read_glb(solved / "twin.glb").surface_image
    assert "base colour, roughness" in (solved / "report.html").read_text()
    shutil.copyfile(plain / "twin.glb", tmp_path / "before.glb")
    again, record = run("plain", "material.method=off")
    assert set(record["cached"]) == set(record["stages"])
    assert (again / "twin.glb").read_bytes() == (tmp_path / "before.glb").read_bytes()
    with pytest.raises(ConfigError, match="there is no such stage"):
        reconstruct_directly(Reconstruction(capture=str(folder), out=str(tmp_path / "plain"), start_from="material"))
