"""Makes the observations of a track show the same spot: every view is aligned to one reference view by least-squares matching.

Detectors place a point anew in every picture, with 0.3 to 0.5 px of scatter. Here the window round the reference observation is warped
into each other view (the local plane comes from the slope of the disparity) and aligned there, which brings the scatter to about 0.1 px
(the idea of keypoint adjustment: Lindenberger et al. 2021, done with grey values). Pictures are streamed: windows of the reference
views are cut in a first pass, aligned in a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numba
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.directions import unit
from stages.core.geometry.rigid import inverse
from stages.core.parallel import ordered_map
from stages.track.points.measured_depth import read_depth
from stages.track.points.patch_alignment import FEW_STEPS, SAMPLES, STEPS, align, sample_window
from stages.track.points.stereo_measurement import level_of, measure_right, pyramid, usable_levels
from stages.track.tracks.multiview_tracks import Tracks


@dataclass(frozen=True)
class PictureSource:
    """picture(frame, "left" or "right") -> (H, W) uint8; depth(frame) -> disparity and sigma (H, W) px, None where there is a right eye."""

    picture: Callable[[int, str], np.ndarray]
    depth: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None


@dataclass(frozen=True)
class RefineOptions:
    """When an alignment counts: its correlation, and how far it may move a detected and a predicted point (px of their pyramid level)."""

    min_correlation: float
    max_shift_px: float
    max_shift_predicted_px: float
    workers: int


@dataclass(frozen=True)
class Refined:
    """uvr (M, 3) px, sigma_px (M,), ok (M,): the observation was aligned (or is the reference itself)."""

    uvr: np.ndarray
    sigma_px: np.ndarray
    ok: np.ndarray


def refine_tracks(
    rig: Rig,
    tracks: Tracks,
    poses: Mapping[int, np.ndarray],
    x_object: np.ndarray,
    uvr: np.ndarray,
    slope: np.ndarray,
    scale_px: np.ndarray,
    pictures: PictureSource,
    options: RefineOptions,
    progress: Callable[[int, int, str], None],
) -> Refined:
    """`x_object` (P, 3); `uvr` (M, 3), `slope` (M, 2), `scale_px` (M,) of the observations, as detected; predicted ones have NaN scale."""
    detected = np.isfinite(scale_px)
    max_shift = np.where(detected, options.max_shift_px, options.max_shift_predicted_px)
    reference = reference_observations(tracks, poses, x_object, uvr, slope, detected)
    shape = (rig.height, rig.width)
    level = level_of(scale_px[reference], shape)[tracks.point]  # level of the reference, per observation
    affine = predicted_affine(rig, tracks, poses, uvr, slope, reference)
    growth = np.sqrt(np.abs(np.linalg.det(affine)))
    target = np.clip(level + np.rint(np.log2(np.clip(growth, 0.1, 10))), 0, usable_levels(shape) - 1).astype(np.int64)
    affine *= (2.0 ** (level - target))[:, None, None]
    templates = np.zeros((tracks.count, SAMPLES), np.float32)
    frames = np.unique(tracks.frame).tolist()
    total = 2 * len(frames)

    def cut(frame: int) -> int:
        points = np.flatnonzero(tracks.frame[reference] == frame)
        rows = reference[points]
        templates[points] = _cut(
            pyramid(pictures.picture(frame, "left")), uvr[rows, :2] / 2.0 ** level[rows, None], level[rows]
        )
        return frame

    for done, _ in enumerate(ordered_map(cut, frames, options.workers)):
        progress(done + 1, total, "cutting reference windows")
    out, sigma, ok = uvr.copy(), np.full(len(uvr), np.nan), np.zeros(len(uvr), bool)

    def refine(frame: int) -> int:
        rows = np.flatnonzero(tracks.frame == frame)
        out[rows], sigma[rows], ok[rows] = _refine_frame(
            pictures,
            frame,
            templates[tracks.point[rows]],
            affine[rows],
            target[rows],
            uvr[rows],
            reference[tracks.point[rows]] == rows,
            max_shift[rows],
            options.min_correlation,
        )
        return frame

    for done, _ in enumerate(ordered_map(refine, frames, options.workers)):
        progress(len(frames) + done + 1, total, "aligning observations")
    return Refined(out, sigma, ok)


def reference_observations(
    tracks: Tracks,
    poses: Mapping[int, np.ndarray],
    x_object: np.ndarray,
    uvr: np.ndarray,
    slope: np.ndarray,
    detected: np.ndarray,
) -> np.ndarray:
    """(P,) row of the detected observation whose line of sight is closest to the mean of the track's; measured by both eyes where there
    is one."""
    sight = unit(np.stack([poses[f][:3, 3] for f in tracks.frame.tolist()]) - x_object[tracks.point])
    mean = np.stack([np.bincount(tracks.point, sight[:, i], tracks.count) for i in range(3)], 1)
    closeness = (
        np.einsum("mi,mi->m", sight, mean[tracks.point]) / np.maximum(np.linalg.norm(mean, axis=1), 1e-12)[tracks.point]
    )
    closeness = np.nan_to_num(closeness) + 2.0 * (np.isfinite(uvr[:, 2]) & np.isfinite(slope).all(1)) + 4.0 * detected
    order = np.lexsort((tracks.frame, -closeness, tracks.point))
    first = np.r_[True, np.diff(tracks.point[order]) > 0]
    return order[first]


def predicted_affine(
    rig: Rig, tracks: Tracks, poses: Mapping[int, np.ndarray], uvr: np.ndarray, slope: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """(M, 2, 2) px per px: how the picture round the reference observation is warped in each observation's left picture.

    The surface is taken as the plane that the reference's disparity and its slope span; frontal where they were not measured.
    """
    ref = reference[tracks.point]
    disparity = uvr[ref, 0] - uvr[ref, 2]
    known = np.isfinite(disparity)
    gradient = np.where(known[:, None] & np.isfinite(slope[ref]), slope[ref], 0.0)
    disparity = np.where(known, disparity, np.nanmedian(disparity) if known.any() else 1.0)
    stack = {f: poses[f] for f in np.unique(tracks.frame).tolist()}
    b_from_a = np.stack(
        [inverse(stack[b]) @ stack[a] for a, b in zip(tracks.frame[ref].tolist(), tracks.frame.tolist(), strict=True)]
    )
    corners = []
    for offset in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        z = rig.fx * rig.baseline_m / np.maximum(disparity + gradient @ np.array(offset), 1e-3)
        x = rig.backproject(uvr[ref, :2] + offset, z)
        corners.append(rig.project(np.einsum("mij,mj->mi", b_from_a[:, :3, :3], x) + b_from_a[:, :3, 3]))
    affine = np.stack([corners[1] - corners[0], corners[2] - corners[0]], -1)
    bad = ~np.isfinite(affine).all((1, 2))
    affine[bad] = np.eye(2)
    return affine


def _refine_frame(
    pictures: PictureSource,
    frame: int,
    templates: np.ndarray,
    affine: np.ndarray,
    level: np.ndarray,
    uvr: np.ndarray,
    is_reference: np.ndarray,
    max_shift: np.ndarray,
    min_correlation: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left = pyramid(pictures.picture(frame, "left"))
    zoom = 2.0**level
    uv, sigma, ok = _align_all(
        left,
        templates,
        np.ascontiguousarray(affine),
        level,
        uvr[:, :2] / zoom[:, None],
        is_reference,
        max_shift,
        min_correlation,
    )
    uv, sigma = uv * zoom[:, None], sigma * zoom
    out = np.column_stack([np.where(ok[:, None], uv, uvr[:, :2]), uvr[:, 2]])
    moved = out[:, 0] - uvr[:, 0]
    # the right eye is measured again at the new place; its old answer says where to look
    guess = uvr[:, 0] - uvr[:, 2]
    if pictures.depth is not None:
        u_right, _, sigma_right = read_depth(*pictures.depth(frame), out[:, :2])
    else:
        right, doubt = pyramid(pictures.picture(frame, "right")), np.where(np.isfinite(guess), 0.5, np.nan)
        u_right, _, sigma_right = measure_right(
            left, right, out[:, :2], level, guess, doubt, (0.0, 0.0), min_correlation
        )
    out[:, 2] = np.where(np.abs(u_right - uvr[:, 2] - moved) < 2.0, u_right, np.nan)
    return out, np.where(is_reference, np.nan_to_num(sigma_right, nan=0.1), sigma), ok


@numba.njit(cache=True, nogil=True)
def _cut(left, uv, level):
    out = np.zeros((len(uv), SAMPLES), np.float32)
    window, warp = np.empty(SAMPLES), np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    for i in range(len(uv)):
        warp[4], warp[5] = uv[i, 0], uv[i, 1]
        if sample_window(left[level[i]], warp, window):
            out[i] = window
    return out


@numba.njit(cache=True, nogil=True)
def _align_all(left, templates, affine, level, uv, is_reference, max_shift, min_correlation):
    out, sigma, ok = uv.copy(), np.full(len(uv), np.nan), np.zeros(len(uv), np.bool_)
    free, shift_only = np.ones(6, np.bool_), np.array([False, False, False, False, True, True])
    warp = np.empty(6)
    for i in range(len(uv)):
        if is_reference[i]:
            ok[i] = templates[i].max() > templates[i].min()
            continue
        warp[0], warp[1], warp[2], warp[3] = affine[i, 0, 0], affine[i, 0, 1], affine[i, 1, 0], affine[i, 1, 1]
        warp[4], warp[5] = uv[i, 0], uv[i, 1]
        template = templates[i].astype(np.float64)
        # position first: the shape of a window that is still off by a pixel would be fitted to its surroundings
        coarse, _ = align(template, left[level[i]], warp, shift_only, max_shift[i], FEW_STEPS)
        if coarse < 0:
            continue
        correlation, deviation = align(template, left[level[i]], warp, free, max_shift[i], STEPS)
        if correlation >= min_correlation:
            out[i, 0], out[i, 1], sigma[i], ok[i] = warp[4], warp[5], deviation, True
    return out, sigma, ok
