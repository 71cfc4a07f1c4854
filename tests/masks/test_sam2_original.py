"""SAM 2's weights under the names of its authors' package are the network that transformers has of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.weight_files import add
from stages.core.weights import entry, find
from stages.masks.sam2.model import resized_model
from stages.masks.sam2.original import for_transformers, is_original
from tests.masks import sam2_toy

transformers = pytest.importorskip("transformers", reason="transformers is not installed: SAM 2 is not tested")
NAMES = Path(__file__).with_name("sam2_original_names.txt")


def original_tiny() -> dict[str, torch.Tensor]:
    """What `sam2.1_hiera_tiny.pt` holds, without its values."""
    rows = [line.split() for line in NAMES.read_text().splitlines() if not line.startswith("#")]
    return {name: torch.empty(tuple(map(int, shape.split(","))), device="meta") for name, shape in rows}


def as_the_authors_name(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of transformers' class under the authors' names, told by where each of theirs goes."""
    names = [n for n in original_tiny() if "point_embeddings" not in n and "gaussian" not in n]
    # the toy's stages begin at other blocks, whose shortcut the tiny network's blocks lack
    names += [f"image_encoder.trunk.blocks.{k}.proj.{kind}" for k in (2, 4) for kind in ("weight", "bias")]
    marked = {name: torch.tensor(float(k)) for k, name in enumerate(names)}
    marked |= {f"sam_prompt_encoder.point_embeddings.{i}.weight": torch.full((1, 2), -1.0) for i in range(4)}
    marked["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = torch.tensor(-1.0)
    theirs = {name: names[int(v)] for name, v in for_transformers(marked).items() if v.ndim == 0 and v >= 0}
    out = {theirs[name]: value for name, value in state.items() if name in theirs}
    points = state["prompt_encoder.point_embed.weight"]
    out |= {f"sam_prompt_encoder.point_embeddings.{i}.weight": points[i : i + 1] for i in range(4)}
    out["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = state[
        "shared_image_embedding.positional_embedding"
    ]
    return out


def test_every_tensor_of_the_published_file_finds_its_place():
    model = resized_model(entry("sam2.1-tiny-original").model, 0)
    with torch.device("meta"):
        wanted = transformers.Sam2VideoModel(transformers.Sam2VideoConfig(**model)).state_dict()
    found = for_transformers(original_tiny())
    assert is_original(original_tiny()) and not is_original(wanted)
    assert {n: v.shape for n, v in found.items()} == {n: v.shape for n, v in wanted.items()}


def test_what_lies_in_one_table_keeps_its_order():
    state = {f"sam_prompt_encoder.point_embeddings.{i}.weight": torch.full((1, 3), float(i)) for i in (2, 0, 3, 1)}
    state["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = torch.arange(4.0).reshape(2, 2)
    state["sam_mask_decoder.iou_prediction_head.layers.0.bias"] = torch.tensor([10.0])
    state["sam_mask_decoder.iou_prediction_head.layers.1.bias"] = torch.tensor([11.0])
    state["sam_mask_decoder.iou_prediction_head.layers.2.bias"] = torch.tensor([12.0])
    found = for_transformers(state)
    assert found["prompt_encoder.point_embed.weight"][:, 0].tolist() == [0, 1, 2, 3]
    head = "mask_decoder.iou_prediction_head"
    assert [float(found[f"{head}.{n}.bias"]) for n in ("proj_in", "layers.0", "proj_out")] == [10, 11, 12]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A weights folder whose registry knows sam2-toy."""
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    sam2_toy.write(tmp_path / "weights")
    return tmp_path / "weights"


def test_the_authors_checkpoint_is_added_and_follows_the_object_as_the_other_does(folder, tmp_path):
    """A .pt as it is published, through `twin weights add`, then the same answers."""
    from stages.masks.sam2.network import load_network

    state = load_file(str(folder / "sam2-toy.safetensors"))
    # one matrix in the trained networks, in random ones two
    state["prompt_encoder.shared_embedding.positional_embedding"] = state[
        "shared_image_embedding.positional_embedding"
    ].clone()
    save_file(state, str(folder / "sam2-toy.safetensors"))
    given = as_the_authors_name(state)
    published = tmp_path / "sam2_toy.pt"
    torch.save({"model": given}, published)
    known = json.loads((folder / "registry.yaml").read_text())
    known["sam2-toy-original"] = {
        **known["sam2-toy"],
        "download": published.name,
        "file": "toy_original.safetensors",
        "sha256": None,
    }
    (folder / "registry.yaml").write_text(json.dumps(known))
    add(published, accept_unverified=True)
    rgb = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    answers = []
    for name in ("sam2-toy", "sam2-toy-original"):
        network = load_network(find(entry(name)).path, entry(name).model, name)
        answers.append(
            (network.prompt(0, rgb, [(60.0, 40.0, 1)], None).logits, network.follow(1, rgb[::-1].copy(), False).logits)
        )
    assert np.ptp(answers[0][0]) > 1e-4
    for one, other in zip(*answers, strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-6)
