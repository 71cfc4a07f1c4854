"""Spots of the object with their look and their place: SIFT inside the masks, placed by depth and by the session's poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.geometry.rigid import transform
from stages.core.parallel import ordered_map
from stages.merge.config import MergeConfig
from stages.merge.session import Session

ROOT_ONE = 512.0
"""length of a stored root descriptor"""
MARGIN_PX = 16
REACH, LEAST_KNOWN = 2, 12
"""px round a spot whose disparities count, and how many of them must be known"""
MAX_SIGMA_SHARE = 0.02
"""a disparity with a larger standard deviation than this share of itself places no spot"""
LOW_CONTRAST = 24.0
"""grey levels between the 5th and 95th percentile of the object below which it is equalised before spots are looked for"""


@dataclass(frozen=True)
class FrameSpots:
    """uvr (N, 3) px (u, v, u_right) of the full picture; xyz (N, 3) in the session's object frame; descriptor (N, 128) float32; how
    certain the place in the picture is, px."""

    frame: int
    uvr: np.ndarray
    xyz: np.ndarray
    descriptor: np.ndarray
    sigma_px: float


def key_frames(session: Session, count: int) -> list[int]:
    """Posed frames spread over the directions they look from, the best supported first (farthest point sampling)."""
    support = {r.frame: r.inliers for r in session.rows}
    frames = sorted(session.poses)
    eyes = np.stack([session.poses[f][:3, 3] - session.centre for f in frames])
    eyes /= np.linalg.norm(eyes, axis=1, keepdims=True)
    chosen = [int(np.argmax([support[f] for f in frames]))]
    nearest = eyes @ eyes[chosen[0]]
    while len(chosen) < min(count, len(frames)):
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, eyes @ eyes[chosen[-1]])
        nearest[chosen] = 2.0
    return sorted(frames[i] for i in chosen)


def spots_of(session: Session, frames: Sequence[int], config: MergeConfig, workers: int) -> list[FrameSpots]:
    """Of every frame, in order."""
    return list(ordered_map(lambda f: _measure(session, f, config), frames, workers))


def _measure(session: Session, frame: int, config: MergeConfig) -> FrameSpots:
    mask, disparity, sigma = (
        session.reader.mask(frame),
        session.reader.disparity_px(frame),
        session.reader.sigma_px(frame),
    )
    uv, descriptor, zoom = _sift(session.reader.gray(frame), mask, config)
    d = _disparity_at(disparity, sigma, mask, uv)
    known = np.isfinite(d)
    uv, d = uv[known], d[known]
    x = session.rig.backproject(uv, session.rig.depth_from_disparity(d))
    uvr = np.column_stack([uv, uv[:, 0] - d])
    return FrameSpots(frame, uvr, transform(session.poses[frame], x), descriptor[known], sigma_px=max(1.0, zoom))


def _sift(gray: np.ndarray, mask: np.ndarray, config: MergeConfig) -> tuple[np.ndarray, np.ndarray, float]:
    """(N, 2) px of the full picture inside the mask, the strongest first; descriptors (N, 128); px of the picture in one that was seen."""
    v, u = np.nonzero(mask)
    if len(u) == 0:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32), 1.0
    x0, y0 = max(0, u.min() - MARGIN_PX), max(0, v.min() - MARGIN_PX)
    part = np.s_[y0 : v.max() + 1 + MARGIN_PX, x0 : u.max() + 1 + MARGIN_PX]
    picture, inside = gray[part], mask[part]
    zoom = max(1.0, max(picture.shape) / config.max_width_px)
    small = cv2.resize(picture, None, fx=1 / zoom, fy=1 / zoom, interpolation=cv2.INTER_AREA) if zoom > 1 else picture
    low, high = np.percentile(picture[inside], (5, 95))
    small = cv2.createCLAHE(3.0, (8, 8)).apply(small) if high - low < LOW_CONTRAST else small
    sift = cv2.SIFT_create(contrastThreshold=config.contrast, edgeThreshold=12, enable_precise_upscale=True)
    found = sift.detect(small, cv2.resize(inside.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    best = sorted(found, key=lambda k: (-k.response, k.pt))[: config.max_points]
    if not best:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32), zoom
    best, descriptor = sift.compute(small, best)
    uv = (np.array([k.pt for k in best]) + 0.5) * (
        picture.shape[1] / small.shape[1],
        picture.shape[0] / small.shape[0],
    ) - 0.5
    root = ROOT_ONE * np.sqrt(descriptor / np.maximum(descriptor.sum(1, keepdims=True), 1e-6))
    return uv + np.array([x0, y0]), root.astype(np.float32), zoom


def _disparity_at(disparity: np.ndarray, sigma: np.ndarray, mask: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(N,) px: the median round each place, on the object; NaN where depth is unknown, uncertain or torn there."""
    height, width = disparity.shape
    with np.errstate(invalid="ignore"):
        good = mask & (disparity > 0) & (sigma < np.maximum(MAX_SIGMA_SHARE * disparity, 0.5))
    steps = np.arange(-REACH, REACH + 1)
    pixel = np.rint(uv).astype(int)
    v = np.clip(pixel[:, 1, None, None] + steps[:, None], 0, height - 1)
    u = np.clip(pixel[:, 0, None, None] + steps, 0, width - 1)
    d = np.where(good[v, u], disparity[v, u], np.nan).reshape(len(uv), -1)
    enough = np.isfinite(d).sum(1) >= LEAST_KNOWN
    out = np.full(len(uv), np.nan)
    low, middle, high = np.nanpercentile(d[enough], (10, 50, 90), axis=1) if enough.any() else (np.zeros(0),) * 3
    out[enough] = np.where(high - low < 0.05 * middle, middle, np.nan)
    return out
