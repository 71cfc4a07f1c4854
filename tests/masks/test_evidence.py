"""Evidence: the kernels against their twins, and what each cue says in clear cases."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.masks.cut.colour_model import histogram, local_llr, model_from_histograms
from stages.masks.cut.evidence import background_log_density, colour_llr, depth_llr, prior_llr
from stages.masks.cut.outline import Window
from stages.masks.cut.planes import fit_planes, plane_in_space, standing_out
from stages.masks.cut.seed import surrounding_planes
from stages.masks.follow.capture_kind import keeps_still, small, still_share
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.background import (
    Background,
    Samples,
    background_from,
    behind,
    frame_gain,
    outside_masks,
    shade_seen,
    sure_disparity,
)
from tests.masks.flat_scene import RIG, FlatScene, texture


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def model(rng):
    red, blue = rng.normal((200, 40, 40), 8, (4000, 3)), rng.normal((40, 40, 200), 8, (4000, 3))
    return model_from_histograms(histogram(red), histogram(blue))


def test_colour_model_knows_its_colours(model):
    llr = model.llr(np.array([[200, 40, 40], [40, 40, 200], [40, 200, 40]], np.float32))
    assert llr[0] > 3 and llr[1] < -3 and abs(llr[2]) < 0.5


def test_known_background_kernel_equals_its_twin(model, rng):
    colour = rng.uniform(0, 255, (12, 15, 3)).astype(np.float32)
    background = (colour + rng.normal(0, 20, colour.shape)).astype(np.float32)
    sigma = rng.uniform(1, 5, (12, 15)).astype(np.float32)
    background[3, 4] = np.nan
    got = colour_llr(colour, model, background, sigma)
    expected = model.log_densities(colour)[0] - background_log_density(colour, np.nan_to_num(background), sigma)
    expected[3, 4] = model.llr(colour[3, 4])
    assert np.abs(got - expected).max() < 2e-3


def test_shadow_is_background_and_another_colour_is_not(model):
    background = np.full((1, 3, 3), 120, np.float32)
    colour = np.array([[[120, 120, 120], [105, 105, 105], [150, 100, 60]]], np.float32)
    value = background_log_density(colour, background, np.full((1, 3), 2, np.float32))[0]
    assert value[0] - value[1] < 1.5 and value[0] - value[2] > 4


def test_a_background_that_no_shadow_reaches_is_not_a_flat_side_of_nearly_its_grey(rng):
    """A grey object, 8 % darker than a wall of the same hue: shadow as far as one knows, object once the wall is known to keep still."""
    gray = model_from_histograms(
        histogram(rng.normal(110, 12, (4000, 1)).repeat(3, 1)), histogram(rng.normal(120, 3, (4000, 1)).repeat(3, 1))
    )
    wall, pixel = np.full((1, 1, 3), 120, np.float32), np.full((1, 1, 3), 110.4, np.float32)
    sigma = np.full((1, 1), 2, np.float32)
    assert colour_llr(pixel, gray, wall, sigma)[0, 0] < 0 < colour_llr(pixel, gray, wall, sigma, 0.02)[0, 0]
    low, _ = (background_log_density(pixel, wall, sigma, s)[0, 0] for s in (0.02, 0.12))
    assert colour_llr(pixel, gray, wall, sigma, 0.02)[0, 0] == pytest.approx(
        gray.log_densities(pixel)[0][0, 0] - low, abs=1e-3
    )


def test_a_cast_shadow_is_background_where_its_picture_is_known_and_where_it_is_not(model):
    """Half as bright as the wall and of its hue: shadow. As dark and of another hue: not."""
    wall, dark = (
        np.array([[[120, 110, 90], [120, 110, 90]]], np.float32),
        np.array([[[62, 57, 47], [40, 57, 70]]], np.float32),
    )
    known = background_log_density(dark, wall, np.full((1, 2), 2, np.float32))[0]
    assert known[0] - known[1] > 4
    pixels = np.random.default_rng(0).normal((120, 110, 90), 4, (4000, 3))
    taught = model_from_histograms(
        histogram(np.random.default_rng(1).normal((200, 40, 40), 8, (4000, 3))), histogram(pixels)
    )
    llr = taught.llr(dark[0])
    assert llr[0] < -1 and abs(llr[1]) < 0.5


@pytest.mark.parametrize("shadow", [0.0, 0.15])
def test_how_much_the_background_is_shaded_is_read_round_the_object(rng, shadow):
    masks, rgb = [], []
    for k in range(6):
        mask = np.zeros((120, 160), bool)
        mask[40:80, 30 + 10 * k : 70 + 10 * k] = True
        light = np.full((120, 160), 150.0)
        light[30:90, 20 + 10 * k : 90 + 10 * k] *= 1 - shadow
        light[mask] = 60
        masks.append(mask)
        rgb.append(light[..., None] + rng.normal(0, 1.5, (120, 160, 3)))
    samples = Samples(
        list(range(6)),
        np.clip(rgb, 0, 255).astype(np.uint8),
        np.full((6, 120, 160), np.nan, np.float16),
        np.ones((6, 3)),
    )
    plain = Background(
        np.full((120, 160, 3), 150, np.float32), np.full((120, 160), 1.5, np.float32), np.full((120, 160), np.nan), 1.0
    )
    assert shade_seen(samples, plain, masks) == pytest.approx(0.02 if shadow == 0 else shadow / 1.645, abs=0.015)


def test_depth_speaks_for_what_is_near_and_is_silent_without_disparity():
    d = np.array([[60.0, 20.0, np.nan, 5.0]], np.float32)
    llr = depth_llr(d, np.full(d.shape, 0.3, np.float32), (50, 70), [(np.full(d.shape, 20, np.float32), 0.3)])
    assert llr[0, 0] > 1 and llr[0, 1] < -2 and llr[0, 2] == 0 and llr[0, 3] < 0


def test_uncertain_depth_counts_less():
    d = np.full((1, 2), 60, np.float32)
    llr = depth_llr(d, np.array([[0.2, 3.0]], np.float32), (50, 70), [(np.full(d.shape, 20, np.float32), 0.3)])
    assert 0 < llr[0, 1] < 0.2 * llr[0, 0]


def test_prior_is_bounded_and_signed():
    p = prior_llr(np.array([-100.0, 0.0, 100.0]), 3.0, 2.0, 5.0)
    assert np.allclose(p, [-5, 0, 2], atol=1e-3)


def test_local_colours_put_the_outline_in_the_middle(rng):
    """A soft step from dark to light: the sign changes at the half-way colour although one side varies much more."""
    ramp = np.clip((np.arange(60) - 28) / 4, 0, 1)
    colour = np.repeat((60 + 120 * ramp)[None, :, None], 40, 0).repeat(3, 2) + rng.normal(0, 1, (40, 60, 3))
    colour[:, 32:] += rng.normal(0, 15, (40, 28, 3))
    left = np.zeros((40, 60), bool)
    left[:, :24] = True
    right = np.zeros((40, 60), bool)
    right[:, 36:] = True
    band = ~(left | right)
    llr = np.zeros((40, 60))
    llr[band] = local_llr(colour.astype(np.float32), right, left, band, 14, 1.5)
    assert (llr[:, 28].mean() < 0) and (llr[:, 31].mean() > 0)


def test_background_is_the_wall_and_unknown_where_never_seen(rng):
    wall = texture(3, (60, 60, 60), (140, 140, 140), (40, 50))
    n = 9
    gains = 1 + 0.1 * np.sin(np.arange(n))
    rgb = np.stack([np.clip(wall * g + rng.normal(0, 2, wall.shape), 0, 255) for g in gains]).astype(np.uint8)
    masks = []
    for i in range(n):
        mask = np.zeros((40, 50), bool)
        mask[10:20, 3 * i : 3 * i + 12] = True
        mask[30:34, 30:34] = True
        rgb[i][mask] = 250
        masks.append(mask)
    disparity = np.full((n, 40, 50), 20, np.float16)
    found = background_from(
        Samples(list(range(n)), rgb, disparity, np.repeat(gains[:, None], 3, 1)), ~np.stack(masks), 2.0
    )
    known = np.isfinite(found.rgb[..., 0])
    assert not known[30:34, 30:34].any() and known.mean() > 0.98
    assert np.abs(found.rgb[known] - wall[known]).mean() < 1.5
    assert np.nanmedian(found.disparity) == pytest.approx(20)


def test_background_does_not_depend_on_the_workers(rng):
    rgb = rng.integers(0, 255, (5, 70, 30, 3), dtype=np.uint8)
    samples = Samples(list(range(5)), rgb, np.full((5, 70, 30), np.nan, np.float16), np.ones((5, 3)))
    use = rng.uniform(size=(5, 70, 30)) < 0.8
    a, b = background_from(samples, use, 2.0, 1), background_from(samples, use, 2.0, 3)
    assert np.array_equal(a.rgb, b.rgb, equal_nan=True)


def test_gain_ignores_the_object(rng):
    picture = texture(4, (50, 50, 50), (160, 160, 160), (60, 80))
    brighter = picture * 1.2
    brighter[10:30, 10:40] = 30
    gain = frame_gain(
        np.clip(brighter + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8), picture, np.ones((60, 80), bool)
    )
    assert gain == pytest.approx(1.2, abs=0.015)


def test_masks_are_widened_before_background_is_taken():
    mask = np.zeros((60, 240), bool)
    mask[20:40, 100:140] = True
    outside = outside_masks([mask])[0]
    assert not outside[20:40, 97:143].any() and outside[5, 5]


def test_still_and_moving_cameras_are_told_apart():
    centres = [(100 + 8 * i, 120) for i in range(6)]
    still, moving = FlatScene(centres, gains=[1, 1.1, 0.9, 1, 1.05, 1]), FlatScene(centres, shift_wall=6)

    def share(s):
        return still_share([small(s.load(i).rgb) for i in range(6)])

    assert share(still) > 0.8 and share(moving) < 0.4


def test_an_arm_before_a_bare_wall_does_not_make_the_camera_move(rng):
    """It is all that has texture, and it sways; a camera that moves before a papered wall changes nearly everything."""
    wall = np.full((180, 240, 3), 150, np.float32)
    paper = cv2.resize(rng.uniform(110, 190, (30, 60)).astype(np.float32), (480, 180), interpolation=cv2.INTER_CUBIC)

    def arm(k: int) -> np.ndarray:
        out = wall.copy()
        out[60:, 90 + 6 * k : 130 + 6 * k] = rng.uniform(60, 200, (120, 40, 1))
        return np.clip(out + rng.normal(0, 1, out.shape), 0, 255).astype(np.uint8)

    def panned(k: int) -> np.ndarray:
        return np.repeat(np.clip(paper[:, 12 * k : 12 * k + 240, None], 0, 255), 3, -1).astype(np.uint8)

    still, moving = [small(arm(k)) for k in range(6)], [small(panned(k)) for k in range(6)]
    assert still_share(still) < 0.4 and keeps_still(still)[0] and not keeps_still(moving)[0]


def test_planes_of_a_table_and_a_wall(rng):
    v, u = np.mgrid[:100, :120].astype(np.float32)
    d = np.where(v > 45, 0.8 * v, 30 + 0.05 * u).astype(np.float32) + rng.normal(0, 0.2, v.shape).astype(np.float32)
    d[rng.uniform(size=d.shape) < 0.1] = 77
    planes = fit_planes(u.ravel(), v.ravel(), d.ravel(), np.full(d.size, 0.3, np.float32), rng)
    assert len(planes) == 2
    assert planes[0].b == pytest.approx(0.8, abs=0.01) and planes[1].a == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("bare", [True, False])
def test_copies_of_the_objects_disparity_on_a_bare_wall_are_no_plane(rng, bare):
    """A box before a wall: where the wall is bare it shows the box's own disparity, hardly ever surely."""
    inside = np.zeros((120, 160), bool)
    inside[30:90, 50:110] = True
    disparity = np.where(inside | bare, 90.0, 40.0) + rng.normal(0, 0.3, inside.shape)
    sigma = np.where(inside | (rng.random(inside.shape) < 0.1) | (not bare), 0.3, 3.0)
    view = WorkingFrame(0, np.zeros((120, 160, 3), np.uint8), disparity.astype(np.float32), sigma.astype(np.float32))
    planes = surrounding_planes(view, Window(20, 10, 140, 110), inside, rng)
    assert [round(p.c) for p in planes] == ([] if bare else [40])


