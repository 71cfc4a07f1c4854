"""A surface that ends: bad masks are refused with the reason, and large ones are worked on in blocks that change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from stages.base import StageContext, StageError
from stages.core.images import read_mask, write_mask
from stages.core.store import ArtifactRef
from stages.surface.config import SurfaceConfig
from stages.surface.shape import evolve, readings
from stages.surface.shape.bounds import Bounds, Unbounded
from stages.surface.shape.evolve import distance_near, vertex_normals
from stages.surface.shape.grid import Grid
from stages.surface.shape.readings import rim_readings
from stages.surface.stage import STAGE
from stages.surface.views import cameras
from stages.texture.lighten import MOST_BUDGETS, lighten
from tests.surface.test_surface_geometry import _sphere_mesh, _sphere_view

QUICK = SurfaceConfig(method="fusion", rounds=2, voxel_px=3.0)


def _with_masks(truth, folder, change):
    """The inputs with every mask changed."""
    for path in sorted(truth["masks"].path.glob("*.png")):
        write_mask(folder / path.name, change(read_mask(path)))
    return {**truth, "masks": ArtifactRef("masks", folder, "changed")}


def _refusal(inputs, out, config=QUICK) -> StageError:
    out.mkdir()
    with pytest.raises(StageError) as caught:
        STAGE.run(inputs, config, out, StageContext(threads=2))
    assert "surface" in caught.value.message and "masks" in caught.value.advice
    return caught.value


def test_masks_of_the_whole_picture_are_refused(truth, tmp_path):
    inputs = _with_masks(truth, tmp_path / "masks", np.ones_like)
    assert "fill their pictures: nothing bounds the object" in _refusal(inputs, tmp_path / "out").message


def test_masks_that_end_only_at_the_border_are_refused(truth, tmp_path):
    def lower_half(mask: np.ndarray) -> np.ndarray:
        out = np.zeros_like(mask)
        out[len(mask) // 2 :] = True
        return out

    inputs = _with_masks(truth, tmp_path / "masks", lower_half)
    assert "end only where the picture ends" in _refusal(inputs, tmp_path / "out").message


def test_a_surface_of_too_many_vertices_is_foretold_and_refused(truth, tmp_path):
    error = _refusal(truth, tmp_path / "out", replace(QUICK, max_vertices=10_000))
    assert "more than surface.max_vertices=10,000" in error.message and "cm2" in error.message


def test_the_last_mesh_is_foretold_from_an_earlier_one():
    vertices, faces, _, _ = _sphere_mesh(0.03, voxel=0.003)
    last = len(_sphere_mesh(0.03, voxel=0.001)[0])
    Bounds(vertices=int(1.3 * last)).refuse_large(vertices, faces, 0.001)
    with pytest.raises(Unbounded, match="vertices"):
        Bounds(vertices=int(0.75 * last)).refuse_large(vertices, faces, 0.001)


def test_a_box_is_meshed_coarser_up_to_a_point_and_then_refused():
    low, high = np.zeros(3), np.array([0.4, 0.2, 0.1])
    bounds = Bounds(cells=1_000_000)
    assert bounds.voxel(low, high, 0.003) == 0.003
    coarser = bounds.voxel(low, high, 0.0015)
    assert coarser == pytest.approx(0.002)
    with pytest.raises(Unbounded, match="400 x 200 x 100 mm") as caught:
        bounds.voxel(low, high, 0.001)
    assert "surface.max_cells" in caught.value.advice


def test_small_values_far_from_the_surface_stay_as_they_are():
    """Where nobody looked the field is small and means nothing: no vertex is near, so it is not recomputed, and no surface appears."""
    vertices, faces, distance, grid = _sphere_mesh(0.02)
    before = distance.copy()
    corner = np.s_[-6:, -6:, -6:]
    before[corner] = 1e-4
    moved = np.full(len(vertices), 0.002)
    out = distance_near(vertices, vertex_normals(vertices, faces), moved, before, grid, 0.005, 0.003)
    assert (out[corner] == np.float32(1e-4)).all()
    near = np.abs(distance) < 0.002
    np.testing.assert_allclose(out[near], distance[near], atol=3e-4)


def test_blocks_change_nothing(monkeypatch):
    vertices, faces, distance, grid = _sphere_mesh(0.03)
    normals, moved = vertex_normals(vertices, faces), np.full(len(vertices), 1e-3)
    views = [_sphere_view(a, k) for k, a in enumerate((0.0, 1.0, 2.0))]
    whole = distance_near(vertices, normals, moved, distance, grid, 0.006, 0.003)
    rims = rim_readings(views, grid, distance, 1.0, 0.005)
    monkeypatch.setattr(evolve, "BLOCK", 137)
    monkeypatch.setattr(readings, "RIM_BLOCK", 11)
    assert np.array_equal(whole, distance_near(vertices, normals, moved, distance, grid, 0.006, 0.003))
    again = rim_readings(views, grid, distance, 1.0, 0.005)
    assert np.array_equal(rims.points, again.points) and np.array_equal(rims.sigma, again.sigma) and len(rims) > 50
    assert [s.stop - s.start for s in cameras.blocks(10, 4)] == [4, 4, 2] and cameras.blocks(0) == []


def test_cells_of_the_grid_bound_what_a_rod_takes():
    box = Grid.covering(
        np.zeros(3), np.array([1.0, 0.01, 0.01]), Bounds().voxel(np.zeros(3), np.array([1.0, 0.01, 0.01]), 5e-4)
    )
    assert box.voxel == 5e-4 and np.prod(box.shape) < Bounds().cells


def test_a_surface_that_is_rough_all_over_is_lightened_all_the_same():
    ball = trimesh.creation.icosphere(5, 0.05)
    rough = np.asarray(ball.vertices) * (1 + np.random.default_rng(0).normal(0, 0.05, (len(ball.vertices), 1)))
    vertices, faces, deviation = lighten(rough, np.asarray(ball.faces), 200, 1e-5)
    assert len(faces) <= 1.1 * MOST_BUDGETS * 200 < len(ball.faces) and deviation > 1e-5 and len(vertices) < len(rough)
