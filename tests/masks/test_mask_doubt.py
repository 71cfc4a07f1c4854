"""Masks that look wrong: the audit's figures, and what the taught networks make of right masks and of spoilt ones."""

from __future__ import annotations

import numpy as np
import pytest

from stages.masks.follow.job import FrameMask
from stages.masks.trust.audit import CUES, Look, audit
from stages.masks.trust.mask_doubt import (
    DOUBTFUL,
    LEAST_TRUST,
    REASONS,
    Opinion,
    learned,
    none_if_most,
    opinions,
    unlike_the_rest,
    with_doubt,
)
from tests.masks.flat_scene import FlatScene

SCENE = FlatScene([(110.0 + 12 * k, 110.0) for k in range(6)])


def probability(frame: int, mask: np.ndarray) -> float:
    look, before = Look.at(SCENE.load(frame), mask), Look.at(SCENE.load(frame - 1), SCENE.mask(frame - 1))
    return learned().probability(audit(look, before, Look.at(SCENE.load(0), SCENE.mask(0))))


def with_wall(mask: np.ndarray) -> np.ndarray:
    """With a piece of the wall as large as the thing itself."""
    return mask | np.roll(mask, (25, 45), (0, 1))


def half(mask: np.ndarray) -> np.ndarray:
    return mask & (np.arange(mask.shape[0])[:, None] < np.nonzero(mask)[0].mean())


def elsewhere(mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, 100, 1)


def test_right_masks_are_not_doubted():
    assert max(probability(k, SCENE.mask(k)) for k in range(1, 6)) < DOUBTFUL


@pytest.mark.parametrize("spoil", [with_wall, half, elsewhere])
def test_masks_that_went_wrong_are_doubted(spoil):
    assert min(probability(k, spoil(SCENE.mask(k))) for k in range(1, 6)) >= DOUBTFUL


def rows_of(frames: list[FrameMask]) -> list[dict]:
    """As the stage writes them."""
    first = Look.at(SCENE.load(0), SCENE.mask(0))
    rows, thought = [], {}
    for result, opinion in opinions(iter(frames), first, workers=2):
        rows.append(
            {"frame": result.view.frame, "status": result.status, "trust": result.trust, "reason": result.reason}
        )
        if opinion is not None:
            thought[result.view.frame] = opinion
    return with_doubt(rows, thought)


def test_a_doubted_mask_is_uncertain_says_why_and_is_still_used():
    frames = [
        FrameMask(SCENE.load(k), SCENE.mask(k) if k < 3 else elsewhere(SCENE.mask(k)), "ok", 0.95, "") for k in range(6)
    ]
    rows = rows_of(frames)
    assert [r["frame"] for r in rows] == list(range(6)) and [r["status"] for r in rows] == ["ok"] * 3 + [
        "uncertain"
    ] * 3
    assert all(r["trust"] >= LEAST_TRUST and any(words in r["reason"] for words in REASONS) for r in rows[3:])


def test_lost_and_uncertain_masks_keep_what_was_said_of_them():
    lost = FrameMask(SCENE.load(1), np.zeros_like(SCENE.mask(1)), "lost", 0.0, "no object found")
    odd = FrameMask(SCENE.load(2), with_wall(SCENE.mask(2)), "uncertain", 0.3, "the area jumps")
    assert [(r["status"], r["reason"]) for r in rows_of([lost, odd])] == [
        ("lost", "no object found"),
        ("uncertain", "the area jumps"),
    ]
    assert with_doubt([], {}) == []


def test_nothing_known_is_nothing_said():
    tiny = np.zeros_like(SCENE.mask(0))
    tiny[100, 100:105] = True
    assert all(np.isnan(v) for v in audit(Look.at(SCENE.load(0), tiny), None, None).values())
    assert {name for names in REASONS.values() for name in names} == set(CUES)
    assert 0 <= learned().probability(dict.fromkeys(CUES, float("nan"))) <= 1


def test_a_frame_that_the_network_bears_out_less_than_the_others_is_uncertain():
    rows = [{"frame": k, "status": "ok" if k != 6 else "lost", "trust": 0.9, "reason": ""} for k in range(8)]
    sure = dict(enumerate([0.97, 0.96, 0.97, 0.8, 0.98, 0.97, 0.5, float("nan")]))
    found = unlike_the_rest(rows, sure)
    assert [r["status"] for r in found] == ["ok"] * 3 + ["uncertain"] + ["ok"] * 2 + ["lost", "ok"]
    assert "80%" in found[3]["reason"] and "97%" in found[3]["reason"] and found[3]["trust"] <= LEAST_TRUST
    unknown_kind = dict(enumerate([0.67, 0.62, 0.79, 0.53, 0.87, 0.95, 0.72, 0.69]))
    assert unlike_the_rest(rows, unknown_kind) == rows and unlike_the_rest(rows, {0: 0.9, 1: 0.1}) == rows


def test_where_most_masks_are_in_doubt_none_is_claimed():
    """A bowl whose shadow is taken for a part of it is so in every frame, though some of them look well."""

    def row(status):
        return {"frame": 0, "status": status, "trust": 0.9, "reason": "said"}

    mixed = none_if_most([row("uncertain")] * 6 + [row("ok")] * 4 + [row("lost")] * 3)
    assert [r["status"] for r in mixed] == ["uncertain"] * 10 + ["lost"] * 3
    assert {r["trust"] for r in mixed[6:10]} == {LEAST_TRUST} and all(
        "60% of this capture's masks" in r["reason"] for r in mixed[6:10]
    )
    assert [r["reason"] for r in mixed[:6]] == ["said"] * 6
    mostly_good = [row("uncertain")] * 3 + [row("ok")] * 6
    assert none_if_most(mostly_good) == mostly_good


def test_a_hand_that_fills_half_of_the_frames_cannot_make_itself_the_usual():
    """The better frames are the measure, and the masks' own figures have to leave some doubt as well."""
    rows = [{"frame": k, "status": "ok", "trust": 0.9, "reason": ""} for k in range(10)]
    expected = dict(enumerate([0.85, 0.85, 0.86, 0.63, 0.68, 0.55, 0.44, 0.57, 0.67, 0.84]))
    thought = {k: Opinion({}, 0.01 if k in (0, 1, 2, 9) else 0.1) for k in range(10)}
    assert unlike_the_rest(rows, expected) == rows, "the frames themselves scatter as much"
    found = unlike_the_rest(rows, expected, thought)
    assert [k for k, r in enumerate(found) if r["status"] == "uncertain"] == [3, 4, 5, 6, 7, 8]
    sure = {k: Opinion({}, 0.01) for k in range(10)}
    assert unlike_the_rest(rows, expected, sure) == rows, "a kind of thing that the network does not know"
