"""Training the stereo network: scenes are true and repeatable, the net learns, a resumed run is the same run, the export is the network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stages.depth.stereo_net.network import StereoNet, correlate, look_up, peak_expectation, upsample, warped_similarity
from tools.stereo_training.export import calibrate, write_onnx
from tools.stereo_training.pool import Pool, Scene, Sizes, make_scene, resized_disparity, training_pair
from tools.stereo_training.scenes import SceneMaker
from tools.stereo_training.textures import KINDS
from tools.stereo_training.trainer import Learner, Plan, held_back_batches, scene_maker, schedule, write_weights

SIZES = Sizes(height=64, width=128, levels=32)
"""Not 16 levels: on a volume two deep torch 2.13's 3D convolution in bfloat16 reads memory that nobody wrote on its way back (CPU)."""


@pytest.fixture(scope="module")
def maker() -> SceneMaker:
    torch.set_num_threads(1)
    return scene_maker(len(KINDS), 0, "cpu")


@pytest.fixture(scope="module")
def scene(maker: SceneMaker) -> Scene:
    return make_scene(maker, 4)


def test_a_seed_gives_the_same_scene(maker: SceneMaker, scene: Scene) -> None:
    again, other = make_scene(maker, 4), make_scene(maker, 6)
    assert (again.left == scene.left).all() and (again.disparity[0] == scene.disparity[0]).all()
    assert (other.left != scene.left).any()


def test_both_eyes_see_the_same_surfaces(maker: SceneMaker) -> None:
    """The left disparity takes the right picture to the left one, and the right disparity back, wherever a pixel counts as seen by both."""
    for seed in (4, 6, 8):
        s = make_scene(maker, seed)
        for eye, sign in ((0, -1), (1, 1)):
            own, other = (s.left, s.right) if eye == 0 else (s.right, s.left)
            difference = np.abs(_moved(other, sign * s.disparity[eye]).astype(float) - own).max(-1)[s.visible[eye]]
            assert np.median(difference) < 8 and s.visible[eye].mean() > 0.5
            there = _moved(s.disparity[1 - eye], sign * s.disparity[eye])[s.visible[eye]]
            assert np.mean(np.abs(there - s.disparity[eye][s.visible[eye]]) < 1.5) > 0.95


def _moved(image: np.ndarray, step: np.ndarray) -> np.ndarray:
    x = np.arange(step.shape[1], dtype=np.float32)[None] + step
    y = np.repeat(np.arange(step.shape[0], dtype=np.float32)[:, None], step.shape[1], 1)
    return cv2.remap(image, x.astype(np.float32), y, cv2.INTER_LINEAR)


def test_a_training_pair_keeps_the_truth_true(scene: Scene) -> None:
    """Cut, resized, shifted, flipped and mirrored: the disparity still takes one picture to the other."""
    for k in range(6):
        rng = np.random.default_rng(k)
        left, right, d, seen = training_pair(scene, Sizes(), rng)
        assert left.shape == (192, 320, 3) and d.shape == seen.shape == (192, 320)
        grey = [
            cv2.GaussianBlur(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), (0, 0), 1.5).astype(np.float32) for i in (left, right)
        ]
        inside = seen & (d >= 0)
        here, there = grey[0][inside], _moved(grey[1], -d)[inside]
        if here.std() > 12:
            assert np.corrcoef(here, there)[0, 1] > 0.9


def test_disparity_keeps_its_edges_when_resized() -> None:
    d = np.where(np.arange(40)[None] < 20, 10.0, 50.0).astype(np.float32).repeat(40, 0)
    out = resized_disparity(d, (57, 57))
    assert set(np.unique(out)) == {10.0, 50.0}


def test_what_a_step_gets_depends_on_seed_rank_and_step_only(maker: SceneMaker) -> None:
    a, b = (Pool(maker, 1, 0, SIZES, first=2, renew_every=1) for _ in range(2))
    for step in range(3):
        last = a.batch(2, step)
    straight = b.batch(2, 2)
    assert torch.equal(last.left, straight.left) and torch.equal(last.disparity, straight.disparity)
    other = Pool(maker, 1, 1, SIZES, first=2).batch(2, 2)
    assert not torch.equal(other.left, straight.left)


def test_correlation_and_look_up_against_loops() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 16, 3, 20)
    volume = correlate(a, b, 8)
    unit = [torch.nn.functional.normalize(x.view(1, 4, 4, 3, 20), dim=2) for x in (a, b)]
    for d in range(8):
        expected = torch.zeros(1, 4, 3, 20)
        expected[..., d:] = (unit[0][..., d:] * unit[1][..., : 20 - d]).sum(2)
        assert torch.allclose(volume[:, :, d], expected, atol=1e-5)
    table = volume.permute(0, 3, 4, 1, 2)
    found = look_up(table, torch.full((1, 1, 3, 20), 3.25)).view(1, 4, 9, 3, 20)
    assert torch.allclose(found[:, :, 4], 0.75 * volume[:, :, 3] + 0.25 * volume[:, :, 4], atol=1e-5)
    assert torch.allclose(found[:, :, 5], 0.75 * volume[:, :, 4] + 0.25 * volume[:, :, 5], atol=1e-5)


