"""The solver on a ball whose colours, roughness and light are known, and its parts against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from stages.material.fit import Samples
from stages.material.gloss import DRAWS, F0, mirror_light
from stages.material.light import directions, solid_angles
from stages.material.light_equations import never_negative
from stages.material.occlusion import irradiance_rows, own_irradiance, what_stands_before
from stages.material.solve import Body, Options, solve
from tests.material.scene import BASES, RADIUS, ROUGH, ball_points, grid, kinds, light, shaded, view_points

HEIGHT, EXPOSURE = 16, 0.25


def scale_free_psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """dB after one scale per channel."""
    scale = (found * truth).sum(0) / (found**2).sum(0)
    return float(-10 * np.log10(((found * scale - truth) ** 2).mean()))


@pytest.fixture(scope="module")
def ball() -> tuple[Samples, Body, np.ndarray]:
    """500 points of the ball as 16 cameras see them, with a little noise."""
    normal, views = ball_points(500), view_points(16)
    kind = kinds(normal)
    ways, angles = grid(32)
    power = light(ways) * angles[:, None] * EXPOSURE
    radiance, weight, to_view = (
        np.zeros((500, 16, 3), np.float32),
        np.zeros((500, 16), np.float32),
        np.zeros((500, 16, 3)),
    )
    for k, place in enumerate(views):
        away = place - RADIUS * normal
        to_view[:, k] = away / np.linalg.norm(away, axis=1, keepdims=True)
        weight[:, k] = (to_view[:, k] * normal).sum(1) > 0.25
        radiance[:, k] = shaded(normal, to_view[:, k], BASES[kind], ROUGH[kind], ways, power)
    radiance += np.random.default_rng(0).normal(0, 0.003, radiance.shape)
    corner, share = (
        np.arange(500, dtype=np.int32)[:, None] * np.ones((1, 3), np.int32),
        np.eye(3, dtype=np.float32)[np.zeros(500, int)],
    )
    samples = Samples(corner, share, normal, to_view, np.maximum(radiance, 0).astype(np.float32), weight)
    body = Body(normal, np.full((500, 2 * HEIGHT**2), -1, np.int32), np.zeros((500, 3), np.float32))
    return samples, body, kind


def test_what_is_found_of_the_ball(ball):
    samples, body, kind = ball
    done = []
    options = Options(HEIGHT, rounds=10, workers=2)
    found = solve(samples, body, RADIUS * samples.normal, options, lambda k, total: done.append((k, total)))
    assert done[-1] == (10, 10)
    assert 0 <= found.base.min() and found.base.max() <= 1 and found.lit.light.min() >= 0
    assert 0 < found.roughness.min() and found.roughness.max() < 1
    baked = scale_free_psnr(samples.mean(samples.radiance), BASES[kind])
    solved = scale_free_psnr(found.base, BASES[kind])
    print(
        f"base colour {solved:.1f} dB, baked {baked:.1f}, roughness off by {np.abs(found.roughness - ROUGH[kind]).mean():.3f}"
    )
    assert solved > baked + 6 and solved > 20
    assert np.abs(found.roughness - ROUGH[kind]).mean() < 0.1
    assert found.error < 0.6 * found.plain_error
    truth = light(directions(HEIGHT))
    assert np.corrcoef(found.lit.light.ravel(), truth.ravel())[0, 1] > 0.7
    _relights_better(samples, found, kind)
    again = solve(samples, body, RADIUS * samples.normal, options, lambda k, total: None)
    assert (
        (again.base == found.base).all()
        and (again.roughness == found.roughness).all()
        and (again.lit.light == found.lit.light).all()
    )


def _relights_better(samples, found, kind):
    """Under another light, seen from other places: nearer to the truth than the colours of the pictures."""
    ways, angles = grid(24)
    power = light(ways, seed=5) * angles[:, None] * EXPOSURE
    to_view = samples.to_view[:, 3] * np.where(samples.weight[:, 3:4] > 0, 1, np.nan)
    seen = np.isfinite(to_view[:, 0])
    n, v, k = samples.normal[seen], to_view[seen], kind[seen]
    truth = shaded(n, v, BASES[k], ROUGH[k], ways, power)
    relit = shaded(n, v, found.base[seen], found.roughness[seen], ways, power)
    baked = samples.mean(samples.radiance)[seen]
    assert scale_free_psnr(relit, truth) > scale_free_psnr(baked, truth) + 3


@pytest.mark.parametrize("roughness", [0.2, 0.35, 0.6])
def test_mirrored_light_is_the_integral_over_the_lobe(roughness):
    """Drawn directions against a sum over a fine grid."""
    height, normal = 32, np.array([0.2, 0.9, 0.3]) / np.linalg.norm([0.2, 0.9, 0.3])
    picture = light(directions(height)).reshape(height, 2 * height, 3)
    ways, angles = grid(128)
    for view in ([0.1, 1.0, 0.5], [0.9, 0.6, -0.1], [0.25, 0.9, 0.2]):
        to_view = np.array(view) / np.linalg.norm(view)
        a, b = np.empty(3), np.empty(3)
        mirror_light(
            normal,
            to_view,
            roughness,
            DRAWS,
            picture,
            np.full(2 * height**2, -1, np.int32),
            np.zeros((1, 3), np.float32),
            np.empty((len(DRAWS), 5)),
            a,
            b,
        )
        expected = shaded(
            normal[None], to_view[None], np.zeros((1, 3)), np.array([roughness]), ways, light(ways) * angles[:, None]
        )[0]
        np.testing.assert_allclose(F0 * a + b, expected, rtol=0.12, atol=0.002)


def test_a_wall_hides_the_light_and_is_seen_instead():
    """A floor beside a wall: the vertex near it loses about half of its sky, and gets the wall's light."""
    floor = trimesh.creation.box((2, 0.1, 2))
    wall = trimesh.creation.box((0.1, 2, 2), trimesh.transformations.translation_matrix([0.3, 1.0, 0]))
    both = trimesh.util.concatenate([floor, wall])
    probe = np.array([[0.2, 0.05, 0.0], [-0.9, 0.05, 0.0]])
    vertices = np.concatenate([both.vertices, probe])
    normals = np.concatenate([both.vertex_normals, [[0, 1, 0], [0, 1, 0]]])
    hit = what_stands_before(vertices, np.asarray(both.faces), normals, HEIGHT, 2)[-2:]
    colours = np.full((len(vertices), 3), 0.5, np.float32)
    open_sky = irradiance_rows(normals[-2:], hit, HEIGHT).sum(1)
    own = own_irradiance(normals[-2:], hit, colours, HEIGHT)[:, 0]
    assert open_sky[0] < 0.65 * np.pi and open_sky[1] > 0.75 * np.pi
    np.testing.assert_allclose(open_sky + own / 0.5, np.pi, rtol=0.03)
    assert solid_angles(HEIGHT).sum() == pytest.approx(4 * np.pi)


def test_least_squares_without_negative_values():
    rng = np.random.default_rng(0)
    table, given = rng.normal(size=(60, 12)), rng.normal(size=60)
    from scipy.optimize import nnls

    found = never_negative(table.T @ table, table.T @ given)
    np.testing.assert_allclose(found, nnls(table, given)[0], atol=1e-4)
