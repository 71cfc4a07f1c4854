"""The ball, and models by name in a weights folder of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.weight_files import add
from tests.generate import ball, networks

ENTRY = """
{name}:
  title: learned by a test
  download: {file}
  page: tests/generate/networks.py
  licence: {licence}
  commercial: {commercial}
  address: null
  sha256: null
  used_by: [generate.{answers}]
  libraries: [{library}]
  model: {{answers: {answers}, size_px: {size}, pictures: {pictures}}}
"""


def register(
    folder: Path,
    file: Path,
    name: str,
    answers: str = "views",
    pictures: int = 1,
    commercial: bool = True,
    size: int = networks.SIZE,
) -> str:
    """As a user does: an entry in registry.yaml of the weights folder, then `twin weights add`."""
    folder.mkdir(exist_ok=True)
    library = "torch" if file.suffix == ".ts" else "onnxruntime"
    text = ENTRY.format(
        name=name,
        file=file.name,
        answers=answers,
        pictures=pictures,
        commercial=str(commercial).lower(),
        size=size,
        library=library,
        licence="Apache-2.0" if commercial else "Made-up Research Licence",
    )
    with (folder / "registry.yaml").open("a") as out:
        out.write(text)
    add(file, accept_unverified=True)
    return name


@pytest.fixture(scope="session")
def light_field(tmp_path_factory) -> Path:
    """A learned model of views."""
    return networks.light_field(tmp_path_factory.mktemp("network") / "light_field.onnx")


@pytest.fixture(scope="session")
def seen_ball(tmp_path_factory):
    """{kind: reference} of the ball that was seen from the front."""
    return ball.inputs(tmp_path_factory.mktemp("ball"))


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """An empty weights folder."""
    monkeypatch.setenv("TWIN_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"
