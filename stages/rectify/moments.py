"""Whether the two pictures of a pair are of one moment: only then do rows fit.

A right recorder that counts from one pairs every left picture with the right one of the moment before; one that drops a picture and counts
on does so from there. Where the scene moves, rows then miss by amounts that scatter; one of the neighbouring pictures fits, and that is
looked for.
"""

from __future__ import annotations

import itertools

import numpy as np

from stages.core.errors import CaptureError
from stages.rectify.fitting_rows import LEAST_EACH, fitting
from stages.rectify.geometry import Geometry
from stages.rectify.matches import Features, features, match_features
from stages.rectify.pairing import Shift
from stages.rectify.raw_pairs import PairReader, Picture, RawPair

GOOD_SHARE = 0.5
"""share of the matches whose rows agree to `NEAR_PX`; pairs of one moment have 0.6 to 0.95"""
CLEARLY = 2.0
"""as many matches that fit must another pairing have, over the given one"""
LEAST = 40
"""matches that fit, over the frames that another pairing is taken for"""
OPPOSITE = 1.4
"""the same of an order; near the middle both orders fit alike"""
REACH = 4
"""places before and after that are tried"""
SAMPLES = 8


def shift_between_eyes(reader: PairReader, geometry: Geometry, pair: np.ndarray, rows_px: np.ndarray) -> Shift:
    """Which right picture each left one goes with.

    rows_px, pair: row error and frame of the matches of the pairs as they are; where those fit badly in a pair its neighbours are tried.
    """
    sampled = sorted({int(f) for f in pair})
    poor = [f for f in sampled if fitting(rows_px[pair == f]) <= GOOD_SHARE * np.count_nonzero(pair == f)]
    if not poor or (len(poor) < 2 and len(sampled) > 2):
        return Shift()
    search = _Search(reader, geometry)
    chosen = [poor[i] for i in np.unique(np.linspace(0, len(poor) - 1, SAMPLES).round().astype(int))]
    found = set(search.best(chosen).values())
    search.refuse_reversed(sampled, found, reader.count)
    if not found:
        return Shift()
    return Shift(tuple(search.steps(search.among(sampled, (0, *sorted(found, key=abs))))))


class _Search:
    """Tries other partners; features of a picture are found once."""

    def __init__(self, reader: PairReader, geometry: Geometry) -> None:
        self.reader, self.geometry = reader, geometry
        self.known: dict[tuple[int, str], Features | None] = {}

    def best(self, frames: list[int]) -> dict[int, int]:
        """The place that fits each frame; frames for which none does clearly are left out. Near places first: few need the far ones."""
        out: dict[int, int] = {}
        total = 0
        for reach in ((1, -1), tuple(d for k in range(2, REACH + 1) for d in (k, -k))):
            left = [f for f in frames if f not in out]
            self._read({(f, "left") for f in left} | {(f + d, "right") for f in left for d in (0, *reach)})
            for f in left:
                counts = {d: self._fitting(f, f + d) for d in (0, *reach)}
                found = max(counts, key=lambda d: counts[d])
                if counts[found] >= LEAST_EACH and counts[found] > CLEARLY * counts[0]:
                    out[f], total = found, total + counts[found]
        return out if total >= LEAST else {}

    def refuse_reversed(self, frames: list[int], places: set[int], count: int) -> None:
        """Raise CaptureError where the right pictures in opposite order fit the frames clearly better than the best of `places` does."""
        back, near = {f: count - 1 - f for f in frames}, (0, *places)
        self._read(
            {(f, "left") for f in frames}
            | {(b, "right") for b in back.values()}
            | {(f + d, "right") for f in frames for d in near}
        )
        opposite = sum(self._fitting(f, b) for f, b in back.items())
        if opposite >= LEAST and opposite > OPPOSITE * sum(max(self._fitting(f, f + d) for d in near) for f in frames):
            raise CaptureError(
                "the right pictures come in the opposite order: the first left one fits the last right one",
                "name the pictures of both cameras in the order of time",
            )

    def among(self, frames: list[int], places: tuple[int, ...]) -> list[tuple[int, int]]:
        """Each frame with the one of `places` that fits it best; frames that none fits are left out."""
        self._read({(f, "left") for f in frames} | {(f + d, "right") for f in frames for d in places})
        counts = {f: [self._fitting(f, f + d) for d in places] for f in frames}
        return [(f, places[int(np.argmax(c))]) for f, c in counts.items() if max(c) >= LEAST_EACH] or [(0, 0)]

    def steps(self, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """(first frame, by) from the places of some frames; where they change is looked for between them."""
        out = [(0, found[0][1])]
        for (a, by_a), (b, by_b) in itertools.pairwise(found):
            if by_a == by_b:
                continue
            while b - a > 1:
                middle = (a + b) // 2
                self._read({(middle, "left"), (middle + by_a, "right"), (middle + by_b, "right")})
                a, b = (
                    (middle, b)
                    if self._fitting(middle, middle + by_a) >= self._fitting(middle, middle + by_b)
                    else (a, middle)
                )
            out.append((b, by_b))
        return out

    def _read(self, wanted: set[tuple[int, str]]) -> None:
        missing = wanted - self.known.keys()
        places = {f for f, _ in missing}
        for p in self.reader.stream(places.__contains__) if places else ():
            for side in ("left", "right"):
                if (p.frame, side) in missing:
                    self.known[p.frame, side] = _features(p, side)

    def _fitting(self, left: int, right: int) -> int:
        a, b = self.known.get((left, "left")), self.known.get((right, "right"))
        if a is None or b is None:
            return 0
        uv, K = match_features(a, b), self.geometry.rig.K
        if not len(uv):
            return 0
        return fitting(self.geometry.right.points(uv[:, 2:4], K)[:, 1] - self.geometry.left.points(uv[:, :2], K)[:, 1])


def _features(pair: RawPair, side: str) -> Features | None:
    picture: Picture | None = pair.left if side == "left" else pair.right
    try:
        return None if picture is None else features(picture.pixels())
    except CaptureError:  # a broken picture is named by the survey
        return None
