"""What fits into memory, and what is said where it does not."""

from __future__ import annotations

import pytest

from stages.core.errors import StageError
from stages.core.memory import Plan, choose_plan, free_gb

PLANS = [Plan({}, 8.0), Plan({"depth.band": 0.4}, 4.0), Plan({"depth.band": 0.1, "depth.size": 0.5}, 2.0)]
ASKED = ("depth.method=x", PLANS)


def test_what_was_asked_for_runs_where_it_fits():
    for memory in ("fixed", "auto"):
        assert choose_plan(*ASKED, 9.0, memory, "lower band") == (PLANS[0], "")


def test_auto_takes_the_largest_that_fits_and_says_so():
    plan, warning = choose_plan(*ASKED, 5.0, "auto", "lower band")
    assert plan is PLANS[1]
    assert (
        warning
        == "depth.method=x needs about 8.0 GB of memory, 5.0 GB are free: run with depth.band=0.4 instead (about 4.0 GB)"
    )
    assert choose_plan(*ASKED, 4.2, "auto", "")[0] is PLANS[2]  # a tenth of what is free is left alone


def test_fixed_refuses_and_auto_does_where_nothing_fits():
    with pytest.raises(
        StageError, match=r"needs about 8\.0 GB of memory, 5\.0 GB are free[\s\S]*lower band, or set depth\.memory=auto"
    ):
        choose_plan(*ASKED, 5.0, "fixed", "lower band")
    with pytest.raises(StageError, match=r"at the lowest settings 2\.0 GB\), 1\.0 GB are free[\s\S]*lower band$"):
        choose_plan(*ASKED, 1.0, "auto", "lower band")
    with pytest.raises(StageError, match=r"1\.0 GB are free[\s\S]*lower band$"):
        choose_plan(*ASKED, 1.0, "fixed", "lower band")


@pytest.mark.parametrize(
    "names", [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]
)
def test_a_container_has_what_it_may_still_take(tmp_path, names):
    everything = free_gb(cgroup=tmp_path)
    assert everything > 0
    for name, value in zip(names, ("400000000", "150000000"), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(value)
    assert free_gb(cgroup=tmp_path) == pytest.approx(0.25)
    (tmp_path / names[0]).write_text("max")
    assert free_gb(cgroup=tmp_path) > 0.25
