"""How far poses may have drifted, against how far they have: a chain of views tied by few points, a ring of them, and the mark they get."""

from __future__ import annotations

import numpy as np
import pytest

from stages.bundle.drift import Sightings, may_be_off
from stages.core.geometry.rigid import exp_se3, inverse, transform
from tests.bundle.made_tracks import RIG, look

FRAMES, NOISE_PX = 20, 1.0


def chain(shared: int, seed: int, closed: bool = False):
    """left_from_object of a walk round, and sightings of points that two successive frames each have in common; noisy as pictures are."""
    rng = np.random.default_rng(seed)
    poses = np.stack([look(2 * np.pi * k / FRAMES, 0.4) for k in range(FRAMES)])
    rows = []
    for k in range(FRAMES if closed else FRAMES - 1):
        for p in range(shared):
            x = rng.uniform(-0.05, 0.05, 3)
            rows += [(k * shared + p, f, x) for f in (k, (k + 1) % FRAMES)]
    point, frame = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    xyz = np.stack([transform(poses[f], x) for _, f, x in rows])
    return poses, Sightings(point, frame, xyz, np.full(len(rows), NOISE_PX), np.ones(len(rows), bool)), rng


def measured(seen: Sightings, rng: np.random.Generator) -> np.ndarray:
    """The points as two eyes measure them."""
    z = seen.xyz[:, 2:]
    along = z**2 / (RIG.fx * RIG.baseline_m) * np.sqrt(2) * NOISE_PX * rng.normal(size=z.shape)
    return (
        seen.xyz
        + seen.xyz / z * along
        + z / RIG.fx * NOISE_PX * np.column_stack([rng.normal(size=(len(z), 2)), np.zeros(len(z))])
    )


def weighted_steps(poses: np.ndarray, seen: Sightings, found: np.ndarray) -> np.ndarray:
    """(F, 4, 4) object_from_left of frames put one onto the other by their common points, each weighed by what it measures."""
    out = [inverse(poses[0])]
    for k in range(1, FRAMES):
        here, before = ((np.flatnonzero(seen.frame == f)) for f in (k, k - 1))
        common = np.intersect1d(seen.point[here], seen.point[before])
        a = found[[i for i in before if seen.point[i] in common]]
        b = found[[i for i in here if seen.point[i] in common]]
        step = poses[k - 1] @ inverse(poses[k])
        for _ in range(5):
            y = transform(step, b)
            weight = [
                np.linalg.inv(_noise(x) + step[:3, :3] @ _noise(z) @ step[:3, :3].T) for x, z in zip(a, b, strict=True)
            ]
            J = [np.hstack([_turning(v), np.eye(3)]) for v in y]
            normal = sum(j.T @ w @ j for j, w in zip(J, weight, strict=True))
            right = sum(j.T @ w @ (x - v) for j, w, x, v in zip(J, weight, a, y, strict=True))
            step = exp_se3(np.linalg.solve(normal, right)) @ step
        out.append(out[-1] @ step)
    return np.stack(out)


def _turning(v: np.ndarray) -> np.ndarray:
    return -np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def _noise(x: np.ndarray) -> np.ndarray:
    z = x[2]
    ray, along = x / z, z**2 / (RIG.fx * RIG.baseline_m) * np.sqrt(2) * NOISE_PX
    return along**2 * np.outer(ray, ray) + (z / RIG.fx * NOISE_PX) ** 2 * np.eye(3)


CORNERS = 0.05 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


@pytest.mark.parametrize("shared", [12, 60])
def test_what_may_be_is_what_happens(shared):
    """Root mean square over 20 draws of the drift from the reference frame to the chain's ends, against what was foretold."""
    drift, told = [], []
    for seed in range(20):
        poses, seen, rng = chain(shared, seed)
        off = may_be_off(RIG, inverse(poses), seen, CORNERS)
        walked = weighted_steps(poses, seen, measured(seen, rng))
        reference = int(off.argmin())
        gauge = inverse(poses[reference]) @ inverse(walked[reference])
        change = gauge @ walked @ poses
        drift.append(np.linalg.norm(transform(change[-1], CORNERS) - CORNERS, axis=1).mean())
        told.append(off[-1])
    rms = float(np.sqrt(np.mean(np.square(drift))))
    assert rms / 1.5 < np.mean(told) < 1.5 * rms, (1000 * rms, 1000 * float(np.mean(told)))


def test_more_points_less_drift_and_a_ring_less_than_a_chain():
    few, many, ring = (
        may_be_off(RIG, inverse(p), s, CORNERS).max()
        for p, s, _ in (chain(12, 1), chain(48, 1), chain(48, 1, closed=True))
    )
    assert 1.6 < few / many < 2.6 and ring < 0.85 * many


def test_the_weak_step_parts_the_frames():
    """Between frames 4 and 5 three points are left: the five before it are those that may be off."""
    poses, seen, _ = chain(40, 2)
    crossing = np.isin(seen.point, np.unique(seen.point[seen.frame == 5])) & np.isin(
        seen.point, np.unique(seen.point[seen.frame == 4])
    )
    keep = ~crossing | (seen.point % 40 < 3)
    part = Sightings(seen.point[keep], seen.frame[keep], seen.xyz[keep], seen.sigma_px[keep], seen.right[keep])
    off = may_be_off(RIG, inverse(poses), part, CORNERS)
    assert off[:5].min() > 2 * off[5:].max()
