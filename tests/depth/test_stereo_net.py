"""The project's own network with the weights that ship: alone and joined with matching, on scenes it was never trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the stereo network is not run")

from stages.base import StageContext
from stages.core.errors import ConfigError
from stages.core.images import read_disparity, read_mask, read_sigma
from stages.core.weights import entry, find
from stages.depth.config import DepthConfig
from stages.depth.guess import Guess, joined
from stages.depth.methods import METHODS, choose, needs_weights
from stages.depth.stage import STAGE
from stages.depth.stereo import Estimate
from stages.depth.stereo_net.contract import WEIGHTS
from stages.depth.stereo_net.matcher import both_passes
from tests.depth.test_stage import _copy
from tools.calibrate_depth import scenes


@pytest.fixture(scope="module")
def generated() -> list[tuple[np.ndarray, ...]]:
    """Three pairs of 960x640 with their disparity, of a seed that neither training nor calibration draws."""
    return list(scenes(3, 2026))


def _scores(method: str, pairs) -> tuple[float, float, float, float]:
    """Median error px, share off by > 2 px, share found, share within 2 sigma, over pixels that both eyes see."""
    matcher = METHODS[method].matcher(DepthConfig(method=method), 1)
    error, sigma = [], []
    for left, right, truth, visible in pairs:
        found = matcher(left, right)
        assert isinstance(found, Estimate) and found.disparity_px.shape == truth.shape
        assert (np.isfinite(found.disparity_px) == np.isfinite(found.sigma_px)).all()
        error.append(np.abs(found.disparity_px - truth)[visible])
        sigma.append(found.sigma_px[visible])
    e, s = np.concatenate(error), np.concatenate(sigma)
    known = np.isfinite(e)
    return (
        float(np.median(e[known])),
        float(np.mean(e[known] > 2)),
        float(known.mean()),
        float(np.mean(e[known] < 2 * s[known])),
    )


def test_the_weights_come_with_the_project() -> None:
    found = find(entry(WEIGHTS))
    assert found.state == "ok" and found.path.stat().st_size < 4_000_000
    assert entry(WEIGHTS).licence == "Apache-2.0" and entry(WEIGHTS).commercial
    assert needs_weights(DepthConfig(method="stereo_net")) == needs_weights(DepthConfig(method="hybrid")) == (WEIGHTS,)
    assert needs_weights(DepthConfig()) == ()


def test_the_network_measures_scenes_it_never_saw(generated) -> None:
    median, gross, found, covered = _scores("stereo_net", generated)
    assert median < 0.5 and gross < 0.2 and found > 0.85 and covered > 0.85


@pytest.mark.slow
def test_the_hybrid_is_finer_than_the_network_and_denser_than_matching(generated) -> None:
    alone, joint, matched = (_scores(m, generated) for m in ("stereo_net", "hybrid", "sgm"))
    assert joint[0] < 0.9 * alone[0] < 0.45
    off_or_missing = [1 - found * (1 - gross) for _, gross, found, _ in (joint, matched)]
    assert joint[2] > matched[2] + 0.04 and off_or_missing[0] < off_or_missing[1]
    assert joint[3] > 0.85


def test_the_stage_runs_it(truth, synthetic_capture, tmp_path: Path) -> None:
    inputs = _copy(truth, tmp_path / "in", 1)
    config = DepthConfig(method="hybrid")
    STAGE.check(inputs, config)
    report = STAGE.run(inputs, config, tmp_path / "out", StageContext(threads=1))
    assert report.method == "hybrid"
    found, sigma = (
        read_disparity(tmp_path / "out/disparity/000000.png"),
        read_sigma(tmp_path / "out/disparity/sigma/000000.png"),
    )
    inside = read_mask(synthetic_capture / "gt/masks/000000.png")
    error = np.abs(found - read_disparity(synthetic_capture / "gt/disparity/000000.png"))[inside]
    known = np.isfinite(error)
    assert (
        known.mean() > 0.8 and np.median(error[known]) < 0.3 and np.mean(error[known] < 2 * sigma[inside][known]) > 0.85
    )


def test_any_size_and_the_same_result_twice(generated) -> None:
    left, right = (i[:333, :517] for i in generated[0][:2])
    matcher = METHODS["stereo_net"].matcher(DepthConfig(method="stereo_net"), 1)
    first, second = matcher(left, right), matcher(left, right)
    assert first.disparity_px.shape == (333, 517)
    assert np.array_equal(first.disparity_px, second.disparity_px, equal_nan=True)


def test_auto_takes_what_needs_no_package_and_says_what_is_missing(monkeypatch) -> None:
    assert choose("auto")[0] == "sgm"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="onnxruntime"):
        choose("hybrid")


def test_passes_that_disagree_confirm_nothing() -> None:
    """A network that says 10 px everywhere is confirmed where the match lies inside; one that says x / 2 is not."""

    def steady(left, right):
        return (np.full(left.shape[2:], 10, np.float32), np.full(left.shape[2:], 0.1, np.float32))

    picture = np.zeros((40, 70, 3), np.float32)
    found = both_passes(steady, picture, picture)
    assert found.disparity_px.shape == (40, 70)
    assert found.confirmed[:, 11:].all() and not found.confirmed[:, :9].any()

    def ramp(left, right):
        return (
            np.arange(left.shape[3], dtype=np.float32)[None].repeat(left.shape[2], 0) / 2,
            np.full(left.shape[2:], 0.1, np.float32),
        )

    assert both_passes(ramp, picture, picture).confirmed.mean() < 0.2


def test_joining_takes_each_where_it_knows_more() -> None:
    def at(*values):
        return np.array([values], np.float32)

    #           texture, both agree | blank, the network knows | texture, the network is off | blank, neither is sure
    matched, texture = at(20.0, 35.0, 20.0, 20.0), at(1.0, 0.0, 1.0, 0.0)
    guess = Guess(at(20.6, 22.0, 60.0, 21.0), at(1.0, 0.5, 1.0, 9.0), np.ones((1, 4), bool))
    d, known = joined(matched, np.ones((1, 4), bool), texture, guess)
    assert 20.0 < d[0, 0] < 20.3 and abs(d[0, 1] - 22) < 0.1 and d[0, 2] == 20 and 20 < d[0, 3] < 21 and known.all()
    doubtful = Guess(guess.disparity_px, guess.sigma_px, np.zeros((1, 4), bool))
    d, known = joined(matched, np.zeros((1, 4), bool), texture, doubtful)
    assert (
        not known.any()
        and (doubtful.certainty < guess.certainty).all()
        and (doubtful.information < guess.information).all()
    )
