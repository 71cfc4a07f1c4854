"""The estimate of the time left."""

from __future__ import annotations

import pytest

from flows.records.run_record import RunRecord, StageRecord
from flows.run.time_left import TimeLeft, expected_seconds, in_words


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(profile: str, **seconds: float) -> RunRecord:
    return RunRecord(
        "x", {"profile": profile}, stages={k: StageRecord("done", computed_in_s=v) for k, v in seconds.items()}
    )


def test_history_of_the_same_profile_counts():
    past = [
        record("standard", depth=20, masks=5),
        record("standard", depth=30),
        record("standard", depth=100),
        record("preview", depth=1),
    ]
    assert expected_seconds(["depth", "masks", "other"], "standard", past) == {"depth": 30, "masks": 5, "other": 10.0}


def test_the_pace_of_this_run_scales_the_rest():
    clock = Clock()
    left = TimeLeft({"a": 10, "b": 20, "c": 30}, clock)
    assert left.seconds() == 60
    left.started("a")
    clock.now = 15.0
    left.progress(1, 2)  # 15 s for half of what was to take 10: three times slower
    assert left.seconds() == pytest.approx(15 + 3 * 50)
    clock.now = 30.0
    left.finished(cached=False)
    left.started("b")
    assert left.seconds() == pytest.approx(3 * 50)
    clock.now = 1000.0  # far over what was planned, and no progress reported: never negative
    assert left.seconds() == pytest.approx(3 * 30)
    left.finished(cached=False)
    left.started("c")
    left.finished(cached=True)
    assert left.seconds() == 0


def test_stages_from_the_store_do_not_change_the_pace():
    clock = Clock()
    left = TimeLeft({"a": 10, "b": 20}, clock)
    left.started("a")
    clock.now = 0.1
    left.finished(cached=True)
    assert left.seconds() == 20


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")]
)
def test_in_words(seconds, words):
    assert in_words(seconds) == words
