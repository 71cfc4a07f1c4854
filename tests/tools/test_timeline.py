"""Cores over time: figures by stage of a made-up course, its picture, and a real run."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from tests.flows.conftest import make_capture
from tools.timeline import Timeline, stages_of, watch

LOG = """2026-11-29 19:00:00,000 INFO flows.run.run: run x, profile standard
2026-11-29 19:00:01,000 INFO flows.run.run: depth: computing (no earlier result)
2026-11-29 19:00:05,500 INFO flows.run.run: depth: computed in 4 s, 90 MB
2026-11-29 19:00:05,600 INFO flows.run.run: masks: from the store
2026-11-29 19:00:06,000 INFO flows.run.run: track: computing (no earlier result)
"""


def test_stages_are_those_that_were_computed_to_the_end():
    ((name, begin, end),) = stages_of(LOG)
    assert name == "depth" and end - begin == 4.5


def test_figures_and_picture():
    times = np.arange(0.0, 10.25, 0.25)
    busy = np.where(times[1:] <= 4, 2.0, np.where(times[1:] <= 6, 1.0, 0.0))
    course = Timeline(
        times, np.concatenate([[0.0], np.cumsum(busy * 0.25)]), [("depth", 0.0, 4.0), ("masks", 4.0, 10.0)], 2
    )
    assert course.figures() == {
        "depth": {"wall_s": 4.0, "core_s": 8.0, "cores_busy": 2.0, "not_full_s": 0.0},
        "masks": {"wall_s": 6.0, "core_s": 2.0, "cores_busy": pytest.approx(0.33), "not_full_s": 6.0},
    }
    drawn = ElementTree.fromstring(course.picture("a &lt; b"))
    assert {t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text")} >= {"a < b", "depth", "masks", "10 s"}


def test_a_real_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_STAGES", "tests.flows.toy_stages:stages")
    monkeypatch.setenv("TOY_FOLDER", str(tmp_path))
    (tmp_path / "b.do").write_text("sleep 2")
    found = watch(make_capture(tmp_path / "cup"), tmp_path)
    figures = found.figures()
    assert list(figures) == ["a", "b", "c", "d"] and figures["b"]["wall_s"] >= 2 and figures["b"]["not_full_s"] > 1
    assert (np.diff(found.spent) >= 0).all() and 0 < found.spent[-1] < 60