def test_a_plane_laid_through_a_hand_is_no_wall(rng):
    """Below the box a hand, nearer than the wall that is seen all round it, rough or smooth; a table there is seen beside the box too."""
    inside = np.zeros((120, 160), bool)
    inside[20:70, 50:110] = True
    v, u = np.mgrid[:120, :160]
    for rough, half_width, count in ((1.5, 35, 1), (0.1, 35, 1), (0.1, 75, 2)):
        held = inside | ((v >= 70) & (abs(u - 80) < half_width))
        disparity = np.where(held, 95.0 - 0.1 * v + rng.normal(0, rough, v.shape), 40.0)
        view = WorkingFrame(
            0, np.zeros((120, 160, 3), np.uint8), disparity.astype(np.float32), np.full(v.shape, 0.3, np.float32)
        )
        assert len(surrounding_planes(view, Window(10, 0, 150, 120), inside, rng)) == count


def test_an_object_that_goes_farther_away_is_no_background(model, rng):
    """Nothing is known of what is behind; the red object covers the place in every frame, or leaves it free for the blue wall."""
    count, red, blue = 8, (200, 40, 40), (40, 40, 200)
    disparity = np.linspace(60, 45, count)[:, None, None] + np.zeros((count, 20, 30))
    rgb = np.broadcast_to(np.array(red), (count, 20, 30, 3)).copy()
    rgb[4:, :, 15:], disparity[4:, :, 15:] = blue, 20.0
    noisy = np.clip(rgb + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)
    samples = Samples(list(range(count)), noisy, disparity.astype(np.float16), np.ones((count, 3)))
    use = behind(samples, None, np.ones((20, 30), bool), np.full((20, 30), 60, np.float32), model)
    assert not use[:, :, :13].any() and use[4:, :, 17:].mean() > 0.9


