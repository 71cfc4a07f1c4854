"""twin.glb with its mesh in Draco or packed by meshoptimizer: a fraction of the bytes, the same twin in every program that opens it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flows.cli import main as cli
from stages.core.errors import MachineError
from stages.core.glb import decode_glb, encode_glb, plain_glb, read_glb
from stages.core.gltf_mesh import GltfMesh
from stages.core.report.viewer_data import viewer_block
from stages.package import stage as package
from stages.package.config import PackageConfig
from stages.package.files import Look, write_glb
from tests.flows.tiny import render_base, write_tiny
from tests.package.gltf_rules import khronos_issues
from tests.package.model import boxed, surface
from tests.package.test_importers import HERE, check
from tests.physics.made import mug, textured

WITH_DRACO = pytest.mark.skipif(
    find_spec("DracoPy") is None, reason="DracoPy is not installed (extra draco): nothing is compressed"
)
WITH_MESHOPT = pytest.mark.skipif(
    find_spec("meshopt") is None, reason="meshopt is not installed (extra meshopt): nothing is packed"
)
BOTH = pytest.mark.parametrize(
    "how", [pytest.param("draco", marks=WITH_DRACO), pytest.param("meshopt", marks=WITH_MESHOPT)]
)
THREE = """<script type="importmap">{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
import * as THREE from "three"; import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { DRACOLoader } from "three/addons/loaders/DRACOLoader.js";
import { MeshoptDecoder } from "three/addons/libs/meshopt_decoder.module.js";
const draco = new DRACOLoader().setDecoderPath("/three/examples/jsm/libs/draco/gltf/");
try {
  const scene = (await new GLTFLoader().setDRACOLoader(draco).setMeshoptDecoder(MeshoptDecoder).loadAsync("/twin.glb")).scene;
  const box = new THREE.Box3().setFromObject(scene), meshes = [];
  scene.traverse((m) => { if (m.isMesh) meshes.push([m.geometry.index.count / 3, m.material.map.image.width]); });
  window.found = { low: box.min.toArray(), high: box.max.toArray(), meshes };
} catch (e) { window.found = { error: String(e) }; }
</script>"""


@pytest.fixture(scope="module")
def mesh() -> GltfMesh:
    """A mug with a uv, a confidence and a tangent that differ from vertex to vertex."""
    shape = mug(0.002)
    position = shape.vertices.astype(np.float32)
    normal = textured(shape).normals
    tangent = np.cross(normal, np.roll(normal, 1, axis=1))
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    share = (position - position.min(0)) / np.ptp(position, axis=0)
    sign = np.where(share[:, :1] > 0.5, 1.0, -1.0)
    return GltfMesh(
        position, normal, share[:, :2], share[:, 2], shape.faces, b"\xff\xd8\xff", np.c_[tangent, sign], b"\x89PNG"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with twin.glb by each method that is installed: draco/, meshopt/."""
    out = tmp_path_factory.mktemp("packed")
    for how, package_name in (("draco", "DracoPy"), ("meshopt", "meshopt")):
        if find_spec(package_name) is not None:
            (out / how).mkdir()
            write_glb(out / how / "twin.glb", boxed(), surface(boxed()), Look(compression=how))
    return out


@WITH_DRACO
def test_a_fraction_of_the_bytes_gives_back_the_mesh(mesh):
    from scipy.spatial import cKDTree

    plain, small = encode_glb(mesh), encode_glb(mesh, compression="draco")
    found = decode_glb(small)
    assert len(small) < 0.4 * len(plain) and small == encode_glb(mesh, compression="draco")
    first = replace(mesh, tangent=None, normal_image=b"")
    assert len(encode_glb(first, compression="draco")) < 0.23 * len(encode_glb(first)), (
        "without the tangents of coarser levels"
    )
    assert (len(found.position), len(found.triangles)) == (len(mesh.position), len(mesh.triangles))
    which = cKDTree(np.c_[mesh.position, mesh.tangent[:, :3]]).query(np.c_[found.position, found.tangent[:, :3]])[1]
    assert (
        len(set(which)) == len(which) and np.linalg.norm(found.position - mesh.position[which], axis=1).max() < 1e-5
    ), "metres"
    assert np.abs(found.uv - mesh.uv[which]).max() < 2e-5 and np.array_equal(
        found.confidence, np.float32(mesh.confidence[which])
    )
    assert (found.normal * mesh.normal[which]).sum(1).min() > np.cos(np.radians(0.1))
    assert np.allclose(found.tangent, mesh.tangent[which], atol=1e-6)
    assert (found.image, found.normal_image) == (mesh.image, mesh.normal_image)

    def faces(triangles):
        return {tuple(np.roll(t, -int(t.argmin()))) for t in triangles}

    assert faces(which[found.triangles]) == faces(mesh.triangles), "the same faces, none turned over"


@WITH_DRACO
def test_what_the_file_says_of_itself_is_what_it_holds(mesh):
    small = encode_glb(mesh, compression="draco")
    document, found = json.loads(small[20 : 20 + int.from_bytes(small[12:16], "little")]), decode_glb(small)
    assert document["extensionsRequired"] == document["extensionsUsed"] == ["KHR_draco_mesh_compression"]
    position, *others, indices = document["accessors"]
    assert np.array_equal(position["min"], found.position.min(0)) and np.array_equal(
        position["max"], found.position.max(0)
    )
    assert all(a["count"] == len(found.position) and "bufferView" not in a for a in (position, *others))
    assert indices["count"] == 3 * len(found.triangles)


@WITH_MESHOPT
def test_meshoptimizers_arrays_give_back_the_mesh(mesh):
    from scipy.spatial import cKDTree

    plain, small = encode_glb(mesh), encode_glb(mesh, compression="meshopt")
    found = decode_glb(small)
    assert len(small) < 0.32 * len(plain) and small == encode_glb(mesh, compression="meshopt")
    assert (len(found.position), len(found.triangles)) == (len(mesh.position), len(mesh.triangles))
    which = cKDTree(np.c_[mesh.position, mesh.tangent[:, :3]]).query(np.c_[found.position, found.tangent[:, :3]])[1]
    assert len(set(which)) == len(which) and np.abs(found.position - mesh.position[which]).max() <= 5e-6, "metres"
    assert (
        np.abs(found.uv - mesh.uv[which]).max() < 1e-5
        and np.abs(found.confidence - mesh.confidence[which]).max() <= 1e-3
    )
    assert np.abs(found.normal - mesh.normal[which]).max() < 3e-4
    assert np.abs(found.tangent - mesh.tangent[which]).max() < 3e-4 and set(np.unique(found.tangent[:, 3])) == {
        -1.0,
        1.0,
    }

    def faces(triangles):
        return {tuple(np.roll(t, -int(t.argmin()))) for t in triangles}

    assert faces(which[found.triangles]) == faces(mesh.triangles), "the same faces, none turned over"
    document = json.loads(small[20 : 20 + int.from_bytes(small[12:16], "little")])
    assert document["extensionsRequired"] == document["extensionsUsed"] == ["EXT_meshopt_compression"]
    position = document["accessors"][0]
    assert np.array_equal(position["min"], found.position.min(0)) and np.array_equal(
        position["max"], found.position.max(0)
    )
    stored, nowhere = document["buffers"]
    assert stored["byteLength"] < nowhere["byteLength"] and "uri" not in nowhere


@BOTH
def test_khronos_finds_nothing(folder, how):
    issues = khronos_issues(folder / how / "twin.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues


@BOTH
def test_trimesh_report_and_view_open_it(folder, how):
    import trimesh

    plain = trimesh.util.wrap_as_stream(plain_glb(folder / how / "twin.glb"))
    for made in (plain, folder / "draco/twin.glb") if how == "draco" else (plain,):  # trimesh itself knows Draco
        found = trimesh.load(made, file_type="glb", force="mesh", process=False)
        check(
            {"low": found.bounds[0], "high": found.bounds[1], "faces": [[n] for n in found.face_normals.tolist()]},
            np.diag([1.0, -1.0, -1.0]),
            "twin.glb",
            colours=False,
        )
    assert b"extensionsRequired" not in plain_glb(folder / how / "twin.glb")
    assert viewer_block(folder / how)["vertices"] == len(read_glb(folder / how / "twin.glb").position) == 24


@WITH_DRACO
def test_blender_opens_it(folder, tmp_path):
    python = os.environ.get("BLENDER_PYTHON") or (sys.executable if find_spec("bpy") else "")
    if not python:
        pytest.skip("bpy is not installed (BLENDER_PYTHON names a Python that has it): not opened in Blender")
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [python, str(HERE / "blender_import.py"), str(folder / "draco"), str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=own)
    assert done.returncode == 0, done.stdout + done.stderr
    check(
        json.loads((tmp_path / "found.json").read_text())["twin.glb"],
        np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
        "twin.glb",
    )


@BOTH
def test_three_js_opens_it_in_a_browser(folder, how, tmp_path):
    """Its own loader and decoders, as on any web page."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: not opened in three.js")
    from selenium.webdriver.chrome.service import Service

    from tests.flows.browser import found
    from tests.package.test_report_browser import FLAGS

    three = next(
        (p for p in (Path(n) / "three" for n in os.environ.get("NODE_PATH", "").split(os.pathsep) if n) if p.is_dir()),
        None,
    )
    if three is None:
        pytest.skip("npm package three is not installed (NODE_PATH): not opened in three.js")
    (tmp_path / "three").symlink_to(three)
    (tmp_path / "twin.glb").write_bytes((folder / how / "twin.glb").read_bytes())
    (tmp_path / "index.html").write_text(THREE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = found("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(found("chromedriver")))
    try:
        driver.get(f"http://127.0.0.1:{server.server_port}/index.html")
        deadline = time.monotonic() + 60
        while (told := driver.execute_script("return window.found")) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        driver.quit()
        server.shutdown()
    assert told["meshes"] == [[12, boxed().texture.shape[1]]]
    plain = boxed().vertices @ np.diag([1.0, -1.0, -1.0])
    assert np.allclose(told["low"], plain.min(0), atol=1e-5) and np.allclose(told["high"], plain.max(0), atol=1e-5), (
        "metres"
    )


class Quiet(SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_without_the_library_it_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    for version in ("draco_version", "meshopt_version"):
        monkeypatch.setattr(package, version, lambda: "")
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    for how, name in (("draco", "DracoPy"), ("meshopt", "meshopt")):
        with pytest.raises(MachineError, match=f"{name}, which is not installed"):
            package.STAGE.check({}, PackageConfig(mesh_compression=how))
    capture = write_tiny(render_base(tmp_path / "base"), tmp_path / "capture", 0)
    asked = [
        "reconstruct",
        str(capture),
        "--out",
        str(tmp_path / "twin"),
        "--no-prefect",
        "package.mesh_compression=draco",
    ]
    assert cli.main(asked) == 5
    told = capsys.readouterr()
    assert "pip install 'stereotwin[draco]'" in told.err and "rectify" not in told.out
    assert not list((tmp_path / "store").glob("artifacts/*/*"))
