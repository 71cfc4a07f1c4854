"""A hand that holds the object: as near as it, coming in from the picture's border, in colours of its own."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from stages.masks.cut.colour_model import ColourModel, histogram, log_density
from stages.masks.cut.other_foreground import against_other, reaching_in, seen_outside, told_apart, with_intruder
from stages.masks.cut.outline import CutSettings
from stages.masks.cut.seed import from_box
from stages.masks.follow.passes import decode, first_pass
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.background import Background
from stages.masks.scenes.still import StillScene

H, W = 180, 240
WALL_PX, OBJECT_PX = 20.0, 50.0
BOX = (60.0, 40.0, 180.0, 120.0)
SKIN = (170, 120, 95)


def _scene(hand: bool = True, skin: tuple[int, int, int] = SKIN) -> tuple[WorkingFrame, np.ndarray, np.ndarray]:
    """(frame, object (H, W) bool, hand (H, W) bool): a striped box before a wall, an arm from below, two fingers over it."""
    rng = np.random.default_rng(0)
    rgb = np.full((H, W, 3), 90, np.float32) + rng.normal(0, 12, (H, W, 1)).astype(np.float32)
    whole, arm = np.zeros((H, W), bool), np.zeros((H, W), bool)
    whole[46:114, 66:174] = True
    arm[100:, 100:140] = True
    arm[50:100, 105:115] = arm[50:100, 125:135] = True
    visible = whole & ~arm if hand else whole
    stripes = (np.arange(W) // 12 % 2 == 0)[None, :, None]
    rgb = np.where(visible[..., None], np.where(stripes, [40.0, 60.0, 190.0], [225.0, 225.0, 220.0]), rgb)
    if hand:
        rgb = np.where(arm[..., None], np.array(skin, float), rgb)
    rgb = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), 0.6) + rng.normal(0, 2, (H, W, 3))
    disparity = np.where(visible | (arm & hand), OBJECT_PX, WALL_PX) + rng.normal(0, 0.1, (H, W))
    picture = np.clip(rgb, 0, 255).astype(np.uint8)
    view = WorkingFrame(0, picture, disparity.astype(np.float32), np.full((H, W), 0.2, np.float32))
    return view, visible, arm & hand


def _seed(view: WorkingFrame):
    return from_box(view, BOX, CutSettings(3.0, 8, 14), np.random.default_rng(0))


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_hand_that_comes_in_from_the_border_is_not_the_object():
    view, visible, arm = _scene()
    seed = _seed(view)
    assert _jaccard(seed.mask, visible) > 0.93 and (seed.mask & arm).sum() < 0.03 * arm.sum()
    assert seed.of_other is not None and seed.other is not None
    assert (seed.other & arm).sum() > 0.9 * arm.sum() and not (seed.other & seed.mask).any()


def test_without_a_hand_nothing_changes():
    view, visible, _ = _scene(hand=False)
    seed = _seed(view)
    assert seed.of_other is None and seed.other is None and _jaccard(seed.mask, visible) > 0.95


def test_a_near_thing_that_does_not_reach_the_border_teaches_nothing():
    view, _, arm = _scene()
    cut_off = arm.copy()
    cut_off[150:] = False
    disparity = np.where(arm & ~cut_off, np.float32(WALL_PX), view.disparity)
    inside = np.zeros((H, W), bool)
    inside[40:121, 60:181] = True
    surfaces = [(np.full((H, W), WALL_PX, np.float32), 0.3)]
    found = seen_outside(WorkingFrame(0, view.rgb, disparity, view.sigma), inside, surfaces)
    assert not found.any() and seen_outside(view, inside, surfaces).sum() > 0.8 * (arm & ~inside).sum()


@pytest.mark.parametrize("skin", [(40, 60, 190), (225, 225, 220)])
def test_colours_of_the_object_itself_take_nothing_away(skin):
    view, visible, arm = _scene(skin=skin)
    guess = visible | arm
    guess[121:] = False
    outside = arm.copy()
    outside[:121] = False
    held = told_apart(view.rgb, guess, outside)
    assert held is None or (held[0] & visible).sum() > 0.3 * visible.sum()


def test_the_other_thing_can_only_take_away():
    llr = np.array([6.0, 6.0, -4.0], np.float32)
    out = against_other(llr, np.array([0.0, -9.0, 0.0], np.float32), np.array([-9.0, 0.0, -9.0], np.float32))
    assert out[0] > 4 and out[1] < -5 and abs(out[2] + 4) < 0.1 and (out <= llr + 1e-6).all()


def test_what_is_strange_on_the_ground_is_an_intruder_where_it_reaches_in():
    """An arm from the border to the object's outline; a thing that stands beside the object; a crumb on it; one that comes from where
    nothing is known."""
    outline = np.zeros((H, W), bool)
    outline[60:120, 90:150] = True
    distance = np.where(outline, 5.0, -20.0)
    distance[52:128, 82:158] = np.where(outline[52:128, 82:158], 5.0, -4.0)
    known = np.zeros((H, W), bool)
    arm, beside, crumb = np.zeros((3, H, W), bool)
    arm[110:, 110:130] = True
    beside[30:110, 200:220] = True
    crumb[55:60, 100:105] = True
    found = reaching_in(arm | beside | crumb, known, distance)
    assert found[115:175, 112:128].all() and not found[:, 190:].any() and not found[:60].any()
    assert not reaching_in(beside | crumb, known, distance).any()
    short = arm.copy()
    short[165:] = False
    assert not reaching_in(short, known, distance).any()
    known[160:] = True  # here nobody knows what there should be
    assert reaching_in(short, known, distance)[120:155, 112:128].all()


def test_an_intruder_counts_unless_it_looks_like_the_object():
    rng = np.random.default_rng(0)

    def of(colour):
        return histogram(rng.normal(colour, 6, (4000, 3)).clip(0, 255).astype(np.float32))

    model = ColourModel(log_density(of((40, 60, 190))), log_density(of((90, 90, 90))))
    assert with_intruder(model, of(SKIN)).log_other is not None
    assert with_intruder(model, of((42, 61, 188))) is model


@pytest.mark.parametrize("leads_to", [1.0, 1.3, 1.8])
def test_a_hand_is_found_before_a_wall_without_texture(leads_to):
    """Over the wall disparities are the object's own, and unsure; nothing is known of what lies behind. The arm goes
    across, or comes from the camera's side."""
    view, visible, arm = _scene()
    bare = ~visible & ~arm
    rgb = np.where(bare[..., None], np.uint8(90), view.rgb)
    along = np.clip((np.arange(H)[:, None] - 120) / (H - 120), 0, 1) * (leads_to - 1) + 1
    disparity = np.where(bare, np.float32(OBJECT_PX), view.disparity * np.where(arm, along, 1).astype(np.float32))
    seed = _seed(WorkingFrame(0, rgb, disparity, np.where(bare, np.float32(4.0), view.sigma)))
    assert not seed.planes and seed.of_other is not None
    assert _jaccard(seed.mask, visible) > 0.93 and (seed.mask & arm).sum() < 0.03 * arm.sum()


