"""Scores the stereo of this project against tuned OpenCV SGBM, on pairs with true disparity.

    python -m tools.bench_stereo [--data ../shared] [--frames 0,13,26] [--profile standard] [--threads 1]
        [--also depth.cost=mc_cnn]

`--also` adds a row per pair with further settings, as often as it is given: methods and costs side by side.

Pixels scored: seen by both eyes (z-buffer of the truth, or the set's own mask) and inside the object's true mask where there is one.
`textured`: RMS horizontal gradient of 3 grey levels over 9x9 pixels. Bias and median of `textured` say what matching itself is worth,
the rest what is made of blank areas. `within 1 s`, `within 2 s`: share of errors below one and two predicted standard deviations.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numba
import numpy as np
import torch

from stages.core.config import resolve
from stages.depth.methods import METHODS, choose
from stages.graph import stages

CAPTURES = ("bottle_orbit", "drill_inhand")
REAL = ("motorcycle", "cones", "playground")
COLUMNS = (
    "density",
    "bad1",
    "bad2",
    "bad2_all",
    "median",
    "bias_tex",
    "median_tex",
    "within1",
    "within2",
    "sigma",
    "cpu_s",
    "wall_s",
)


@dataclass(frozen=True)
class Case:
    """A pair (RGB uint8), its true disparity (NaN = none), and the pixels to score."""

    name: str
    left: np.ndarray
    right: np.ndarray
    truth: np.ndarray
    scored: np.ndarray
    max_disparity: int


def rendered(root: Path, name: str, frame: int) -> Case:
    """A frame of a rendered capture; scored inside the object's mask where both eyes see."""
    folder = root / "captures" / name
    left, right = (_rgb(folder / side / f"{side}{frame:06d}.jpg") for side in ("left", "right"))
    truth = cv2.imread(str(folder / "gt/disparity" / f"{frame:06d}.png"), cv2.IMREAD_UNCHANGED) / 64.0
    truth[truth == 0] = np.nan
    mask = cv2.imread(str(folder / "gt/masks" / f"{frame:06d}.png"), cv2.IMREAD_GRAYSCALE) > 0
    return Case(f"{name}/{frame}", left, right, truth, scored=mask & seen_by_both(truth), max_disparity=304)


def real(root: Path, name: str) -> Case:
    """A Middlebury or ETH3D pair; scored where it is not occluded."""
    folder = root / "stereo" / name
    files = {"motorcycle": ("im0.png", "im1.png", "disp0GT.pfm"), "cones": ("left.png", "right.png", "disp_left.tif")}
    left, right, truth = files.get(name, ("im0.png", "im1.png", "disp0.pfm"))
    d = cv2.imread(str(folder / truth), cv2.IMREAD_UNCHANGED).astype(float)
    if name == "motorcycle":
        d *= 1 / 255  # this file's header carries a scale that the reader applies the wrong way
    d[~np.isfinite(d) | (d <= 0)] = np.nan
    scored = seen_by_both(d)
    if name == "motorcycle":
        scored &= cv2.imread(str(folder / "mask0nocc.png"), cv2.IMREAD_GRAYSCALE) > 200
    return Case(name, _rgb(folder / left), _rgb(folder / right), d, scored=scored, max_disparity=80)


def seen_by_both(truth: np.ndarray) -> np.ndarray:
    """(H, W) bool: the right eye sees it too (nothing nearer by 2 px lands within a pixel of its match)."""
    h, w = truth.shape
    nearest = np.full((h, w + 2), -1.0)
    y, x = np.nonzero(np.isfinite(truth))
    d = truth[y, x]
    match = np.rint(x - d).astype(int)
    inside = match >= 0
    np.maximum.at(nearest, (y[inside], match[inside] + 1), d[inside])
    nearest = np.maximum(np.maximum(nearest[:, 1:-1], nearest[:, :-2]), nearest[:, 2:])
    out = np.zeros((h, w), bool)
    out[y[inside], x[inside]] = nearest[y[inside], match[inside]] <= d[inside] + 2
    return out


