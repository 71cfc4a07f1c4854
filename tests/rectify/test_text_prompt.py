"""The object named in words: a real detector (small, random weights) through every part, and what is said without weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.records.request import Reconstruction
from flows.run.capture_look import look
from stages.base import StageContext, fingerprint_of, run_stage
from stages.core import text_prompt
from stages.core.capture import capture_ref
from stages.core.detected_box import Box
from stages.core.errors import CaptureError, WeightsError
from stages.core.store import Store
from stages.core.weight_files import add
from stages.rectify.stage import STAGE
from stages.rgbd.stage import STAGE as RGBD
from tests.rgbd.depth_capture import write_rgbd

MERGES = ("b a", "l l</w>", "ba ll</w>", "o f</w>")
SMALL = {
    "projection_dim": 16,
    "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                    "vocab_size": 512 + len(MERGES) + 2, "max_position_embeddings": 16},
    "vision_config": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 96,
                      "patch_size": 16},
}  # fmt: skip
TRANSFORMERS = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with model.safetensors and merges.txt as they are downloaded."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("downloads")
    torch.manual_seed(3)
    network = TRANSFORMERS.Owlv2ForObjectDetection(TRANSFORMERS.Owlv2Config(**SMALL))
    save_file({k: v.clone().contiguous() for k, v in network.state_dict().items()}, folder / "owl.safetensors")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return folder


@pytest.fixture
def weights(files, tmp_path, monkeypatch) -> Path:
    """A weights folder in which both are in place, the network under the registry's name with its own shape."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("TWIN_WEIGHTS", str(folder))
    entry = {"title": "small", "download": "owl.safetensors", "page": "https://example.org", "licence": "Apache-2.0", "commercial": True,
             "note": "test", "model": SMALL}  # fmt: skip
    (folder / "registry.yaml").write_text(json.dumps({"owlv2-base": entry}))
    for name in ("owl.safetensors", "merges.txt"):
        add(files / name, accept_unverified=True)
    return folder


@pytest.fixture
def capture(synthetic_capture, tmp_path) -> Path:
    """Six pairs of the built-in capture, with words for a prompt."""
    folder = tmp_path / "capture"
    for side in ("left", "right"):
        (folder / side).mkdir(parents=True)
        for k in range(6):
            shutil.copyfile(synthetic_capture / side / f"{side}{k:06d}.jpg", folder / side / f"{side}{k:06d}.jpg")
    shutil.copyfile(synthetic_capture / "calibration.json", folder / "calibration.json")
    (folder / "prompt.json").write_text(json.dumps({"frame": 2, "text": "ball"}))
    return folder


def test_words_become_a_box_before_anything_else(weights, capture, tmp_path):
    config = STAGE.Config(text="ball")
    result = run_stage(
        STAGE, {"capture": capture_ref(capture)}, config, Store(tmp_path / "store"), StageContext(threads=1)
    )
    report, out = result.manifest["report"], result.refs["prompt.json"].path.parent
    prompt = json.loads((out / "prompt.json").read_text())
    picture = cv2.cvtColor(cv2.imread(str(capture / "left/left000002.jpg")), cv2.COLOR_BGR2RGB)
    _, box, _ = text_prompt.with_box({"frame": 2, "text": "ball"}, picture, text_prompt.load_detector())
    assert prompt["frame"] == 2 and "text" not in prompt and np.allclose(prompt["box_xyxy"], box.xyxy, atol=1.5)
    assert (
        "'ball' is taken to be in x " in report["metrics"]["object_by_words"] and (out / text_prompt.PICTURE).is_file()
    )
    assert any(path == text_prompt.PICTURE and "frame 2" in caption for caption, path in report["pictures"])
    found = look(Reconstruction(capture=str(capture), out=str(tmp_path / "twin")))
    assert any("'ball' is taken to be in x " in line for line in found.lines()) and found.refused is None


def test_a_depth_cameras_capture_takes_words_too(weights, synthetic_capture, tmp_path):
    folder = write_rgbd(synthetic_capture, tmp_path / "thing", frames=3)
    (folder / "prompt.json").unlink()
    result = run_stage(
        RGBD,
        {"capture": capture_ref(folder)},
        RGBD.Config(text="ball"),
        Store(tmp_path / "store"),
        StageContext(threads=1),
    )
    prompt = json.loads(result.refs["prompt.json"].path.read_text())
    assert prompt["frame"] == 0 and len(prompt["box_xyxy"]) == 4
    assert any(path == text_prompt.PICTURE for _, path in result.manifest["report"]["pictures"])
    request = Reconstruction(capture=str(folder), out=str(tmp_path / "twin"), settings=("rgbd.text=ball",))
    assert any("'ball' is taken to be in x " in line for line in look(request).lines())


