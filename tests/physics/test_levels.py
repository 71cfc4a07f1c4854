"""Levels of detail: fewer faces, the same picture on the same places, and a normal map that gives back what the faces lost."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.glb import GLTF_FROM_OBJECT, read_glb
from stages.core.levels import NAMES, read_levels
from stages.core.meshes import SurfaceMesh, TexturedMesh, write_ply, write_textured
from stages.core.render import Caster
from stages.core.store import ArtifactRef, Store
from stages.core.texels.unwrap import unwrap
from stages.package.stage import STAGE as PACKAGE
from stages.physics.collapse import collapsed
from stages.physics.config import PhysicsConfig
from stages.physics.levels import MOST_OF_SIZE, make_levels, smooth_normals
from stages.physics.normal_map import decoded
from stages.physics.shapes import Shape, open_edges
from stages.physics.stage import STAGE
from stages.physics.surface_distance import Ruler, samples
from tests.package.gltf_rules import broken_rules
from tests.physics.made import meshed, mug, surface
from tests.physics.test_support import floor

PX = 512


def paint(points: np.ndarray) -> np.ndarray:
    """(N, 3) grey levels that tell where on the object a point lies: about 3 a millimetre."""
    return np.clip(128 + 3000 * points, 0, 255)


def unwrapped(shape: Shape, charts=None) -> TexturedMesh:
    """With a picture of `paint`; `charts`: of the texture stage, else what xatlas makes of a rough surface: hundreds."""
    from scipy.ndimage import distance_transform_edt

    uv, faces_uv = charts or _rough_charts(shape)
    centre = (np.arange(PX) + 0.5) / PX
    at = np.stack([*np.meshgrid(centre, centre[::-1]), np.ones((PX, PX))], -1)
    flat = Caster(np.c_[uv, np.zeros(len(uv))], faces_uv)
    hit = flat.cast(at, np.broadcast_to([0.0, 0.0, -1.0], at.shape))
    owner = np.zeros(len(uv), np.int64)
    owner[faces_uv] = shape.faces
    image = paint(flat.interpolate(hit, shape.vertices[owner]))
    row, column = distance_transform_edt(hit["face"] < 0, return_indices=True)[1]
    return TexturedMesh(
        shape.vertices, shape.faces, uv, faces_uv, smooth_normals(shape), np.rint(image[row, column]).astype(np.uint8)
    )


def _rough_charts(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    import xatlas

    source, faces_uv, uv = xatlas.parametrize(np.float32(shape.vertices), np.uint32(shape.faces))
    assert np.array_equal(source[faces_uv], shape.faces)
    return uv.astype(float), faces_uv.astype(np.int64)


@pytest.fixture(scope="module")
def twin() -> tuple[SurfaceMesh, TexturedMesh]:
    """A dented mug: hollow, with an ear and relief that few faces cannot hold."""
    shape = mug(0.0022)
    dents = 0.0004 * np.cos(shape.vertices @ [600, 0, 0]) * np.cos(shape.vertices @ [0, 500, 0])
    shape = Shape(shape.vertices + dents[:, None] * smooth_normals(shape), shape.faces)
    charts = unwrap(shape.vertices, shape.faces, PX, 2)
    return surface(shape), unwrapped(shape, (np.asarray(charts.uv, float), np.asarray(charts.faces_uv, np.int64)))


@pytest.fixture(scope="module")
def levels(twin):
    return make_levels(*twin)


def test_faces_are_fewer_and_the_surface_stays_whole_and_near(twin, levels):
    full, mesh = twin
    assert [len(m.level.faces) / len(mesh.faces) for m in levels] == pytest.approx([0.25, 0.05], rel=0.02)
    ruler = Ruler(Shape(full.vertices, full.faces))
    for m, mean_mm, max_mm in zip(levels, (0.12, 0.4), (1.2, 3.1), strict=True):
        shape = Shape(m.level.vertices, m.level.faces)
        assert open_edges(shape.faces) == 0 and len(np.unique(shape.faces)) == len(shape.vertices)
        away = 1000 * ruler.to_mesh(samples(shape, 6000, seed=7)[0])
        assert away.mean() < mean_mm and away.max() < max_mm
        assert 1000 * m.distance.mean_m == pytest.approx(away.mean(), rel=0.5) and 1000 * m.distance.max_m < max_mm
    assert levels[0].distance.mean_m < levels[1].distance.mean_m


def on_level(level, count: int = 6000):
    """Points on the level, their normals, and their values of uv and tangent, as a renderer interpolates them."""
    points, face = samples(Shape(level.vertices, level.faces), count)
    corner = level.vertices[level.faces[face]]
    weights = np.linalg.solve(np.moveaxis(corner, 1, 2), points[:, :, None])

    def mix(values):
        return (values * weights).sum(1)

    return (
        points,
        mix(level.normals[level.faces[face]]),
        mix(level.uv[level.faces_uv[face]]),
        mix(level.tangents[level.faces_uv[face]]),
    )


def looked_up(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    at = np.clip((np.stack([1 - uv[:, 1], uv[:, 0]], 1) * len(image)).astype(int), 0, len(image) - 1)
    return image[at[:, 0], at[:, 1]].astype(float)


def test_the_same_picture_still_fits(twin, levels):
    """Colour tells the place: it has to be that of the place where it shows. A millimetre is 3 grey levels."""
    for m, limit_mm in zip(levels, (0.5, 1.2), strict=True):
        points, _, uv, _ = on_level(m.level)
        away_mm = np.linalg.norm(looked_up(twin[1].texture, uv) - paint(points), axis=1) / 3
        assert away_mm.mean() < limit_mm and np.percentile(away_mm, 99) < 4 * limit_mm, "no colour of another chart"


def test_the_normal_map_gives_back_the_normals_of_the_full_mesh(twin, levels):
    full = Shape(twin[0].vertices, twin[0].faces)
    caster, normals = Caster(full.vertices, full.faces), smooth_normals(full)
    for m in levels:
        points, own, uv, tangent = on_level(m.level)
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        hit = caster.cast(points + 0.002 * own, -own)
        true = caster.interpolate(hit, normals)
        seen = np.abs(hit["t"] - 0.002) < 0.0015
        true /= np.maximum(np.linalg.norm(true, axis=1, keepdims=True), 1e-9)

        def angle(n, true=true, seen=seen):
            return np.degrees(np.arccos(np.clip((n * true).sum(1)[seen], -1, 1)))

        mapped = angle(decoded(looked_up(m.level.normal_map, uv), own, tangent))
        assert seen.mean() > 0.9 and np.median(mapped) < 0.4 * np.median(angle(own)) and np.median(mapped) < 2
        assert np.allclose(np.linalg.norm(m.level.tangents[:, :3], axis=1), 1) and set(m.level.tangents[:, 3]) <= {
            -1.0,
            1.0,
        }


def test_where_seams_leave_no_room_there_are_more_faces_but_no_ruin():
    shape = mug(0.003)
    rough = Shape(shape.vertices + np.random.default_rng(0).normal(0, 0.0004, shape.vertices.shape), shape.faces)
    found = make_levels(surface(rough), unwrapped(rough))
    for m, most in zip(found, MOST_OF_SIZE, strict=True):
        assert m.distance.max_m < most * rough.size and open_edges(m.level.faces) == 0
    assert len(found[1].level.faces) > 0.06 * len(rough.faces)


def test_a_flat_plate_keeps_its_outline_with_the_fewest_faces():
    """Nothing to lose on it but the rim: what is open stays open where it was."""
    shape = meshed(lambda x: x[..., 1] + 0.0001, (0.03, 0.004, 0.03), 0.002)
    (few, _) = make_levels(surface(shape), unwrapped(shape))
    assert len(few.level.faces) < 0.3 * len(shape.faces) and few.distance.max_m < 5e-4 and few.distance.mean_m < 1e-5
    assert np.allclose(few.level.vertices.min(0), shape.vertices.min(0)) and np.allclose(
        few.level.vertices.max(0), shape.vertices.max(0)
    )


def test_files_of_a_run(twin, tmp_path):
    """GLB by Khronos' rules and USD variants, of which each has its faces and its map."""
    full, mesh = twin
    write_ply(tmp_path / "mesh.ply", full)
    write_textured(tmp_path / "textured", mesh, np.zeros((PX, PX), np.uint8))
    np.savez(tmp_path / "points.npz", scene_xyz=floor(0.045))
    given = {n: ArtifactRef(n, tmp_path / n, n) for n in ("mesh.ply", "textured", "points.npz")}
    made = run_stage(STAGE, given, PhysicsConfig(colliders="hull"), Store(tmp_path / "store"), StageContext())
    out = run_stage(
        PACKAGE, {**given, **made.refs}, PACKAGE.Config(preview_px=64), Store(tmp_path / "store"), StageContext()
    )
    told = json.loads((made.refs["physics"].path / "physics.json").read_text())["levels"]
    for name, level in zip(NAMES, read_levels(made.refs["physics"].path / "levels"), strict=True):
        path = out.refs["twin"].path / "lod" / f"twin_{name}.glb"
        assert broken_rules(path.read_bytes()) == []
        found = read_glb(path)
        low = (found.position @ GLTF_FROM_OBJECT).min(0)
        assert (
            len(found.triangles)
            == len(level.faces)
            == told[name]["faces"]
            == made.manifest["report"]["metrics"][f"{name}_faces"]
        )
        assert found.normal_image[:4] == b"\x89PNG" and np.allclose(low, level.vertices.min(0), atol=1e-6)
    _check_usd(out.refs["twin"].path / "sim", len(mesh.faces), told)