def sgbm(case: Case) -> tuple[np.ndarray, None]:
    """OpenCV's eight-direction matcher with its customary good settings, left-right check and speckle filter on."""
    grey = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in (case.left, case.right)]
    matcher = cv2.StereoSGBM_create(0, case.max_disparity, 5, 200, 800, 1, 0, 5, 100, 2, cv2.STEREO_SGBM_MODE_HH)
    d = matcher.compute(*grey).astype(np.float32) / 16
    return np.where(d > 0, d, np.nan), None


def score(case: Case, disparity: np.ndarray, sigma: np.ndarray | None) -> dict[str, float]:
    """Figures of one result; errors in px, shares in 0-1. `bad2_all` counts missing pixels as bad."""
    error = disparity - case.truth
    valid = case.scored & np.isfinite(error)
    size, e = np.abs(error[valid]), error[valid]
    tex = textured(case.left)[valid]
    out = {
        "density": valid.sum() / case.scored.sum(),
        "bad1": np.mean(size > 1),
        "bad2": np.mean(size > 2),
        "bad2_all": 1 - np.sum(size <= 2) / case.scored.sum(),
        "median": np.median(size),
        "bias_tex": np.median(e[tex]),
        "median_tex": np.median(size[tex]),
    }
    if sigma is not None:
        s = sigma[valid]
        out |= {"within1": np.mean(size < s), "within2": np.mean(size < 2 * s), "sigma": np.median(s)}
    return out


def textured(left: np.ndarray) -> np.ndarray:
    """(H, W) bool where the horizontal gradient is at least 3 grey levels RMS."""
    grey = cv2.GaussianBlur(cv2.cvtColor(left, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    gradient = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    return cv2.boxFilter(gradient**2, -1, (9, 9)) > 9


def _rgb(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} is missing: --data names the folder with captures/ and stereo/")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def measure(case: Case, matchers: dict) -> dict[str, dict[str, float]]:
    """Scores of SGBM and of our matchers by name for one pair, with CPU and wall seconds."""
    out = {}
    for name, run in {"SGBM": sgbm, **{name: partial(_ours, matcher=m) for name, m in matchers.items()}}.items():
        cpu, wall = time.process_time(), time.perf_counter()
        result = run(case)
        out[name] = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, **score(case, *result)}
    return out


def _ours(case: Case, matcher) -> tuple[np.ndarray, np.ndarray]:
    estimate = matcher(case.left, case.right)
    return estimate.disparity_px, estimate.sigma_px


def _matcher(profile: str, threads: int, overrides: list[str]):
    config = resolve({s.name: s.Config for s in stages()}, profile, overrides=overrides).stages["depth"]
    return METHODS[choose(config.method)[0]].matcher(config, threads)


def table(
    data: Path, frames: list[int], profile: str, threads: int, overrides: list[str], also: list[str]
) -> list[str]:
    """Lines of the Markdown table."""
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    numba.set_num_threads(threads)
    settings = {"ours": overrides} | {more: [*overrides, *more.split()] for more in also}
    matchers = {name: _matcher(profile, threads, chosen) for name, chosen in settings.items()}
    lines = ["| pair | method | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 2)]
    groups = {name: [rendered(data, name, k) for k in frames] for name in CAPTURES} | {
        name: [real(data, name)] for name in REAL
    }
    first = groups[REAL[1]][0]
    for matcher in matchers.values():
        matcher(first.left, first.right)  # compiles before the clock runs
    for name, cases in groups.items():
        scores = [measure(case, matchers) for case in cases]
        for method in ("SGBM", *matchers):
            cells = [np.mean([s[method].get(c, np.nan) for s in scores]) for c in COLUMNS]
            lines.append(
                f"| {name} | {method} | " + " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in cells) + " |"
            )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--frames", default="0,13,26")
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="settings such as depth.steps=3")
    parser.add_argument(
        "--also", action="append", default=[], help="settings of a further row, for example depth.cost=mc_cnn"
    )
    args = parser.parse_args()
    frames = [int(k) for k in args.frames.split(",")]
    print("\n".join(table(args.data, frames, args.profile, args.threads, overrides=args.overrides, also=args.also)))
    print(f"\npeak memory of all this: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    main()
