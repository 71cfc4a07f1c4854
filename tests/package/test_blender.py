"""A twin in Blender: as large as it is, upright, and looking like its own preview."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.meshes import write_ply, write_textured
from stages.core.render import turntable_rig
from stages.core.store import ArtifactRef, Store
from stages.core.twin_frame import TWIN_FROM_OBJECT, Z_UP_FROM_TWIN
from stages.package.stage import STAGE as PACKAGE
from stages.physics.config import PhysicsConfig
from stages.physics.stage import STAGE
from tests.physics.made import mug, surface
from tests.physics.test_levels import PX, unwrapped
from tests.physics.test_support import floor

SIZE_PX = 160
FILES = ("twin.glb", "twin.obj", "twin.usdz", "sim/twin.usda", "lod/twin_lod1.glb", "lod/twin_lod2.glb")


def blender() -> str:
    python = os.environ.get("BLENDER_PYTHON") or (sys.executable if find_spec("bpy") else "")
    if not python and sys.version_info[:2] != (3, 11):
        pytest.skip("bpy is made for Python 3.11 only: nothing drawn in Blender")
    if not python:
        pytest.skip("bpy is not installed (BLENDER_PYTHON names a Python that has it): nothing drawn in Blender")
    return python


def square(rotation: np.ndarray) -> np.ndarray:
    """(4, 4)."""
    out = np.eye(4)
    out[:3, :3] = rotation
    return out


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """(shape in the object frame, {file: world_from_object}, what Blender found, folder of its pictures and the preview)."""
    python, out, shape = blender(), tmp_path_factory.mktemp("blender"), mug(0.0025)
    write_ply(out / "mesh.ply", surface(shape))
    write_textured(out / "textured", unwrapped(shape), np.zeros((PX, PX), np.uint8))
    np.savez(out / "points.npz", scene_xyz=floor(float(shape.vertices[:, 1].max()), tilt_deg=2))
    given = {n: ArtifactRef(n, out / n, n) for n in ("mesh.ply", "textured", "points.npz")}
    made = run_stage(STAGE, given, PhysicsConfig(colliders="hull"), Store(out / "store"), StageContext())
    packed = run_stage(
        PACKAGE, {**given, **made.refs}, PACKAGE.Config(preview_px=SIZE_PX), Store(out / "store"), StageContext()
    )
    twin = packed.refs["twin"].path
    upright_from_twin = np.array(json.loads((twin / "sim/physics.json").read_text())["upright_from_object"])
    worlds = {f: square(Z_UP_FROM_TWIN @ TWIN_FROM_OBJECT) for f in FILES}
    worlds["sim/twin.usda"] = upright_from_twin @ square(TWIN_FROM_OBJECT)
    rig, poses = turntable_rig(shape.vertices, SIZE_PX)
    asked = [
        {
            "file": str(twin / f),
            "name": f.replace("/", "_"),
            "world_from_camera": (worlds[f] @ poses[0]).tolist(),
            "focal": rig.fx / rig.width,
            "size_px": SIZE_PX,
        }
        for f in FILES
    ]
    (out / "asked.json").write_text(json.dumps(asked))
    command = [python, str(Path(__file__).with_name("blender_render.py")), str(out / "asked.json"), str(out)]
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=own)
    assert done.returncode == 0, done.stdout + done.stderr
    return shape, worlds, json.loads((out / "found.json").read_text()), out, twin


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_blender_shows_it_upright_in_size_and_as_its_preview(drawn, file):
    shape, worlds, found, out, twin = drawn
    told, coarse = found[file.replace("/", "_")], file.startswith("lod")
    world = shape.moved(worlds[file]).vertices
    if file.startswith("sim"):
        world = np.maximum(world, [-np.inf, -np.inf, 0])  # what was never seen below the ground is cut for simulators
    tolerance_m = 0.002 if coarse else 0.0001
    assert np.allclose(told["low"], world.min(0), atol=tolerance_m) and np.allclose(
        told["high"], world.max(0), atol=tolerance_m
    )
    assert told["normal_map"] == coarse
    picture = cv2.imread(str(out / f"{file.replace('/', '_')}.png"), cv2.IMREAD_UNCHANGED)
    preview = cv2.imread(str(twin / "previews/textured_front.jpg"))
    covered = picture[..., 3] > 127
    inside = cv2.erode(covered.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    apart = np.abs(picture[..., :3].astype(float) - preview)[inside]
    assert inside.mean() > 0.1 and apart.mean() < (6 if coarse else 3)
    assert (np.abs(preview.astype(float) - 255).max(2) > 40)[inside].mean() > 0.95, (
        "where Blender shows it, the preview does"
    )
    assert (
        np.abs(
            preview[~(cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)].astype(float) - 255
        ).max()
        < 30
    )