def test_weights_decide_the_result_and_a_run_asks_for_them_before_work(weights, capture, monkeypatch, tmp_path):
    request = Reconstruction(capture=str(capture), out=str(tmp_path / "twin"))
    assert request.overrides() == ('rectify.text="ball"',)
    inputs, config = {"capture": capture_ref(capture)}, STAGE.Config(text="ball")
    with_these = fingerprint_of(STAGE, inputs, config)
    assert STAGE.needs_weights(config) == ("owlv2-base", "clip-merges") and STAGE.needs_weights(STAGE.Config()) == ()
    assert with_these != fingerprint_of(STAGE, inputs, STAGE.Config(text="red ball"))
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match="owlv2-base are not on this machine") as e:
        STAGE.check(inputs, STAGE.Config())  # the words of prompt.json alone
    assert "twin weights fetch owlv2-base" in e.value.advice
    refused = look(request, pictures=False).refused
    assert refused is not None and "owlv2-base" in refused[0]


def test_boxes_are_those_of_the_librarys_own_reading(weights):
    """Its post-processing on the same output; the picture is not square, so it was filled up below."""
    import torch

    detect, picture = (
        text_prompt.load_detector(),
        np.random.default_rng(0).integers(0, 255, (60, 150, 3), dtype=np.uint8),
    )
    mine = detect(picture, "ball")
    text = detect._tokenizer(["a photo of a ball"], padding="max_length", max_length=16, return_tensors="pt")
    pixels = detect._prepare(images=picture, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        output = detect._network(
            input_ids=text["input_ids"], attention_mask=text["attention_mask"], pixel_values=pixels
        )
    theirs = detect._prepare.post_process_object_detection(output, threshold=0.0, target_sizes=[(60, 150)])[0]
    best = int(theirs["scores"].argmax())
    assert len(mine) == 20 and mine[0].score == pytest.approx(float(theirs["scores"][best]), abs=1e-5)
    assert np.allclose(np.array(mine[0].xyxy) + 0.5, theirs["boxes"][best].numpy(), atol=0.02)


def test_words_are_cut_as_clip_does(files):
    from stages.core.owl_detector import tokenizer_of

    tokenizer = tokenizer_of(files / "merges.txt")
    start, end = 512 + len(MERGES), 513 + len(MERGES)
    assert tokenizer(["Ball"])["input_ids"][0] == [start, 514, end], (
        "three merges make one word of it, in small letters"
    )
    assert tokenizer(["of"])["input_ids"][0] == [start, 515, end]
    assert tokenizer(["of"], padding="max_length", max_length=5)["input_ids"][0][3:] == [0, 0]


def test_what_the_detector_says_is_weighed():
    picture = np.zeros((100, 200, 3), np.uint8)
    prompt = {"frame": 0, "text": "cup", "corrections": [{"frame": 3, "points": [[1, 2, 0]]}]}
    found, box, warning = text_prompt.with_box(
        prompt, picture, lambda *_: [Box(0.2, (-5, 10, 50, 120)), Box(0.1, (100, 0, 150, 50))]
    )
    assert (
        found == {"frame": 0, "box_xyxy": [0, 10, 50, 99], "corrections": prompt["corrections"]}
        and box.score == 0.2
        and not warning
    )
    _, _, warning = text_prompt.with_box(
        prompt, picture, lambda *_: [Box(0.2, (0, 10, 50, 90)), Box(0.19, (100, 0, 150, 50))]
    )
    assert "two things look like 'cup'" in warning and "x 100 to 150" in warning
    _, _, warning = text_prompt.with_box(
        prompt, picture, lambda *_: [Box(0.2, (0, 10, 50, 90)), Box(0.19, (2, 12, 50, 90))]
    )
    assert not warning, "the same thing twice"
    for nothing in ([], [Box(0.05, (0, 0, 50, 50))]):
        with pytest.raises(CaptureError, match="no 'cup' is found in the left picture of frame 0"):
            text_prompt.with_box(prompt, picture, lambda *_, found=nothing: found)


@pytest.mark.parametrize("prompt", [{"text": ""}, {"text": 3}, {"text": "x" * 300}, {"text": "a", "box_xyxy": [0, 0, 50, 50]},
                                    {"text": "a", "points": [[1, 1, 1]]}, {"text": "a", "mask": "m.png"}])  # fmt: skip
def test_words_that_say_nothing_or_something_twice_are_refused(capture, prompt):
    (capture / "prompt.json").write_text(json.dumps(prompt))
    with pytest.raises(CaptureError, match=r"prompt.json cannot be understood: .*text"):
        STAGE.check({"capture": capture_ref(capture)}, STAGE.Config())