def test_a_hand_is_told_from_an_object_of_much_the_same_colour_in_dim_light():
    view, visible, arm = _scene()
    stripes = (np.arange(W) // 12 % 2 == 0)[None, :, None]
    own = np.where(stripes, np.array([58, 34, 54]), np.array([30, 60, 60]))
    rgb = np.where(visible[..., None], own, np.where(arm[..., None], np.array([62, 54, 34]), 25))
    noisy = np.clip(rgb + np.random.default_rng(0).normal(0, 1.5, rgb.shape), 0, 255).astype(np.uint8)
    seed = _seed(WorkingFrame(0, noisy, view.disparity, view.sigma))
    assert seed.of_other is not None and _jaccard(seed.mask, visible) > 0.9


def test_a_hand_that_turns_into_other_colours_is_learnt_as_it_goes():
    """The hand's back is darker than the palm that the prompt shows; it comes over the object little by little."""
    seed = _seed(_scene()[0])
    frames = {k: _scene(skin=(170 - 14 * k, 120 - 10 * k, 95 - 8 * k))[0] for k in range(6)}
    scene = StillScene(seed, Background(*_known_wall(frames[0]), 1.0))

    def views(wanted):
        return (WorkingFrame(k, *[getattr(frames[k], n) for n in ("rgb", "disparity", "sigma")]) for k in wanted)

    settings = CutSettings(3.0, 8, 14)
    followed = first_pass(replace(seed, frame=0), list(frames), views, scene, settings, False, lambda: None)
    arm = _scene()[2]
    assert followed.of_other is not None and seed.of_other is not None
    assert followed.of_other.sum() > 2 * seed.of_other.sum()
    last = decode(followed.masks[5])
    assert (last & arm).sum() < 0.05 * arm.sum() and _jaccard(last, _scene()[1]) > 0.9


def _known_wall(view: WorkingFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, their sigma, and disparity of the wall alone."""
    return (
        np.full((H, W, 3), 90, np.float32),
        np.full((H, W), 14, np.float32),
        np.full((H, W), WALL_PX, np.float32),
    )
