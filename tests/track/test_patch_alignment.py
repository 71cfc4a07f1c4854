"""Window sampling and alignment against slow twins and known warps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from stages.track.points.patch_alignment import RADIUS, SAMPLES, SIZE, align, gaussian_weight, sample_window

ALL, SHIFT = np.ones(6, bool), np.array([False, False, False, False, True, True])


def texture(seed: int = 0, size: int = 96) -> np.ndarray:
    """Smooth random picture, float32."""
    noise = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)
    return 128 + 400 * cv2.GaussianBlur(noise, (0, 0), 2.0)


def slow_sample(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Catmull-Rom by its definition (Keys 1981, a = -0.5), one sample at a time."""

    def kernel(t: float) -> float:
        t = abs(t)
        if t < 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0

    out = []
    for y in range(-RADIUS, RADIUS + 1):
        for x in range(-RADIUS, RADIUS + 1):
            u, v = warp[4] + warp[0] * x + warp[1] * y, warp[5] + warp[2] * x + warp[3] * y
            near_u, near_v = (
                range(int(np.floor(u)) - 1, int(np.floor(u)) + 3),
                range(int(np.floor(v)) - 1, int(np.floor(v)) + 3),
            )
            out.append(sum(kernel(u - i) * kernel(v - j) * float(image[j, i]) for i in near_u for j in near_v))
    return np.array(out)


def warped(image: np.ndarray, affine: np.ndarray, centre: tuple[float, float], shift: np.ndarray) -> np.ndarray:
    """A picture in which the window round `centre` appears at centre + shift, warped by `affine`."""
    c = np.array(centre)
    inverse = np.linalg.inv(affine)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    source = np.einsum("ij,jhw->ihw", inverse, np.stack([x, y]) - (c + shift)[:, None, None]) + c[:, None, None]
    return map_coordinates(image, source[::-1], order=3, mode="nearest").astype(
        np.float32
    )  # not warpAffine: it rounds to 1/32 px


def cut(image: np.ndarray, u: float, v: float) -> np.ndarray:
    out = np.empty(SAMPLES)
    assert sample_window(image, np.array([1.0, 0, 0, 1.0, u, v]), out)
    return out


def test_sampling_equals_its_slow_twin():
    image, warp, fast = texture(), np.array([1.1, 0.2, -0.15, 0.9, 44.3, 51.8]), np.empty(SAMPLES)
    assert sample_window(image, warp, fast)
    assert np.allclose(fast, slow_sample(image, warp), rtol=1e-5, atol=1e-3)


def test_a_window_that_leaves_the_picture_is_refused():
    out = np.empty(SAMPLES)
    assert not sample_window(texture(), np.array([1.0, 0, 0, 1.0, 5.0, 40.0]), out)
    assert not sample_window(texture(), np.array([1.0, 0, 0, 1.0, np.nan, 40.0]), out)


def test_weights_sum_to_one_and_fall_off():
    weight = gaussian_weight().reshape(SIZE, SIZE)
    assert weight.sum() == pytest.approx(1)
    assert weight.argmax() == SAMPLES // 2 and weight[0, 0] < 0.1 * weight.max()


@pytest.mark.parametrize("affine", [np.eye(2), np.array([[1.08, 0.06], [-0.05, 0.93]])])
@pytest.mark.parametrize("gain, offset", [(1.0, 0.0), (0.7, 25.0)])
def test_known_warp_is_found(affine, gain, offset):
    image, shift = texture(3), np.array([1.3, -0.8])
    target = gain * warped(image, affine, (48, 48), shift) + offset
    warp = np.array([1.0, 0, 0, 1.0, 48.0, 48.0])
    correlation, sigma = align(cut(image, 48, 48), target.astype(np.float32), warp, ALL, 3.0, 30)
    assert correlation > 0.99
    assert np.hypot(*(warp[4:] - 48 - shift)) < 0.03
    assert np.abs(warp[:4].reshape(2, 2) - affine).max() < 0.03
    assert 0 <= sigma < 0.05


def test_sigma_tells_the_error():
    """Over noisy copies, errors divided by the claimed deviation have a spread of about one (it is per two coordinates)."""
    image, rng, ratios = texture(5), np.random.default_rng(0), []
    template = cut(image, 48, 48)
    for _ in range(60):
        noisy = (image + rng.normal(0, 4, image.shape)).astype(np.float32)
        warp = np.array([1.0, 0, 0, 1.0, 48.4, 47.7])
        _, sigma = align(template, noisy, warp, SHIFT, 2.0, 20)
        ratios.append(np.hypot(warp[4] - 48, warp[5] - 48) / sigma)
    assert 0.4 < np.sqrt(np.mean(np.square(ratios))) < 2.0


def test_flat_windows_and_runaways_fail():
    flat = np.full((96, 96), 90, np.float32)
    assert align(np.full(SAMPLES, 90.0), flat, np.array([1.0, 0, 0, 1.0, 48, 48]), ALL, 2.0, 10)[0] == -1
    image = texture(7)
    target = warped(image, np.eye(2), (48, 48), np.array([2.5, 0.0]))
    assert align(cut(image, 48, 48), target, np.array([1.0, 0, 0, 1.0, 48, 48]), ALL, 1.0, 30)[0] == -1


def test_held_parameters_stay():
    image = texture(9)
    warp = np.array([1.0, 0, 0, 1.0, 48.6, 48.0])
    align(cut(image, 48, 48), image, warp, np.array([True, True, False, False, True, False]), 2.0, 20)
    assert warp[2] == 0 and warp[3] == 1 and warp[5] == 48
    assert warp[4] == pytest.approx(48, abs=0.02)
