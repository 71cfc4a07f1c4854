"""Which pixels of a view may be used, and the kernel that looks surface points up, against its readable twin."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.geometry.rigid import inverse
from stages.core.render import Caster
from stages.core.texels.exposure import gain_tables
from stages.core.texels.gather import camera_vector, observe, offer, sample_cubic
from stages.core.texels.views import (
    View,
    Window,
    object_window,
    picture_window,
    relative_sharpness,
    sight,
    spread,
    stereo_views,
)
from stages.texture.blend import blend
from stages.texture.paint import low_band
from tests.texture.scene import RADIUS_M, RIG, camera, paint, render, sphere

LIMITS = np.array([0.2, 2.0, 12.0])


@pytest.fixture(scope="module")
def seen():
    vertices, faces = sphere(5)
    pose = camera(0.4)
    picture, mask = render(pose)
    view = View(0, "left", inverse(pose))
    window = object_window(view, RIG, vertices)
    return view, picture, mask, window, sight(view, RIG, Caster(vertices, faces), window, mask), vertices


def _observe(seen, points, normals):
    view, picture, _, window, s, _ = seen
    small = picture_window(window, 1)
    colour, weight = np.zeros((len(points), 3), np.float32), np.zeros(len(points), np.float32)
    cam = camera_vector(view, RIG, s, small, small)
    observe(
        points.astype(np.float32),
        normals.astype(np.float32),
        cam,
        s.depth,
        s.border,
        LIMITS,
        small.cut(picture),
        colour,
        weight,
    )
    return colour, weight


def test_depth_and_border_are_those_of_the_sphere(seen):
    _, _, mask, window, s, _ = seen
    assert s.window.scale == 1
    depth = np.where(np.isfinite(s.depth), s.depth, np.nan)
    assert abs(np.nanmin(depth) - (0.22 - RADIUS_M)) < 2e-4
    inside = mask[window.y0 : window.y0 + window.height, window.x0 : window.x0 + window.width]
    assert not s.border[~inside].any()
    assert s.border.max() == 255


def test_colours_are_those_of_the_paint(seen):
    points = seen[5]
    colour, weight = _observe(seen, points, points / RADIUS_M)
    ok = weight > 0
    assert 0.2 < ok.mean() < 0.5
    assert np.abs(colour[ok] - paint(points[ok])).mean() < 1.5
    facing = np.sum((seen[0].centre - points) * points, 1)
    assert not ok[facing < 0].any(), "the far side must not be seen"


def test_weight_is_best_in_front_and_nothing_at_the_rim(seen):
    points = seen[5]
    _, weight = _observe(seen, points, points / RADIUS_M)
    cosine = np.sum((seen[0].centre - points) * points, 1) / np.linalg.norm(seen[0].centre - points, axis=1) / RADIUS_M
    assert cosine[np.argmax(weight)] > 0.95
    assert weight[cosine < 0.2].max() == 0


def test_what_stands_in_front_hides():
    vertices, faces = sphere(4)
    pose = camera(0.0)
    view = View(0, "left", inverse(pose))
    blocker = vertices * 0.2 + pose[:3, 3] * 0.6
    both = Caster(np.concatenate([vertices, blocker]), np.concatenate([faces, faces + len(vertices)]))
    picture, mask = render(pose)
    window = object_window(view, RIG, both.vertices)
    s = sight(view, RIG, both, window, np.ones_like(mask))
    front = (pose[:3, 3] / np.linalg.norm(pose[:3, 3]) * RADIUS_M)[None]
    colour, weight = np.zeros((1, 3), np.float32), np.zeros(1, np.float32)
    small = picture_window(window, 1)
    cam = camera_vector(view, RIG, s, small, small)
    observe(
        front.astype(np.float32),
        (front / RADIUS_M).astype(np.float32),
        cam,
        s.depth,
        s.border,
        LIMITS,
        small.cut(picture),
        colour,
        weight,
    )
    assert weight[0] == 0


def test_right_view_uses_the_left_mask():
    vertices, faces = sphere(4)
    pose = camera(1.0)
    view = View(0, "right", RIG.right_from_left @ inverse(pose))
    _, mask = render(pose)
    hidden = mask.copy()
    hidden[: RIG.height // 2] = False
    window, caster = object_window(view, RIG, vertices), Caster(vertices, faces)
    full, half = (sight(view, RIG, caster, window, m).border for m in (mask, hidden))
    assert (full > 0).sum() > 1.7 * (half > 0).sum()
    assert not half[: RIG.height // 2 - window.y0 - 3].any()


def test_nothing_is_taken_from_the_right_picture_where_it_is_hidden():
    vertices, faces = sphere(4)
    pose = camera(1.0)
    right, left = View(0, "right", RIG.right_from_left @ inverse(pose)), View(0, "left", inverse(pose))
    _, mask = render(pose)
    hidden = np.zeros_like(mask)
    hidden[RIG.height // 2 :] = True
    window, caster = object_window(right, RIG, vertices), Caster(vertices, faces)
    free, covered = (sight(right, RIG, caster, window, mask, h).border for h in (None, hidden))
    half = RIG.height // 2 - window.y0
    assert (free[half:] > 0).sum() > 100 and not (covered[half:] > 0).any()
    assert np.array_equal(free[: half - 32], covered[: half - 32])
    window = object_window(left, RIG, vertices)
    assert np.array_equal(
        *(sight(left, RIG, caster, window, mask, h).border for h in (None, hidden))
    )  # that is the right eye's


def test_cubic_agrees_with_the_slow_twin():
    image = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)

    def keys(x):
        return np.where(
            np.abs(x) < 1,
            1.5 * np.abs(x) ** 3 - 2.5 * x**2 + 1,
            np.where(np.abs(x) < 2, -0.5 * np.abs(x) ** 3 + 2.5 * x**2 - 4 * np.abs(x) + 2, 0),
        )

    for a, b in np.random.default_rng(1).uniform(2, 9, (50, 2)):
        wx, wy = keys(np.arange(15) - a), keys(np.arange(12) - b)
        expected = np.clip(np.einsum("i,j,ijc->c", wy, wx, image.astype(float)), 0, 255)
        assert np.allclose(sample_cubic(image, a, b), expected, atol=1e-6)
    assert sample_cubic(image, -5.0, -5.0) == tuple(image[0, 0].astype(float))


def test_offer_keeps_the_best_and_compensates(seen):
    view, picture, _, window, s, points = seen
    small = picture_window(window, 1)
    low, low_window = low_band(small.cut(picture), small, s.border > 0)
    cam = camera_vector(view, RIG, s, small, low_window)
    weight = np.zeros((len(points), 2), np.float32)
    colour, coarse = np.zeros((len(points), 2, 3), np.uint8), np.zeros((len(points), 2, 3), np.uint8)
    p, n = points.astype(np.float32), (points / RADIUS_M).astype(np.float32)
    for view_weight, gain in ((1.0, 1.0), (3.0, 1.2), (2.0, 1.0), (0.5, 1.0)):
        offer(
            p,
            n,
            cam,
            s.depth,
            s.border,
            LIMITS,
            view_weight,
            small.cut(picture),
            low,
            gain_tables(np.full(3, gain)),
            weight,
            colour,
            coarse,
        )
    ok = weight[:, 0] > 0
    ratio = weight[ok].max(1) / weight[ok].min(1)
    assert np.allclose(ratio, 1.5, rtol=1e-4), "of the weights 1, 3, 2, 0.5 the two best stay"
    order = np.argsort(-weight[ok], axis=1)
    best = np.take_along_axis(colour[ok], order[:, :, None], 1)
    assert (best[:, 0].astype(int) >= best[:, 1]).all(), "the best one was brightened by its gain"
    assert np.abs(coarse[ok][:, 0].astype(float) - colour[ok][:, 0]).mean() < 25


def test_low_band_is_not_touched_by_the_background():
    picture = np.full((64, 64, 3), 200, np.uint8)
    picture[:, 32:] = 0
    usable = np.zeros((64, 64), bool)
    usable[:, :32] = True
    low, _ = low_band(picture, Window(0, 0, 64, 64, 1.0), usable)
    assert low[:, :8].min() > 198


def test_spread_chooses_all_directions():
    views = stereo_views({k: camera(k * 0.01 if k < 30 else k * 0.2) for k in range(60)}, RIG, ("left",), {})
    chosen = spread(views, 8)
    assert len(chosen) == 8
    angle = np.sort([np.arctan2(v.centre[0], -v.centre[2]) for v in chosen])
    assert np.diff(np.append(angle, angle[0] + 2 * np.pi)).max() < 1.6


def test_relative_sharpness_finds_the_blurred_one():
    out = relative_sharpness({0: 10.0, 1: 11.0, 2: 3.0, 3: 10.0, 4: 9.0, 5: float("nan")})
    assert out[2] == pytest.approx(0.3)
    assert out[0] == out[5] == 1.0


def _blend_twin(weight, colour, low, power, scale, floor):
    ok = weight > 0
    c, l, w = colour[ok].astype(float), low[ok].astype(float), weight[ok] / weight[ok].max()
    far = np.abs(c - np.median(c, 0)).max(1)
    trust = 1 / (1 + (far / (scale * max(floor, 1.4826 * np.median(far)))) ** 4)
    coarse = (w * trust) @ l / (w * trust).sum()
    sharp = w**power * trust
    return np.clip(coarse + sharp @ (c - l) / sharp.sum(), 0, 255), max(int((trust > 0.25).sum()), 1)


def test_blend_agrees_with_the_slow_twin():
    rng = np.random.default_rng(0)
    weight = (rng.random((200, 6)) * (rng.random((200, 6)) > 0.3)).astype(np.float32)
    colour, low = rng.integers(0, 256, (2, 200, 6, 3), dtype=np.uint8)
    out, used = np.zeros((200, 3), np.float32), np.zeros(200, np.uint8)
    blend(weight, colour, low, 3.0, 2.5, 4.0, out, used)
    for n in range(200):
        if not (weight[n] > 0).any():
            assert used[n] == 0
            continue
        expected, count = _blend_twin(weight[n].astype(float), colour[n], low[n], 3.0, 2.5, 4.0)
        assert np.allclose(out[n], expected, atol=1e-2)
        assert used[n] == count


def test_a_highlight_is_left_out():
    colour = np.tile(np.array([90, 100, 110], np.uint8), (1, 6, 1))
    colour[0, 2] = 250
    out, used = np.zeros((1, 3), np.float32), np.zeros(1, np.uint8)
    weight = np.ones((1, 6), np.float32)
    weight[0, 2] = 2.0
    blend(weight, colour, colour.copy(), 3.0, 2.5, 4.0, out, used)
    assert np.abs(out[0] - [90, 100, 110]).max() < 1
    assert used[0] == 5
