"""What a finished mask looks like to someone who did not make it: figures from the picture, the depth and the frame before.

They are taken alike for masks found here, by SAM 2 or by the user, from nothing that made the mask, so that they can contradict it.
`mask_doubt.py` weighs them. NaN = could not be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from stages.masks.cut.colour_model import histogram, model_from_histograms, similarity
from stages.masks.cut.outline import jaccard, signed_distance
from stages.masks.cut.planes import fit_planes, plane_map, standing_out
from stages.masks.frame.working_frame import WorkingFrame, noise_level, shrink
from stages.masks.scenes.flow import warp_mask

AUDIT_WIDTH = 400
"""px; a figure of a mask needs no more"""
REACH = 0.25
"""the surroundings that are looked at, as a share of the object's size (root of its area)"""
SIDE_PX = 4
"""how far the two sides of an outline are looked at"""
WEAK = 3.0
"""standard deviations of the noise by which the two sides of an outline must differ to be seen apart"""
SURE_PX = 1.0
PLANE_TRIALS = 60
LEAST = 20
"""pixels below which a share says nothing"""

CUES: tuple[str, ...] = (
    "size", "border", "compactness", "contrast", "weak_outline", "colours_alike", "outside_colours", "inside_colours", "depth_inside",
    "depth_outside", "steps", "levels", "on_ground", "stands_off", "stands_beside", "depth_spread", "holes", "textured", "carried",
    "growth", "as_first", "size_to_first",
)  # fmt: skip
"""names of the figures, in the order in which they are weighed"""


