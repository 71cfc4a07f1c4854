"""How far each frame's pose may have drifted from the others', as the points say that tie them together.

A chain of views of a bare thing fits itself well and still bends: every step rests on a few dull points. From the points that two frames,
or the frames before and after a step, have in common follows how certain their motion is; the steps are springs of that strength, and how
far a frame may be off against another is the resistance between them (loops make it less). On random captures the sigma of one step and
the error that it makes go together: 0.1 mm with 0.1, 0.4 with 0.5, 2 with 2 to 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig

MAY_DRIFT_M, MAY_DRIFT_SHARE = 0.002, 0.01
"""a pose is uncertain that may be off by more than the larger of this and of this share of the object's size"""
OF_SCENE = 0.5
"""of that where a scene tells the motion: far features agree in what they get wrong (a white vase in a room: 2.2 mm foretold, 6.7 off)"""
OF_ROLLING = 0.5
"""of that again where rows were read one after another: motion within a picture is taken out along a smooth path, and a hand's is not
smooth (three such scenes: 0.4, 1.1, 0.4 mm foretold, 0.8, 3.5, 2.5 off)"""
LEAST_SIGMA_PX = 0.1
NO_DEPTH_SIGMA_PX = 50.0
"""of the disparity of a point that one eye alone measured"""
LEAST_SHARED, LOOP_FRAMES = 8, 3
"""frames so far apart that share so many points are a loop"""
MOST_ASKED = 60
"""of the object's points, at which the motion is measured"""
UNKNOWN_M = 1.0


def may_drift_m(size_m: float) -> float:
    """Metres by which a pose of an object of that size may be off before it is uncertain."""
    return max(MAY_DRIFT_M, MAY_DRIFT_SHARE * size_m)


@dataclass(frozen=True)
class Sightings:
    """Observations of points by frames, used ones only. point, frame (N,) int; xyz (N, 3) metres in the frame's left camera; sigma_px (N,);
    right (N,) bool: the right eye measured it as well."""

    point: np.ndarray
    frame: np.ndarray
    xyz: np.ndarray
    sigma_px: np.ndarray
    right: np.ndarray


def may_be_off(rig: Rig, object_from_left: np.ndarray, seen: Sightings, points: np.ndarray) -> np.ndarray:
    """(F,) metres by which each of F poses (F, 4, 4) may be off (one standard deviation, mean over `points` (M, 3) of the object) against
    the frame that is nearest to all."""
    frames = len(object_from_left)
    if frames < 2:
        return np.zeros(frames)
    asked = points[:: max(1, len(points) // MOST_ASKED)]
    tied = ties(rig, object_from_left, seen, asked.mean(0))
    a, b, information = tied.a, tied.b, tied.information
    conductance = np.zeros((frames, frames))
    step = np.arange(frames - 1)
    conductance[step, step + 1] = 1 / _variance(_across(a, b, information, frames), asked)
    for i, j, total in _loops(a, b, information, frames):
        conductance[i, j] = max(conductance[i, j], 1 / float(_variance(total[None], asked)[0]))
    return np.sqrt(_least_resistance(conductance + conductance.T))


@dataclass(frozen=True)
class Ties:
    """What points say of the motion between frames a and b (K,), numbers in the list of frames: information (K, 6, 6) on a small turn about
    `centre` (3,) and a shift, in the object's frame."""

    a: np.ndarray
    b: np.ndarray
    information: np.ndarray
    centre: np.ndarray


def ties(rig: Rig, object_from_left: np.ndarray, seen: Sightings, centre: np.ndarray) -> Ties:
    """Of every two successive sightings of a point, a < b."""
    order = np.lexsort((seen.frame, seen.point))
    point, frame = seen.point[order], seen.frame[order]
    turn = object_from_left[frame, :3, :3]
    covariance = turn @ _covariance(rig, seen, order) @ turn.transpose(0, 2, 1)
    arm = np.einsum("nij,nj->ni", turn, seen.xyz[order]) + object_from_left[frame, :3, 3] - centre
    first = np.flatnonzero((point[1:] == point[:-1]) & (frame[1:] > frame[:-1]))
    weight = np.linalg.inv(covariance[first] + covariance[first + 1])
    jacobian = _moves(arm[first + 1])
    return Ties(frame[first], frame[first + 1], jacobian.transpose(0, 2, 1) @ weight @ jacobian, centre)


def _covariance(rig: Rig, seen: Sightings, order: np.ndarray) -> np.ndarray:
    """(N, 3, 3) of the points in their left cameras: along the ray by the disparity, across it by the pixel."""
    x, sigma = seen.xyz[order], seen.sigma_px[order]
    z = x[:, 2]
    along = z**2 / (rig.fx * rig.baseline_m) * np.where(seen.right[order], np.sqrt(2) * sigma, NO_DEPTH_SIGMA_PX)
    ray, across = x / z[:, None], z / rig.fx * sigma
    return along[:, None, None] ** 2 * ray[:, :, None] * ray[:, None, :] + across[:, None, None] ** 2 * np.eye(3)


def _moves(arm: np.ndarray) -> np.ndarray:
    """(K, 3, 6) motion of points at (K, 3) from the centre by a small turn and shift."""
    out = np.zeros((len(arm), 3, 6))
    x, y, z = arm.T
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 0], out[:, 1, 2], out[:, 2, 0], out[:, 2, 1] = z, -y, -z, x, y, -x
    out[:, :, 3:] = np.eye(3)
    return out


def _across(a: np.ndarray, b: np.ndarray, information: np.ndarray, frames: int) -> np.ndarray:
    """(F - 1, 6, 6) of all ties that cross each step from one frame to the next."""
    change = np.zeros((frames, 6, 6))
    np.add.at(change, a, information)
    np.subtract.at(change, b, information)
    return np.cumsum(change, 0)[:-1]


def _loops(a: np.ndarray, b: np.ndarray, information: np.ndarray, frames: int):
    """(i, j, (6, 6) information) of frames far apart that share enough points."""
    far = b - a >= LOOP_FRAMES
    key, inverse, count = np.unique(a[far] * frames + b[far], return_inverse=True, return_counts=True)
    total = np.zeros((len(key), 6, 6))
    np.add.at(total, inverse, information[far])
    for k in np.flatnonzero(count >= LEAST_SHARED):
        yield int(key[k] // frames), int(key[k] % frames), total[k]


def _variance(information: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(K,) mean square motion, m2, of the object's points by what each (6, 6) leaves open."""
    size = float(np.ptp(asked, axis=0).max()) + 1e-6
    least = np.diag([(size / UNKNOWN_M) ** 2] * 3 + [UNKNOWN_M**-2] * 3)
    covariance = np.linalg.inv(information + least)
    moves = _moves(asked - asked.mean(0))
    variance = np.einsum("mij,kjl,mil->k", moves, covariance, moves) / len(asked)
    return np.clip(variance, 1e-12, UNKNOWN_M**2)


def _least_resistance(conductance: np.ndarray) -> np.ndarray:
    """(F,) resistance of each node to the one from which most are near; the network is connected along the frames."""
    n = len(conductance)
    laplacian = np.diag(conductance.sum(1)) - conductance
    green = np.linalg.inv(laplacian + np.full((n, n), conductance.max() / n)) - 1 / (n * conductance.max())
    own = np.diag(green)
    resistance = np.maximum(own[:, None] + own[None] - 2 * green, 0.0)
    return resistance[np.median(resistance, axis=1).argmin()]
