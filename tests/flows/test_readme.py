"""What the README says of the graph is what the stages declare."""

from __future__ import annotations

from pathlib import Path

from stages.graph import mermaid, ordered, stages


def test_the_readme_shows_the_graph():
    assert mermaid() in (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_order_is_derived():
    names = [s.name for s in ordered(tuple(reversed(stages())))]
    assert names == ["rectify", "depth", "masks", "track", "bundle", "surface", "texture", "physics", "package"]
