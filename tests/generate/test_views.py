"""Views from where no picture was taken: measured pixels stay, invented ones are marked, the twin's own figures know nothing of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.camera import Rig
from stages.core.config import resolve
from stages.core.errors import ConfigError, StageError, WeightsError
from stages.core.images import read_mask, read_rgb
from stages.core.licences import refuse_non_commercial
from stages.core.new_views.image_based import psnr_inside
from stages.core.store import Store
from stages.core.twin import assemble_twin
from stages.core.twin_frame import TWIN_FROM_OBJECT
from stages.generate.config import GenerateConfig
from stages.generate.contract import contract
from stages.generate.model import Model
from stages.generate.stage import STAGE
from stages.graph import every_stage, posed_stages, scene_stages, stages, with_asked
from tests.generate import ball
from tests.generate.conftest import register
from tests.generate.networks import SIZE
from tests.onnx_graph import Graph


@pytest.fixture
def made(seen_ball, light_field, weights, tmp_path):
    """What the stage leaves, by the learned model."""
    register(weights, light_field, "balls")
    return run_stage(
        STAGE,
        seen_ball,
        GenerateConfig(views="balls", count=5, score=3),
        Store(tmp_path / "store"),
        StageContext(threads=1),
    )


def _camera(row) -> tuple[np.ndarray, Rig]:
    pose = np.array(row["object_from_camera"])
    pose[:3] = TWIN_FROM_OBJECT.T @ pose[:3]
    k = np.reshape(row["K"], (3, 3))
    return pose, Rig(row["width"], row["height"], k[0, 0], k[1, 1], k[0, 2], k[1, 2], 1.0)


def test_what_the_model_says_is_marked_and_what_pictures_show_is_not(made):
    folder = made.refs["generated"].path
    told = json.loads((folder / "generated.json").read_text())
    assert (
        len(told["views"]) == 5
        and told["models"]["views"]["name"] == "balls"
        and len(told["models"]["views"]["sha256"]) == 64
    )
    shares = []
    for row in told["views"]:
        picture, invented = read_rgb(folder / row["file"]), read_mask(folder / row["invented"])
        pose, rig = _camera(row)
        true, inside = ball.picture(pose, rig)
        assert picture.shape == (SIZE, SIZE, 3) and row["angle_deg"] >= 30
        eye = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
        v, u = np.nonzero(inside & ~invented)
        points = _hits(pose, rig, u, v)
        # what counts as measured was in sight of a camera, and has its colour; but for where the two paints meet
        if len(points) > 60:
            assert ball.seen_from_front(points).mean() > 0.9
            assert psnr_inside(true, picture, inside & ~invented) > 20
        if eye[2] > 0.9:
            assert invented[inside].mean() > 0.95
        if invented[inside].sum() > 300:
            assert (
                psnr_inside(true, picture, inside & invented)
                > 13
                > psnr_inside(true, np.full_like(true, 255), inside & invented)
            )
        shares.append(float(invented[inside].mean()))
    assert max(shares) > 0.95 and min(shares) < 0.9


def _hits(pose, rig, u, v):
    rays = rig.rays(np.stack([u, v], -1)) @ pose[:3, :3].T
    eye = pose[:3, 3]
    a, b, c = (rays**2).sum(-1), rays @ eye, eye @ eye - ball.RADIUS**2
    return eye + ((-b - np.sqrt(np.maximum(b * b - a * c, 0))) / a)[:, None] * rays


def test_the_report_says_how_much_is_invented_and_by_whom(made):
    report = made.manifest["report"]
    figures = report["metrics"]
    assert figures["views"] == 5 and 50 < figures["views_invented_percent"] <= 100
    assert figures["views_model"] == "balls" and "Apache-2.0" in figures["views_licence"]
    assert figures["views_scored"] == 3 and figures["views_model_against_pictures_db"] > 12
    (warning,) = report["warnings"]
    assert "is invented by balls" in warning and "in no figure of the twin" in warning
    assert "psnr_db" not in figures and "covered_share" not in figures
    caption, picture = report["pictures"][0]
    assert "magenta" in caption and (made.refs["generated"].path.parent / picture).stat().st_size <= 150_000


def test_the_twin_has_it_beside_and_its_verdict_is_the_same(made, seen_ball, tmp_path):
    refs = {k: seen_ball[k] for k in ("mesh.ply", "poses_refined.json", "rig.json")}
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
    assert told[0]["verdict"] == told[1]["verdict"] and told[1]["verdict"]["facts"]["unseen_share"] > 0.3
    assert "generated" not in told[0] and told[1]["generated"]["views"][0]["invented_share"] >= 0
    assert told[1]["stages"]["generate"]["metrics"]["views_invented_percent"] > 50
    assert (plain / "mesh.ply").read_bytes() == (more / "mesh.ply").read_bytes()
    assert (more / "generated/views/000_invented.png").is_file() and not (plain / "generated").exists()
    page = (more / "report.html").read_text()
    assert "is invented by balls" in page and "magenta: invented by the model" in page
    again = assemble_twin(tmp_path / "more", refs, surface)
    assert not (again / "generated").exists()


def test_same_bits_twice_and_other_weights_are_another_result(made, seen_ball, light_field, weights, tmp_path):
    config = GenerateConfig(views="balls", count=5, score=3)
    again = run_stage(STAGE, seen_ball, config, Store(tmp_path / "other"), StageContext(threads=2))
    for name in ("000.png", "000_invented.png", "004.png"):
        assert (again.refs["generated"].path / "views" / name).read_bytes() == (
            made.refs["generated"].path / "views" / name
        ).read_bytes()
    assert run_stage(STAGE, seen_ball, config, Store(tmp_path / "store")).cached
    (weights / "light_field.onnx").write_bytes(light_field.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="is not the file of balls"):
        run_stage(STAGE, seen_ball, config, Store(tmp_path / "store"))


def test_a_torchscript_program_answers_too(weights, tmp_path):
    torch = pytest.importorskip("torch")

    class Copies(torch.nn.Module):
        def forward(self, pictures, opacities, seed):
            return {"picture": pictures[0] * (seed >= 0), "opacity": opacities[0]}

    example = torch.rand(1, 3, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE), torch.tensor(3)
    torch.jit.trace(Copies(), example, strict=False).save(str(tmp_path / "copies.ts"))
    register(weights, tmp_path / "copies.ts", "copies")
    model = Model("copies", weights / "copies.ts", contract("copies", "views"), "cpu", 1)
    given = {
        "pictures": example[0].numpy(),
        "opacities": example[1].numpy(),
        "seed": np.array(3),
        "intrinsics": np.eye(3),
    }
    assert (model(given)["picture"] == given["pictures"][0]).all() and model.runs_on == "TorchScript, cpu"
    (weights / "broken.ts").write_bytes(b"no program")
    with pytest.raises(WeightsError, match="torch cannot open broken"):
        Model("copies", weights / "broken.ts", contract("copies", "views"), "cpu", 1)


def test_off_by_default_and_unknown_to_other_runs():
    configs = resolve({s.name: s.Config for s in every_stage()}, "standard").stages
    assert not STAGE.asked_for(configs["generate"]) and STAGE.needs_weights(configs["generate"]) == ()
    assert with_asked(stages(), configs) is stages()
    on = configs | {"generate": GenerateConfig(views="balls")}
    for route in (stages(), posed_stages()):
        assert [s.name for s in with_asked(route, on)] == [*(s.name for s in route), "generate"]
        assert all("generated" not in (*s.inputs, *s.inputs_where_made) for s in route)  # nothing measured can read it
    with pytest.raises(ConfigError, match=r"generate reads .*mesh\.ply.*which no stage of this route makes"):
        with_asked(scene_stages(), on)


def test_what_is_asked_for_and_not_there_is_said_with_its_remedy(weights, seen_ball, light_field):
    weights.mkdir()
    with pytest.raises(WeightsError, match="no weights are named zero"):
        STAGE.check_machine(GenerateConfig(views="zero"))
    with pytest.raises(WeightsError, match="stereo-net are no generative model"):
        STAGE.check_machine(GenerateConfig(views="stereo-net"))
    register(weights, light_field, "balls")
    (weights / "light_field.onnx").unlink()
    with pytest.raises(WeightsError, match="the weights balls are not on this machine") as e:
        STAGE.check_machine(GenerateConfig(views="balls"))
    assert "twin weights add light_field.onnx" in e.value.advice
    with pytest.raises(StageError, match="no model is named"):
        STAGE.check(seen_ball, GenerateConfig())


def test_the_licence_gate_names_it(weights, light_field):
    register(weights, light_field, "research-only", commercial=False)
    with pytest.raises(ConfigError, match=r"does not permit.*research-only"):
        refuse_non_commercial(STAGE.needs_weights(GenerateConfig(views="research-only")))


def _graph(path: Path, outputs: dict[str, float], wants: str = "pictures") -> Path:
    """A model that answers constants."""
    g = Graph()
    for name, value in outputs.items():
        channels = 1 if name == "opacity" else 3
        g.add(
            "Mul",
            [
                g.constant(f"{name}_shape", np.full((channels, SIZE, SIZE), value, np.float32)),
                g.add("ReduceMax", [wants], f"{name}_most", keepdims=0),
            ],
            name,
        )
    return g.save(path, {wants: (1, 3, SIZE, SIZE)}, {k: (1 if k == "opacity" else 3, SIZE, SIZE) for k in outputs})


@pytest.mark.parametrize(
    ("outputs", "wants", "told"),
    [
        ({"picture": 0.5}, "pictures", "gives picture, expected picture and opacity"),
        (
            {"picture": 0.5, "opacity": 0.9},
            "latents",
            "wants latents, which nobody gives it; there is pictures, opacities",
        ),
        ({"picture": -1.0, "opacity": 0.9}, "pictures", "gives a picture that is -1 to -1, expected 0 to 1"),
    ],
)
def test_a_model_off_the_contract_is_refused(outputs, wants, told, weights, seen_ball, tmp_path):
    file = _graph(tmp_path / "odd.onnx", outputs, wants)
    register(weights, file, "odd")
    with pytest.raises((WeightsError, StageError), match=told):
        run_stage(
            STAGE,
            seen_ball,
            GenerateConfig(views="odd", count=1, score=0),
            Store(tmp_path / "store"),
            StageContext(threads=1),
        )


def test_no_place_left_to_invent_is_said(made, seen_ball, tmp_path):
    config = GenerateConfig(views="balls", from_deg=175, score=0)
    report = run_stage(STAGE, seen_ball, config, Store(tmp_path / "none"), StageContext(threads=1)).manifest["report"]
    assert report["metrics"]["views"] == 0 and "No view was made" in report["warnings"][0]


@pytest.mark.parametrize("bad", ["generate.count=0", "generate.from_deg=200", "generate.score=-1", "generate.sds=true"])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ConfigError):
        resolve({s.name: s.Config for s in every_stage()}, "standard", overrides=(bad,))
