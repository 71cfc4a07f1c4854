"""Exposure gains, pose corrections, filling, and the figures of quality."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.core.geometry.rigid import exp_se3, inverse
from stages.core.meshes import TexturedMesh
from stages.core.texels.exposure import fit_gain, gain_tables, linear_from_srgb, solve_gains, srgb_from_linear
from stages.core.texels.fill import fill_background, fill_unseen
from stages.core.texels.sampling import sample_at
from stages.core.texels.views import stereo_views
from stages.core.work import Work
from stages.texture.bake import bake, median_footprint, prepare_shape, sensible_size
from stages.texture.config import TextureConfig
from stages.texture.measure import measure
from stages.texture.quality import score_view, seam_step
from tests.texture.scene import RIG, Pictures, camera, paint, sphere


def test_srgb_round_trip():
    levels = np.arange(256.0)
    assert np.abs(srgb_from_linear(linear_from_srgb(levels)) - levels).max() < 1e-3


def test_gain_one_changes_nothing():
    assert np.abs(gain_tables(np.ones(3))[:, :256] - np.arange(256)).max() < 1e-2


def test_gains_are_found_despite_outliers():
    rng = np.random.default_rng(0)
    true = np.exp(rng.normal(0, 0.15, (12, 3)))
    true /= np.median(true, 0)
    light = rng.uniform(0.05, 0.5, (3000, 3))
    levels = srgb_from_linear(light[None] * true[:, None]) + rng.normal(0, 1.5, (12, 3000, 3))
    weights = rng.random((12, 3000)) * (rng.random((12, 3000)) < 0.4)
    moved = rng.random((12, 3000)) < 0.08
    levels[moved] = 245
    found = solve_gains(levels.astype(np.float32), weights.astype(np.float32))
    assert np.abs(np.median(found, 0) - 1).max() < 1e-3
    product = found * true
    assert (np.abs(product / np.median(product, 0) - 1) < 0.01).all()


def test_fit_gain_of_one_picture():
    light = np.random.default_rng(0).uniform(0.05, 0.5, (500, 3))
    gain = fit_gain(srgb_from_linear(light), srgb_from_linear(light * [1.1, 0.9, 1.0]))
    assert np.allclose(gain, [1.1, 0.9, 1.0], atol=0.01)


def _bake(poses, pictures, **settings):
    vertices, faces = sphere(5)
    config = TextureConfig(size=512, face_budget=6000, **settings)
    views = stereo_views(poses, RIG, ("left", "right"), {})
    shape = prepare_shape(vertices, faces, median_footprint(views, RIG, np.zeros(3)), config)
    return bake(shape, views, RIG, pictures, config, Work(2))


@pytest.fixture(scope="module")
def poses():
    return {k: camera(k * 0.7, 0.5 * np.sin(k)) for k in range(9)}


def test_true_poses_stay_and_the_texture_is_right(poses):
    pictures = Pictures(poses)
    baked = _bake(poses, pictures)
    assert baked.figures["alignment_shift_max_px"] < 0.15
    held = {99: camera(0.35, 0.3)}
    measured = measure(baked.mesh, [99], held, RIG, Pictures(held), 1)
    assert measured.figures["psnr_raw_db"] > 36
    assert measured.figures["seam_step_levels"] < 1.5


def test_wrong_poses_are_mended(poses):
    rng = np.random.default_rng(3)
    wrong = {k: p @ exp_se3(np.r_[rng.normal(0, 0.004, 3), rng.normal(0, 0.0004, 3)]) for k, p in poses.items()}
    pictures, held = Pictures(poses), {99: camera(0.35, 0.3)}
    scores = {}
    for on in (False, True):
        baked = _bake(wrong, pictures, align_views=on)
        scores[on] = measure(baked.mesh, [99], held, RIG, Pictures(held), 1).figures["psnr_raw_db"]
    assert baked.figures["disagreement_after_levels"] < 0.7 * baked.figures["disagreement_before_levels"]
    assert scores[True] > scores[False] + 1


def test_exposure_is_levelled_and_not_brightened(poses):
    levels = {"left": np.linspace(0.8, 1.2, 9), "right": np.linspace(1.15, 0.85, 9)}
    gains = {(k, side): levels[side][k] for k in range(9) for side in levels}
    pictures = Pictures(poses, gains)
    baked = _bake(poses, pictures)
    found = np.array([baked.gains[k].mean() * gains[v.frame, v.side] for k, v in enumerate(baked.views)])
    assert found.std() / found.mean() < 0.02
    assert np.abs(np.median(baked.gains, 0) - 1).max() < 0.02
    colour = sample_at(baked.mesh.texture.astype(np.float32), _texel_of(baked.mesh))
    assert abs(np.median(colour / np.maximum(paint(baked.mesh.vertices[baked.mesh.faces[:, 0]]), 20)) - 1) < 0.05


def _texel_of(mesh: TexturedMesh) -> np.ndarray:
    size, uv = mesh.texture.shape[0], mesh.uv[mesh.faces_uv[:, 0]]
    return np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], 1)


def test_unseen_side_is_filled_and_marked():
    poses = {k: camera(0.3 * k, 0.0) for k in range(4)}
    baked = _bake(poses, Pictures(poses))
    assert baked.figures["unseen_texels_percent"] > 20
    assert (baked.provenance == 0).any()
    assert baked.mesh.texture[baked.provenance == 0].min() > 0


def test_fill_follows_the_surface():
    """Two strips that touch in the atlas but not on the surface: each takes its own colour."""
    vertices = np.array([[x, y, z] for z in (0, 5) for x in range(5) for y in (0, 1)], float)
    strip = np.array(
        [[2 * k, 2 * k + 1, 2 * k + 2] for k in range(4)] + [[2 * k + 1, 2 * k + 3, 2 * k + 2] for k in range(4)]
    )
    faces = np.concatenate([strip, strip + 10])
    face, weight = np.arange(16), np.full((16, 2), 1 / 3)
    colour, seen = np.zeros((16, 3), np.float32), np.zeros(16, bool)
    colour[[0, 8]], seen[[0, 8]] = [[200, 0, 0], [0, 0, 200]], True
    fill_unseen(colour, seen, face, weight, vertices, faces)
    assert np.allclose(colour[:8], [200, 0, 0], atol=1)
    assert np.allclose(colour[8:], [0, 0, 200], atol=1)


def test_background_takes_the_nearest_colour_and_keeps_the_charts():
    image, painted = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), bool)
    image[:20, :20], painted[:20, :20] = (250, 10, 10), True
    image[44:, 44:], painted[44:, 44:] = (10, 10, 250), True
    filled = fill_background(image, painted)
    assert np.array_equal(filled[painted], image[painted])
    assert filled[22, 10, 0] > 200
    assert filled[42, 54, 2] > 200


def test_seam_step_sees_a_seam():
    """A square of two triangles whose shared edge has uv in two places."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.array([[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.6, 0.6], [0.9, 0.9], [0.6, 0.9]])
    texture = np.full((64, 64, 3), 100, np.uint8)
    mesh = TexturedMesh(vertices, faces, uv, np.array([[0, 1, 2], [3, 4, 5]]), np.tile([0, 0, 1.0], (4, 1)), texture)
    assert seam_step(mesh) == 0
    texture[:32] = 110
    assert seam_step(mesh) == pytest.approx(10, abs=0.5)


