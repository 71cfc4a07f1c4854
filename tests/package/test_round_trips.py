"""Size, axes and colour survive every format: what comes out of a file is what went in, in metres and the right way up."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from stages.core.errors import StageError
from stages.core.glb import GLTF_FROM_OBJECT, decode_glb, object_from_gltf, read_glb
from stages.core.images import write_rgb
from stages.core.meshes import read_ply, read_textured, write_ply, write_textured
from stages.core.texels.corners import nearest_confidence, single_index
from stages.package.files import Look, encode_picture, write_glb, write_obj
from stages.package.usd_library import usd_version
from stages.package.usdz import read_usdz, write_usdz
from tests.package.gltf_rules import broken_rules, khronos_issues
from tests.package.model import CENTRE_M, SIDES, SIZE_M, boxed, colour_towards, surface


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out, mesh = tmp_path_factory.mktemp("twin"), boxed()
    write_rgb(out / "texture.png", mesh.texture)
    write_obj(out, mesh, out / "texture.png")
    write_glb(out / "twin.glb", mesh, surface(mesh))
    write_glb(out / "exact.glb", mesh, surface(mesh), Look("png"))
    write_ply(out / "mesh.ply", surface(mesh))
    return out


@pytest.mark.parametrize("name", ["twin.glb", "exact.glb"])
def test_glb_keeps_the_rules_of_khronos(folder, name):
    assert broken_rules((folder / name).read_bytes()) == []


def test_the_check_finds_broken_files(folder):
    data = bytearray((folder / "twin.glb").read_bytes())
    text = data.replace(b'"max":[', b'"max":[9', 1)
    assert broken_rules(bytes(text)) != []
    assert broken_rules(bytes(data[:-4])) != []


def test_glb_through_trimesh(folder):
    scene = trimesh.load(folder / "twin.glb")
    (mesh,) = scene.geometry.values()
    assert np.allclose(mesh.extents, SIZE_M, atol=1e-6), "metres"
    assert np.allclose(mesh.bounds.mean(0), GLTF_FROM_OBJECT @ CENTRE_M, atol=1e-6)
    assert mesh.volume == pytest.approx(np.prod(SIZE_M), rel=1e-4), "faces look outward: handedness is kept"
    material = mesh.visual.material
    assert (material.metallicFactor, material.roughnessFactor) == (0.0, pytest.approx(0.9))
    image = np.asarray(material.baseColorTexture)
    for direction, colour in SIDES.items():
        found = colour_towards(mesh.vertices, mesh.faces, mesh.visual.uv, image, GLTF_FROM_OBJECT @ direction)
        assert np.abs(found - colour).max() <= 4, f"side {direction}"


def test_up_of_the_object_is_up_in_gltf():
    assert np.array_equal(GLTF_FROM_OBJECT @ [0, -1, 0], [0, 1, 0])
    assert np.linalg.det(GLTF_FROM_OBJECT) == 1


def test_glb_reader_and_confidence(folder):
    found = read_glb(folder / "exact.glb")
    position = object_from_gltf(found.position)
    assert np.allclose(position.min(0), CENTRE_M - SIZE_M / 2, atol=1e-6)
    right = position[:, 0] > CENTRE_M[0]
    assert np.array_equal(found.confidence > 0.5, right)
    with pytest.raises(StageError, match="not a binary glTF"):
        decode_glb(b"something else altogether")


def test_obj_through_trimesh(folder):
    mesh = trimesh.load(folder / "twin.obj", process=False)
    assert np.allclose(mesh.extents, SIZE_M, atol=1e-6)
    assert np.allclose(mesh.bounds.mean(0), GLTF_FROM_OBJECT @ CENTRE_M, atol=1e-6), "y up, as importers take it"
    image = np.asarray(mesh.visual.material.image)
    for direction, colour in SIDES.items():
        found = colour_towards(mesh.vertices, mesh.faces, mesh.visual.uv, image, GLTF_FROM_OBJECT @ direction)
        assert np.abs(found - colour).max() == 0
    assert "map_Kd twin.png" in (folder / "twin.mtl").read_text()
    assert (folder / "twin.obj").read_text().startswith("# metres; x right, y up")


def test_ply_through_trimesh_and_back(folder):
    mesh, own, expected = (
        trimesh.load(folder / "mesh.ply", process=False),
        read_ply(folder / "mesh.ply"),
        surface(boxed()),
    )
    assert np.allclose(mesh.vertices, expected.vertices, atol=1e-7)
    assert np.array_equal(mesh.faces, expected.faces)
    assert np.array_equal(own.colour, expected.colour)
    assert np.array_equal(own.confidence, expected.confidence)


def test_ply_of_others_is_read(tmp_path):
    sphere = trimesh.creation.icosphere(2, 0.05)
    sphere.export(tmp_path / "s.ply")
    assert len(read_ply(tmp_path / "s.ply").faces) == len(sphere.faces)
    (tmp_path / "bad.ply").write_bytes(b"no ply at all")
    with pytest.raises(StageError, match="not a PLY"):
        read_ply(tmp_path / "bad.ply")


def test_usdz_is_metric_and_upright(folder):
    if not usd_version():
        pytest.skip("usd-core is not installed: USDZ not tested")
    mesh = boxed()
    write_usdz(folder / "twin.usdz", mesh, folder / "texture.png", 0.9)
    points, unit, up = read_usdz(folder / "twin.usdz")
    assert (unit, up) == (1.0, "Y")
    assert np.allclose(points.max(0) - points.min(0), SIZE_M, atol=1e-6)
    assert np.allclose(points, mesh.vertices @ GLTF_FROM_OBJECT.T, atol=1e-6)
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(folder / "twin.usdz"))
    prim = UsdGeom.Mesh(stage.GetPrimAtPath("/twin/mesh"))
    st = UsdGeom.PrimvarsAPI(prim).GetPrimvar("st")
    corner = np.array(st.Get())[np.array(st.GetIndices())]
    assert np.allclose(corner, mesh.uv[mesh.faces_uv.ravel()], atol=1e-6)
    box = (
        UsdGeom.BBoxCache(Usd.TimeCode.Default(), [UsdGeom.Tokens.default_])
        .ComputeWorldBound(stage.GetDefaultPrim())
        .GetRange()
    )
    assert np.allclose(np.array(box.GetSize()), SIZE_M, atol=1e-6)
    assert _usd_errors(stage) == []


def test_usdz_is_the_same_bytes_twice(folder, tmp_path, monkeypatch):
    if not usd_version():
        pytest.skip("usd-core is not installed: USDZ not tested")
    made = []
    for k, day in enumerate((0, 400)):
        (tmp_path / str(k)).mkdir()
        with monkeypatch.context() as then:
            then.setattr("time.time", lambda day=day: 1.7e9 + 86400 * day)
            write_usdz(tmp_path / str(k) / "twin.usdz", boxed(), folder / "texture.png", 0.9)
        made.append((tmp_path / str(k) / "twin.usdz").read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "0/twin.usdz") as archive:
        entries = archive.infolist()
        assert [e.filename for e in entries] == ["twin.usdc", "texture.png"], "the layer comes first"
        for e in entries:
            name, extra = struct.unpack_from("<HH", made[0], e.header_offset + 26)
            start = e.header_offset + 30 + name + extra
            assert start % 64 == 0 and e.compress_type == zipfile.ZIP_STORED
            assert made[0][start : start + e.file_size] == archive.read(e)


def _usd_errors(stage) -> list[str]:
    """What Pixar's own validators find; [] where this version of usd-core has none."""
    try:
        from pxr import UsdValidation
    except ImportError:
        return []
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    return [e.GetErrorAsString() for e in UsdValidation.ValidationContext(validators).Validate(stage)]


