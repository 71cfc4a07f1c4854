"""What masks that are wrong do to motions that are right: they are asked, not believed blindly, and mended where frames agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stages.core.dense.view import agreement
from stages.track.links.mask_mending import mend
from stages.track.links.pair_matching import MutualNearest
from stages.track.links.view_graph import Edge, PairOptions
from tests.track.ball_scene import RIG, moved, points, view

PAIR = PairOptions(MutualNearest(0.85), 3.0, 12, 0)
NO_MATCHES = np.zeros((0, 2), np.int64)


def edges(*pairs: tuple[int, int]) -> list[Edge]:
    return [Edge(a, b, moved(a, b), NO_MATCHES) for a, b in pairs]


def cut(v, share: float = 0.5):
    """The view with the left part of its mask gone."""
    columns = np.flatnonzero(v.mask.any(0))
    mask = v.mask.copy()
    mask[:, columns[0] : columns[0] + round(share * len(columns))] = False
    return replace(v, mask=mask)


def test_a_mask_that_lost_a_part_does_not_speak_against_the_true_motion():
    said = agreement(view(0), cut(view(1)), moved(0, 1), True)
    assert said.agree > 0.95 and said.violate < 0.02


def test_the_mask_speaks_against_a_false_motion():
    assert agreement(view(0), view(2), np.eye(4), True).violate > 0.3


def test_where_there_is_no_depth_off_the_mask_only_the_mask_speaks():
    b = cut(view(1))
    blind = replace(b, disparity=np.where(b.mask, b.disparity, np.float16(np.nan)))
    said = agreement(view(0), blind, moved(0, 1), True)
    assert said.violate > 0.3 and abs(said.unseen - said.violate) < 0.02


def test_what_a_hand_hides_is_not_asked():
    b = view(1)
    mask, disparity = b.mask.copy(), b.disparity.copy()
    mask[60:90], disparity[60:90] = False, 60.0
    said = agreement(view(0), replace(b, mask=mask, disparity=disparity), moved(0, 1), True)
    assert said.violate < 0.02 and said.asked < 0.9 * agreement(view(0), view(1), moved(0, 1), True).asked


def test_a_cut_mask_is_mended_from_two_frames():
    frames = {k: points(k) for k in range(5)}
    views = {k: view(k) for k in range(5)}
    views[2] = cut(views[2])
    pixel = np.rint(frames[2].uv).astype(int)
    seen = views[2].mask[np.clip(pixel[:, 1], 0, 143), np.clip(pixel[:, 0], 0, 255)]
    whole, frames[2] = frames[2].inside, replace(frames[2], inside=frames[2].inside & seen)
    got, mended_views, mended = mend(RIG, frames, views, edges((0, 1), (1, 2), (2, 3), (3, 4)), PAIR)
    assert mended == [2]
    assert (got[2].inside == whole).mean() > 0.95 and not (got[2].inside & ~whole).any()
    true = view(2).mask
    assert (mended_views[2].mask & true).sum() > 0.9 * true.sum() and not (mended_views[2].mask & ~true).any()


def test_a_mask_that_ran_over_in_one_frame_is_not_spread():
    """The camera of these frames stands still, so the wall agrees with itself under the motion "none"."""
    frames, views = {k: points(2) for k in range(5)}, {k: view(2) for k in range(5)}
    over = views[1].mask.copy()
    over[:, :80] = True
    views[1] = replace(views[1], mask=over)
    still = [Edge(a, a + 1, np.eye(4), NO_MATCHES) for a in range(4)]
    assert mend(RIG, frames, views, still, PAIR)[2] == []


def test_a_frame_whose_mask_left_no_point_is_found_by_all_its_points():
    frames, views = {k: points(k) for k in range(4)}, {k: view(k) for k in range(4)}
    views[3] = replace(views[3], mask=np.zeros_like(views[3].mask))
    views[3].mask[60:64, 100:104] = True
    whole, frames[3] = frames[3].inside, replace(frames[3], inside=np.zeros(len(frames[3]), bool))
    got, _, mended = mend(RIG, frames, views, edges((0, 1), (1, 2)), PAIR)
    assert mended == [3] and (got[3].inside == whole).mean() > 0.95
