"""Seed -> one capture, fully determined: which object, paint, surrounding, motion and camera.

A capture is drawn property by property from one generator, so that a property that is added later must be drawn LAST: otherwise all
that follow change with it, and with them the seeds that people talk about.
"""

from __future__ import annotations

import numpy as np

from tools.capture_rendering.objects import SHAPES
from tools.capture_rendering.paints import PAINTS, SURROUNDINGS
from tools.capture_rendering.spec import RenderSpec

GENERATOR = 1
"""changes when a seed means another capture than before; results of other generators are not compared"""

_ELEVATION_DEG = {"orbit": (14.0, 50.0), "both": (14.0, 50.0), "inhand": (-25.0, 45.0)}


def draw(seed: int, frames: int = 20, width: int = 640) -> RenderSpec:
    """The capture of `seed`; `frames` and `width` (height = 9/16 of it) do not change what it shows."""
    rng = np.random.default_rng([7741, seed])
    pick = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    motion = pick(("orbit", "orbit", "inhand", "both"))
    low, high = _ELEVATION_DEG[motion]
    return RenderSpec(
        shape=pick(tuple(SHAPES)),
        paint=pick(tuple(PAINTS)),
        motion=motion,
        surrounding=pick(tuple(SURROUNDINGS)),
        frames=frames,
        turn_deg=float(pick((360.0, 360.0, 300.0, 200.0, 120.0))),
        elevation_deg=(low + float(rng.uniform(0, 10)), high + float(rng.uniform(-15, 10))),
        swings=float(pick((1.0, 2.0))),
        distance_m=float(rng.uniform(0.26, 0.55)),
        wall_m=float(rng.uniform(0.6, 1.1)),
        width=width,
        height=round(width * 9 / 16),
        focal=float(rng.uniform(0.7, 1.0)),
        gloss=float(pick((0.0, 0.0, 0.08, 0.2))),
        drift=float(rng.uniform(0.0, 0.15)),
        right_gain=float(rng.uniform(0.96, 1.05)),
        noise=float(rng.uniform(0.5, 3.0)),
        jpeg_quality=int(rng.integers(80, 96)),
        seed=seed,
    )


def properties(spec: RenderSpec) -> dict[str, str]:
    """What failures are grouped by: {property: its kind in a word}."""
    return {
        "shape": spec.shape,
        "paint": spec.paint + (", glossy" if spec.gloss > 0.1 else ""),
        "surrounding": spec.surrounding,
        "motion": spec.motion,
        "distance": "near" if spec.distance_m < 0.35 else "middle" if spec.distance_m < 0.45 else "far",
    }
