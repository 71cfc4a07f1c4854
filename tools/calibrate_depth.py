"""Fits the coefficients of stages/depth/confidence.py on generated scenes, and says how the result covers scenes left out.

    python -m tools.calibrate_depth [--scenes 24] [--seed 7] [--method sgm|hybrid]

Scenes come from tools/stereo_training (random objects, textures and blank areas, with true disparity), then gain, white balance, noise,
blur and real JPEG. No captured or rendered data set is used: those only verify (tools/bench_stereo.py). The fit is by maximum
likelihood of a Gaussian mixed with a share of gross mismatches, then the constant is raised until 2 sigma cover 95 % of the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from scipy.optimize import minimize

from stages.depth import confidence, stereo
from stages.depth.config import DepthConfig
from stages.depth.methods import METHODS
from tools.stereo_training.scenes import SceneMaker
from tools.stereo_training.textures import texture_bank

HEIGHT, WIDTH = 640, 960
PIXELS_PER_SCENE = 4000
COVERAGE = 0.95
MAX_SIGMA_PX = 8.0
"""The stage's own limit, above which a pixel is left out."""
GROSS_PX = 4.0
"""Errors beyond this are mismatches: another surface, not a less certain measurement of this one."""
GROSS_SHARE, GROSS_SPREAD_PX = 0.08, 20.0
"""Share and spread of mismatches in the likelihood."""


def scenes(count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(left, right (H, W, 3) uint8, disparity (H, W) px, visible (H, W) bool) as a camera pair would deliver them."""
    maker = SceneMaker(torch.from_numpy(texture_bank(120, seed)), HEIGHT, WIDTH, max_disparity=220.0)
    for k in range(count):
        clean = maker.clean(1, seed * 1000 + k)
        left, right = (255 * i[0].permute(1, 2, 0).numpy() for i in (clean.left, clean.right))
        rng = np.random.default_rng([seed, k])
        noise, quality, blur = np.exp(rng.uniform(-1, 1.2)), int(rng.integers(85, 99)), rng.uniform(0.3, 0.8)
        gain = 1 + rng.uniform(-0.08, 0.08) + rng.uniform(-0.04, 0.04, 3)
        pair = [_camera(i, g, noise, quality, blur=blur, rng=rng) for i, g in ((left, 1.0), (right, gain))]
        yield *pair, clean.disparity[0, 0].numpy(), clean.visible[0, 0].numpy()


def _camera(
    image: np.ndarray, gain: np.ndarray | float, noise: float, quality: int, blur: float, rng: np.random.Generator
) -> np.ndarray:
    seen = cv2.GaussianBlur(image, (0, 0), blur) * gain + rng.normal(0, noise, image.shape)
    data = cv2.imencode(".jpg", np.clip(np.rint(seen), 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def samples(count: int, seed: int, method: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, features), (N,) errors in px at random pixels that both eyes see and the matcher kept."""
    kept: list[np.ndarray] = []
    matcher = METHODS[method].matcher(DepthConfig(method=method, max_sigma_px=1e9), 1)
    last_step = {"sgm": "features", "hybrid": "with_guess"}[method]
    found, errors = [], []
    rng = np.random.default_rng(seed)
    original = getattr(stereo, last_step)
    setattr(
        stereo, last_step, lambda *a: kept.append(original(*a)) or kept[-1]
    )  # the matcher's own features, caught on the way
    try:
        for left, right, truth, visible in scenes(count, seed):
            kept.clear()
            estimate = matcher(left, right)
            where = np.flatnonzero((visible & _off_edges(truth) & np.isfinite(estimate.disparity_px)).ravel())
            where = rng.choice(where, min(PIXELS_PER_SCENE, len(where)), replace=False)
            found.append(kept[-1].reshape(-1, kept[-1].shape[-1])[where])
            errors.append((estimate.disparity_px - truth).ravel()[where])
    finally:
        setattr(stereo, last_step, original)
    return np.concatenate(found).astype(np.float64), np.concatenate(errors).astype(np.float64)


def _off_edges(truth: np.ndarray) -> np.ndarray:
    """(H, W) bool: no depth edge within 3 px. Pixels there mix two surfaces; masks cut them off, and no sigma describes them."""
    size = np.ones((7, 7), np.uint8)
    return cv2.dilate(truth, size) - cv2.erode(truth, size) < 6


def fit(found: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Coefficients of log sigma; those of doubt (all but the constant) are kept at 0 or above, so that sigma is monotone in them."""

    def loss(c: np.ndarray) -> float:
        sigma = _sigma(found, c)
        right = np.exp(-0.5 * (errors / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        wrong = np.exp(-np.abs(errors) / GROSS_SPREAD_PX) / (2 * GROSS_SPREAD_PX)
        return -float(np.mean(np.log((1 - GROSS_SHARE) * right + GROSS_SHARE * wrong)))

    start = np.array([0.0, 0.6, *[0.3] * (found.shape[1] - 2)])
    best = minimize(loss, start, method="L-BFGS-B", bounds=[(-5, 5)] + [(0, 4)] * (found.shape[1] - 1)).x
    kept, errors_kept = _comparable(found, errors, best)
    low, high = -2.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        covered = np.mean(np.abs(errors_kept) < 2 * _sigma(kept, best, middle))
        low, high = (middle, high) if covered < COVERAGE else (low, middle)
    best[0] += high
    return best


def _sigma(found: np.ndarray, c: np.ndarray, shift: float = 0.0) -> np.ndarray:
    return np.sqrt(confidence.FLOOR_PX**2 + np.exp(2 * np.clip(found @ c + shift, -8, 6)))


def _comparable(found: np.ndarray, errors: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels the stage would keep and that lie on the right surface: no sigma describes the others."""
    keep = (_sigma(found, c) < MAX_SIGMA_PX) & (np.abs(errors) < GROSS_PX)
    return found[keep], errors[keep]


def main() -> None:
    """Fit on half of the scenes, report on the other half."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--method", choices=("sgm", "hybrid"), default="sgm")
    args = parser.parse_args()
    found, errors = samples(args.scenes, args.seed, args.method)
    c = fit(found, errors)
    in_use = {"sgm": confidence.COEFFICIENTS, "hybrid": confidence.GUESSED}[args.method]
    print("(" + ", ".join(f"{v:.3f}" for v in c) + ")")
    left_out = samples(args.scenes // 2, args.seed + 1, args.method)
    rows = (
        ("fitted", (found, errors), c),
        ("left out", left_out, c),
        ("left out, those in use", left_out, np.array(in_use)),
    )
    for name, (f, e), used in rows:
        good, sizes = _comparable(f, e, used)
        share = [np.mean(np.abs(sizes) < k * _sigma(good, used)) for k in (1, 2)]
        print(
            f"{name}: {len(e)} pixels, {1 - len(sizes) / len(e):.3f} grossly wrong or left out; of the others median error "
            f"{np.median(np.abs(sizes)):.3f} px, within 1 sigma {share[0]:.3f}, within 2 sigma {share[1]:.3f}"
        )


if __name__ == "__main__":
    main()