def test_single_index_doubles_only_seams():
    mesh = boxed()
    vertex, corner, triangles = single_index(mesh)
    assert len(vertex) == len(mesh.vertices)
    assert np.array_equal(vertex[triangles], mesh.faces)
    assert np.array_equal(corner[triangles], mesh.faces_uv)


def test_nearest_confidence():
    mesh = boxed()
    assert np.array_equal(nearest_confidence(mesh.vertices + 1e-4, surface(mesh)), surface(mesh).confidence)


def test_textured_round_trip(tmp_path):
    mesh = boxed()
    write_textured(tmp_path / "textured", mesh, np.zeros((96, 96), np.uint8))
    again = read_textured(tmp_path / "textured")
    assert np.array_equal(again.texture, mesh.texture)
    assert np.allclose(again.uv, mesh.uv, atol=1e-7)
    assert np.array_equal(again.vertices, mesh.vertices)


def test_jpeg_keeps_colour_at_full_resolution():
    import cv2

    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2], image[:, 1::2] = (200, 40, 40), (40, 40, 200)
    back = cv2.imdecode(np.frombuffer(encode_picture(image, "jpeg", 95), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(back.astype(int) - image).mean() < 6


def test_khronos_validator_where_it_is_installed(folder):
    """`npm install gltf-validator` beside the tests runs the reference validator too; our own rules above need nothing."""
    issues = khronos_issues(folder / "twin.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues
