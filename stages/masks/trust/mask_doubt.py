"""How likely a mask is wrong, learned from the figures of `audit.py` on rendered captures whose truth is known.

A few small networks that saw different captures; their mean is asked. They were taught with masks found by us on captures drawn by chance
and with true masks spoilt on purpose (`make train-mask-doubt`). What is asked is whether the overlap with the truth is below 80 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.parallel import ordered_map
from stages.masks.follow.job import FrameMask
from stages.masks.trust.audit import CUES, Look, audit

WEIGHTS = Path(__file__).resolve().parents[3] / "weights" / "mask_doubt.npz"
DOUBTFUL = 0.2
"""probability of being wrong from which a mask is called uncertain"""
LEAST_TRUST = 0.5
"""a doubted mask still carves and still carries points: what else the frames say decides"""
REACH = 4.0
"""standard deviations beyond which a figure counts no more"""

UNLIKE, UNLIKE_SPREADS, USUAL_FROM = 0.08, 3.0, 5
"""a frame of which the network of mask_net.py expects less than of the others, by the larger of the first and of so many times their
scatter, is odd, where it says something of at least so many frames. By itself the figure says little: the network may not know this
kind of object"""

BELOW_BEST, BEST_PERCENTILE, SOME_DOUBT = 0.15, 80, 0.05
"""a frame is odd as well of which so much less is expected than of the better ones, where its own figures leave so much doubt. On 26 random
captures that marks 2 of some 380 frames whose overlap is above 90 %"""
MOST = 0.4
"""share of a capture's masks in doubt from which none of them is claimed: they go wrong together, also those that look better"""

REASONS: dict[str, tuple[str, ...]] = {
    "hardly anything changes across its outline, in colour or in depth": (
        "contrast",
        "weak_outline",
        "steps",
        "levels",
    ),
    "what is inside and what is round it have the same colours": (
        "colours_alike",
        "inside_colours",
        "outside_colours",
        "textured",
    ),
    "much of it lies on the surface behind or under it (a shadow, a piece of the table)": (
        "on_ground",
        "stands_off",
        "depth_spread",
    ),
    "something beside it stands out as it does: a part may be missing": (
        "stands_beside",
        "depth_inside",
        "depth_outside",
    ),
    "it is not where the frame before puts it": ("carried", "growth"),
    "it has not the colours or the size of the object in the first frame": ("as_first", "size_to_first"),
    "its shape is unusual (ragged, with holes, or cut by the picture's border)": (
        "size",
        "border",
        "compactness",
        "holes",
    ),
}
"""what is said of the figures that speak most against a mask"""


@dataclass(frozen=True)
class Doubt:
    """mean, scale (C,): of the figures; layers: per network, weights (in, out) and biases (out,) of each layer."""

    mean: np.ndarray
    scale: np.ndarray
    networks: list[list[tuple[np.ndarray, np.ndarray]]]

    def probability(self, cues: Mapping[str, float], without: Sequence[str] = ()) -> float:
        """That the mask with these figures overlaps the truth by less than 80 %; figures named in `without` count as not known."""
        x = np.array([np.nan if name in without else cues[name] for name in CUES])
        x = np.clip((x - self.mean) / self.scale, -REACH, REACH)
        unknown = ~np.isfinite(x)
        x = np.concatenate([np.where(unknown, 0, x), unknown])
        return float(np.mean([_sigmoid(_through(x, layers)) for layers in self.networks]))

    def reason(self, cues: Mapping[str, float]) -> str:
        """The words for those figures without which the mask would be doubted least."""
        return min(REASONS, key=lambda words: self.probability(cues, REASONS[words]))


@cache
def learned() -> Doubt:
    """The networks that come with the project."""
    with np.load(WEIGHTS, allow_pickle=False) as held:
        layers = int(held["layers"])
        networks = [
            [(held[f"w{n}_{k}"], held[f"b{n}_{k}"]) for k in range(layers)] for n in range(int(held["networks"]))
        ]
        return Doubt(held["mean"], held["scale"], networks)


@dataclass(frozen=True)
class Opinion:
    """The figures of a mask, and the probability 0-1 by them that it is wrong."""

    cues: dict[str, float]
    probability: float


