"""What the tests of tracking share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.track import wall_scene


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """An empty weights folder."""
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    """A textured wall before a camera that moves: inputs of `track` by kind."""
    return wall_scene.make(tmp_path_factory.mktemp("wall"))
