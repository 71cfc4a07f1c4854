"""depth.cost=mc_cnn: the volume against its slow twin, the whole stage with random features, and the trained file where it lies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.base import StageContext
from stages.core.errors import WeightsError
from stages.core.images import read_disparity, read_mask
from stages.core.weight_files import add
from stages.depth.census import BORDER_COST
from stages.depth.config import DepthConfig
from stages.depth.learned_cost import LAYERS, LearnedCost, cosine_volume
from stages.depth.methods import METHODS
from stages.depth.stage import STAGE
from tests.depth.test_stage import _copy

CONFIG = DepthConfig(method="sgm", cost="mc_cnn")


def write(path: Path) -> Path:
    """A file of the right shapes with random weights: its features are no good ones, but they match what is alike."""
    torch.manual_seed(0)
    sizes = [(64, 1 if k == 0 else 64, 3, 3) for k in range(5)]
    tensors = {f"{layer}.weight": torch.randn(s) / (9 * s[1]) ** 0.5 for layer, s in zip(LAYERS, sizes, strict=True)}
    save_file(tensors | {f"{layer}.bias": 0.1 * torch.randn(64) for layer in LAYERS}, str(path))
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A weights folder in which mc-cnn-fast is the random file."""
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    file = write(tmp_path / "weights/random.safetensors")
    entry = {
        "title": "random",
        "page": "https://example.org",
        "licence": "Apache-2.0",
        "commercial": True,
        "download": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    (tmp_path / "weights/registry.yaml").write_text(json.dumps({"mc-cnn-fast": entry}))
    return tmp_path / "weights"


@pytest.mark.parametrize("first", [0, 3])
def test_volume_against_its_slow_twin(first) -> None:
    rng = np.random.default_rng(first)
    left, right = rng.normal(size=(2, 20, 150, 8)).astype(np.float32)
    left, right = (f / np.linalg.norm(f, axis=-1, keepdims=True) for f in (left, right))
    found = cosine_volume(left, right, first, 11, 30.0)
    for y, x, k in [(0, 0, 0), (5, 2, 4), (19, 149, 10), (7, 127, 3), (7, 128, 3), (16, 130, 9), (3, 9, 10)]:
        match = x - first - k
        wanted = BORDER_COST if match < 0 else 30 * (1 - float(left[y, x] @ right[y, match]))
        assert found[y, x, k] == pytest.approx(wanted, abs=1)


def test_features_move_with_the_picture(folder) -> None:
    cost = LearnedCost(folder / "random.safetensors")
    picture = np.random.default_rng(0).uniform(0, 255, (40, 60)).astype(np.float32)
    whole = cost.features(picture)
    assert whole.shape == (40, 60, 64) and np.allclose(np.linalg.norm(whole, axis=-1), 1, atol=1e-5)
    moved = cost.features(np.roll(picture, 7, axis=1))  # the same mean and contrast
    np.testing.assert_allclose(moved[6:-6, 13:-6], whole[6:-6, 6:-13], atol=1e-4)


@pytest.mark.slow
def test_the_whole_stage(truth, folder, tmp_path) -> None:
    inputs = _copy(truth, tmp_path / "in", 1)
    assert STAGE.needs_weights(CONFIG) == ("mc-cnn-fast",) and STAGE.weights_used(CONFIG)
    assert (
        STAGE.needs_weights(DepthConfig(cost="mc_cnn")) == ("mc-cnn-fast",) and STAGE.needs_weights(DepthConfig()) == ()
    )
    STAGE.check(inputs, CONFIG)
    STAGE.run(inputs, CONFIG, tmp_path / "out", StageContext(threads=1))
    found, true = (read_disparity(p / "000000.png") for p in (tmp_path / "out/disparity", truth["disparity"].path))
    error = np.abs(found - true)[read_mask(truth["masks"].path / "000000.png")]
    assert np.isfinite(error).mean() > 0.8 and np.nanmedian(error) < 0.3


def test_what_is_missing_or_wrong_is_said(truth, folder, tmp_path) -> None:
    (folder / "registry.yaml").unlink()
    with pytest.raises(WeightsError, match=r"mc_cnn_fast_mb_weights\.pt[\s\S]*twin weights add"):
        STAGE.check(_copy(truth, tmp_path / "in", 1), CONFIG)
    save_file({"x": torch.zeros(1)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(WeightsError, match=r"not MC-CNN-fast: it lacks conv_blocks\.0\.weight"):
        LearnedCost(tmp_path / "other.safetensors")


@pytest.mark.shared
def test_trained_features_make_fewer_errors_on_a_real_pair(shared_dir, tmp_path, monkeypatch) -> None:
    from tools.bench_stereo import real, score

    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path))
    add(shared_dir / "weights/mc_cnn_fast_mb_weights.pt")
    case = real(shared_dir, "cones")
    wrong = {}
    for cost in ("census", "mc_cnn"):
        made = METHODS["sgm"].matcher(DepthConfig(cost=cost), 1)(case.left, case.right)
        wrong[cost] = score(case, made.disparity_px, made.sigma_px)["bad2_all"]
    assert wrong["mc_cnn"] < 0.95 * wrong["census"] < 0.08
