"""masks.method=sam2: the published classes at toy size through the whole stage, and what is made of good and bad answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.base import StageContext
from stages.core.camera import Rig
from stages.core.errors import StageError, WeightsError
from stages.core.frames import FrameReader, read_table
from stages.core.images import read_mask
from stages.masks.job import Job
from stages.masks.outline import CutSettings
from stages.masks.prompt import Prompt
from stages.masks.sam2_method import Sam2Method
from stages.masks.stage import STAGE
from stages.masks.working_frame import load
from tests.masks import sam2_toy
from tests.masks.test_stage import with_json


def job_of(truth, prompt: Prompt) -> Job:
    reader, rig = FrameReader.of(truth), Rig.load(truth["rig.json"].path)
    return Job(reader.ids, lambda frame: load(reader, frame, 1.0), rig, prompt, CutSettings(3.0, 8, 14), "auto", 0.5, 1,
               np.random.default_rng(0), lambda *args: None)


@pytest.fixture(scope="module")
def masks(truth) -> list[np.ndarray]:
    return [read_mask(truth["masks"].path / f"{k:06d}.png") for k in FrameReader.of(truth).ids]


def test_followed_both_ways_and_prompted_again_where_it_swells(truth, masks) -> None:
    network = sam2_toy.TruthNetwork(masks, lost=(2, 9, 10), hopeless=(10,))
    outcome = Sam2Method("", network).segment(job_of(truth, Prompt(5, (10, 10, 100, 100))))
    results = list(outcome.results)
    order = [c[1] for c in network.calls if c[0] != "again"]
    assert order == [5, *range(6, 16), -1, 4, 3, 2, 1, 0]
    assert [c[1] for c in network.calls if c[0] == "again"] == [9, 10, 2] and outcome.metrics["frames_prompted_again"] == 2
    assert [r.view.frame for r in results] == list(range(16))
    assert [r.status for r in results] == ["ok"] * 10 + ["uncertain"] + ["ok"] * 5
    assert "jumps" in results[10].reason and results[10].trust < 0.5
    for k, result in enumerate(results):
        assert k == 10 or (result.mask == masks[k]).all()


def test_an_object_that_is_gone_is_lost_and_found_again(truth, masks) -> None:
    gone = [m & (k not in (7, 8)) for k, m in enumerate(masks)]
    results = list(Sam2Method("", sam2_toy.TruthNetwork(gone)).segment(job_of(truth, Prompt(0, (10, 10, 100, 100)))).results)
    assert [k for k, r in enumerate(results) if r.status == "lost"] == [7, 8] and results[9].status == "ok"
    with pytest.raises(StageError, match="finds no object at the prompt"):
        Sam2Method("", sam2_toy.TruthNetwork(gone)).segment(job_of(truth, Prompt(7, (10, 10, 100, 100))))


def test_missing_weights_say_which_command(truth, tmp_path, monkeypatch) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: SAM 2 is not tested")
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"twin weights fetch sam2\.1-small"):
        STAGE.check({k: truth[k] for k in STAGE.inputs}, STAGE.Config(method="sam2"))


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory) -> Path:
    pytest.importorskip("transformers", reason="transformers is not installed: SAM 2 is not tested")
    folder = tmp_path_factory.mktemp("sam2")
    sam2_toy.write(folder)
    return folder


def test_the_published_classes_run_the_whole_stage(truth, toy_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWIN_WEIGHTS", str(toy_folder))
    inputs = {k: truth[k] for k in STAGE.inputs}
    inputs["prompt.json"] = with_json(truth["prompt.json"], tmp_path, "prompt.json", {"frame": 6, "points": [[200, 150, 1], [5, 5, 0]]})
    config = STAGE.Config(method="sam2", sam2_weights="sam2-toy", max_pixels=30_000)
    written = []
    for out in (tmp_path / "one", tmp_path / "two"):
        STAGE.check(inputs, config)
        report = STAGE.run(inputs, config, out, StageContext(threads=1))
        rows = read_table(out / "masks.parquet")
        assert report.method == "sam2" and len(rows) == 16 and {r["status"] for r in rows} <= {"ok", "uncertain", "lost"}
        assert report.metrics["prompt_frame"] == 6 and rows[6]["area_px"] > 0
        written.append([(out / "masks" / f"{k:06d}.png").read_bytes() for k in range(16)])
    assert written[0] == written[1]


def test_memory_does_not_grow_and_a_worse_answer_changes_nothing(toy_folder) -> None:
    from stages.masks.sam2_network import Sam2Network

    network = Sam2Network(sam2_toy.random_model(), "cpu")
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    network.prompt(0, rgb, [(40.0, 30.0, 1)], None)
    answers = [network.follow(k, rgb, False) for k in range(1, 60)]
    assert network.frames_held <= 18 and not network._session.processed_frames
    again = Sam2Network(sam2_toy.random_model(), "cpu")
    again.prompt(0, rgb, [(40.0, 30.0, 1)], None)
    for k in range(1, 59):
        again.follow(k, rgb, False)
    assert again.correct(58, rgb, (1, 1, 9, 9), False, lambda answer: False) is None
    np.testing.assert_allclose(again.follow(59, rgb, False).logits, answers[-1].logits, atol=1e-5)


def test_prompts_are_in_pixels_of_the_networks_square(toy_folder) -> None:
    from stages.masks.sam2_network import Sam2Network

    network = Sam2Network(sam2_toy.random_model(), "cpu")
    network.prompt(0, np.zeros((64, 256, 3), np.uint8), [(10, 20, 0)], (0, 0, 255, 63))
    given = network._session.point_inputs_per_obj[0][0]
    np.testing.assert_allclose(given["point_coords"][0, 0], [[-0.25, 0.5], [127.25, 126.5], [4.75, 40.5]])
    assert given["point_labels"].tolist() == [[[2, 3, 0]]]


def test_weights_of_another_shape_are_refused(toy_folder) -> None:
    from stages.masks.sam2_network import load_network

    wider = {**sam2_toy.MODEL, "memory_fuser_num_layers": 3}
    with pytest.raises(WeightsError, match=r"lacks .* tensors"):
        load_network(toy_folder / "sam2-toy.safetensors", wider, "sam2-toy")


@pytest.mark.parametrize(("size", "millions"), [("tiny", 38.9), ("small", 46.0), ("base-plus", 80.8), ("large", 224.4)])
def test_the_registry_describes_the_published_sizes(size: str, millions: float) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: SAM 2 is not tested")
    import torch

    from stages.core.weights import entry

    with torch.device("meta"):                                     # shapes only, no memory
        model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig(**entry(f"sam2.1-{size}").model))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
