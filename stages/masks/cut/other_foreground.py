"""What stands as near as the object and is not it: the hand or the arm that holds it, a stand.

Depth cannot tell it from the object, and a grip moves with it. What does: it goes on outside the box, where by the user's word nothing is
the object, and comes in from the picture's border. Its colours there make a model of their own, beside object and background: what is near
and has them is the other thing. Where the colours of both are too alike, nothing is told apart.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from stages.masks.cut.colour_model import (
    UNIFORM,
    ColourModel,
    colour_index,
    histogram,
    log_density,
    similarity,
)
from stages.masks.cut.planes import standing_out
from stages.masks.frame.working_frame import WorkingFrame

LEAST_SHARE = 0.005
"""of the box's area that must be seen of it outside the box"""
SURE_PX = 2.0
"""standard deviation of the disparities that it is found by: skin has little texture"""
ARM_SHARE = 0.6
"""of the object's least disparity down to which an arm is looked for where nothing is known of what lies behind"""
LIKELY = 1.0
"""log of the ratio of densities from which a pixel of the first mask is rather the other thing's"""
LEAST_LEFT = 0.2
"""of the first mask that must be left as the object"""
REACHES_PX, REACHING_SHARE = 8.0, 0.1
"""how near to the predicted outline a thing comes that may hide a part of it, and how large, beside that outline, it is seen there"""
ALIKE = 0.5
"""Bhattacharyya coefficient of the colours of both from which they cannot be told apart"""
ALIKE_BINS = 16
"""of a channel, when hand and object are compared: in dim light both lie in few of the coarse bins"""
WEIGHT, MOST = 0.7, 8.0
"""of its log-likelihood ratio, and the most that one pixel says"""


def seen_outside(
    view: WorkingFrame,
    inside: np.ndarray,
    surfaces: list[tuple[np.ndarray, float]],
    near_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """(H, W) bool: what stands off the `surfaces` outside the box (`inside` bool) and reaches from it to the picture's border; where no
    surface is known, what is sure to be as near as the object (`near_range` px, None = not known) or nearer."""
    nothing = np.zeros(view.shape, bool)
    sure = view.sigma < SURE_PX
    if surfaces:
        near = standing_out(view.disparity, view.sigma, surfaces) & sure
    elif near_range is not None:
        near = (view.disparity > _arm_from(near_range)) & sure
    else:
        return nothing
    box = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    near = _joined_up(near, inside)
    # matching copies the object's depth over a bare wall: that has the wall's colours
    own, of_wall = (log_density(histogram(view.rgb[where].astype(np.float32))) for where in (near, ~near & ~box))
    near &= _smooth(look_up(own, view.rgb) > look_up(of_wall, view.rgb))
    near = _joined_up(near, inside)
    _, labels = cv2.connectedComponents(near.astype(np.uint8))
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    both = np.intersect1d(border[border > 0], labels[box & (labels > 0)])
    found = np.isin(labels, both[both > 0])
    if found.sum() < LEAST_SHARE * inside.sum():
        return nothing
    counts = [histogram(view.rgb[where].astype(np.float32)) for where in (found, ~found & ~box)]
    return found if similarity(*counts) < ALIKE else nothing


def _arm_from(near_range: tuple[float, float]) -> float:
    """The least disparity, px, of what holds an object of this range: an arm leads away from it."""
    low, high = near_range
    return max(low - (high - low), ARM_SHARE * low)


def _joined_up(near: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """`near` (H, W) bool outside the box, without gaps and crumbs of a few pixels."""
    near = cv2.morphologyEx(near.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return (cv2.morphologyEx(near, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0) & ~inside


def _smooth(where: np.ndarray) -> np.ndarray:
    """(H, W) bool by the majority of 5x5 pixels."""
    return cv2.blur(where.astype(np.float32), (5, 5)) > 0.5


def reaching_in(strange: np.ndarray, unknown: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(h, w) bool: of what is `strange` in a window (h, w) bool, that which reaches from its border, or from where it is `unknown` what
    there should be, to the predicted outline; `distance` (h, w) px to that, positive inside."""
    strange = cv2.morphologyEx(strange.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, labels = cv2.connectedComponents(strange)
    from_there = cv2.dilate(unknown.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    from_there[[0, -1]] = True
    from_there[:, [0, -1]] = True
    from_there, near = labels[from_there & (distance < -REACHES_PX)], labels[distance > -REACHES_PX]
    found = np.isin(labels, np.intersect1d(from_there[from_there > 0], near[near > 0])) & (labels > 0)
    return found & (found.sum() >= REACHING_SHARE * (distance > 0).sum())


def told_apart(rgb: np.ndarray, mask: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(mask of the object alone (h, w) bool, colour counts of the other thing), None where there is none or it cannot be told.

    `mask`: the first guess, `outside`: the other thing outside the box, both (h, w) bool. In turn, as the colours of the object are known
    only once the other thing's are taken out of them."""
    if not outside.any() or not mask.any():
        return None
    colour = rgb.astype(np.float32)
    other = histogram(colour[outside])
    log_other = log_density(other)
    spread = cv2.GaussianBlur(colour, (0, 0), 1.0)
    likely = look_up(log_other, spread)
    own = mask & (likely < np.log(UNIFORM) + LIKELY)
    for _ in range(3):
        if own.sum() < LEAST_LEFT * mask.sum():
            return None
        ratio = likely - look_up(log_density(histogram(colour[own])), spread)
        own = mask & (cv2.GaussianBlur(np.clip(ratio, -3, 3), (0, 0), 1.5) < 0)
    if similarity(histogram(colour[own]), other, ALIKE_BINS) > ALIKE:
        return None
    return own, other


def against_other(llr: np.ndarray, log_object: np.ndarray, log_other: np.ndarray) -> np.ndarray:
    """Object against background *or* the other thing, (h, w) float32: it is as near as the object, so that colours alone decide."""
    ratio = np.clip(WEIGHT * (log_object - log_other), -MOST, MOST)
    return -np.logaddexp(-llr, -ratio).astype(np.float32)


def with_intruder(colours: ColourModel, counts: np.ndarray) -> ColourModel:
    """The model with the colour `counts` of an intruder for the other thing, unless they are too like the object's."""
    if similarity(np.exp(colours.log_object), counts) > ALIKE:
        return colours
    return replace(colours, log_other=log_density(counts))


def has_colours_of(counts: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels of colours that the thing has (its colour `counts`)."""
    return look_up(log_density(counts), rgb.astype(np.float32)) > np.log(UNIFORM) + LIKELY


def colour_ratio(of_object: np.ndarray, of_other: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """(...) float32, log p(object) - log p(the other thing) of (..., 3) colours, by the colour counts of both."""
    colour = rgb.astype(np.float32)
    return look_up(log_density(of_object), colour) - look_up(log_density(of_other), colour)


def look_up(log_densities: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Log densities of (..., 3) colours 0-255."""
    return log_densities.ravel()[colour_index(colour)]
