"""A camera that reads its rows one after another bends the poses; the time that it takes is found and taken out."""

from __future__ import annotations

import numpy as np
import pytest

from stages.bundle.rolling import at_middle_row, row_share
from stages.core.adjust.adjustment import AdjustOptions, adjust
from stages.core.adjust.rig_problem import Observations
from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, part_of, transform

RIG = Rig(640, 360, 500.0, 500.0, 319.5, 179.5, 0.06)
FRAMES, POINTS, NEAR, NOISE_PX = 12, 500, 20, 0.2
OPTIONS = AdjustOptions(3, 30, 2.0, 5.0, 0.7)


def _pose(number: float) -> np.ndarray:
    """left_from_object of a camera that goes round the origin at 0.5 m, 9 degrees from frame to frame, and rises."""
    turn, lift = np.radians(9.0 * number), np.radians(25 + number)
    z = -np.array([np.sin(turn) * np.cos(lift), -np.sin(lift), np.cos(turn) * np.cos(lift)])
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.stack([x, np.cross(z, x), z]), [0, 0, 0.5]
    return out


def _project(x: np.ndarray) -> np.ndarray:
    uv = RIG.project(x)
    return np.column_stack([uv, uv[:, 0] - RIG.disparity_from_depth(x[:, 2])])


def walk(share: float, numbers: list[int]) -> tuple[np.ndarray, Observations]:
    """A near thing of few points and far walls, each point seen when its row was read: (true poses of the middle rows, observations)."""
    rng = np.random.default_rng(0)
    near = rng.normal(0, 0.05, (NEAR, 3))
    far = rng.normal(0, 1, (POINTS - NEAR, 3))
    far = 2.5 * far / np.linalg.norm(far, axis=1, keepdims=True)
    xyz = np.concatenate([near, far])
    rows = []
    for place, number in enumerate(numbers):
        uvr = _project(transform(_pose(number), xyz))
        for _ in range(4):  # the row decides the time, and the time the row
            late = np.clip(share * ((uvr[:, 1] + 0.5) / RIG.height - 0.5), -1, 1)
            late[~np.isfinite(late)] = 0
            seen = np.array([_pose(number + t) @ np.append(x, 1) for t, x in zip(late, xyz, strict=True)])[:, :3]
            uvr = _project(seen)
        inside = (seen[:, 2] > 0.1) & (uvr > 0).all(1) & (uvr[:, 0] < RIG.width) & (uvr[:, 1] < RIG.height)
        rows.append(np.column_stack([np.flatnonzero(inside), np.full(inside.sum(), place), uvr[inside]]))
    table = np.concatenate(rows)
    table[:, 2:] += rng.normal(0, NOISE_PX, (len(table), 3))
    poses = np.stack([_pose(n) for n in numbers])
    return poses, Observations(
        table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:], np.full(len(table), NOISE_PX)
    )


def _off_mm(found: np.ndarray, true: np.ndarray) -> float:
    """By how much the poses place a thing of 10 cm wrongly against one another, at most."""
    corners = 0.05 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    as_first = inverse(found[0]) @ true[0]
    off = [transform(f @ as_first, corners) - transform(t, corners) for f, t in zip(found, true, strict=True)]
    return 1000 * float(np.linalg.norm(off, axis=-1).max())


@pytest.mark.parametrize("share", [0.06, -0.2])
def test_the_time_of_the_rows_is_found_and_the_poses_are_mended(share):
    numbers = list(range(FRAMES))
    true, seen = walk(share, numbers)
    bent = adjust(RIG, true, POINTS, seen, OPTIONS, lambda *_: None)
    found = row_share(RIG, bent, seen, numbers, 2.0, 10_000)
    assert abs(found - share) < 0.25 * abs(share)
    mended = bent
    for _ in range(2):
        moved = at_middle_row(RIG, mended, seen, numbers, found)
        mended = adjust(RIG, mended.left_from_object, POINTS, moved, OPTIONS, lambda *_: None)
    at_once = adjust(RIG, true, POINTS, walk(0.0, numbers)[1], OPTIONS, lambda *_: None)
    best = _off_mm(at_once.left_from_object, true)
    assert _off_mm(mended.left_from_object, true) < 1.3 * best < 0.8 * _off_mm(bent.left_from_object, true)


def test_a_camera_that_reads_all_rows_at_once_is_left_alone():
    numbers = list(range(FRAMES))
    true, seen = walk(0.0, numbers)
    held = adjust(RIG, true, POINTS, seen, OPTIONS, lambda *_: None)
    assert row_share(RIG, held, seen, numbers, 2.0, 10_000) == 0.0


def test_a_camera_that_stands_still_tells_nothing():
    """A still camera before a still thing: rows may be read as they like."""
    true, seen = walk(0.0, [0] * 6)
    held = adjust(RIG, true, POINTS, seen, OPTIONS, lambda *_: None)
    assert row_share(RIG, held, seen, list(range(6)), 2.0, 10_000) == 0.0


def test_motion_is_not_taken_to_be_steady_over_a_gap():
    numbers = [0, 1, 2, 20, 21, 22]
    true, seen = walk(0.1, numbers)
    held = adjust(RIG, true, POINTS, seen, OPTIONS, lambda *_: None)
    moved = at_middle_row(RIG, held, seen, numbers, 0.1)
    step = part_of(true[1] @ inverse(true[0]), 1.0)
    assert np.allclose(step, true[3] @ inverse(_pose(19)), atol=0.05)  # the walk itself goes on alike
    shift = np.abs(moved.uvr - seen.uvr)[:, :2].max(1)
    assert all(0 < shift[seen.frame == k].max() < 20 for k in range(6))