@dataclass(frozen=True)
class Look:
    """A frame and its mask (H, W) bool, small."""

    view: WorkingFrame
    mask: np.ndarray

    @staticmethod
    def at(view: WorkingFrame, mask: np.ndarray) -> Look:
        """At no more than AUDIT_WIDTH."""
        small = shrink(view, min(1.0, AUDIT_WIDTH / view.shape[1]))
        return Look(
            small, cv2.resize(mask.astype(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT) > 0
        )

    @cached_property
    def gray(self) -> np.ndarray:
        """(H, W) uint8."""
        return cv2.cvtColor(self.view.rgb, cv2.COLOR_RGB2GRAY)

    @cached_property
    def colours(self) -> np.ndarray:
        """Colour counts inside the mask."""
        return histogram(self.view.rgb[self.mask].astype(np.float32))

    @cached_property
    def extent(self) -> float:
        """Size of what the mask shows, as far as its distance is known: root of the area over the median disparity, NaN = unknown."""
        near = self.view.disparity[self.mask & np.isfinite(self.view.disparity)]
        return float(np.sqrt(self.mask.sum()) / max(np.median(near), 0.1)) if len(near) >= LEAST else float("nan")


def audit(look: Look, before: Look | None, first: Look | None) -> dict[str, float]:
    """Figures of one mask by the names in `CUES`; `before`: the frame before, `first`: the one with the prompt."""
    cues = dict.fromkeys(CUES, float("nan"))
    view, mask = look.view, look.mask
    if mask.sum() < LEAST:
        return cues
    distance = signed_distance(mask)
    ring = (distance < 0) & (distance > -max(2 * SIDE_PX, REACH * float(np.sqrt(mask.sum()))))
    cues |= _outline(view, mask, distance) | _colours(look, ring) | _depth(view, mask, ring, distance) | _shape(mask)
    if before is not None and before.mask.any():
        cues["carried"] = jaccard(warp_mask(before.mask, before.gray, look.gray), mask)
        cues["growth"] = float(np.log(mask.sum() / before.mask.sum()))
    if first is not None and first.mask.sum() >= LEAST:
        cues["as_first"] = float(similarity(look.colours, first.colours))
        cues["size_to_first"] = float(np.log(look.extent / first.extent))
    return cues


def _shape(mask: np.ndarray) -> dict[str, float]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    length = sum(cv2.arcLength(c, True) for c in contours)
    filled = sum(cv2.contourArea(c) for c in contours)
    border = int(mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum())
    return {
        "size": float(np.sqrt(mask.mean())),
        "border": border / max(1.0, length),
        "compactness": float(min(1.0, 4 * np.pi * mask.sum() / max(1.0, length**2))),
        "holes": float(np.clip(1 - mask.sum() / max(1.0, filled + 0.5 * length), 0, 1)),
    }


def _outline(view: WorkingFrame, mask: np.ndarray, distance: np.ndarray) -> dict[str, float]:
    """How clearly the two sides differ along the outline, in colour and in depth."""
    line = (distance > 0) & (distance <= 1)
    noise = noise_level(view.rgb)
    clear = np.abs(distance) > 1
    colour = view.rgb.astype(np.float32)
    apart = np.linalg.norm(_mean(colour, mask & clear)[line] - _mean(colour, ~mask & clear)[line], axis=-1) / noise
    sure = np.isfinite(view.disparity) & (view.sigma < SURE_PX)
    d = np.where(sure, view.disparity, 0)[..., None].astype(np.float32)
    step = (_mean(d, mask & sure & clear)[line] - _mean(d, ~mask & sure & clear)[line])[:, 0]
    step = step[np.isfinite(step)]
    apart = apart[np.isfinite(apart)]
    known = len(step) >= LEAST
    return {
        "contrast": float(np.log1p(np.median(apart))) if len(apart) >= LEAST else float("nan"),
        "weak_outline": float(np.mean(apart < WEAK)) if len(apart) >= LEAST else float("nan"),
        "steps": float(np.mean(step > 1.0)) if known else float("nan"),
        "levels": float(np.mean(np.abs(step) < 0.3)) if known else float("nan"),
    }


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(H, W, C) local means of what `where` (H, W) holds, NaN where it holds little."""
    box = (2 * SIDE_PX + 1, 2 * SIDE_PX + 1)
    weight = cv2.boxFilter(where.astype(np.float32), -1, box)
    total = cv2.boxFilter(values * where[..., None].astype(np.float32), -1, box).reshape(values.shape)
    return np.where(weight[..., None] > 0.05, total / np.maximum(weight[..., None], 1e-6), np.nan)


def _colours(look: Look, ring: np.ndarray) -> dict[str, float]:
    """How alike object and surroundings are, and how much of each looks like the other."""
    rgb, mask = look.view.rgb, look.mask
    of_object, of_ring = look.colours, histogram(rgb[ring].astype(np.float32))
    llr = model_from_histograms(of_object, of_ring).llr(rgb.astype(np.float32))
    gray = look.gray.astype(np.float32)
    spread = cv2.boxFilter(gray * gray, -1, (7, 7)) - cv2.boxFilter(gray, -1, (7, 7)) ** 2
    return {
        "colours_alike": float(similarity(of_object, of_ring)),
        "inside_colours": float(np.mean(llr[mask] < -0.5)),
        "outside_colours": float(np.mean(llr[ring] > 0.5)) if ring.sum() >= LEAST else float("nan"),
        "textured": float(np.mean(spread[mask] > (3 * noise_level(rgb)) ** 2)),
    }


def _depth(view: WorkingFrame, mask: np.ndarray, ring: np.ndarray, distance: np.ndarray) -> dict[str, float]:
    """Whether the mask stands off what is round it, and whether something beside it does too."""
    sure = np.isfinite(view.disparity) & (view.sigma < SURE_PX)
    out = {
        "depth_inside": float(sure[mask].mean()),
        "depth_outside": float(sure[ring].mean()) if ring.any() else float("nan"),
    }
    beyond = ring & sure & (distance < -SIDE_PX)
    beyond[1::2] = False
    v, u = np.nonzero(beyond)
    planes = fit_planes(u, v, view.disparity[beyond], view.sigma[beyond], np.random.default_rng(0), 2, PLANE_TRIALS)
    own, off = mask & sure, ring & sure & (distance < -2)
    if own.sum() >= LEAST:
        low, high = np.percentile(view.disparity[own], [5, 95])
        out["depth_spread"] = float((high - low) / max(np.median(view.disparity[own]), 1e-3))
    if not planes or own.sum() < LEAST:
        return out
    maps = [(plane_map(p, view.shape), p.sigma_px) for p in planes]
    near = standing_out(view.disparity, view.sigma, maps)
    on = np.any([np.abs(view.disparity - e) < np.maximum(2 * np.hypot(view.sigma, s), 0.5) for e, s in maps], axis=0)
    out |= {"on_ground": float(on[own].mean()), "stands_off": float(near[own].mean())}
    if off.sum() >= LEAST:
        out["stands_beside"] = float((near & (view.disparity > low - 1))[off].mean())
    return out
