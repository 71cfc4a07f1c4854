"""One frame: evidence from an expectation and the colours seen so far, outline, and how far the cues agree with it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.masks.cut.colour_model import ColourModel, decorrelated
from stages.masks.cut.evidence import colour_llr, depth_llr
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.flat_pieces import without_flat_pieces
from stages.masks.cut.mask_net import Cues, Weighed, expected_overlap, weighed
from stages.masks.cut.other_foreground import against_other, look_up, with_intruder
from stages.masks.cut.outline import CutSettings, Window, coarse_cut, connected, fill_holes, fine_cut, jaccard, largest
from stages.masks.frame.working_frame import WorkingFrame, noise_level

COLOUR_SHARE, DEPTH_SHARE, COLOUR_ALONE = 0.7, 0.7, 0.4
"""the cues are correlated over neighbouring pixels, so each counts less than its density ratio says; colour without depth still less"""
FINE_SHARE = 0.35
"""of the global evidence beside the local colours in the narrow band; without depth all of it, or the outline creeps along alike colours"""

TEXTURE_TO_NOISE = 2.0
"""grey levels vary by so many standard deviations of the noise where there is texture"""


@dataclass(frozen=True)
class FrameCut:
    """mask (H, W) bool and figures 0-1: evidence = mean agreement of the cues with the labels near the outline; depth = share of the
    mask's disparities that fit the object; overlap = intersection over union with the predicted outline (NaN = no prediction);
    as_a_whole = the same with what the network of mask_net.py makes of the frame (NaN = not asked)."""

    mask: np.ndarray
    evidence: float
    depth: float
    overlap: float
    near_range: tuple[float, float] | None
    doubt: str = ""
    as_a_whole: float = float("nan")


def cut_frame(
    view: WorkingFrame, expected: Expectation, colours: ColourModel, cut: CutSettings, fine: bool
) -> FrameCut:
    """Segment one frame. An empty mask means that nothing in the window speaks for the object."""
    h, w = view.shape
    window = _window(expected, (h, w))
    s = window.slices
    llr, proof = frame_llr(view, expected, _taught_here(view, expected, colours, window), window)
    seen = Weighed(llr, None)
    if cut.network:
        prior = np.zeros_like(llr) if expected.prior is None else expected.prior[s]
        seen = weighed(Cues.of(view, window, expected.near_range, llr - prior, proof, prior))
        llr = seen.llr
    colour = decorrelated(view.rgb[s])
    found = coarse_cut(colour, llr, cut) > 0.5
    found = connected(found, largest(found) if expected.anchor is None else expected.anchor[s])
    if fine and found.any():
        background, sigma = _in_exposure(expected, s)
        u = fine_cut(
            view.rgb[s] if expected.seen is None else expected.seen[s] * expected.gain.astype(np.float32),
            found,
            llr,
            cut,
            _noise(view, expected, s),
            background,
            sigma,
            FINE_SHARE if expected.near_range is not None else 1.0,
        )
        found = connected(u > 0.5, found, 0.01)
    found = without_flat_pieces(
        found, view.disparity[s], view.sigma[s], [(e[s], scatter) for e, scatter in expected.surfaces]
    )
    mask = np.zeros((h, w), bool)
    mask[s] = fill_holes(found, 0.002, None if expected.near_range is None else proof)
    return FrameCut(
        mask,
        _agreement(llr, found),
        _depth_fit(view, mask, expected.near_range),
        _overlap(mask, expected.predicted),
        range_in(view, mask),
        expected.doubt,
        expected_overlap(seen.opinion, mask[s]),
    )


def _taught_here(view: WorkingFrame, expected: Expectation, colours: ColourModel, window: Window) -> ColourModel:
    """The colour model with what this frame itself shows round the place of the object, where the background's picture is not known."""
    if expected.intruder is not None:
        colours = with_intruder(colours, expected.intruder)
    if expected.prior is None or (expected.background is not None and expected.seen is None):
        return colours
    outside = expected.prior[window.slices][::2, ::2] < -3
    return colours.joined_by(view.rgb[window.slices][::2, ::2][outside]) if outside.sum() > 500 else colours