def opinions(
    results: Iterable[FrameMask], first: Look | None, workers: int
) -> Iterator[tuple[FrameMask, Opinion | None]]:
    """The same frames in order with what is thought of their masks, None where there is none. `first`: the prompt's frame and mask."""
    doubt = learned()

    def one(triple: tuple[FrameMask, Look, Look | None]) -> tuple[FrameMask, Opinion | None]:
        result, look, before = triple
        if not look.mask.any():
            return result, None
        cues = audit(look, before, None if first is not None and first.view.frame == result.view.frame else first)
        return result, Opinion(cues, doubt.probability(cues))

    yield from ordered_map(one, _with_frame_before(results), workers)


def with_doubt(rows: list[dict[str, Any]], thought: Mapping[int, Opinion]) -> list[dict[str, Any]]:
    """Rows of masks.parquet; those that are "ok" and likely wrong become "uncertain" and say why. A capture's masks go wrong together: the
    frame's own figures and the mean of all count alike."""
    if not thought:
        return rows
    own = {frame: _logit(o.probability) for frame, o in thought.items()}
    usual = float(np.mean(list(own.values())))
    return [
        _doubted(r, thought[r["frame"]].cues, _sigmoid((own[r["frame"]] + usual) / 2)) if r["frame"] in own else r
        for r in rows
    ]


def unlike_the_rest(
    rows: list[dict[str, Any]], as_a_whole: Mapping[int, float], thought: Mapping[int, Opinion] | None = None
) -> list[dict[str, Any]]:
    """Rows of masks.parquet; those that are "ok" and of which much less is expected than of the others become "uncertain" and say why.
    `as_a_whole`: {frame: expected overlap 0-1, NaN = not known}; `thought`: what the masks' own figures say."""
    known = np.array([v for v in as_a_whole.values() if np.isfinite(v)])
    if len(known) < USUAL_FROM:
        return rows
    usual = float(np.median(known))
    least = usual - max(UNLIKE, UNLIKE_SPREADS * 1.4826 * float(np.median(np.abs(known - usual))))
    best = float(np.percentile(known, BEST_PERCENTILE))
    doubted = {frame for frame, opinion in (thought or {}).items() if opinion.probability >= SOME_DOUBT}
    odd = {frame for frame, v in as_a_whole.items() if v < least or (v < best - BELOW_BEST and frame in doubted)}
    return [_odd(r, as_a_whole[r["frame"]], best) if r["frame"] in odd else r for r in rows]


def none_if_most(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of masks.parquet; where most of the masks are "uncertain" those that are "ok" become so too."""
    found = [r["status"] for r in rows if r["status"] in ("ok", "uncertain")]
    share = found.count("uncertain") / max(len(found), 1)
    if share < MOST:
        return rows
    return [
        _uncertain(r, f"{share:.0%} of this capture's masks are in doubt, and this one is made like them") for r in rows
    ]


def _odd(row: dict[str, Any], expected: float, usual: float) -> dict[str, Any]:
    why = "a hand may be in it, or a part missing"
    return _uncertain(
        row, f"the frame as a whole bears this mask out less ({expected:.0%}) than the better ones ({usual:.0%}): {why}"
    )


def _doubted(row: dict[str, Any], cues: dict[str, float], p: float) -> dict[str, Any]:
    if row["status"] == "ok" and p < DOUBTFUL:
        return row | {"trust": round(min(row["trust"], max(LEAST_TRUST, 1 - p)), 3)}
    return _uncertain(row, f"likely wrong ({p:.0%}): {learned().reason(cues)}") if row["status"] == "ok" else row


def _uncertain(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """The same if it was claimed; what was lost or uncertain before keeps what was said of it."""
    if row["status"] != "ok":
        return row
    return row | {"status": "uncertain", "trust": min(row["trust"], LEAST_TRUST), "reason": reason}


def _with_frame_before(results: Iterable[FrameMask]) -> Iterator[tuple[FrameMask, Look, Look | None]]:
    before = None
    for result in results:
        look = Look.at(result.view, result.mask)
        yield result, look, before
        before = look


def _through(x: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> float:
    for weights, bias in layers[:-1]:
        x = np.tanh(x @ weights + bias)
    return float((x @ layers[-1][0] + layers[-1][1])[0])


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _logit(p: float) -> float:
    p = float(np.clip(p, 1e-4, 1 - 1e-4))
    return float(np.log(p / (1 - p)))
