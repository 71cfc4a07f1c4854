"""Seed -> one capture, fully determined.

Every property is drawn from a generator of its own, so that a property that is added later leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tools.robustness.coats import COATS, GROUNDS
from tools.robustness.drawn import Drawn
from tools.robustness.families import FAMILIES

GENERATOR = 2
"""changes when a seed means another capture than before; results of other generators are not compared"""

_COATS_THAT_SHOW_MOTION = ("print", "mottle", "speckle", "stripes", "patches")
_BARE_AND_MOVING = 0.12
"""share of the captures with a moving object that may have any paint: a bare one has no motion that can be told, and should end so"""
_MOTIONS = {"orbit": 0.36, "inhand": 0.2, "turntable": 0.14, "both": 0.1, "two_stage": 0.2}
_HANDS = {
    "orbit": {"none": 0.85, "touches": 0.15},
    "inhand": {"none": 0.4, "holds": 0.35, "stays": 0.25},
    "turntable": {"none": 0.85, "touches": 0.15},
    "both": {"none": 0.5, "holds": 0.5},
    "two_stage": {"turns": 1.0},
}
_FARTHEST_M, _NEAREST_M = 1.3, 0.2
_THIN = {"rod": 1.8, "handled": 1.2, "sheet": 1.2}
"""these fill less of the picture at the same extent, so they are taken from nearer"""


def draw(seed: int, frames: int = 20, width: int = 640, family: str = "") -> Drawn:
    """The capture of `seed`; `frames` and `width` (height = 9/16 of it) do not change what it shows. `family` may be a mesh file."""
    dice = _Dice(seed)
    motion = dice.weighted("motion", _MOTIONS)
    extent = float(np.exp(dice.between("extent", np.log(0.06), np.log(0.30))))
    focal, height = dice.between("focal", 0.7, 1.0), round(width * 9 / 16)
    lowest, highest = _ELEVATIONS[motion]
    drawn_family = dice.one_of("family", tuple(FAMILIES))
    return Drawn(
        seed=seed,
        frames=frames,
        width=width,
        height=height,
        family=family or drawn_family,
        extent_m=round(extent, 4),
        coat=_coat(dice, motion),
        gloss=dice.weighted("gloss", {0.0: 0.55, 0.08: 0.25, 0.35: 0.2}),
        table=dice.one_of("table", tuple(GROUNDS)),
        wall=dice.one_of("wall", tuple(GROUNDS)),
        posters=dice.weighted("posters", {0: 0.4, 4: 0.3, 12: 0.3}),
        clutter=dice.weighted("clutter", {0: 0.55, 2: 0.2, 5: 0.25}),
        movers=dice.weighted("movers", {0: 0.75, 1: 0.15, 2: 0.1}),
        motion=motion,
        hand=dice.weighted("hand", _HANDS[motion]),
        turn_deg=dice.weighted("turn", {360.0: 0.6, 250.0: 0.2, 140.0: 0.2}),
        elevation_deg=(lowest + dice.between("lowest", 0, 10), highest + dice.between("highest", -15, 8)),
        swings=dice.weighted("swings", {1.0: 0.5, 2.0: 0.5}),
        shake=dice.between("shake", 0.2, 1.0),
        fill=_fill(dice, focal * width * extent / height, _THIN.get(drawn_family, 1.0)),
        focal=focal,
        baseline_share=dice.between("baseline", 0.12, 0.24),
        wall_m=dice.between("wall distance", 0.25, 1.0) + 0.5 * extent,
        lamp_deg=(dice.between("lamp round", 0, 360), dice.between("lamp above", 35, 75)),
        ambient=dice.between("ambient", 0.25, 0.5),
        level=dice.weighted("level", {0.45: 0.15, 0.8: 0.25, 1.0: 0.4, 1.2: 0.2}),
        exposure_drift=dice.weighted("drift", {0.0: 0.3, 0.06: 0.4, 0.2: 0.3}),
        white_drift=dice.weighted("white", {0.0: 0.6, 0.04: 0.4}),
        right_gain=dice.between("gain", 0.95, 1.06),
        noise=dice.weighted("noise", {0.8: 0.3, 2.0: 0.45, 4.0: 0.25}),
        blur=dice.weighted("blur", {0.0: 0.6, 0.02: 0.25, 0.05: 0.15}),
        rolling=dice.weighted("rolling", {0.0: 0.75, 0.03: 0.25}),
        codec=dice.weighted("codec", {"jpeg": 0.65, "mpeg4": 0.35}),
        jpeg_quality=int(dice.between("quality", 78, 96)),
    )


_ELEVATIONS = {
    "orbit": (14.0, 50.0),
    "both": (14.0, 50.0),
    "two_stage": (16.0, 50.0),
    "turntable": (12.0, 35.0),
    "inhand": (-25.0, 45.0),
}


def _coat(dice: _Dice, motion: str) -> str:
    bare = dice.between("bare", 0, 1) < _BARE_AND_MOVING
    return dice.one_of("coat", tuple(COATS) if motion == "orbit" or bare else _COATS_THAT_SHOW_MOTION)


def _fill(dice: _Dice, distance_at_full_m: float, nearer: float) -> float:
    """Share of the height that the object takes; the camera stays within reach of an arm."""
    low, high = dice.weighted("size", {(0.18, 0.3): 0.2, (0.3, 0.6): 0.5, (0.6, 0.9): 0.3})
    fill = np.clip(
        nearer * dice.between("fill", low, high), distance_at_full_m / _FARTHEST_M, distance_at_full_m / _NEAREST_M
    )
    return round(float(min(fill, 0.95)), 4)


class _Dice:
    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([7741, self._seed, *name.encode()])

    def between(self, name: str, low: float, high: float) -> float:
        return round(float(self._rng(name).uniform(low, high)), 4)

    def one_of(self, name: str, options: Sequence[Any]) -> Any:
        return options[int(self._rng(name).integers(len(options)))]

    def weighted(self, name: str, shares: Mapping[Any, float]) -> Any:
        return tuple(shares)[
            int(self._rng(name).choice(len(shares), p=np.array(tuple(shares.values())) / sum(shares.values())))
        ]