def test_score_of_known_noise():
    rng = np.random.default_rng(0)
    clean = cv2.GaussianBlur(rng.uniform(60, 180, (120, 120, 3)).astype(np.float32), None, 4)
    noisy = np.clip(np.rint(clean + rng.normal(0, 5, clean.shape)), 0, 255).astype(np.uint8)
    whole = np.ones((120, 120), bool)
    score = score_view(noisy, clean, whole, whole)
    assert score.psnr_raw_db == pytest.approx(20 * np.log10(255 / 5), abs=0.2)
    assert score_view(noisy, clean, whole, np.zeros_like(whole)) is None


def test_texture_size_follows_the_pictures():
    vertices, faces = sphere(3)
    assert sensible_size(vertices, faces, 0.0005) < sensible_size(vertices, faces, 0.0001) <= 8192


def test_pair_moves_as_one_body(poses):
    baked = _bake(
        {k: p @ exp_se3(np.r_[0.003, 0, 0, 0, 0, 0]) if k == 2 else p for k, p in poses.items()}, Pictures(poses)
    )
    left, right = (next(v for v in baked.views if v.frame == 2 and v.side == s) for s in ("left", "right"))
    assert np.allclose(right.camera_from_object, RIG.right_from_left @ left.camera_from_object, atol=1e-9)
    assert np.allclose(inverse(left.camera_from_object)[:3, 3], poses[2][:3, 3], atol=1e-3)
