"""masks.method=sam2: the published classes at toy size through the whole stage, and what is made of good and bad answers."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stages.base import StageContext
from stages.core.camera import Rig
from stages.core.errors import StageError, WeightsError
from stages.core.frames import FrameReader, read_table
from stages.core.images import read_mask, write_mask
from stages.masks.cut.outline import CutSettings
from stages.masks.follow.job import Job
from stages.masks.frame.prompt import Prompt
from stages.masks.frame.working_frame import WorkingFrame, load
from stages.masks.sam2.method import Sam2Method, fitting_size
from stages.masks.sam2.model import FAMILIES, family_of, memory_gb, resized_model
from stages.masks.scenes.carried_shape import CarriedShape, overlap
from stages.masks.stage import STAGE
from tests.masks import sam2_toy
from tests.masks.test_stage import with_json


def job_of(truth, prompt: Prompt) -> Job:
    reader, rig = FrameReader.of(truth), Rig.load(truth["rig.json"].path)
    return Job(
        reader.ids,
        lambda frame: load(reader, frame, 1.0),
        rig,
        prompt,
        CutSettings(3.0, 8, 14),
        "auto",
        0.5,
        1,
        np.random.default_rng(0),
        lambda *args: None,
    )


@pytest.fixture(scope="module")
def masks(truth) -> list[np.ndarray]:
    return [read_mask(truth["masks"].path / f"{k:06d}.png") for k in FrameReader.of(truth).ids]


def test_followed_both_ways_and_prompted_again_where_it_swells(truth, masks) -> None:
    network = sam2_toy.TruthNetwork(masks, lost=(2, 9, 10), hopeless=(10,))
    outcome = Sam2Method("", network).segment(job_of(truth, Prompt(5, (10, 10, 100, 100))))
    results = list(outcome.results)
    order = [c[1] for c in network.calls if c[0] != "again"]
    assert order == [5, *range(6, 16), -1, 4, 3, 2, 1, 0]
    assert [c[1] for c in network.calls if c[0] == "again"] == [9, 10, 2] and outcome.metrics[
        "frames_prompted_again"
    ] == 2
    assert [r.view.frame for r in results] == list(range(16))
    assert [r.status for r in results] == ["ok"] * 10 + ["uncertain"] + ["ok"] * 5
    assert (
        "carried along" in results[10].reason
        and results[10].trust < 0.5
        and outcome.metrics["frames_with_carried_shape"] >= 3
    )
    for k, result in enumerate(results):
        assert k == 10 or (result.mask & masks[k]).sum() > 0.98 * (result.mask | masks[k]).sum()


def test_corrections_serve_both_ways_and_points_amend_where_they_are_reached(truth, masks) -> None:
    box, mask = Prompt(12, box=(9.0, 9.0, 90.0, 90.0)), Prompt(2, mask=masks[2])
    prompt = Prompt(
        5,
        (10, 10, 100, 100),
        corrections=(box, mask, Prompt(8, points=((5.0, 5.0, 0),)), Prompt(0, points=((1.0, 2.0, 1),))),
    )
    network = sam2_toy.TruthNetwork(masks, lost=(2, 12))
    outcome = Sam2Method("", network, by_depth=False).segment(job_of(truth, prompt))
    assert network.calls == [
        *(("prompt", p) for p in (5, 12, 2)),
        *((("amend" if p == 8 else "on"), p) for p in (6, 7, 8, 9, 10, 11)),
        *(("on", p) for p in (13, 14, 15)),
        ("turn", -1),
        ("back", 4),
        ("back", 3),
        ("back", 1),
        ("amend", 0),
    ]
    results = list(outcome.results)
    assert outcome.metrics["frames_corrected"] == 4 and {r.status for r in results} == {"ok"}
    assert all((r.mask == m).all() for r, m in zip(results, masks, strict=True))


def test_a_mask_is_a_prompt(truth, masks) -> None:
    network = sam2_toy.TruthNetwork(masks)
    outcome = Sam2Method("", network).segment(job_of(truth, Prompt(3, mask=masks[3])))
    assert (
        network.calls[0] == ("prompt", 3)
        and network.prompted_with[0] is masks[3]
        and outcome.metrics["prompt"] == "given"
    )


def test_an_object_that_is_gone_is_lost_and_found_again(truth, masks) -> None:
    gone = [m & (k not in (7, 8)) for k, m in enumerate(masks)]
    results = list(
        Sam2Method("", sam2_toy.TruthNetwork(gone)).segment(job_of(truth, Prompt(0, (10, 10, 100, 100)))).results
    )
    assert [k for k, r in enumerate(results) if r.status == "lost"] == [7, 8] and results[9].status == "ok"
    with pytest.raises(StageError, match="finds no object at the prompt"):
        Sam2Method("", sam2_toy.TruthNetwork(gone)).segment(job_of(truth, Prompt(7, (10, 10, 100, 100))))


def test_missing_weights_say_which_command(truth, tmp_path, monkeypatch) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: SAM 2 is not tested")
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"twin weights fetch sam2\.1-small"):
        STAGE.check({k: truth[k] for k in STAGE.inputs}, STAGE.Config(method="sam2"))


def test_depth_and_colours_place_a_rough_outline_again(truth, masks) -> None:
    rough = [
        cv2.resize(cv2.resize(m.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA), (400, 300)) > 0.3
        for m in masks
    ]

    def score(found):
        return np.mean([(f & m).sum() / (f | m).sum() for f, m in zip(found, masks, strict=True)])

    found = {}
    for by_depth in (True, False):
        method = Sam2Method("", sam2_toy.TruthNetwork(rough), by_depth=by_depth)
        found[by_depth] = [r.mask for r in method.segment(job_of(truth, Prompt(0, (10, 10, 100, 100)))).results]
    assert score(found[False]) < 0.96 and score(found[True]) > 0.985


@pytest.mark.slow
def test_the_shape_carried_along_is_where_the_object_goes(truth_inhand) -> None:
    reader, rig = FrameReader.of(truth_inhand), Rig.load(truth_inhand["rig.json"].path)
    shape = CarriedShape(rig)
    view = load(reader, 0, 1.0)
    found = shape.features(view)
    assert shape.expected(found) is None  # nothing remembered yet
    mask = read_mask(truth_inhand["masks"].path / "000000.png")
    shape.remember(view, mask, found)
    assert overlap(mask, shape.expected(found)) > 0.95  # carried nowhere it is itself
    dark = WorkingFrame(1, np.zeros_like(view.rgb), view.disparity, view.sigma)
    assert shape.expected(shape.features(dark)) is None and np.isnan(overlap(mask, None))
    moved = np.roll(view.rgb, (12, 30), (0, 1))
    again = shape.features(
        WorkingFrame(1, moved, np.roll(view.disparity, (12, 30), (0, 1)), np.roll(view.sigma, (12, 30), (0, 1)))
    )
    assert overlap(np.roll(mask, (12, 30), (0, 1)), shape.expected(again)) > 0.85


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory) -> Path:
    pytest.importorskip("transformers", reason="transformers is not installed: SAM 2 is not tested")
    folder = tmp_path_factory.mktemp("sam2")
    sam2_toy.write(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam2-toy", "edgetam-toy"])
def test_the_published_classes_run_the_whole_stage(truth, masks, toy_folder, tmp_path, monkeypatch, name) -> None:
    monkeypatch.setenv("TWIN_WEIGHTS", str(toy_folder))
    inputs = {k: truth[k] for k in STAGE.inputs}
    asked = {
        "frame": 6,
        "points": [[200, 150, 1], [5, 5, 0]],
        "corrections": [{"frame": 9, "mask": "prompt/000009.png"}, {"frame": 3, "points": [[7, 7, 0]]}],
    }
    inputs["prompt.json"] = with_json(truth["prompt.json"], tmp_path, "prompt.json", asked)
    (tmp_path / "given/prompt").mkdir(parents=True)
    write_mask(tmp_path / "given/prompt/000009.png", masks[9])
    inputs["given"] = replace(inputs["given"], path=tmp_path / "given")
    config = STAGE.Config(method="sam2", sam2_weights=name, max_pixels=30_000)
    written = []
    for out in [tmp_path / "one", tmp_path / "two"][: 2 if name == "sam2-toy" else 1]:
        STAGE.check(inputs, config)
        report = STAGE.run(inputs, config, out, StageContext(threads=1))
        rows = read_table(out / "masks.parquet")
        assert (
            report.method == "sam2" and len(rows) == 16 and {r["status"] for r in rows} <= {"ok", "uncertain", "lost"}
        )
        assert (
            report.metrics["prompt_frame"] == 6 and rows[6]["area_px"] > 0 and report.metrics["frames_corrected"] == 2
        )
        corrected = read_mask(out / "masks/000009.png")
        assert (corrected & masks[9]).sum() > 0.9 * (corrected | masks[9]).sum()
        written.append([(out / "masks" / f"{k:06d}.png").read_bytes() for k in range(16)])
    assert written[0] == written[-1]


def held_bytes(value) -> int:
    """Of all tensors that can be reached from a value."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(held_bytes(v) for v in value.values()) + 64 * len(value)
    return sum(held_bytes(v) for v in value) if isinstance(value, (list, tuple)) else 0


