"""depth.method=onnx, all of it, with a tiny network made here that really matches; and what it says when it cannot run."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the ONNX adapter is not tested")
pytest.importorskip("onnx", reason="onnx is not installed: the ONNX adapter is not tested")

from stages.base import StageContext, fingerprint_of
from stages.core.config import resolve
from stages.core.errors import ConfigError, StageError, WeightsError
from stages.core.images import read_disparity, read_mask, read_sigma
from stages.depth.config import DepthConfig
from stages.depth.onnx_contract import contract
from stages.depth.onnx_memory import fitting
from stages.depth.onnx_stereo import OnnxStereo, band_rows, bands, judge
from stages.depth.stage import STAGE
from tests.depth import block_matcher
from tests.depth.test_stage import _copy

CONFIG = DepthConfig(method="onnx", onnx_weights="toy", onnx_megapixels=0.12, onnx_band_megapixels=0.12)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return block_matcher.write(tmp_path_factory.mktemp("onnx") / "toy.onnx", disparities=112)


@pytest.fixture
def folder(tmp_path, monkeypatch, network) -> Path:
    """A weights folder with the toy network in its registry."""
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/toy.onnx").symlink_to(network)
    register(tmp_path / "weights", network)
    return tmp_path / "weights"


def register(folder: Path, network: Path, **model) -> None:
    entry = {
        "title": "block matcher",
        "page": "https://example.org",
        "licence": "Apache-2.0",
        "commercial": True,
        "download": "toy.onnx",
        "sha256": hashlib.sha256(network.read_bytes()).hexdigest(),
        "libraries": ["onnxruntime"],
        "model": {**block_matcher.MODEL, **model},
    }
    (folder / "registry.yaml").write_text(json.dumps({"toy": entry}))


def scores(out: Path, capture: Path) -> tuple[float, float, float]:
    """(share of the object's pixels found, median error px, share of errors below 2 sigma) of frame 0."""
    found, sigma = read_disparity(out / "disparity/000000.png"), read_sigma(out / "disparity/sigma/000000.png")
    inside = read_mask(capture / "gt/masks/000000.png")
    error = np.abs(found - read_disparity(capture / "gt/disparity/000000.png"))
    good = inside & np.isfinite(error)
    return good.sum() / inside.sum(), float(np.median(error[good])), float(np.mean(error[good] < 2 * sigma[good]))


def test_measures_the_built_in_capture(truth, synthetic_capture, folder, tmp_path) -> None:
    inputs = _copy(truth, tmp_path / "in", 1)
    STAGE.check(inputs, CONFIG)
    report = STAGE.run(inputs, CONFIG, tmp_path / "out", StageContext(threads=1))
    share, error, covered = scores(tmp_path / "out", synthetic_capture)
    assert report.method == "onnx" and "toy" in report.reason
    assert share > 0.55 and error < 0.45 and covered > 0.6


def test_reduced_and_in_bands_it_still_measures(truth, synthetic_capture, folder, tmp_path) -> None:
    inputs = _copy(truth, tmp_path / "in", 1)
    config = DepthConfig(method="onnx", onnx_weights="toy", onnx_megapixels=0.05, onnx_band_megapixels=0.03)
    STAGE.run(inputs, config, tmp_path / "out", StageContext(threads=1))
    share, error, _ = scores(tmp_path / "out", synthetic_capture)
    assert share > 0.5 and error < 0.7


def test_an_export_for_one_size_gets_pictures_of_it(truth, synthetic_capture, folder, tmp_path) -> None:
    fixed = block_matcher.write(tmp_path / "fixed.onnx", 76, size=(128, 256))
    (folder / "toy.onnx").unlink()
    (folder / "toy.onnx").symlink_to(fixed)
    register(folder, fixed)
    inputs = _copy(truth, tmp_path / "in", 1)
    STAGE.run(inputs, CONFIG, tmp_path / "out", StageContext(threads=1))
    share, error, _ = scores(tmp_path / "out", synthetic_capture)
    assert share > 0.5 and error < 0.7


def test_colour_order_range_and_padding_are_the_contracts() -> None:
    seen = []

    def network(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        seen.append(left)
        return np.full(left.shape[2:], 3, np.float32)

    model = {"inputs": ["a", "b"], "output": "c", "colour": "bgr", "mean": [1, 2, 3], "std": [2, 2, 2], "multiple": 16}
    matcher = OnnxStereo(network, contract("toy", model), None, 1.0, 1.0, 1.0, 0.1)
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[..., 0] = 101
    found = matcher(picture, picture)
    assert seen[0].shape == (1, 3, 32, 48) and seen[0].dtype == np.float32
    np.testing.assert_array_equal(seen[0][0, :, 31, 47], [-1.5, -1.0, 50.0])  # b, g, r; the edge repeated
    assert found.disparity_px.shape == (20, 40) and np.isnan(found.disparity_px[:, :3]).all()
    np.testing.assert_allclose(found.disparity_px[:, 3:], 3)


def test_bands_cover_the_picture_and_share_rows() -> None:
    for height, rows in ((300, 128), (129, 128), (128, 128), (50, 128), (1000, 160)):
        found = list(bands(height, rows))
        assert found[0][0] == 0 and found[-1][1] == height
        assert all(b[1] - b[0] <= rows for b in found)
        assert all(before[1] - after[0] >= min(64, rows // 2) for before, after in itertools.pairwise(found))
    assert band_rows(1000, 0.3, 32) == 288 and band_rows(1000, 0.01, 32) == 128


def test_sigma_is_the_spread_of_two_independent_estimates() -> None:
    rng = np.random.default_rng(0)
    left, right = (np.float32(10) + rng.normal(0, 0.2, (200, 300)).astype(np.float32) for _ in range(2))
    found = judge(left, right, tolerance_px=2.0, floor_px=0.05)
    inner = found.sigma_px[20:-20, 40:-20]
    assert np.nanmedian(inner) == pytest.approx(np.hypot(0.2, 0.05), rel=0.15)
    wrong = left.copy()
    wrong[80:120, 100:140] += 5
    assert np.isnan(judge(wrong, right, 2.0, 0.05).disparity_px[80:120, 100:140]).all()


def test_missing_and_wrong_weights_say_what_to_do(truth, folder, tmp_path, network) -> None:
    inputs = _copy(truth, tmp_path / "in", 1)
    with pytest.raises(WeightsError, match="twin weights fetch c-fast-foundationstereo"):
        STAGE.check(inputs, DepthConfig(method="onnx"))
    (folder / "toy.onnx").unlink()
    (folder / "toy.onnx").write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"sha256 expected .* found"):
        STAGE.check(inputs, CONFIG)


def test_what_the_file_and_its_entry_disagree_about_is_named(truth, folder, tmp_path, network) -> None:
    inputs = _copy(truth, tmp_path / "in", 1)
    register(folder, network, inputs=["left", "right"])
    with pytest.raises(WeightsError, match="has inputs left_image, right_image"):
        STAGE.run(inputs, CONFIG, tmp_path / "out", StageContext(threads=1))
    register(folder, network, color="rgb")
    with pytest.raises(WeightsError, match="unknown keys color"):
        STAGE.check(inputs, CONFIG)


def test_too_little_memory_names_the_setting(truth, folder, tmp_path, network) -> None:
    register(folder, network, gigabytes_per_megapixel=1e6)
    with pytest.raises(StageError, match=r"needs about \d+.* GB of memory[\s\S]*depth\.onnx_band_megapixels"):
        STAGE.check(_copy(truth, tmp_path / "in", 1), CONFIG)


def test_too_little_memory_lowers_the_bands_then_the_size(
    truth, synthetic_capture, folder, tmp_path, network, monkeypatch
) -> None:
    register(folder, network, gigabytes_per_megapixel=10.0)
    whole = DepthConfig(method="onnx", onnx_weights="toy", onnx_megapixels=0.8, onnx_band_megapixels=0.8, memory="auto")
    free = {"GB": 100.0}
    monkeypatch.setattr("stages.depth.onnx_memory.free_gb", lambda device: free["GB"])
    assert fitting(whole) == (whole, "")
    free["GB"] = 5.0
    lowered, warning = fitting(whole)
    assert lowered.onnx_band_megapixels == 0.4 and lowered.onnx_megapixels == 0.8
    assert "needs about 8.0 GB of memory, 5.0 GB are free: run with depth.onnx_band_megapixels=0.4" in warning
    with pytest.raises(StageError, match=r"depth\.memory=auto, which lowers it by itself"):
        fitting(replace(whole, memory="fixed"))
    free["GB"] = 0.1
    with pytest.raises(StageError, match="at the lowest settings"):
        fitting(whole)
    free["GB"] = 1.5  # the built-in capture is smaller than a band, so nothing is lost
    report = STAGE.run(_copy(truth, tmp_path / "in", 1), whole, tmp_path / "out", StageContext(threads=1))
    assert "depth.onnx_band_megapixels=0.1" in report.warnings[0]
    share, error, _ = scores(tmp_path / "out", synthetic_capture)
    assert share > 0.5 and error < 0.7


def test_a_pair_with_larger_disparities_than_the_network_finds_is_reduced(
    truth, synthetic_capture, folder, tmp_path
) -> None:
    """A matcher of 48 disparities on a capture whose object lies at 70 px and more: useless at full size, good at the size chosen."""
    small = block_matcher.write(tmp_path / "small.onnx", 48)
    (folder / "toy.onnx").unlink()
    (folder / "toy.onnx").symlink_to(small)
    inputs, shares = _copy(truth, tmp_path / "in", 1), []
    for reach in (0, 48):
        register(folder, small, max_disparity_px=reach)
        STAGE.run(inputs, CONFIG, tmp_path / f"out{reach}", StageContext(threads=1))
        shares.append(scores(tmp_path / f"out{reach}", synthetic_capture)[:2])
    assert shares[1][0] > 0.5 and shares[1][1] < 1.0 and (shares[0][1] > 3 * shares[1][1] or shares[0][0] < 0.2)


def test_plan_follows_what_the_network_reaches() -> None:
    expects = contract("toy", {"inputs": ["a", "b"], "output": "c", "max_disparity_px": 192, "best_width_px": 1000})
    matcher = OnnxStereo(lambda left, right: left, expects, None, 4.0, 4.0, 1.0, 0.1)
    assert matcher.plan(720, 1280, 100.0).scale == pytest.approx(1000 / 1280) and matcher.plan(
        720, 1280, 320.0
    ).scale == pytest.approx(0.6)
    fixed = OnnxStereo(lambda left, right: left, expects, (480, 736), 4.0, 4.0, 1.0, 0.1)
    assert fixed.plan(720, 1280, 100.0).scale == pytest.approx(736 / 1280) and fixed.plan(
        720, 1280, 640.0
    ).scale == pytest.approx(0.3)


def test_a_provider_that_cannot_be_loaded_is_not_replaced_in_silence(network, monkeypatch) -> None:
    import onnxruntime as ort

    from stages.depth.onnx_session import OnnxSession, pick_provider

    expects = contract("toy", block_matcher.MODEL)
    assert OnnxSession(network, expects, "cpu", 1).device == "CPU"
    with pytest.raises(StageError, match=r"cannot use tensorrt; it has cpu[\s\S]*onnxruntime-gpu"):
        pick_provider("tensorrt")
    # built with CUDA, but its libraries are not there: the session comes up on the CPU
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    real = ort.InferenceSession
    monkeypatch.setattr(
        ort,
        "InferenceSession",
        lambda path, options, providers: real(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(StageError, match=r"cannot load cuda: it would run on CPU[\s\S]*depth\.onnx_provider=cpu"):
        OnnxSession(network, expects, "auto", 1)


def test_weights_and_their_feeding_are_part_of_the_fingerprint(truth, folder, network) -> None:
    before = fingerprint_of(STAGE, truth, CONFIG)
    register(folder, network, std=[50, 50, 50])
    assert fingerprint_of(STAGE, truth, CONFIG) != before
    assert STAGE.weights_used(DepthConfig()) == {} and STAGE.needs_weights(CONFIG) == ("toy",)


def test_settings_of_the_network_have_no_effect_on_the_default() -> None:
    with pytest.raises(ConfigError, match=r"no effect with depth\.method=sgm"):
        resolve({"depth": DepthConfig}, overrides=["depth.method=sgm", "depth.onnx_megapixels=0.5"])