def _check_usd(sim, faces: int, told: dict) -> None:
    from pxr import Usd, UsdGeom, UsdShade, UsdValidation

    stage = Usd.Stage.Open(str(sim / "meshes/twin_visual.usdc"))
    choice = stage.GetDefaultPrim().GetVariantSet("lod")
    assert choice.GetVariantNames() == ["lod0", *NAMES] and choice.GetVariantSelection() == "lod0"
    for name, count in {"lod0": faces, **{n: told[n]["faces"] for n in NAMES}}.items():
        choice.SetVariantSelection(name)
        prim = stage.GetPrimAtPath("/visual/mesh")
        assert len(UsdGeom.Mesh(prim).GetFaceVertexCountsAttr().Get()) == count
        shader = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0].ComputeSurfaceSource()[0]
        assert ("normal" in [i.GetBaseName() for i in shader.GetInputs()]) == (name != "lod0")
        validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
        assert [e.GetErrorAsString() for e in UsdValidation.ValidationContext(validators).Validate(stage)] == []
        assert name == "lod0" or (sim / f"meshes/visual_{name}.obj").read_text().count("\nf ") == count
        assert name == "lod0" or (sim / f"meshes/normal_{name}.png").is_file()


def test_a_mesh_that_is_none_of_a_surface_comes_through():
    """Faces at random share vertices in every way that a surface forbids; a hub with more faces than are looked at."""
    rng = np.random.default_rng(3)
    points, faces = rng.random((300, 3)), rng.integers(0, 300, (900, 3))
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    around = np.arange(1, 400)
    hub = np.stack([np.zeros(399, int), around, np.roll(around, -1)], 1)
    turn = 2 * np.pi * around / 399
    wheel = np.concatenate([[[0, 0, 0.3]], np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)])
    for shape in (Shape(points, faces), Shape(wheel, hub)):
        uv = shape.vertices[:, :2] / 2 + 0.5
        mesh = TexturedMesh(
            shape.vertices, shape.faces, uv, shape.faces, smooth_normals(shape), np.zeros((16, 16, 3), np.uint8)
        )
        for few, _ in collapsed(mesh, [len(shape.faces) // 4, 20]):
            assert 20 <= len(few) <= len(shape.faces) and (np.sort(few, 1)[:, 1:] > np.sort(few, 1)[:, :-1]).all(), (
                "no face lost a corner"
            )