@pytest.mark.parametrize("described", [sam2_toy.MODEL, sam2_toy.EDGE_MODEL], ids=["sam2", "edgetam"])
def test_memory_does_not_grow_with_the_video(toy_folder, described) -> None:
    """What the session holds after 24 frames is what it holds after 60, in both directions, with frames prompted again on the way."""
    from stages.masks.sam2.network import Sam2Network

    network = Sam2Network(sam2_toy.random_model(described=described), "cpu")
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 20:60] = True
    network.prompt(60, rgb, (), None, mask)
    for reverse in (False, True):
        held = {}
        for k in range(1, 61):
            position = 60 - k if reverse else 60 + k
            network.follow(position, rgb, reverse)
            if k % 6 == 0:
                network.correct(position, rgb, (), (1, 1, 60, 50), reverse, lambda answer: True)
            held[k] = held_bytes(vars(network._session)) + held_bytes(network._session.cache._vision_features)
        assert held[60] == held[24], held
        assert (
            network.frames_held <= 18
            and not network._session.processed_frames
            and not network._session.mask_inputs_per_obj[0]
        )
        network.turn_back()


def test_a_worse_answer_changes_nothing(toy_folder) -> None:
    from stages.masks.sam2.network import Sam2Network

    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    answers = []
    for tried in (False, True):
        network = Sam2Network(sam2_toy.random_model(), "cpu")
        network.prompt(0, rgb, ((40.0, 30.0, 1),), None)
        for k in range(1, 12):
            network.follow(k, rgb, False)
        if tried:
            assert network.correct(11, rgb, (), (1, 1, 9, 9), False, lambda answer: False) is None
        answers.append(network.follow(12, rgb, False).logits)
    np.testing.assert_allclose(*answers, atol=1e-5)


