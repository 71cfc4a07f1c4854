"""The matcher on pairs with known disparity: accuracy, bias, honesty of sigma, range, gain, size, determinism."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.depth.stereo import Estimate, SemiGlobalStereo
from tests.depth.conftest import Pair, make_pair

MATCHER = SemiGlobalStereo(work_megapixels=2.0, matching_megapixels=0.5, steps=2, max_sigma_px=8.0)


@pytest.fixture(scope="module")
def estimate(pair: Pair) -> Estimate:
    return MATCHER(pair.left, pair.right)


def test_texture_is_measured_to_a_tenth_of_a_pixel_without_bias(pair: Pair, estimate: Estimate) -> None:
    error = (estimate.disparity_px - pair.truth)[pair.visible & pair.textured]
    assert np.isfinite(error).mean() > 0.93
    error = error[np.isfinite(error)]
    assert np.median(np.abs(error)) < 0.06
    assert abs(np.median(error)) < 0.01
    assert np.mean(np.abs(error) > 1) < 0.03


def test_no_pull_towards_whole_pixels(pair: Pair, estimate: Estimate) -> None:
    error = estimate.disparity_px - pair.truth
    good = pair.visible & pair.textured & (np.abs(np.nan_to_num(error, nan=9)) < 0.5)
    phase = np.floor(8 * (pair.truth[good] % 1)).astype(int)
    means = [error[good][phase == k].mean() for k in range(8)]
    assert max(means) - min(means) < 0.04


def test_sigma_is_honest(pair: Pair, estimate: Estimate) -> None:
    good = pair.visible & np.isfinite(estimate.disparity_px)
    share = np.mean(np.abs(estimate.disparity_px - pair.truth)[good] < 2 * estimate.sigma_px[good])
    assert share > 0.9
    blank = pair.visible & ~pair.textured
    sure = np.nanmedian(estimate.sigma_px[pair.visible & pair.textured])
    assert np.nanmedian(np.nan_to_num(estimate.sigma_px[blank], nan=8.0)) > 2 * sure


def test_hidden_pixels_carry_nothing(pair: Pair, estimate: Estimate) -> None:
    assert (np.isfinite(estimate.disparity_px) == np.isfinite(estimate.sigma_px)).all()
    outside = np.arange(pair.truth.shape[1])[None] - pair.truth < -3
    assert np.isfinite(estimate.disparity_px[outside]).mean() < 0.05


@pytest.mark.parametrize("object_px", [40.0, 110.0])
def test_the_range_follows_the_object(object_px: float) -> None:
    near = make_pair(object_px=object_px, seed=3)
    found = MATCHER(near.left, near.right)
    assert found.range_px[0] < near.truth.min() and found.range_px[1] > object_px
    error = np.abs(found.disparity_px - near.truth)[near.visible & near.textured]
    assert np.nanmedian(error) < 0.08


def test_result_does_not_depend_on_brightness_between_the_eyes(pair: Pair, estimate: Estimate) -> None:
    darker = np.clip(np.rint(pair.right * np.array([0.8, 0.9, 0.85])), 0, 255).astype(np.uint8)
    both = pair.visible & pair.textured
    assert np.nanmedian(np.abs(MATCHER(pair.left, darker).disparity_px - estimate.disparity_px)[both]) < 0.03


def test_same_pair_same_result(pair: Pair, estimate: Estimate) -> None:
    again = MATCHER(pair.left, pair.right)
    np.testing.assert_array_equal(again.disparity_px, estimate.disparity_px)
    np.testing.assert_array_equal(again.sigma_px, estimate.sigma_px)


def test_large_pictures_are_worked_small_and_come_back_at_full_size(pair: Pair) -> None:
    large = [cv2.resize(i, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for i in (pair.left, pair.right)]
    found = SemiGlobalStereo(0.13, 0.05, 2, 8.0)(*large)
    assert found.disparity_px.shape == large[0].shape[:2]
    truth = 2 * cv2.resize(pair.truth, None, fx=2, fy=2) - 0.0
    good = (
        cv2.resize((pair.visible & pair.textured).astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        > 0
    )
    assert np.nanmedian(np.abs(found.disparity_px - truth)[good]) < 0.25


def test_a_blank_pair_gives_nothing_sure() -> None:
    rng = np.random.default_rng(0)
    blank = [np.clip(np.rint(128 + rng.normal(0, 1, (200, 260, 3))), 0, 255).astype(np.uint8) for _ in range(2)]
    found = MATCHER(*blank)
    known = np.isfinite(found.disparity_px)
    assert not known.any() or np.median(found.sigma_px[known]) > 1.0
