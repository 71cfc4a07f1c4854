"""From evidence to an outline: a coarse cut over the window, then a cut in a narrow band with local colours.

All sizes in pixels of the picture at hand. Scores are log-likelihood ratios (positive = object).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.masks.cut.colour_model import decorrelated, local_llr
from stages.masks.cut.solver import edge_weights, solve_cut

UNPROVEN, HOLE_PROOF = 0.1, -0.3
"""largest hole (share of the mask) that must be proven, and the mean evidence that proves it"""


@dataclass(frozen=True)
class CutSettings:
    """How smooth and how wide: `length` = cost of one pixel of outline in units of evidence; `band_px` half width of the fine band;
    `network`: whether the evidence is looked at as a whole (mask_net.py)."""

    length: float = 3.0
    band_px: int = 8
    local_radius_px: int = 14
    coarse_px: int = 60_000
    clip: float = 5.0
    network: bool = True


@dataclass(frozen=True)
class Window:
    """A rectangle of the picture: rows y0 to y1, columns x0 to x1 (exclusive)."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @staticmethod
    def around(mask: np.ndarray, margin_px: int) -> Window:
        """The bounding box of a non-empty mask plus a margin, clipped to the picture."""
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        h, w = mask.shape
        return Window(
            max(0, xs[0] - margin_px),
            max(0, ys[0] - margin_px),
            min(w, xs[-1] + 1 + margin_px),
            min(h, ys[-1] + 1 + margin_px),
        )


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32 px to the outline, positive inside (zero on the pixel edges between the two)."""
    m = mask.astype(np.uint8)
    return np.where(
        mask,
        cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 0.5,
        0.5 - cv2.distanceTransform(1 - m, cv2.DIST_L2, cv2.DIST_MASK_PRECISE),
    ).astype(np.float32)


def coarse_cut(
    colour: np.ndarray, llr: np.ndarray, settings: CutSettings, start: np.ndarray | None = None
) -> np.ndarray:
    """Relaxed labelling (H, W) float32 of the whole window, solved on about `coarse_px` pixels."""
    h, w = llr.shape
    scale = max(1.0, np.sqrt(h * w / settings.coarse_px))
    size = (max(8, round(w / scale)), max(8, round(h / scale)))
    # summed over a block of scale^2 pixels and divided by the edge length `scale`: the coarse problem keeps the energy of the fine one
    small = cv2.resize(np.clip(llr, -settings.clip, settings.clip), size, interpolation=cv2.INTER_AREA) * np.float32(
        scale
    )
    picture = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
    guess = (
        (small > 0).astype(np.float32)
        if start is None
        else cv2.resize(start.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    )
    u = solve_cut(small, *edge_weights(picture, settings.length), guess, iterations=100)
    return cv2.resize(u, (w, h), interpolation=cv2.INTER_LINEAR)


def fine_cut(
    rgb: np.ndarray,
    mask: np.ndarray,
    llr: np.ndarray,
    settings: CutSettings,
    noise: float,
    background: np.ndarray | None = None,
    background_sigma: np.ndarray | None = None,
    share: float = 0.35,
) -> np.ndarray:
    """The outline of `mask` (H, W) moved by at most `band_px` to where the local colours change; returns relaxed u (H, W) float32.

    `llr` is the global evidence, of which `share` counts beside the local one; `background` (H, W, 3) YCrCb with NaN where unknown.
    """
    distance = signed_distance(mask)
    band = np.abs(distance) <= settings.band_px
    if not band.any():
        return mask.astype(np.float32)
    colour = decorrelated(rgb)
    gap = max(2.0, settings.band_px / 3)
    certain = distance > gap, distance < -gap
    local = local_llr(colour, *certain, band, settings.local_radius_px, noise, background, background_sigma)
    total = np.zeros(mask.shape, np.float32)
    total[band] = np.clip(local, -settings.clip, settings.clip) + share * np.clip(
        llr[band], -settings.clip, settings.clip
    )
    return solve_cut(total, *edge_weights(colour, settings.length), mask.astype(np.float32), band, iterations=80)


def connected(mask: np.ndarray, keep: np.ndarray, min_share: float = 0.02) -> np.ndarray:
    """The components of `mask` that touch `keep` (bool) and are not specks (share of the kept area), with small holes closed."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 1:
        return mask
    touched = np.bincount(labels[keep & mask], minlength=count)
    touched[0] = 0
    if touched.max() == 0:
        return np.zeros_like(mask)
    area = stats[:, cv2.CC_STAT_AREA]
    good = (touched > 0) & (area >= min_share * area[touched > 0].max())
    good[0] = False
    return fill_holes(good[labels], min_share * 0.25)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two (H, W) bool masks; 0 where both are empty."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest component of `mask`."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if count > 1 else mask


def fill_holes(mask: np.ndarray, share: float, proof: np.ndarray | None = None) -> np.ndarray:
    """Close holes smaller than `share` of the mask's area, larger ones are taken as real.

    With `proof` (H, W), what speaks for background other than colours that only this picture taught (negative), a hole up to
    `UNPROVEN` of the area is real only where its mean is below `HOLE_PROOF`: a flat patch of a label is no hole, a handle's is.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    if count <= 1:
        return mask
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    area, whole = stats[:, cv2.CC_STAT_AREA], mask.sum()
    hole = area < share * whole
    if proof is not None:
        mean = np.bincount(labels.ravel(), proof.ravel(), count) / np.maximum(area, 1)
        hole |= (area < UNPROVEN * whole) & (mean > HOLE_PROOF)
    hole[border] = False
    hole[0] = False
    return mask | hole[labels]
