"""Whether depth that came with the capture is of these pictures and in the unit that it says: the two eyes measure what they see, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.mask_reading import read_given
from stages.rectify.geometry import Geometry
from stages.rectify.given import DEPTH_ADVICE, DepthEncoding
from stages.rectify.sampled import Sample

ROWS_PX, LEAST_DISPARITY_PX = 1.5, 3.0
LEAST = 40
"""points that both say something of"""
FAR_OFF, OFF = 1.2, 1.04
"""factor between the two, either way: beyond the first the run is refused, beyond the second it is said"""
SCATTER = 0.12
"""median of how far single points are from that factor; more is of other pictures"""


def judge_depth(sample: Sample, geometry: Geometry, depth: Mapping[int, Path], encoding: DepthEncoding) -> list[str]:
    """Warnings. `depth`: {frame: file}; frames that were not sampled are not looked at. Raises CaptureError for another unit, or other
    pictures."""
    found = sample.rows(geometry)
    d = found.disparity_px
    good = (np.abs(found.rows_px) < ROWS_PX) & (d > LEAST_DISPARITY_PX)
    seen_m = geometry.rig.fx * geometry.rig.baseline_m / np.where(good, d, np.nan)
    ratios = [
        _given(depth[f], geometry, encoding, sample.raw[at, :2]) / seen_m[at]
        for f in np.unique(sample.pair)
        if f in depth
        for at in [np.flatnonzero(good & (sample.pair == f))]
    ]
    ratio = np.concatenate([*ratios, np.zeros(0)])
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    if len(ratio) < LEAST:
        return []
    factor = float(np.median(ratio))
    scatter = float(np.median(np.abs(np.log(ratio / factor))))
    says = f"depth/ says {factor:.3g} times what the two eyes measure ({len(ratio)} points)"
    if scatter > SCATTER:
        raise CaptureError(
            f"depth/ does not fit what the two eyes measure: single points differ by {np.expm1(scatter):.0%} "
            f"beside a factor of {factor:.3g} ({len(ratio)} points)",
            "check that depth/ is of the left pictures, along the optical axis, and numbered as they are",
        )
    if max(factor, 1 / factor) > FAR_OFF:
        of = "metre" if encoding.kind == "depth" else "px"
        unit = encoding.per_unit * factor if encoding.kind == "depth" else encoding.per_unit / factor
        raise CaptureError(
            f"{says}: another unit, or another baseline",
            f"{unit:.4g} per {of} would fit; {DEPTH_ADVICE} into depth/depth.json, or check the baseline of the calibration",
        )
    doubt = max(factor, 1 / factor) > OFF
    return [f"{says}: depth and baseline do not agree; which is right decides the size of the twin"] if doubt else []


def _given(path: Path, geometry: Geometry, encoding: DepthEncoding, uv: np.ndarray) -> np.ndarray:
    """(N,) metres at raw px (N, 2), NaN = none."""
    raw = read_given(path, geometry.size, cv2.IMREAD_UNCHANGED)
    at = np.clip(np.rint(uv).astype(int), 0, np.array(geometry.size) - 1)
    value = raw[at[:, 1], at[:, 0]].astype(float) / encoding.per_unit
    value[value == 0] = np.nan
    if encoding.kind == "depth":
        return value
    return geometry.rig.fx * geometry.rig.baseline_m / value
