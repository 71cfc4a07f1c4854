"""The whole training of a field, numba and torch, on a sphere with known colours: same draws, same surface, one kind of artifact."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh

from stages.core.work import Work
from stages.surface import neural
from stages.surface.backend import Choice, choose
from stages.surface.config import SurfaceConfig
from stages.surface.field.field_files import load_field
from stages.surface.shape.grid import Grid
from stages.surface.shape.rounds import Shape
from stages.surface.views.pixels import Pixels

RADIUS, FOOTPRINT = 0.05, 0.0004
CONFIG = SurfaceConfig(geometry_steps=40, colour_steps=15, batch_points=2048, batch_rays=128, field_log2_entries=13)


def sphere() -> Shape:
    """A sphere whose mesh lies half a footprint too far out; its distances are right."""
    mesh = trimesh.creation.icosphere(4, RADIUS + 0.5 * FOOTPRINT)
    grid = Grid.covering(np.full(3, -0.06), np.full(3, 0.06), 0.002)
    points = grid.points(np.arange(np.prod(grid.shape)))
    distance = (np.linalg.norm(points, axis=1) - RADIUS).reshape(grid.shape).astype(np.float32)
    vertices = np.asarray(mesh.vertices)
    return Shape(vertices, np.asarray(mesh.faces), grid, distance, vertices, np.full(len(vertices), FOOTPRINT / 3))


def pixels(*_: object, **_more: object) -> Pixels:
    """2,000 pixels of 4 cameras that look at the sphere; red grows with x."""
    rng = np.random.default_rng(0)
    inward = rng.normal(size=(2000, 3))
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    colour = np.stack([0.5 - 0.4 * inward[:, 0], np.full(2000, 0.3), np.full(2000, 0.6)], 1).astype(np.float32)
    return Pixels(rng.integers(0, 4, 2000).astype(np.int32), colour, -0.3 * inward, inward, np.full(2000, 0.3 - RADIUS))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{backend: (vertices, metrics, folder)}."""
    out = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural, "pick", pixels)
        for backend in ("numba", "torch"):
            folder = tmp_path_factory.mktemp(backend)
            made = neural.train_field(
                [None, None], sphere(), FOOTPRINT, CONFIG, Choice(backend, "asked"), Work(), folder
            )
            out[backend] = (*made, folder)
    return out


def test_both_reach_the_same_surface_and_colours(trained) -> None:
    (ours, metrics, _), (theirs, wanted, _) = trained["torch"], trained["numba"]
    assert (
        np.abs(ours - theirs).max() < 0.3 * FOOTPRINT
        and np.linalg.norm(ours - theirs, axis=1).mean() < 0.05 * FOOTPRINT
    )
    for key in ("field_distance_error_mm", "field_colour_error", "field_eikonal"):
        assert metrics[key] == pytest.approx(wanted[key], rel=0.25, abs=2e-3), key
    assert wanted["field_colour_error"] < 0.1
    assert metrics["field_backend"] == "torch: asked" and metrics["training_points"] == wanted["training_points"]


def test_the_artifact_is_the_same_kind_and_renders_with_numba(trained) -> None:
    vertices, _, folder = trained["torch"]
    field, about = load_field(folder, threads=1), json.loads((folder / "field.json").read_text())
    assert about.keys() == json.loads((trained["numba"][2] / "field.json").read_text()).keys()
    x = ((vertices - np.array(about["cube_low_m"])) / about["cube_size_m"]).astype(np.float32)
    assert np.median(np.abs(field.sdf(x))) * about["cube_size_m"] < 0.3 * FOOTPRINT


def test_the_default_names_its_backend() -> None:
    assert choose("auto", cuda=False) == Choice("numba", "no CUDA GPU; its kernels run on any CPU")
