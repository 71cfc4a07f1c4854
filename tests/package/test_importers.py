"""Every file of a twin opens upright, in metres and with its colours in the programs that people open it with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import trimesh

from stages.core.images import write_rgb
from stages.core.meshes import read_ply
from stages.core.twin_frame import FRAMES, TWIN_FROM_OBJECT, Z_UP_FROM_TWIN
from stages.package.files import write_glb, write_obj, write_plys
from stages.package.usd_library import usd_version
from stages.package.usdz import write_usdz
from tests.package.model import CENTRE_M, SIDES, SIZE_M, boxed, surface

HERE = Path(__file__).parent
COLOUR_TOLERANCE = 6
"""grey levels: the GLB's picture is a JPEG"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A box that is neither centred nor a cube, so that any turn or mirror shows."""
    out, mesh = tmp_path_factory.mktemp("importers"), boxed()
    write_rgb(out / "texture.png", mesh.texture)
    write_plys(out, surface(mesh))
    write_obj(out, mesh, out / "texture.png")
    write_glb(out / "twin.glb", mesh, surface(mesh))
    if usd_version():
        write_usdz(out / "twin.usdz", mesh, out / "twin.png", 0.9)
    return out


def check(found: dict, world_from_object: np.ndarray, name: str, colours: bool = True) -> None:
    """Bounds, and the colour of the side that looks in each direction, of one imported file."""
    corners = np.array([CENTRE_M - SIZE_M / 2, CENTRE_M + SIZE_M / 2]) @ world_from_object.T
    assert np.allclose(found["low"], corners.min(0), atol=1e-5), f"{name}: place and size, metres"
    assert np.allclose(found["high"], corners.max(0), atol=1e-5), f"{name}: place and size, metres"
    normals = np.array([f[0] for f in found["faces"]])
    for direction, colour in SIDES.items():
        side = normals @ (world_from_object @ direction)
        assert side.max() > 0.999, f"{name}: no face looks to {direction} of the object: turned inside out?"
        if colours:
            shown = np.array(found["faces"][int(side.argmax())][1])
            assert np.abs(shown - colour).max() <= COLOUR_TOLERANCE, (
                f"{name}: {direction} of the object shows {shown}, not {colour}"
            )


def test_blender_has_every_format_upright(folder, tmp_path):
    """Blender is z up; it turns OBJ and glTF by their rules and takes a PLY as it is."""
    python = os.environ.get("BLENDER_PYTHON") or (sys.executable if find_spec("bpy") else "")
    if not python and sys.version_info[:2] != (3, 11):
        pytest.skip("bpy is made for Python 3.11 only: not opened in Blender")
    if not python:
        pytest.skip("bpy is not installed (BLENDER_PYTHON names a Python that has it): not opened in Blender")
    command = [python, str(HERE / "blender_import.py"), str(folder), str(tmp_path / "found.json")]
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=own)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.keys() >= {"twin.obj", "twin.ply", "twin.glb"}
    for name, what in found.items():
        check(what, Z_UP_FROM_TWIN @ TWIN_FROM_OBJECT, name)


def test_three_js_has_every_format_upright(folder):
    """three.js is y up and turns nothing."""
    try:
        done = subprocess.run(
            ["node", str(HERE / "three_import.mjs"), str(folder)], capture_output=True, text=True, timeout=120
        )
    except FileNotFoundError:
        pytest.skip("node is not installed: not opened in three.js")
    if done.returncode == 3:
        pytest.skip("npm package three is not installed: not opened in three.js")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"twin.obj", "mesh.ply", "twin.glb"}
    for name, what in found.items():
        check(_with_colours_of_the_texture(what, "glb" in name), TWIN_FROM_OBJECT, name)


def _with_colours_of_the_texture(found: dict, top_left: bool) -> dict:
    """three.js gives uv where there is a picture; node decodes none, so it is looked up here. glTF's uv has its origin at the top."""
    image, faces = boxed().texture, []
    for normal, colour, uv in found["faces"]:
        if colour is None:
            x, y = uv[0], uv[1] if top_left else 1 - uv[1]
            colour = image[int(y * image.shape[0]), int(x * image.shape[1])]
        faces.append([normal, colour])
    return {**found, "faces": faces}


@pytest.mark.parametrize("name", ["twin.obj", "mesh.ply", "twin.glb", "twin.ply"])
def test_trimesh(folder, name):
    mesh = trimesh.load(folder / name, force="mesh", process=False)
    found = {"low": mesh.bounds[0], "high": mesh.bounds[1], "faces": [[n] for n in mesh.face_normals.tolist()]}
    assert mesh.volume == pytest.approx(np.prod(SIZE_M), rel=1e-4)
    check(found, (Z_UP_FROM_TWIN if name == "twin.ply" else np.eye(3)) @ TWIN_FROM_OBJECT, name, colours=False)


def test_frames_of_run_json_tell_how_the_files_lie(folder):
    """What a program does with run.json alone: twin.ply from mesh.ply, and files of version 1."""
    y_up, z_up = read_ply(folder / "mesh.ply"), read_ply(folder / "twin.ply")
    assert np.allclose(y_up.vertices @ np.array(FRAMES["z_up_from_twin"]).T, z_up.vertices, atol=1e-7)
    assert np.allclose(boxed().vertices @ np.array(FRAMES["twin_from_version_1"]).T, y_up.vertices, atol=1e-7)
    assert (
        FRAMES["files"]["twin.ply"] == "z_up" and FRAMES["files"]["mesh.ply"] == FRAMES["files"]["poses.json"] == "twin"
    )