def test_a_background_whose_disparity_differs_from_frame_to_frame_has_none(rng):
    """Copied disparities beside a moving object; the wall's own hold still."""
    disparity = np.full((8, 20, 30), 40.0) + rng.normal(0, 0.2, (8, 20, 30))
    disparity[:, :, 15:] = 90 + rng.uniform(-8, 8, (8, 20, 15))
    samples = Samples(
        list(range(8)), np.full((8, 20, 30, 3), 128, np.uint8), disparity.astype(np.float16), np.ones((8, 3))
    )
    found = background_from(samples, np.ones((8, 20, 30), bool), 1.5)
    assert np.isfinite(found.disparity[:, :15]).all() and np.isfinite(found.disparity[:, 15:]).mean() < 0.1
    view = WorkingFrame(
        0, samples.rgb[0], disparity[0].astype(np.float32), np.where(disparity[0] > 60, 2.0, 0.3).astype(np.float32)
    )
    assert np.array_equal(np.isfinite(sure_disparity(view)), disparity[0] <= 60)


def test_plane_in_space_passes_through_its_points(rng):
    v, u = np.mgrid[:100, :120].astype(np.float32)
    d = 10 + 0.3 * v + 0.02 * u
    plane = fit_planes(u.ravel(), v.ravel(), d.ravel(), np.full(d.size, 0.2, np.float32), rng)[0]
    n, h = plane_in_space(plane, RIG.fx, RIG.baseline_m, RIG.cx, RIG.cy, RIG.fy)
    x = RIG.backproject(np.stack([u, v], -1), RIG.depth_from_disparity(d))
    assert np.abs(x @ n - h).max() < 1e-4 and h > 0


def test_standing_out_needs_a_known_surface():
    d, s = np.full((4, 4), 50, np.float32), np.full((4, 4), 0.3, np.float32)
    assert not standing_out(d, s, []).any()
    assert standing_out(d, s, [(np.full((4, 4), 20, np.float32), 0.3)]).all()