def frame_llr(
    view: WorkingFrame, expected: Expectation, colours: ColourModel, window: Window
) -> tuple[np.ndarray, np.ndarray]:
    """The evidence of colour, depth and prior in the window, (h, w) float32, and its part that rests on depth or a known background."""
    s = window.slices
    colour = _seen(view, expected, s)
    proof = np.zeros(colour.shape[:2], np.float32)
    if expected.near_range is not None:
        surfaces = [(e[s], scatter) for e, scatter in expected.surfaces]
        proof += DEPTH_SHARE * depth_llr(view.disparity[s], view.sigma[s], expected.near_range, surfaces)
    taught = np.float32(COLOUR_SHARE if expected.near_range is not None else COLOUR_ALONE)
    if expected.background is None:
        by_colour = taught * np.clip(colours.llr(colour), -8, 8)
        llr = proof + by_colour
        # colours of the background prove a hole where they come with its texture; a flat patch of a label has none
        proof = proof + np.where(_textured(view.rgb[s]), np.minimum(by_colour, 0), 0)
    else:
        known = np.isfinite(expected.background[s][..., 0])
        by_colour = np.clip(
            colour_llr(
                colour,
                colours,
                expected.background[s],
                expected.background_sigma[s],
                expected.background_shade,
                None if expected.seen is None else expected.gain,
            ),
            -8,
            8,
        )
        proof += np.where(known, COLOUR_SHARE * by_colour, 0)
        llr = proof + np.where(known, 0, taught * by_colour)
    if colours.log_other is not None:
        log_object, log_other = (look_up(d, view.rgb[s]) for d in (colours.log_object, colours.log_other))
        llr, proof = against_other(llr, log_object, log_other), against_other(proof, log_object, log_other)
    return llr if expected.prior is None else llr + expected.prior[s], proof


def _textured(rgb: np.ndarray) -> np.ndarray:
    """(H, W) bool: grey levels vary over 7x7 pixels by clearly more than the picture's noise."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spread = cv2.boxFilter(gray * gray, -1, (7, 7)) - cv2.boxFilter(gray, -1, (7, 7)) ** 2
    return spread > (TEXTURE_TO_NOISE * max(1.0, noise_level(rgb))) ** 2


def _seen(view: WorkingFrame, expected: Expectation, s: tuple[slice, slice]) -> np.ndarray:
    """The window's colours in the background's exposure, float32."""
    if expected.seen is not None:
        return expected.seen[s]
    colour = view.rgb[s].astype(np.float32)
    return colour if expected.gain is None else colour / expected.gain


def _noise(view: WorkingFrame, expected: Expectation, s: tuple[slice, slice]) -> float:
    """Standard deviation of the noise in the colours that `_seen` gives."""
    return max(1.5, noise_level(view.rgb[s])) if expected.seen is None else float(np.nanmin(expected.background_sigma))


def _window(expected: Expectation, shape: tuple[int, int]) -> Window:
    if expected.prior is None:
        return Window(0, 0, shape[1], shape[0])
    possible = expected.prior > expected.prior.min() + 1e-3 if expected.predicted is None else expected.predicted
    if not possible.any():
        return Window(0, 0, shape[1], shape[0])
    return Window.around(possible, round(0.04 * max(shape)))


def _in_exposure(expected: Expectation, s: tuple[slice, slice]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The known background as this frame's exposure would show it, YCrCb (NaN = unknown), and its sigma."""
    if expected.background is None:
        return None, None
    rgb = expected.background[s] * (1 if expected.gain is None else expected.gain)
    known = np.isfinite(rgb[..., 0])
    ycc = cv2.cvtColor(np.where(known[..., None], rgb, 0).astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb) * 255
    ycc[~known] = np.nan
    shaded = np.hypot(expected.background_sigma[s], expected.background_shade * ycc[..., 0])
    return ycc, np.where(known, shaded, 1.0).astype(np.float32)


def _agreement(llr: np.ndarray, mask: np.ndarray) -> float:
    """Mean of the probability that the evidence gives the label chosen, over a band of about 12 px on both sides of the outline."""
    if not mask.any():
        return 0.0
    m, kernel = mask.astype(np.uint8), np.ones((25, 25), np.uint8)
    band = (cv2.dilate(m, kernel) - cv2.erode(m, kernel)).astype(bool)
    p = 1 / (1 + np.exp(-np.clip(llr[band], -20, 20)))
    label = mask[band]
    sides = [float(p[label].mean()) if label.any() else 0.0, float((1 - p[~label]).mean()) if (~label).any() else 0.0]
    return min(sides)


def _depth_fit(view: WorkingFrame, mask: np.ndarray, near_range: tuple[float, float] | None) -> float:
    d = view.disparity[mask & np.isfinite(view.disparity) & (view.sigma < 1.5)]
    if near_range is None or len(d) < 30:
        return float("nan")
    return float(np.mean((d > near_range[0] - 1) & (d < near_range[1] + 1)))


def _overlap(mask: np.ndarray, predicted: np.ndarray | None) -> float:
    return float("nan") if predicted is None else jaccard(mask, predicted)


def range_in(view: WorkingFrame, mask: np.ndarray) -> tuple[float, float] | None:
    """Least and largest disparity in a mask, px, but for a few per cent and as it is (`seed.disparity_range` grants a margin); None where
    hardly any is known."""
    d = view.disparity[mask & np.isfinite(view.disparity) & (view.sigma < 1.5)]
    if len(d) < 30:
        return None
    lo, hi = np.percentile(d, [2, 99])
    return float(lo), float(hi)
