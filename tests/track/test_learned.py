"""Learned features and matchers: each adapter runs for real, on random or toy networks of the published shapes, through the whole stage
where they can track; and what is said when weights or libraries are not there."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest

from stages.core.config import resolve
from stages.core.errors import ConfigError, StageError, WeightsError
from stages.track import methods
from stages.track.config import TrackConfig
from stages.track.learned.packing import packed, unpacked
from stages.track.learned.xfeat import nearest_tile, tiles
from stages.track.points.frame_points import FramePoints
from stages.track.stage import STAGE
from tests.track.learned_kit import as_image, picture, saved, tracked, unit

torch = pytest.importorskip("torch")


# --- ALIKED


def test_aliked_equals_the_one_in_kornia():
    """Scores, places and descriptors, on a size that is no multiple of 32, with random weights."""
    kornia = pytest.importorskip("kornia.feature", reason="kornia is not installed: the ALIKED twin is not tested")
    if not hasattr(kornia, "ALIKED"):
        pytest.skip("this kornia has no ALIKED")
    from stages.track.learned.aliked_network import Aliked, detect

    torch.manual_seed(1)
    twin = kornia.ALIKED(model_name="aliked-n16", detection_threshold=0.2).eval()
    own = Aliked.from_state({k: v for k, v in twin.state_dict().items() if not k.startswith("dkd.")})
    image = as_image(picture(123, 150))
    with torch.inference_mode():
        score, features = own(image)
        _, want_score = twin.extract_dense_map(image)
        assert torch.allclose(score, want_score[0, 0], atol=1e-5)
        want = twin(image)[0]
        uv, _ = detect(score, 0.2)
        order = [np.lexsort(p.numpy().round(2).T) for p in (uv, want.keypoints)]
        assert np.allclose(uv[order[0]], want.keypoints[order[1]], atol=1e-3) and len(uv) > 20
        assert np.allclose(own.desc_head(features, uv)[order[0]], want.descriptors[order[1]], atol=1e-3)


def test_deformable_convolution_without_offsets_is_a_convolution_and_with_whole_ones_a_shift():
    from stages.track.learned.aliked_network import DeformableConv

    torch.manual_seed(0)
    layer, x = DeformableConv(3, 5), torch.randn(2, 3, 12, 17)
    torch.nn.init.zeros_(layer.offset_conv.weight)
    torch.nn.init.zeros_(layer.offset_conv.bias)
    plain = torch.nn.functional.conv2d(x, layer.regular_conv.weight, padding=1)
    assert torch.allclose(layer(x), plain, atol=1e-4)
    with torch.no_grad():
        layer.offset_conv.bias[0::2], layer.offset_conv.bias[1::2] = 1.0, 2.0  # one row down, two columns right
    assert torch.allclose(layer(x)[:, :, 1:-2, 1:-3], plain[:, :, 2:-1, 3:-1], atol=1e-4)


def test_aliked_detection_is_sub_pixel():
    from stages.track.learned.aliked_network import detect

    v, u = np.mgrid[:40, :60]
    centres = np.array([[20.3, 11.6], [41.75, 28.2]])
    score = sum(np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 1.2**2)) for x, y in centres)
    uv, strength = detect(torch.tensor(score, dtype=torch.float32), 0.3)
    assert np.abs(uv.numpy() - centres).max() < 0.12 and strength.min() > 0.9


def test_whole_stage_with_a_random_aliked(wall, weights, tmp_path):
    pytest.importorskip("onnx", reason="the toy registry is written with onnx's module")
    from stages.track.learned.aliked_network import Aliked
    from tests.track.toy_networks import register

    torch.manual_seed(1)
    register(weights, aliked_n16=saved(Aliked((8, 16, 32, 64), 8), weights / "a.safetensors"))
    figures = tracked(wall, tmp_path / "out", method="aliked")
    assert figures["pair_inliers_median"] > 100 and figures["observations"] > 500


# --- XFeat and LighterGlue


def test_tiles_cover_the_picture_and_every_place_belongs_to_one():
    for length in (100, 160, 161, 320, 1280):
        starts = tiles(length, 160, 32)
        assert starts[0] == 0 and starts[-1] == max(length - 160, 0)
        assert all(b - a <= 160 - 32 for a, b in itertools.pairwise(starts))
        at = np.linspace(0, length - 1, 999)
        owner = nearest_tile(at, starts, 160)
        assert ((at >= owner) & (at <= owner + 159)).all()


@pytest.mark.parametrize("matcher", ["mutual", "lightglue"])
def test_whole_stage_with_a_toy_xfeat(wall, weights, tmp_path, matcher):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.track import toy_networks

    files = {
        "xfeat": toy_networks.write_xfeat(weights / "x.onnx"),
        "lighterglue": toy_networks.write_lighterglue(weights / "l.onnx"),
    }
    toy_networks.register(weights, **files)
    figures = tracked(wall, tmp_path / "out", method="xfeat", matcher=matcher)
    assert figures["pair_inliers_median"] > 100
    config = TrackConfig(method="xfeat", matcher=matcher)
    assert set(STAGE.weights_used(config)) >= {"xfeat"} and ("lighterglue" in STAGE.weights_used(config)) == (
        matcher == "lightglue"
    )


def test_xfeat_points_lie_on_their_spots_across_tiles(weights):
    """Bright dots in a picture of six tiles: each is found once, where it is."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from stages.track.learned.xfeat import XFeatFeatures
    from tests.track.toy_networks import write_xfeat

    dots = np.array([[u, v] for u in range(20, 340, 23) for v in range(20, 200, 29)])
    rgb = np.full((220, 360, 3), 20, np.uint8)
    rgb[dots[:, 1], dots[:, 0]] = 255
    found = XFeatFeatures(write_xfeat(weights / "x.onnx"))(rgb, np.zeros(rgb.shape[:2], bool), 10, 5000)
    bright = found.uv[[any(np.hypot(*(uv - dots).T) < 0.5) for uv in found.uv]]
    assert len(bright) == len(dots) == len(np.unique(bright.round(), axis=0))


