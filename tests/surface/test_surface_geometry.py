"""The parts of the surface stage against slow twins and closed forms: fusion, sweeps, smooth fit, silhouettes, volume rendering."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

from stages.core.camera import Rig
from stages.core.render import Caster
from stages.core.synthetic.render import look_at
from stages.surface.field.volume_rendering import render, render_backward
from stages.surface.shape import photometric
from stages.surface.shape.evolve import Stiffness, distance_near, fitted_offsets, mean_edge, slid_apart, vertex_normals
from stages.surface.shape.fusion import Voting, fuse
from stages.surface.shape.grid import Grid
from stages.surface.shape.initial import borne_out, closed, initial_distance
from stages.surface.shape.meshing import keep_supported, marching
from stages.surface.shape.readings import combine, rim_readings
from stages.surface.views.cameras import pack, visible
from stages.surface.views.silhouettes import agreement, completed_disparity, refined, sight
from stages.surface.views.views import View, WholeFrame, choose_frames, disparity_bias, make_view

RADIUS = 0.03
RIG = Rig(160, 120, 300.0, 300.0, 79.5, 59.5, 0.06)


def _looking_at_origin(azimuth: float, distance: float = 0.3) -> np.ndarray:
    back = np.array([np.sin(azimuth), 0, -np.cos(azimuth)])
    out = np.eye(4)
    out[:3, :3] = np.stack([np.cross([0, 1, 0], -back), [0, 1, 0], -back], 1)
    out[:3, 3] = distance * back
    return out


def _sphere_view(azimuth: float, frame: int = 0, sigma: float = 0.05, noise: float = 0.0, rng=None) -> View:
    """A sphere of RADIUS at the origin with a texture that is a function of the point, seen by both eyes."""
    pose = _looking_at_origin(azimuth)
    shift = np.eye(4)
    shift[0, 3] = RIG.baseline_m
    left, depth = _picture(pose)
    right, _ = _picture(pose @ shift)
    disparity = RIG.disparity_from_depth(depth)
    if noise:
        disparity = disparity + rng.normal(0, noise, disparity.shape)
    mask = np.isfinite(depth)
    return make_view(
        WholeFrame(frame, pose, (left, right), mask, 1.0, disparity, np.where(mask, sigma, np.nan)), RIG, 10**6, 1.0
    )


def _picture(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    v, u = np.mgrid[: RIG.height, : RIG.width]
    ray = RIG.rays(np.stack([u, v], -1)) @ pose[:3, :3].T
    eye = pose[:3, 3]
    a, b, c = (ray**2).sum(-1), ray @ eye, eye @ eye - RADIUS**2
    inside = b**2 - a * c
    t = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.nan)
    x = eye + ray * t[..., None]
    colour = 128 + 100 * np.stack([np.sin(900 * x[..., i] + 400 * x[..., (i + 1) % 3]) for i in range(3)], -1)
    return np.clip(np.nan_to_num(colour, nan=20), 0, 255).astype(np.uint8), t


def _sphere_mesh(radius: float, voxel: float = 0.003):
    grid = Grid.covering(np.full(3, -0.045), np.full(3, 0.045), voxel)
    distance = (
        (np.linalg.norm(grid.points(np.arange(np.prod(grid.shape))), axis=1) - radius)
        .reshape(grid.shape)
        .astype(np.float32)
    )
    return (*marching(distance, grid), distance, grid)


@pytest.fixture(scope="module")
def ring() -> list[View]:
    return [_sphere_view(a, k) for k, a in enumerate(np.linspace(0, 2 * np.pi, 10, endpoint=False))]


def test_the_mouth_of_a_dull_cup_opens_as_far_as_cameras_look_into_it():
    wall = trimesh.creation.annulus(0.024, 0.03, 0.06)
    floor = trimesh.creation.cylinder(0.03, 0.006, transform=trimesh.transformations.translation_matrix([0, 0, -0.027]))
    solid = trimesh.util.concatenate([wall, floor])
    cup = Caster(np.asarray(solid.vertices), np.asarray(solid.faces))
    views = [_cup_view(cup, k, azimuth) for k, azimuth in enumerate(np.linspace(0, 2 * np.pi, 12, endpoint=False))]
    grid = Grid.covering(np.full(3, -0.042), np.full(3, 0.042), 0.002)
    distance = initial_distance(views, grid, 0.001, 2, 2)

    def at(x, y, z):
        return distance[tuple(np.rint((np.array([x, y, z]) - grid.origin) / grid.voxel).astype(int))]

    assert at(0, 0, 0.028) > 0 and at(0, 0, 0.02) > 0  # the mouth and what lies below it
    ring = [(0.027 * np.cos(a), 0.027 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16)]
    assert all(at(x, y, z) < 0 for x, y in ring for z in (-0.02, 0.0, 0.02)) and at(0, 0, -0.027) < 0


def _cup_view(cup: Caster, frame: int, azimuth: float, elevation: float = 0.5) -> View:
    eye = 0.3 * np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    pose = look_at(eye, np.zeros(3), np.array([0.0, 0.0, -1.0]))
    depth = cup.view(pose, RIG)["t"]
    mask, grey = np.isfinite(depth), np.full((RIG.height, RIG.width, 3), 128, np.uint8)
    disparity = RIG.disparity_from_depth(np.where(mask, depth, np.nan))
    return make_view(
        WholeFrame(frame, pose, (grey, grey), mask, 1.0, disparity, np.where(mask, 0.85, np.nan)), RIG, 10**6, 1.0
    )


def test_fused_distance_is_the_mean_of_the_readings_and_a_bad_mask_does_not_carve(ring):
    grid = Grid.covering(np.full(3, -0.04), np.full(3, 0.04), 0.004)
    broken = [*ring[:-1], _sphere_view(5.0)]
    broken[-1].outline[:] = -20.0  # one mask that misses the object
    fused = fuse(broken, grid, Voting(0.008, 3e-4, 1e-3), hull_rank=2, workers=2)
    true = np.linalg.norm(grid.points(np.arange(np.prod(grid.shape))), axis=1).reshape(grid.shape) - RADIUS
    near = (fused.weight > 0) & (np.abs(true) < 0.001)
    assert near.sum() > 20 and np.median(np.abs(fused.distance[near] - true[near])) < 7e-4
    assert (fused.hull[true < -0.004] < 0).all() and (fused.hull[(true > 0.004) & (fused.hull > -1)] > -0.03).all()
    carved = fuse(broken, grid, Voting(0.008, 3e-4, 1e-3), hull_rank=1, workers=1)
    assert (carved.hull[true < -0.004] > 0).all()


def test_what_leaves_the_picture_in_a_few_views_does_not_go_on_there(ring):
    """Eight views end just above the object; in two the object leaves the picture there, and nobody sees that it does not go on."""
    grid = Grid.covering(np.full(3, -0.06), np.full(3, 0.06), 0.004)
    views = [replace(v, picture_box=(v.picture_box[0], v.rig.cy - 32, *v.picture_box[2:])) for v in ring[:8]]
    for view in ring[8:]:
        outline = view.outline.copy()
        outline[: int(view.rig.cy) - 20] = 5.0
        views.append(replace(view, outline=outline))
    fused = fuse(views, grid, Voting(0.02, 3e-4, 1e-3), hull_rank=2, workers=2)
    x, y, z = np.moveaxis(grid.points(np.arange(np.prod(grid.shape))).reshape(*grid.shape, 3), -1, 0)
    assert (fused.hull[(y < -0.042) & (np.hypot(x, z) < 0.02)] > 0).all()
    assert (fused.hull[np.sqrt(x**2 + y**2 + z**2) < 0.02] < 0).all()


def test_separate_parts_stay_where_readings_stopped_on_them():
    distance = np.full((24, 24, 24), 1.0, np.float32)
    for low, high in ((2, 10), (13, 17), (19, 22)):
        distance[low:high, low:high, low:high] = -1.0
    met = np.zeros(distance.shape, bool)
    met[2:17] = True
    kept = borne_out(distance, met, 1.0)
    assert (kept[:17] == distance[:17]).all() and (kept[19:] > 0).all()


def test_fusion_agrees_with_its_slow_twin(ring):
    grid = Grid.covering(np.full(3, -0.04), np.full(3, 0.04), 0.01)
    view = ring[0]
    fused = fuse([view], grid, Voting(0.02, 3e-4, 1e-3), hull_rank=1, workers=1)
    for flat in range(0, int(np.prod(grid.shape)), 7):
        p = view.left_from_object[:3, :3] @ grid.points(np.array([flat]))[0] + view.left_from_object[:3, 3]
        u, v = np.floor(view.rig.project(p) + 0.5).astype(int)
        inside = 0 <= u < view.rig.width and 0 <= v < view.rig.height and view.outline[v, u] > 0
        if not inside or not np.isfinite(view.depth[v, u]) or view.depth[v, u] - p[2] < -0.02:
            assert fused.weight.ravel()[flat] == 0
            continue
        variance = view.sigma[v, u] ** 2
        np.testing.assert_allclose(
            fused.weight.ravel()[flat], 1 / ((variance + 9e-8) * (1 + variance / 1e-6)), rtol=1e-4
        )
        np.testing.assert_allclose(fused.distance.ravel()[flat], min(view.depth[v, u] - p[2], 0.02), atol=1e-3)


def test_colours_find_a_surface_that_is_half_a_millimetre_off(ring):
    vertices, faces, *_ = _sphere_mesh(RADIUS + 0.0005)
    normals = vertex_normals(vertices, faces)
    cosine = visible(Caster(vertices, faces), ring, vertices, normals, 0.45, 0.002)
    chosen = photometric.choose_cameras(cosine, vertices, pack(ring).centres, 2)
    offset, sigma, _ = photometric.sweep_offsets(
        vertices, normals, chosen, pack(ring), photometric.Sweep(0.00025, 6, 0.0008), 2
    )
    read = np.isfinite(sigma)
    # a flat patch on a sphere lies inside it by 4 spacing^2 / radius = 0.085 mm on average
    assert read.mean() > 0.3 and abs(np.median(offset[read]) + 0.0005) < 1.2e-4
    again = photometric.sweep_offsets(vertices, normals, chosen, pack(ring), photometric.Sweep(0.00025, 6, 0.0008), 1)
    np.testing.assert_array_equal(again[0], offset)


def test_a_flat_surface_gives_no_reading(ring):
    from dataclasses import replace

    flat = [replace(v, left=np.full_like(v.left, 90), right=np.full_like(v.right, 90)) for v in ring]
    vertices, faces, *_ = _sphere_mesh(RADIUS, 0.006)
    normals = vertex_normals(vertices, faces)
    cosine = visible(Caster(vertices, faces), flat, vertices, normals, 0.45, 0.002)
    chosen = photometric.choose_cameras(cosine, vertices, pack(flat).centres, 1)
    assert np.isnan(
        photometric.sweep_offsets(vertices, normals, chosen, pack(flat), photometric.Sweep(0.0003, 4, 0.001), 1)[1]
    ).all()


def test_agreement_matches_its_definition():
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(6, 30)).astype(np.float32) + rng.normal(size=30).astype(np.float32)
    patches -= patches.mean(1, keepdims=True)
    patches /= np.linalg.norm(patches, axis=1, keepdims=True)
    others = [(p, patches.sum(0) - p) for p in patches]
    each = np.sort([p @ o / np.linalg.norm(o) for p, o in others])
    np.testing.assert_allclose(photometric._agreement(patches, 6), each[1:].mean(), atol=1e-5)


def test_smooth_fit_follows_readings_bridges_gaps_and_ignores_outliers():
    vertices, faces, *_ = _sphere_mesh(RADIUS)
    normals, rng = vertex_normals(vertices, faces), np.random.default_rng(0)
    offset = np.full(len(vertices), 0.001) + rng.normal(0, 1e-4, len(vertices))
    weight = np.full(len(vertices), 1 / 1e-4**2)
    weight[vertices[:, 2] > 0.015] = 0  # an untextured cap
    wrong = rng.random(len(vertices)) < 0.05
    offset[wrong] += 0.01
    moved = fitted_offsets(vertices, faces, normals, offset, weight, Stiffness(unit=0.001, smooth=1000.0), reach=0.006)
    read = vertices[:, 2] < 0.01
    assert np.percentile(np.abs(moved[read] - 0.001), 90) < 2e-4
    assert np.abs(moved[vertices[:, 2] > 0.015] - 0.001).max() < 3e-3  # of a sagitta of 15 mm


def test_distance_near_is_the_distance_to_the_moved_surface():
    vertices, faces, distance, grid = _sphere_mesh(RADIUS)
    normals = vertex_normals(vertices, faces)
    out = np.full(len(vertices), 0.001)
    moved = distance_near(vertices + 0.001 * normals, normals, out, distance, grid, 0.006, mean_edge(vertices, faces))
    np.testing.assert_allclose(marching(moved, grid)[0].__abs__().max(), RADIUS + 0.001, atol=3e-4)


def test_slivers_become_triangles_and_stay_on_the_surface():
    vertices, faces, *_ = _sphere_mesh(RADIUS)
    rng = np.random.default_rng(0)
    rough = vertices + rng.normal(0, 5e-5, vertices.shape)  # turns slivers over

    def least_shape(x):
        corner = x[faces]
        area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
        return np.percentile(area / sum(((corner[:, i] - corner[:, i - 1]) ** 2).sum(1) for i in range(3)), 1)

    slid = slid_apart(rough, faces)
    assert least_shape(slid) > 2 * least_shape(rough)
    assert np.abs(np.linalg.norm(slid, axis=1) - RADIUS).max() < 3e-4


def test_distance_near_puts_no_surface_into_thin_air_where_normals_are_wrong():
    vertices, faces, distance, grid = _sphere_mesh(RADIUS)
    normals, still = vertex_normals(vertices, faces), np.zeros(len(vertices))
    crumpled = np.linalg.norm(vertices - [RADIUS, 0, 0], axis=1) < 0.006
    normals[crumpled] *= -1
    found, _ = marching(distance_near(vertices, normals, still, distance, grid, 0.02, mean_edge(vertices, faces)), grid)
    assert np.abs(np.linalg.norm(found, axis=1) - RADIUS).max() < 2 * grid.voxel


def _located(scores: np.ndarray, contrast: float) -> tuple[float, float]:
    offset, sigma = np.zeros(1), np.full(1, np.nan)
    photometric._locate(scores, np.full(len(scores), contrast), 1.0, len(scores) // 2, 0, offset, sigma, np.zeros(1))
    return float(offset[0]), float(sigma[0])


def test_a_peak_is_as_sure_as_it_is_sharp_strong_and_alone():
    at = np.arange(-10, 11)
    sharp = 0.9 - 0.01 * (at - 0.3) ** 2
    offset, sigma = _located(sharp, 1e6)
    assert abs(offset - 0.3) < 1e-6 and 1 <= sigma / np.sqrt(0.12 / (0.02 * photometric.SAMPLES)) < 1.15
    assert _located(sharp, 1.0)[1] > 2.5 * sigma  # a pattern of one grey level
    rippled = 0.9 - 0.0005 * at**2 + np.where(at == 0, 0.01, 0)  # a flat top with a ripple on it
    assert _located(rippled, 1e6)[1] > 3 * sigma
    stripes = 0.3 + 0.5 * np.cos(2 * np.pi * at / 7) - 0.001 * at**2
    assert np.isnan(_located(stripes, 1e6)[1])


def test_rims_touch_the_sphere(ring):
    _, _, distance, grid = _sphere_mesh(RADIUS + 0.001)
    rims = rim_readings(ring, grid, distance, 1.0, 0.005)
    assert len(rims) > 200
    np.testing.assert_allclose(np.median(np.linalg.norm(rims.points, axis=1)), RADIUS, atol=3e-4)
    assert (
        np.median(np.einsum("ij,ij->i", rims.normals, rims.points / np.linalg.norm(rims.points, axis=1)[:, None]))
        > 0.98
    )


def test_combine_drops_what_contradicts_the_surest():
    offset, weight = combine(
        [(np.array([0.0, 0.0]), np.array([100.0, 100.0])), (np.array([0.1, 5.0]), np.array([25.0, 25.0]))]
    )
    np.testing.assert_allclose(offset, [0.02, 0.0])
    np.testing.assert_allclose(weight, [125, 100])


def test_cavities_are_filled_and_the_border_is_outside():
    distance = np.full((9, 9, 9), 1.0, np.float32)
    distance[2:7, 2:7, 2:7] = -1
    distance[4, 4, 4] = 1
    distance[0, 4, 4] = -1
    out = closed(distance, 0.1)
    assert out[4, 4, 4] < 0 and out[0, 4, 4] > 0


def test_crumbs_go_and_large_parts_stay(ring):
    big, f, *_ = _sphere_mesh(RADIUS)
    small = 0.05 * big + [0, 0, -0.05]
    vertices, faces = np.concatenate([big, small]), np.concatenate([f, f + len(big)])
    read = np.full(len(vertices), 1e-4)
    surface = SimpleNamespace(vertices=vertices, faces=faces, read_at=vertices, read_sigma=read)
    mesh = keep_supported(surface, ring, 0.001, 0.02, 2)
    assert len(mesh.vertices) == len(big) and mesh.confidence[mesh.seen >= 3].min() > 0.8
    one_sided = keep_supported(surface, ring[:1], 0.001, 0.02, 1)
    assert one_sided.vertices[:, 2].max() < 0.012  # the back was never seen and nothing bounds it


def test_silhouette_repairs_a_ragged_outline(ring):
    vertices, faces, *_ = _sphere_mesh(RADIUS, 0.0015)
    pose = _looking_at_origin(0.0)
    picture, depth = _picture(pose)
    true = np.isfinite(depth)
    outline = sight(Caster(vertices, faces), np.ones(len(vertices)), pose, RIG).outline
    ragged = true.copy()
    ragged[::4] &= np.roll(true, 2, 1)[::4]
    mask, changed = refined(ragged, outline, picture, 3.0)
    assert changed and agreement(mask, true) > max(agreement(ragged, true), 0.97)


def test_disparity_is_the_surfaces_inside_the_mask_and_the_pairs_elsewhere():
    vertices, faces, *_ = _sphere_mesh(RADIUS, 0.0015)
    pose = _looking_at_origin(0.0)
    _, depth = _picture(pose)
    mask, true = np.isfinite(depth), RIG.disparity_from_depth(depth)
    matched = np.full(depth.shape, np.float32(7.0))
    confident = (vertices @ pose[:3, :3])[:, 1] < 0  # the upper half of what this camera sees
    seen = sight(Caster(vertices, faces), confident.astype(float), pose, RIG)
    final = completed_disparity(matched, seen, mask, RIG)
    upper, lower = mask & (seen.confidence > 0.5), mask & seen.outline & (seen.confidence == 0)
    assert upper.sum() > 1000 and np.percentile(np.abs(final - true)[upper], 99) < 0.1
    assert lower.sum() > 1000 and (final[lower] == 7).all() and (final[~mask] == 7).all()
    nothing = completed_disparity(np.full_like(matched, np.nan), seen, mask, RIG)
    assert np.nanmedian(np.abs(nothing - true)[lower]) < 0.05  # better a guess than none


def test_frames_are_spread_and_bias_is_found(ring):
    poses = {k: _looking_at_origin(a) for k, a in enumerate(np.linspace(0, 2 * np.pi, 60, endpoint=False))}
    assert np.diff(choose_frames(poses, dict.fromkeys(poses, 1.0), 10)).max() <= 15
    points = np.array([p for p in _sphere_mesh(RADIUS)[0]])
    points *= RADIUS / np.linalg.norm(points, axis=1, keepdims=True)
    front = points[points[:, 2] < -0.02]
    shifted = _sphere_view(0.0).shifted_disparity(-0.3)
    bias, readings = disparity_bias([shifted], np.repeat(front, 6, 0))
    assert readings >= 200 and abs(bias - 0.3) < 0.1


def test_volume_rendering_gradient_matches_differences():
    rng = np.random.default_rng(1)
    sdf = np.sort(rng.normal(0, 1, (5, 7)), 1)[:, ::-1].copy()
    rgb, target = rng.random((5, 6, 3)), rng.random((5, 3))

    def loss(s, c):
        return 0.5 * float(((render(s, c, 1.3).colour - target) ** 2).sum())

    made = render(sdf, rgb, 1.3)
    d_sdf, d_rgb = render_backward(made, rgb, 1.3, made.colour - target)
    for array, gradient, which in ((sdf, d_sdf, 0), (rgb, d_rgb, 1)):
        for index in list(np.ndindex(array.shape))[::5]:
            high, low = array.copy(), array.copy()
            high[index] += 1e-5
            low[index] -= 1e-5
            slope = (loss(*((high, rgb), (sdf, high))[which]) - loss(*((low, rgb), (sdf, low))[which])) / 2e-5
            np.testing.assert_allclose(gradient[index], slope, atol=2e-6)