def test_warped_similarity_peaks_at_the_true_shift() -> None:
    torch.manual_seed(0)
    right = torch.nn.functional.normalize(torch.randn(1, 16, 4, 40), dim=1)
    left = torch.roll(right, 6, 3)
    cost = warped_similarity(left, right, torch.full((1, 1, 4, 40), 6.0))[..., 10:]
    assert cost.shape[1] == 5 and torch.allclose(cost[:, 2], torch.ones(1, 4, 30), atol=1e-5)
    one_more = warped_similarity(left, right, torch.full((1, 1, 4, 40), 5.0))[..., 10:]
    assert (one_more.argmax(1) == 3).all(), "offset +1 on a disparity that is 1 too small"


def test_peak_and_upsampling() -> None:
    logits = torch.full((1, 8, 1, 1), -20.0)
    logits[0, 2], logits[0, 3], logits[0, 7] = 4.0, 4.0, 3.0
    value, share = peak_expectation(logits)
    assert abs(float(value) - 2.5) < 1e-3 and 0.5 < float(share) < 1
    flat = upsample(torch.full((1, 1, 3, 4), 7.0), torch.randn(1, 36, 3, 4))
    assert flat.shape == (1, 1, 6, 8) and torch.allclose(flat, torch.full_like(flat, 7.0))


def test_a_few_steps_learn_and_a_resumed_run_is_the_same_run(maker: SceneMaker, tmp_path: Path) -> None:
    batch = Pool(maker, 0, 0, SIZES, first=2).batch(2, 0)
    straight = Learner(Plan(tmp_path, steps=12, batch=2, sizes=SIZES))
    first = _losses(straight, batch, 6)
    straight.save()
    resumed = Learner(straight.plan)
    assert (resumed.step, resumed.progress) == (6, 0.5)
    for name in ("net", "average"):
        for a, b in zip(
            getattr(straight, name).state_dict().values(), getattr(resumed, name).state_dict().values(), strict=True
        ):
            assert torch.equal(a, b)
    # sums of vector lanes depend on where memory happens to lie, so later steps drift apart by rounding
    after, again = _losses(straight, batch, 2), _losses(resumed, batch, 2)
    assert again[0] == pytest.approx(after[0], rel=1e-4) and again[1] == pytest.approx(after[1], rel=0.05)
    assert after[-1] < 0.7 * first[0]
    write_weights(straight.average.state_dict(), tmp_path / "start.safetensors")
    further = Learner(Plan(tmp_path / "further", steps=12, sizes=SIZES, start=tmp_path / "start.safetensors"))
    for a, b in zip(straight.average.state_dict().values(), further.net.state_dict().values(), strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-4)


def test_a_gradient_that_is_no_number_stops_the_training_before_it_is_learnt(maker: SceneMaker, tmp_path: Path) -> None:
    learner = Learner(Plan(tmp_path, steps=12, batch=2, sizes=SIZES))
    batch = Pool(maker, 0, 0, SIZES, first=2).batch(2, 0)
    before = {k: v.clone() for k, v in learner.net.named_parameters()}
    batch.left[0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"step 1.*checkpoint"):
        learner.step_on(batch)
    assert all(torch.equal(v, before[k]) for k, v in learner.net.named_parameters())


def _losses(learner: Learner, batch, steps: int) -> list[float]:
    out = []
    for _ in range(steps):
        before = sum(learner._terms.values())
        learner.step_on(batch)
        out.append(sum(learner._terms.values()) - before)
    return out


def test_the_rate_rises_then_falls() -> None:
    rates = [schedule(p) for p in (0, 0.02, 0.05, 0.3, 0.7, 1.0)]
    assert rates[0] < rates[1] < rates[2] == 1 and rates[2] > rates[3] > rates[4] > rates[5] > 0


def test_the_export_is_the_network(maker: SceneMaker, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the export is not run")
    pytest.importorskip("onnx", reason="onnx is not installed: nothing can be exported")
    torch.manual_seed(0)
    net = StereoNet(SIZES.levels).eval()
    batches = held_back_batches(maker, SIZES, 4)
    calibration = calibrate(net, batches)
    net.levels = 24
    write_onnx(net, calibration, tmp_path / "net.onnx", {"steps": "0"})
    assert (tmp_path / "net.onnx").stat().st_size < 4_000_000
    session = ort.InferenceSession(str(tmp_path / "net.onnx"))
    assert session.get_modelmeta().custom_metadata_map["steps"] == "0"
    left, right = batches[0].left[:1], batches[0].right[:1]
    with torch.inference_mode():
        disparity, log_scale = net(left, right)
    found = session.run(["disparity", "sigma"], {"left": left.numpy(), "right": right.numpy()})
    assert np.median(np.abs(found[0] - disparity.clamp(min=0).numpy())) < 0.02, "weights rounded to float16"
    assert np.median(np.abs(found[1] / calibration.sigma(log_scale).numpy() - 1)) < 0.02