def all_prompts(network) -> list[np.ndarray]:
    """Logits of a video that uses every kind of prompt."""
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 20:60] = True
    answers = [
        network.prompt(2, rgb, ((40.0, 30.0, 1), (3.0, 3.0, 0)), (10, 10, 70, 50)),
        network.prompt(6, rgb, (), None, mask),
    ]
    answers += [network.follow(3, rgb, False), network.amend(4, rgb, ((50.0, 30.0, 0),), False)]
    network.turn_back()
    answers += [network.follow(1, rgb, True), network.correct(1, rgb, (), (5, 5, 70, 50), True, lambda answer: True)]
    return [a.logits for a in answers]


@pytest.mark.parametrize("described", [sam2_toy.MODEL, sam2_toy.EDGE_MODEL], ids=["sam2", "edgetam"])
def test_every_prompt_in_16_bit_numbers(toy_folder, described) -> None:
    """What runs on a GPU, on the CPU: no mixture of types, and nearly the same answers."""
    from stages.masks.sam2.network import Sam2Network

    exact, rough = (
        all_prompts(Sam2Network(sam2_toy.random_model(described=described), "cpu", kind))
        for kind in (None, torch.bfloat16)
    )
    for a, b in zip(exact, rough, strict=True):
        assert np.isfinite(b).all() and np.abs(a - b).mean() < 0.1 * max(1.0, a.std())


@pytest.mark.cuda
def test_every_prompt_on_a_gpu(toy_folder, cuda) -> None:
    from stages.masks.sam2.network import Sam2Network

    exact, there = (
        all_prompts(Sam2Network(sam2_toy.random_model(), "cpu")),
        all_prompts(Sam2Network(sam2_toy.random_model(), "cuda")),
    )
    for a, b in zip(exact, there, strict=True):
        assert np.isfinite(b).all() and np.abs(a - b).mean() < 0.1 * max(1.0, a.std())