# --- kornia


def test_whole_stage_with_a_random_disk(wall, weights, tmp_path):
    kornia = pytest.importorskip("kornia.feature", reason="kornia is not installed: its adapters are not tested")
    pytest.importorskip("onnx")
    from tests.track.toy_networks import register

    torch.manual_seed(1)
    register(weights, disk_depth=saved(kornia.DISK(), weights / "d.safetensors"))
    assert tracked(wall, tmp_path / "out", method="disk", matcher="mutual")["pair_inliers_median"] > 50


def test_disk_takes_any_size_and_obeys_the_mask():
    kornia = pytest.importorskip("kornia.feature")
    from stages.track.learned.disk import DiskFeatures

    torch.manual_seed(0)
    inside = np.zeros((75, 101), bool)
    inside[20:60, 30:70] = True
    found = DiskFeatures(kornia.DISK())(picture(75, 101), inside, 7, 9)
    on = inside[found.uv[:, 1].astype(int), found.uv[:, 0].astype(int)]
    assert on.tolist() == [True] * 7 + [False] * 9
    assert (found.uv == found.uv.round()).all() and (found.uv < [101, 75]).all() and found.descriptor.shape == (16, 128)


def test_dedode_points_are_whole_pixels_and_spread():
    pytest.importorskip("kornia.feature")
    from stages.track.learned.dedode import SUPPRESS_PX, DedodeFeatures, new_network

    found = DedodeFeatures(new_network())(picture(60, 85), np.zeros((60, 85), bool), 0, 40)
    assert 15 < len(found) <= 40 and (found.uv == found.uv.round()).all() and found.uv.min() >= 0
    assert len(np.unique(found.uv // SUPPRESS_PX, axis=0)) == len(found)
    assert np.allclose(np.linalg.norm(found.descriptor.astype(float) - 128, axis=1), 256, rtol=0.03)


def points(uv: np.ndarray, descriptor: np.ndarray, frame: int = 0) -> FramePoints:
    n = len(uv)
    nothing = np.zeros(n)
    return FramePoints(
        frame, uv, nothing, np.zeros((n, 2)), nothing, nothing, packed(descriptor), np.ones(n, bool), False
    )


def test_lightglue_takes_its_shape_from_the_file_and_matches_as_kornia_does(weights):
    kornia = pytest.importorskip("kornia.feature")
    from stages.track.learned.lightglue import LightGlueMatcher

    torch.manual_seed(0)
    made = kornia.LightGlue(None, input_dim=64, descriptor_dim=32, n_layers=2, num_heads=2).eval()
    state = {
        k.replace("transformers.0.self_attn.", "self_attn.0."): v
        for k, v in made.state_dict().items()
        if "thresholds" not in k
    }
    from safetensors.torch import save_file

    save_file(state, str(weights / "lg.safetensors"))
    matcher = LightGlueMatcher.load(weights / "lg.safetensors", "cpu", 320, 256)
    for network in (made, matcher._network):
        network.conf.filter_threshold = 0.0
    rng = np.random.default_rng(0)
    a, b = (points(rng.uniform(0, 250, (n, 2)), unit(rng.normal(size=(n, 64)))) for n in (60, 50))
    use_a, use_b = np.arange(5, 60), np.arange(0, 50, 2)
    found = matcher(a, b, use_a, use_b)

    def given(p, use):
        return {
            "keypoints": torch.tensor(p.uv[use], dtype=torch.float32)[None],
            "descriptors": torch.from_numpy(unpacked(p.descriptor[use]))[None],
            "image_size": torch.tensor([[320, 256]]),
        }

    with torch.inference_mode():
        want = made({"image0": given(a, use_a), "image1": given(b, use_b)})["matches"][0].numpy()
    assert len(found) > 0 and (found == np.column_stack([use_a[want[:, 0]], use_b[want[:, 1]]])).all()
    assert matcher(a, b, use_a[:3], use_b).shape == (0, 2)


# --- what is said


def test_missing_and_wrong_weights_are_named(wall, weights):
    mine = {k: wall[k] for k in STAGE.inputs}
    with pytest.raises(WeightsError) as e:
        STAGE.check(mine, TrackConfig(method="aliked"))
    assert "twin weights fetch aliked-n16" in e.value.advice
    if importlib.util.find_spec("onnxruntime"):
        with pytest.raises(WeightsError) as e:
            STAGE.check(mine, TrackConfig(method="xfeat"))
        assert "twin weights add xfeat_1024_640x360.onnx" in e.value.advice and "1cedb0936" in e.value.advice
        (weights / "xfeat_1024_640x360.onnx").write_bytes(b"something else")
        with pytest.raises(WeightsError, match=r"sha256 expected 1cedb0936.*found [0-9a-f]{64}"):
            STAGE.check(mine, TrackConfig(method="xfeat"))


def test_another_networks_file_is_refused_in_words(weights):
    from stages.track.learned.aliked import AlikedFeatures

    path = saved(torch.nn.Linear(3, 4), weights / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors does not hold this network"):
        AlikedFeatures.load(path, "cpu")


def test_an_onnx_file_with_other_names_is_refused_in_words(weights):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from stages.track.learned.xfeat import XFeatFeatures
    from tests.track.toy_networks import write_lighterglue

    with pytest.raises(WeightsError, match=r"has inputs kpts0.* wanted are images"):
        XFeatFeatures(write_lighterglue(weights / "x.onnx"))
    (weights / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match=r"onnxruntime cannot open broken\.onnx"):
        XFeatFeatures(weights / "broken.onnx")


def test_a_missing_library_is_named_with_what_brings_it(wall, monkeypatch):
    mine = {k: wall[k] for k in STAGE.inputs}
    monkeypatch.setattr(type(methods.KITS["kornia"]), "problem", lambda kit: "not installed")
    for method, library, extra in (
        ("roma", "romatch", "roma"),
        ("loftr", "kornia", "learned"),
        ("xfeat", "onnxruntime", "learned"),
    ):
        with pytest.raises(ConfigError) as e:
            STAGE.check(mine, TrackConfig(method=method))
        assert (
            f"needs {library}: not installed" in e.value.message
            and f"pip install 'stereotwin[{extra}]'" in e.value.advice
        )


def test_too_little_memory_is_said_with_the_setting_to_lower(monkeypatch):
    psutil = pytest.importorskip("psutil")
    from types import SimpleNamespace

    from stages.track.learned.dedode import DedodeFeatures

    part = methods.Part(lambda config, place: DedodeFeatures(torch.nn.Identity()))
    monkeypatch.setitem(methods.METHODS, "dedode", methods.Method("DeDoDe", part, {"mutual": methods.NEAREST}))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1e9))
    with pytest.raises(StageError) as e:
        methods.build(
            TrackConfig(method="dedode"), "cpu", 4000, 3000, lambda frame: np.zeros((3000, 4000, 3), np.uint8)
        )
    assert "2.0 GB of memory for 1024x768 px" in e.value.message and "track.max_width_px" in e.value.advice


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match=r"track\.matcher has no effect with track\.method=dedode"):
        resolve({"track": TrackConfig}, overrides=["track.method=dedode", "track.matcher=lightglue"])
    with pytest.raises(ConfigError, match=r"lightglue does not go with track\.method=sift"):
        methods.parts(TrackConfig(matcher="lightglue"))


def test_auto_says_what_it_takes_and_why():
    method, reason = STAGE.auto_choice(TrackConfig())
    assert method == "sift" and "weights" in reason and STAGE.needs_weights(TrackConfig()) == ()


def test_descriptors_survive_their_storage():
    x = unit(np.random.default_rng(0).normal(size=(50, 128)))
    assert (x * unpacked(packed(x))).sum(1).min() > 0.999
