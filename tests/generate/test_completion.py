"""The unseen side by a model: the measured one stays, the joint is closed, what is invented is marked on vertices and texels, and the
twin's own mesh and verdict are as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from stages.base import StageContext, run_stage
from stages.core.camera import Rig
from stages.core.errors import StageError, WeightsError
from stages.core.glb import read_glb
from stages.core.images import read_mask, read_rgb
from stages.core.meshes import read_ply
from stages.core.store import Store
from stages.core.twin import assemble_twin
from stages.core.twin_frame import TWIN_FROM_OBJECT
from stages.generate.completion import Measured, complete, silhouettes
from stages.generate.config import GenerateConfig
from stages.generate.scene import Room
from stages.generate.solid import distance_of_mesh, nodes
from stages.generate.stage import STAGE
from tests.generate import ball, networks
from tests.generate.conftest import register
from tests.onnx_graph import Graph
from tests.package.gltf_rules import broken_rules

QUICK = {"grid": 56, "texture_px": 256}
CONFIG = GenerateConfig(completion="whole", **QUICK)


@pytest.fixture(scope="module")
def half_ball(tmp_path_factory):
    """The ball whose mesh is flat where no camera looked."""
    return ball.inputs(tmp_path_factory.mktemp("half"), back=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A learned model of completion."""
    return networks.whole_balls(tmp_path_factory.mktemp("network") / "whole_balls.onnx")