def test_masks_and_later_points_become_prompted_frames(toy_folder) -> None:
    from stages.masks.sam2.network import Sam2Network

    network = Sam2Network(sam2_toy.random_model(), "cpu")
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 20:60] = True
    answer = network.prompt(4, rgb, (), None, mask)
    assert ((answer.logits > 0) == mask).mean() > 0.97 and answer.present > 0.99
    network.follow(5, rgb, False)
    network.amend(6, rgb, ((3.0, 3.0, 0),), False)
    assert sorted(network._outputs["cond_frame_outputs"]) == [4, 6] and sorted(
        network._outputs["non_cond_frame_outputs"]
    ) == [5]


@pytest.mark.parametrize("described", [sam2_toy.MODEL, sam2_toy.EDGE_MODEL], ids=["sam2", "edgetam"])
def test_a_smaller_square_takes_the_same_weights(toy_folder, described) -> None:
    from stages.masks.sam2.network import load_network

    name = f"{family_of(described, '')}-toy"
    network = load_network(toy_folder / f"{name}.safetensors", described, name, 64)
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    network.prompt(0, rgb, ((40.0, 30.0, 1),), None)
    assert network.follow(1, rgb, False).logits.shape == (60, 80) and network._size == 64


def test_prompts_are_in_pixels_of_the_networks_square(toy_folder) -> None:
    from stages.masks.sam2.network import Sam2Network

    network = Sam2Network(sam2_toy.random_model(), "cpu")
    network.prompt(0, np.zeros((64, 256, 3), np.uint8), ((10, 20, 0),), (0, 0, 255, 63))
    given = network._session.point_inputs_per_obj[0][0]
    np.testing.assert_allclose(given["point_coords"][0, 0], [[-0.25, 0.5], [127.25, 126.5], [4.75, 40.5]])
    assert given["point_labels"].tolist() == [[[2, 3, 0]]]


def test_weights_of_another_shape_are_refused(toy_folder) -> None:
    from stages.masks.sam2.network import load_network

    wider = {**sam2_toy.MODEL, "memory_fuser_num_layers": 3}
    with pytest.raises(WeightsError, match=r"lacks .* tensors"):
        load_network(toy_folder / "sam2-toy.safetensors", wider, "sam2-toy")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("sam2.1-tiny", 38.9),
        ("sam2.1-small", 46.0),
        ("sam2.1-base-plus", 80.8),
        ("sam2.1-large", 224.4),
        ("edgetam", 13.9),
    ],
)
def test_the_registry_describes_the_published_sizes(name: str, millions: float) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: SAM 2 is not tested")
    if name == "edgetam":
        pytest.importorskip("timm", reason="timm is not installed: EdgeTAM's own tower is not tested")
    from stages.core.weights import entry

    described = entry(name).model
    model_class, config_class = (getattr(transformers, n) for n in FAMILIES[family_of(described, name)])
    with torch.device("meta"):  # shapes only, no memory
        model = model_class(config_class(**resized_model(described, 0)))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_too_little_memory_is_said_or_the_square_made_smaller(truth, toy_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWIN_WEIGHTS", str(toy_folder))
    inputs = {k: truth[k] for k in STAGE.inputs}
    file_bytes = (toy_folder / "sam2-toy.safetensors").stat().st_size
    monkeypatch.setattr("stages.masks.sam2.method.cuda_or_cpu", lambda: "cpu")
    monkeypatch.setattr("stages.masks.sam2.method.free_gb", lambda device: 1.2 * memory_gb(file_bytes, 768))
    with pytest.raises(
        StageError, match=r"needs about .* GB of memory[\s\S]*masks\.sam2_size_px \(now 1024\)[\s\S]*masks\.memory=auto"
    ):
        STAGE.check(inputs, STAGE.Config(method="sam2", sam2_weights="sam2-toy", sam2_size_px=1024))
    assert fitting_size("sam2-toy", 0, "fixed") == (128, "")
    size_px, warning = fitting_size("sam2-toy", 1024, "auto")
    assert size_px == 768 and "run with masks.sam2_size_px=768 instead" in warning
    monkeypatch.setattr("stages.masks.sam2.method.free_gb", lambda device: 0.01)
    with pytest.raises(StageError, match="at the lowest settings"):
        fitting_size("sam2-toy", 1024, "auto")


def test_a_tower_that_is_not_installed_is_named(toy_folder) -> None:
    from stages.core.weights import entry
    from stages.masks.sam2.network import load_network

    if importlib.util.find_spec("timm") is not None:
        pytest.skip("timm is installed: EdgeTAM's tower can be built")
    with pytest.raises(StageError, match="pip install timm torchvision"):
        load_network(toy_folder / "edgetam-toy.safetensors", entry("edgetam").model, "edgetam")
