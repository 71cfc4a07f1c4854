"""A pose that its points bear out and its surface does not is marked; poses that are right, and surfaces that say nothing, are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.bundle.soundness import _joined_by_silence, apart, apart_in_scene
from stages.core.dense.view import DenseView, small_view
from tests.masks.test_camera_ties import RIG
from tests.masks.test_camera_ties import STEP_DEG as ROOM_STEP_DEG
from tests.masks.test_camera_ties import frame as room
from tests.masks.test_hull import ball, camera
from tests.track.test_verification import poses, view

SIZE_M = 0.1
STEP_DEG = 15.0


@pytest.fixture(scope="module")
def printed() -> dict[int, DenseView]:
    return {k: view(STEP_DEG * k) for k in range(8)}


def test_right_poses_stay(printed):
    assert apart(printed, poses(), SIZE_M, 1) == {}


@pytest.mark.parametrize("off_deg", [4.0, 8.0])
def test_a_turned_frame_is_marked_with_how_far_its_surface_moves(printed, off_deg):
    found = apart(printed, poses(f4=off_deg), SIZE_M, 1)
    assert 4 in found and "does not stay" in found[4]
    assert not {0, 1, 2, 3} & set(found), (
        "what comes after it is too far from what came before to be tied past it; those are the most"
    )
    told_mm = float(found[4].split("move by ")[1].split(" mm")[0])
    assert told_mm > 1.0


def test_frames_turned_together_are_all_marked(printed):
    """Two frames that agree with each other, but not with the six before."""
    assert list(apart(printed, poses(f6=8.0, f7=8.0), SIZE_M, 1)) == [6, 7]


def test_surfaces_that_cannot_be_aligned_say_nothing():
    bare = view(0.0)
    nothing = DenseView(bare.gray, np.full_like(bare.disparity, np.nan), bare.sigma, bare.mask, bare.rig, bare.zoom)
    assert apart(dict.fromkeys(range(8), nothing), poses(f4=20.0), SIZE_M, 1) == {}


def of_scene(count: int = 8) -> tuple[dict[int, DenseView], dict[int, np.ndarray]]:
    """A walk round a ball on a dull table in a room: what each frame shows, and the true poses."""
    poses = {k: camera(ROOM_STEP_DEG * k) for k in range(count)}
    views = {}
    for k, pose in poses.items():
        shown, size = room(k, pose), (RIG.width, RIG.height)
        ours = cv2.resize(ball(pose).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        views[k] = small_view(RIG, shown.rgb[..., 0], shown.disparity, shown.sigma, ours)
    return views, poses


@pytest.fixture(scope="module")
def scene() -> tuple[dict[int, DenseView], dict[int, np.ndarray]]:
    return of_scene()


def test_right_poses_in_a_scene_stay(scene):
    assert apart_in_scene(*scene, SIZE_M, 1) == {}


def test_a_break_in_a_scene_marks_the_smaller_part_with_how_far_it_is_off(scene):
    """From frame 5 on all is 6 mm away, as where a table's pattern was taken for the one beside it."""
    views, poses = scene
    away = np.eye(4)
    away[:3, 3] = 0.006, 0, 0
    found = apart_in_scene(views, {k: away @ p if k >= 5 else p for k, p in poses.items()}, SIZE_M, 1)
    assert list(found) == [5, 6, 7]
    told_mm = float(found[5].split("beside it ")[1].split(" mm")[0])
    assert 3 < told_mm < 9


def test_a_scene_that_shows_nothing_marks_nothing(scene):
    views, poses = scene
    bare = {
        k: DenseView(np.full_like(v.gray, 90), v.disparity, v.sigma, v.mask, v.rig, v.zoom) for k, v in views.items()
    }
    assert apart_in_scene(bare, poses, SIZE_M, 1) == {}


def test_frames_that_do_not_tell_tie_only_what_no_others_part():
    parts, tied, loose = [[0, 1, 2], [4, 5]], lambda one, other: True, lambda one, other: False
    assert _joined_by_silence(parts, [(2, 4)], set(), tied) == [[0, 1, 2, 4, 5]]
    assert _joined_by_silence(parts, [(2, 4)], {(1, 4)}, tied) == parts
    assert _joined_by_silence(parts, [(2, 4)], set(), loose) == parts
