"""depth: the disparity of every left pixel and its standard deviation, frame by frame."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.base import ArtifactRef, Resources, Stage, StageContext, StageReport
from stages.core.camera import Rig
from stages.core.errors import CaptureError, ConfigError, StageError
from stages.core.weights import identity
from stages.depth.config import DepthConfig
from stages.depth.methods import METHODS, choose, needs_weights

_POSITIVE = (
    "work_megapixels",
    "matching_megapixels",
    "max_sigma_px",
    "given_sigma_px",
    "steps",
    "net_megapixels",
    "onnx_megapixels",
    "onnx_band_megapixels",
    "onnx_left_right_px",
    "onnx_floor_px",
)
"""Settings that have to be above 0."""
_PICTURES = 3
"""Frames shown in the report, spread over the capture."""


@dataclass(frozen=True)
class FrameResult:
    """What the report keeps of a frame."""

    frame: int
    status: str
    reason: str = ""
    density: float = 0.0
    sigma_px: float = float("nan")
    depth_sigma_mm: float = float("nan")
    range_px: tuple[float, float] = (0.0, 0.0)
    noise: float = float("nan")
    picture: str = ""


class DepthStage(Stage):
    """See stages/depth/config.py for the settings and docs/methods/depth.md for how it works."""

    name = "depth"
    version = 3
    needs = Resources(
        memory_gb=1.5, lower=("work_megapixels", "net_megapixels", "onnx_megapixels", "onnx_band_megapixels")
    )
    Config = DepthConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "given")
    outputs = ("disparity",)

    def needs_weights(self, config: DepthConfig) -> tuple[str, ...]:
        """Names in weights/registry.yaml."""
        return needs_weights(config)

    def weights_used(self, config: DepthConfig) -> dict[str, str]:
        """Digests of the weights and of how they are fed. Raises WeightsError when they are not there."""
        return {k: v for name in needs_weights(config) for k, v in identity(name).items()}

    def check(self, inputs: Mapping[str, ArtifactRef], config: DepthConfig) -> None:
        """Raises ConfigError for a method that cannot run here, StageError when no frame can be used."""
        from stages.core.frames import read_table

        choose(config.method)
        for name in _POSITIVE:
            if getattr(config, name) <= 0:
                raise ConfigError(f"depth.{name} is {getattr(config, name)}", "give a number above 0")
        if config.max_depth_m is not None and config.max_depth_m <= 0:
            raise ConfigError(f"depth.max_depth_m is {config.max_depth_m}", "give a number above 0, or null")
        if config.method == "onnx":
            from stages.depth.onnx_memory import fitting

            fitting(config)
        self.weights_used(config)
        if not any(r["status"] == "ok" for r in read_table(inputs["frames.parquet"].path)):
            raise StageError(
                "no frame of this capture can be used", "see the report of `rectify` for the reason of each frame"
            )

    def auto_choice(self, config: DepthConfig) -> tuple[str, str]:
        """The method that will run, and why. Raises ConfigError."""
        return choose(config.method)

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: DepthConfig, out: Path, context: StageContext
    ) -> StageReport:
        """Writes disparity/NNNNNN.png and disparity/sigma/NNNNNN.png for every usable frame."""
        from stages.core.frames import FrameReader
        from stages.core.parallel import ordered_map

        reader, rig = FrameReader.of(inputs), Rig.load(inputs["rig.json"].path)
        given = json.loads((inputs["given"].path / "given.json").read_text()).get("depth", False)
        method, reason = ("given", "the capture brought its own depth") if given else choose(config.method)
        lowered = ""
        if method == "onnx":
            from stages.depth.onnx_memory import fitting

            config, lowered = fitting(config)
        frames = reader.ids
        shown = set(frames[:: max(1, len(frames) // _PICTURES)][:_PICTURES])
        if not given and (names := needs_weights(config)):
            reason += f", with {', '.join(names)}"
        source = (
            _GivenDepth(inputs["given"].path, config.given_sigma_px)
            if given
            else _Measured(reader, METHODS[method].matcher(config, context.workers))
        )
        nearer = nearer_than(source, rig, config.max_depth_m)

        def job(frame):
            return _one_frame(nearer, reader, frame, rig, out=out, shown=frame in shown)

        results = []
        for result in ordered_map(job, frames, context.workers):
            results.append(result)
            context.progress(
                len(results), len(frames), f"frame {result.frame}: {result.density:.0%} of the pixels have depth"
            )
        report = _report(method, reason, results)
        report.warnings[:0] = [lowered] if lowered else []
        return report


@dataclass(frozen=True)
class _Measured:
    """Disparity measured from the pictures."""

    reader: object
    matcher: object

    def __call__(self, frame: int):
        return self.matcher(self.reader.rgb(frame, "left"), self.reader.rgb(frame, "right"))


@dataclass(frozen=True)
class _GivenDepth:
    """Disparity that came with the capture, taken as it is."""

    folder: Path
    sigma_px: float

    def __call__(self, frame: int):
        from stages.core.images import read_disparity
        from stages.depth.stereo import Estimate

        d = read_disparity(self.folder / "disparity" / f"{frame:06d}.png")
        known = np.isfinite(d)
        low, high = (float(np.nanmin(d)), float(np.nanmax(d))) if known.any() else (0.0, 0.0)
        return Estimate(d, np.where(known, np.float32(self.sigma_px), np.float32(np.nan)), (low, high))


def nearer_than(source, rig: Rig, max_depth_m: float | None):
    """The source without what lies farther away."""
    if max_depth_m is None:
        return source

    def near(frame: int):
        found = source(frame)
        far = ~(rig.depth_from_disparity(found.disparity_px) <= max_depth_m)
        disparity, sigma = (np.where(far, np.float32(np.nan), a) for a in (found.disparity_px, found.sigma_px))
        return dataclasses.replace(found, disparity_px=disparity, sigma_px=sigma)

    return near


def _one_frame(source, reader, frame: int, rig: Rig, out: Path, shown: bool) -> FrameResult:
    """Measure and write one frame; a frame whose files cannot be read gets an empty map and says so."""
    from stages.core.images import write_disparity, write_sigma

    try:
        estimate = source(frame)
        status, reason = "ok", ""
    except CaptureError as e:
        from stages.depth.stereo import Estimate

        nothing = np.full((rig.height, rig.width), np.nan, np.float32)
        estimate, status, reason = Estimate(nothing, nothing), "unreadable", e.message
    d, sigma = estimate.disparity_px, estimate.sigma_px
    write_disparity(out / "disparity" / f"{frame:06d}.png", d)
    write_sigma(out / "disparity" / "sigma" / f"{frame:06d}.png", sigma)
    known = np.isfinite(d)
    if not known.any():
        return FrameResult(frame, status if status != "ok" else "empty", reason or "no pixel could be matched")
    picture = _write_picture(out, reader, frame, estimate) if shown else ""
    spread_mm = 1e3 * rig.fx * rig.baseline_m * sigma[known] / d[known] ** 2
    return FrameResult(
        frame,
        status,
        reason,
        float(known.mean()),
        sigma_px=float(np.median(sigma[known])),
        depth_sigma_mm=float(np.median(spread_mm)),
        range_px=estimate.range_px,
        noise=estimate.noise,
        picture=picture,
    )


def _write_picture(out: Path, reader, frame: int, estimate) -> str:
    from stages.core.images import thumbnail_jpeg
    from stages.depth.pictures import overview

    name = f"pictures/depth_{frame:06d}.jpg"
    thumbnail_jpeg(
        out / name, overview(reader.rgb(frame, "left"), estimate.disparity_px, estimate.sigma_px), width=1200
    )
    return name


def _report(method: str, reason: str, results: list[FrameResult]) -> StageReport:
    good = [r for r in results if r.status == "ok"]
    counts = {s: sum(r.status == s for r in results) for s in sorted({r.status for r in results})}
    warnings = [f"frame {r.frame}: {r.reason}" for r in results if r.status != "ok"][:20]
    if not good:
        raise StageError(
            "no frame gave any depth", "check that left and right are not swapped and that the pictures are rectified"
        )

    def median(key):
        return float(np.median([getattr(r, key) for r in good]))

    if median("density") < 0.3:
        warnings.append(
            f"only {median('density'):.0%} of the pixels have depth: little texture, or the pair is not well rectified"
        )
    metrics = {
        "density_median_percent": round(100 * median("density"), 1),
        "sigma_median_px": round(median("sigma_px"), 3),
        "depth_sigma_median_mm": round(median("depth_sigma_mm"), 3),
        "disparity_range_low_px": round(min(r.range_px[0] for r in good), 1),
        "disparity_range_high_px": round(max(r.range_px[1] for r in good), 1),
        "frames_with_depth": len(good),
    }
    if np.isfinite(median("noise")):
        metrics["noise_grey_levels"] = round(median("noise"), 2)
    caption = "left picture, disparity, standard deviation (blue 0.05 px, red 8 px)"
    pictures = [(f"Frame {r.frame}: {caption}", r.picture) for r in good if r.picture]
    return StageReport(
        method=method, reason=reason, metrics=metrics, warnings=warnings, pictures=pictures, frames=counts
    )


STAGE = DepthStage()