@pytest.fixture(scope="module")
def made(half_ball, whole, tmp_path_factory):
    """What the stage leaves, by the learned model."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIN_WEIGHTS", str(folder / "weights"))
        register(folder / "weights", whole, "whole", "completion", pictures=3)
        return run_stage(STAGE, half_ball, CONFIG, Store(folder / "store"), StageContext(threads=1))


def _completed(made) -> tuple[trimesh.Trimesh, np.ndarray, Path]:
    """(mesh in the object frame, invented by vertex, its folder)."""
    folder = made.refs["generated"].path / "completed"
    mesh = trimesh.load(folder / "mesh.ply", process=False)
    invented = np.asarray(mesh.metadata["_ply_raw"]["vertex"]["data"]["invented"]).ravel().astype(bool)
    mesh.vertices = mesh.vertices @ TWIN_FROM_OBJECT
    return mesh, invented, folder


def test_the_back_is_made_and_the_front_stays(made, half_ball):
    mesh, invented, folder = _completed(made)
    flat = read_ply(half_ball["mesh.ply"].path)
    off = np.abs(np.linalg.norm(mesh.vertices, axis=1) - ball.RADIUS) / ball.RADIUS
    assert mesh.is_watertight and mesh.volume == pytest.approx(4 / 3 * np.pi * ball.RADIUS**3, rel=0.05)
    assert np.percentile(off[~invented], 99) < 0.01 and np.percentile(off[invented], 95) < 0.08
    flat_off = 1 - np.linalg.norm(flat.vertices[flat.confidence == 0], axis=1) / ball.RADIUS
    assert np.median(flat_off) > 3 * np.median(off[invented])
    seen = ball.seen_from_front(mesh.vertices)
    assert (invented[~seen]).mean() > 0.9 and (~invented[seen]).mean() > 0.97
    found = read_ply(folder / "mesh.ply")
    assert (found.confidence[invented] == 0).all() and (found.confidence[~invented] > 0.3).mean() > 0.95


def test_texels_say_what_is_invented(made):
    mesh, invented, folder = _completed(made)
    texture, where = read_rgb(folder / "texture.png"), read_mask(folder / "invented.png")
    glb = read_glb(folder / "twin.glb")
    assert broken_rules((folder / "twin.glb").read_bytes()) == [] and len(glb.triangles) == len(mesh.faces)
    column, row = (np.clip((c * 256).astype(int), 0, 255) for c in glb.uv.T)
    places = glb.position @ TWIN_FROM_OBJECT
    deep, front = places[:, 2] > 0.25, places[:, 2] < -0.15
    assert where[row, column][deep].all() and not where[row, column][front].any()
    away = front & (np.abs(places[:, 1]) > 0.05)
    assert np.abs(texture[row, column][away].astype(float) - ball.paint(places[away])).mean() < 8
    tint = texture[row, column][deep].astype(float)
    assert np.ptp(tint, 0).max() <= 4 and np.abs(tint.mean(0) - (ball.TOP + ball.BOTTOM) / 2).max() < 40
    assert 0.2 < invented.mean() < 0.7


def test_it_is_told_and_counts_for_nothing(made, half_ball, tmp_path):
    report = made.manifest["report"]
    figures, (warning,) = report["metrics"], report["warnings"]
    assert 20 < figures["completion_invented_percent"] < 60 and figures["completion_model"] == "whole"
    assert "of the surface in generated/completed is invented by whole" in warning and "without it" in warning
    assert any("magenta: invented" in caption for caption, _ in report["pictures"])
    refs = {k: half_ball[k] for k in ("mesh.ply", "poses_refined.json", "rig.json")}
    blank = {
        "version": 1,
        "fingerprint": "",
        "seconds": 1.0,
        "peak_memory_mb": 1,
        "settings": {},
        "outputs": {"mesh.ply": ""},
    }
    surface = {"surface": {**blank, "report": {"metrics": {"pixel_on_object_mm": 5.0}}}}
    plain = assemble_twin(tmp_path / "plain", refs, surface)
    more = assemble_twin(tmp_path / "more", refs | made.refs, surface | {"generate": made.manifest})
    told = [json.loads((p / "run.json").read_text()) for p in (plain, more)]
    assert told[0]["verdict"] == told[1]["verdict"] and told[1]["verdict"]["facts"]["unseen_share"] > 0.2
    assert told[1]["generated"]["completed"]["invented_share"] == pytest.approx(
        figures["completion_invented_percent"] / 100, abs=1e-3
    )
    assert (plain / "mesh.ply").read_bytes() == (more / "mesh.ply").read_bytes()
    assert b"property uchar invented" in (more / "generated/completed/mesh.ply").read_bytes()[:500]
    assert b"invented" not in (more / "mesh.ply").read_bytes()[:500]
    assert "is invented by whole" in (more / "report.html").read_text()


def _constant(path: Path, outputs: dict[str, np.ndarray]) -> Path:
    """A model that answers the same whatever it is given."""
    g = Graph()
    whole = tuple(k for k, v in outputs.items() if v.dtype == np.int64)
    for name, value in outputs.items():
        g.add("Identity", [g.constant(f"{name}_kept", value)], name)
    return g.save(path, {"points": ("M", 3)}, {k: v.shape for k, v in outputs.items()}, whole)


def _ball_of(radius: float, centre: np.ndarray, half_ball) -> np.ndarray:
    """Signed distance of a ball, m, as the contract wants it."""
    room = Room.about(read_ply(half_ball["mesh.ply"].path).vertices)
    x = nodes(33) * room.half + room.centre
    return ((np.linalg.norm(x - centre, axis=1) - radius) / room.half).reshape(33, 33, 33).astype(np.float32)


def test_what_pictures_show_to_be_empty_stays_empty(half_ball):
    mesh, rig = read_ply(half_ball["mesh.ply"].path), Rig.load(half_ball["rig.json"].path)
    room, poses = Room.about(mesh.vertices), dict(enumerate(ball.front_poses()))
    knob, measured = _ball_of(0.15, np.array([0.42, 0, 0.2]), half_ball), Measured.of(mesh, room)
    knobbed = np.minimum(knob, _ball_of(ball.RADIUS, np.zeros(3), half_ball))
    outlines = silhouettes(poses, rig, lambda k: ball.picture(poses[k], rig)[1], lambda k: None, room)

    def beyond(empty) -> float:
        """px outside the outline, at most, in any picture."""
        found = complete(knobbed, measured, room, QUICK["grid"], empty).vertices
        outline = rig.fx * ball.RADIUS / np.sqrt(ball.AWAY**2 - ball.RADIUS**2)
        px = [rig.project((found - p[:3, 3]) @ p[:3, :3]) - [rig.cx, rig.cy] for p in poses.values()]
        return float(np.linalg.norm(px, axis=2).max() - outline)

    assert beyond(outlines) < 4 < 8 < beyond(lambda x: np.zeros(len(x)))


def test_a_mesh_is_an_answer_too_if_it_is_closed(half_ball, weights, tmp_path):
    room = Room.about(read_ply(half_ball["mesh.ply"].path).vertices)
    solid = trimesh.creation.icosphere(3, ball.RADIUS)
    vertices = ((np.asarray(solid.vertices) - room.centre) / room.half).astype(np.float32)
    faces, red = np.asarray(solid.faces, np.int64), np.tile(np.float32([0.9, 0.1, 0.1]), (len(vertices), 1))
    register(
        weights,
        _constant(tmp_path / "mesh.onnx", {"vertices": vertices, "faces": faces, "colours": red}),
        "whole",
        "completion",
    )
    mesh, invented, _ = _completed(
        run_stage(STAGE, half_ball, CONFIG, Store(tmp_path / "store"), StageContext(threads=1))
    )
    assert np.percentile(np.abs(np.linalg.norm(mesh.vertices, axis=1) - ball.RADIUS), 99) < 0.02 * ball.RADIUS
    back = invented & (mesh.vertices[:, 2] > 0.25)
    assert np.abs(np.asarray(mesh.visual.vertex_colors)[back, :3] - [230, 26, 26]).max() <= 1
    register(
        weights, _constant(tmp_path / "open.onnx", {"vertices": vertices, "faces": faces[5:]}), "open", "completion"
    )
    with pytest.raises(StageError, match="the model open: the mesh is not closed"):
        run_stage(
            STAGE,
            half_ball,
            GenerateConfig(completion="open", **QUICK),
            Store(tmp_path / "store"),
            StageContext(threads=1),
        )


def test_a_solid_elsewhere_is_refused(half_ball, weights, tmp_path):
    register(
        weights,
        _constant(tmp_path / "aside.onnx", {"distance": _ball_of(ball.RADIUS, np.array([0.3, 0.2, 0]), half_ball)}),
        "whole",
        "completion",
    )
    with pytest.raises(StageError, match=r"beside the measured surface.*\n.*frame, axes or unit"):
        run_stage(STAGE, half_ball, CONFIG, Store(tmp_path / "store"), StageContext(threads=1))


def test_a_model_of_views_completes_nothing(weights, whole):
    register(weights, whole, "whole", "completion")
    with pytest.raises(WeightsError, match=r"generate.views=whole: that model answers completion"):
        STAGE.check_machine(GenerateConfig(views="whole"))


def test_inside_is_inside():
    solid = trimesh.creation.torus(0.6, 0.2)
    grid, x = distance_of_mesh(np.asarray(solid.vertices), np.asarray(solid.faces), 24).ravel(), nodes(24)
    truth = np.hypot(np.hypot(x[:, 0], x[:, 1]) - 0.6, x[:, 2]) - 0.2
    assert np.abs(grid - truth).max() < 0.03
