"""The first mask: from a box or points on one frame, by colour and depth, models and outline in turn as GrabCut does (Rother et al. 2004).

What lies in a ring round the box is background by the user's word: its colours make the background model and its disparities the
planes (table, wall) from which the object must stand out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.masks.cut.colour_model import (
    ColourModel,
    decorrelated,
    density_above_uniform,
    histogram,
    log_density,
    model_from_histograms,
    similarity,
    with_shadows,
)
from stages.masks.cut.evidence import colour_llr, depth_llr
from stages.masks.cut.mask_net import Cues, weighed
from stages.masks.cut.other_foreground import against_other, look_up, seen_outside, told_apart
from stages.masks.cut.outline import CutSettings, Window, coarse_cut, connected, fill_holes, fine_cut
from stages.masks.cut.planes import (
    SURE_PX,
    DisparityPlane,
    fit_planes,
    plane_map,
    seen_beside,
    seen_through,
    standing_out,
    thing_before,
)
from stages.masks.frame.working_frame import WorkingFrame, noise_level

ROUNDS = 4
COLOUR_SHARE, COLOUR_ALONE = 0.7, 0.35
"""weight of the colour evidence beside depth, and without it: a colour model taught by its own result is over-confident"""
COMMON = 2.0
"""log of the density over the uniform one from which a colour is common round the box"""
STANDS_OUT, ALIKE = 0.2, 0.75
"""a first mask of which less stands out in depth, in colours more alike than this (Bhattacharyya) to its surroundings, is doubted"""
RING_GAP, RING_GAP_PX = 0.05, 6
"""how far from the box the planes behind it are looked for: a share of its size, and at least so many px"""
SURE_SHARE, NEARER_SHARE = 0.25, 0.6
"""where less of the ring's disparities than the first are sure, a plane counts only if this share of what is sure inside the box is
nearer than it: the few that claim to be sure may be copies of the object's own"""
LOOSE_PX = 1.0
"""scatter of a plane from which the same is asked of it: it may have been laid through copies, or through a hand"""
OUTSIDE_BOX = -3.0
"""log-likelihood ratio by which the network is told where the box ends"""
SMALLEST, LARGEST = 0.002, 0.6
"""share of the picture that an object pointed at may cover"""


@dataclass(frozen=True)
class Seed:
    """The object in its prompt frame: mask, colours, disparity range px, the planes seen round it, and what is doubtful about it."""

    frame: int
    mask: np.ndarray
    of_object: np.ndarray
    of_background: np.ndarray
    near_range: tuple[float, float] | None
    planes: list[DisparityPlane]
    doubt: str
    of_other: np.ndarray | None = None
    """colours of what is as near as the object and not it; None = nothing"""
    other: np.ndarray | None = None
    """(H, W) bool: where the prompt frame shows it"""

    @property
    def colours(self) -> ColourModel:
        return model_from_histograms(self.of_object, self.of_background, self.of_other)


def from_box(
    view: WorkingFrame,
    box: tuple[float, float, float, float],
    cut: CutSettings,
    rng: np.random.Generator,
    marks: tuple[tuple[float, float, int], ...] = (),
    motion: np.ndarray | None = None,
) -> Seed:
    """Segment what the box (x0, y0, x1, y1 px) holds; `marks` (x, y, 1 = object, 0 = background) are taken as certain.

    `motion` (H, W): further evidence as a log-likelihood ratio, from how the pixels move. Without depth the colours alone are trusted
    less, and the box is taken to fit: its middle is rather object and its corners rather background.
    """
    h, w = view.shape
    x0, y0, x1, y1 = (round(b) for b in box)
    inside = np.zeros((h, w), bool)
    inside[max(0, y0) : min(h, y1 + 1), max(0, x0) : min(w, x1 + 1)] = True
    ring = Window.around(inside, round(0.3 * max(x1 - x0, y1 - y0)))
    surface = surrounding_planes(view, ring, inside, rng)
    surfaces = [(plane_map(p, view.shape), p.sigma_px) for p in surface]
    crop = ring.slices
    sure_outside = ~inside[crop]
    near = standing_out(view.disparity, view.sigma, surfaces) & inside
    forced = _forced(view.shape, marks)
    mask = _first_guess(near & (view.sigma < 1), inside)
    fitting = _fits_box(view.shape, (x0, y0, x1, y1))[crop]
    picture, colour = view.rgb[crop].astype(np.float32), decorrelated(view.rgb[crop])
    # colours as frequent round the box as they can be: depth that bled over the border must not teach them as the object's
    outside = histogram(picture[sure_outside])
    common = density_above_uniform(with_shadows(outside), picture) > COMMON
    beside = seen_outside(view, inside, surfaces, disparity_range(view, mask))
    held, guess = told_apart(view.rgb, mask, beside), mask
    mask, of_other = (mask, None) if held is None else held
    log_other = None if of_other is None else look_up(log_density(of_other), picture)
    for step in range(ROUNDS):
        teacher = mask[crop] & ~common if step == 0 and (mask[crop] & ~common).sum() > 0.2 * mask.sum() else mask[crop]
        of_object, of_background = (
            histogram(picture[teacher]),
            histogram(picture[sure_outside | (~mask[crop] & common)]),
        )
        near_range = disparity_range(view, mask)
        llr = colour_llr(picture, model_from_histograms(of_object, of_background))
        proof = None
        if near_range is not None:
            proof = COLOUR_SHARE * depth_llr(
                view.disparity[crop], view.sigma[crop], near_range, [(e[crop], s) for e, s in surfaces]
            )
        llr = COLOUR_ALONE * llr + fitting if proof is None else COLOUR_SHARE * llr + proof
        if motion is not None:
            llr = llr + motion[crop]
        if log_other is not None:
            log_object = look_up(log_density(of_object), picture)
            llr = against_other(llr, log_object, log_other)
            proof = None if proof is None else against_other(proof, log_object, log_other)
        if cut.network:
            prior = np.where(sure_outside, np.float32(OUTSIDE_BOX), np.float32(0))
            inside_box = np.where(sure_outside, np.float32(0), llr)
            by_depth = np.zeros_like(llr) if proof is None else proof
            llr = weighed(Cues.of(view, ring, near_range, inside_box, by_depth, prior)).llr
        llr[sure_outside] = -50
        llr = np.where(forced[crop] != 0, forced[crop], llr)
        found = coarse_cut(colour, llr, cut) > 0.5
        found &= inside[crop]
        if found.sum() < 50:
            break
        mask = np.zeros((h, w), bool)
        mask[crop] = connected(found, found) if log_other is None else connected(found, found, 0.05)
    u = fine_cut(view.rgb[crop], mask[crop], llr, cut, noise_level(view.rgb))
    final = np.zeros((h, w), bool)
    final[crop] = fill_holes((u > 0.5) & inside[crop], 0.02 if proof is None else 0.003, proof)
    of_object, of_background = (
        histogram(picture[final[crop]]),
        histogram(picture[sure_outside | (~final[crop] & common)]),
    )
    seed = Seed(view.frame, final, of_object, of_background, disparity_range(view, final), surface, "", of_other)
    if of_other is not None:
        seed = replace(seed, other=(beside | guess) & ~final)
    return replace(seed, doubt=_doubt(seed, (x0, y0, x1, y1), float((near & final).sum() / max(1, final.sum()))))


def from_points(
    view: WorkingFrame, marks: tuple[tuple[float, float, int], ...], cut: CutSettings, rng: np.random.Generator
) -> Seed:
    """Segment what the marks (x, y, 1 = object, 0 = background) point at: the smooth surface under them gives the box."""
    found = _under_marks(_off_the_planes(view, rng), marks)
    if not SMALLEST < found.mean() < LARGEST:
        found = _same_colour(view.rgb, marks)
    window = Window.around(found, round(0.05 * view.shape[1]))
    return from_box(view, (window.x0, window.y0, window.x1 - 1, window.y1 - 1), cut, rng, marks)


def from_mask(view: WorkingFrame, mask: np.ndarray, rng: np.random.Generator) -> Seed:
    """The user's own mask (H, W) bool, taken as it is; colours and planes are learnt from it and from what is round it."""
    ring = Window.around(mask, round(0.3 * float(np.sqrt(mask.sum()))))
    planes = surrounding_planes(view, ring, mask, rng)
    crop = ring.slices
    picture, inside = view.rgb[crop].astype(np.float32), mask[crop]
    return Seed(
        view.frame,
        mask,
        histogram(picture[inside]),
        histogram(picture[~inside]),
        disparity_range(view, mask),
        planes,
        "",
    )


def _off_the_planes(view: WorkingFrame, rng: np.random.Generator) -> np.ndarray:
    """(H, W) bool: what stands off the dominant plane of the picture, with its pinholes closed."""
    v, u = np.nonzero(np.isfinite(view.disparity))
    planes = fit_planes(u, v, view.disparity[v, u], view.sigma[v, u], rng, count=1)
    near = standing_out(view.disparity, view.sigma, [(plane_map(p, view.shape), p.sigma_px) for p in planes])
    size = 2 * max(2, view.shape[1] // 160) + 1
    return cv2.morphologyEx(near.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((size, size), np.uint8)) > 0


def _under_marks(region: np.ndarray, marks: tuple[tuple[float, float, int], ...]) -> np.ndarray:
    """The components of `region` that hold an object mark."""
    _, labels = cv2.connectedComponents(region.astype(np.uint8))
    h, w = region.shape
    hit = {int(labels[min(h - 1, max(0, round(y))), min(w - 1, max(0, round(x)))]) for x, y, kind in marks if kind == 1}
    return np.isin(labels, [i for i in hit if i > 0])


def _same_colour(rgb: np.ndarray, marks: tuple[tuple[float, float, int], ...]) -> np.ndarray:
    """(H, W) bool: pixels joined to an object mark by small colour steps, and a disc round each mark."""
    h, w = rgb.shape[:2]
    soft = cv2.GaussianBlur(rgb, (0, 0), 1.5)
    region = np.zeros((h + 2, w + 2), np.uint8)
    for x, y, kind in marks:
        at = (int(np.clip(x, 0, w - 1)), int(np.clip(y, 0, h - 1)))
        if kind == 1:
            cv2.floodFill(soft, region, at, 0, (3, 3, 3), (3, 3, 3), 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8))
    found = region[1:-1, 1:-1] > 0
    if found.mean() > LARGEST:
        found[:] = False
    disc = found.astype(np.uint8)
    for x, y, kind in marks:
        if kind == 1:
            cv2.circle(disc, (round(x), round(y)), max(8, w // 20), 1, -1)
    return disc > 0


def _fits_box(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """(H, W) float32 between -1 and 0.6: positive in the ellipse that fits into the box."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    r = np.square((2 * x - x0 - x1) / max(x1 - x0, 1)) + np.square((2 * y - y0 - y1) / max(y1 - y0, 1))
    return np.clip(0.9 - r, -1, 0.6)


def _forced(shape: tuple[int, int], marks: tuple[tuple[float, float, int], ...]) -> np.ndarray:
    """(H, W) float32: +50 in a disc round each object mark, -50 round each background mark, else 0."""
    out = np.zeros(shape, np.float32)
    for x, y, kind in marks:
        cv2.circle(out, (round(x), round(y)), max(3, shape[1] // 160), 50.0 if kind == 1 else -50.0, -1)
    return out


def surrounding_planes(
    view: WorkingFrame, ring: Window, inside: np.ndarray, rng: np.random.Generator
) -> list[DisparityPlane]:
    """Planes in the disparities of the window `ring` outside `inside`, but not close to it: there matching copies the object's own."""
    use = np.zeros(view.shape, bool)
    use[ring.slices] = True
    gap = 2 * round(max(RING_GAP_PX, RING_GAP * float(inside.sum()) ** 0.5)) + 1
    use &= (cv2.dilate(inside.astype(np.uint8), np.ones((gap, gap), np.uint8)) == 0) & np.isfinite(view.disparity)
    v, u = np.nonzero(use)
    sure = view.sigma < SURE_PX
    known = inside & np.isfinite(view.disparity) & sure
    box = Window.around(inside, 0)
    columns = (box.x0, box.x1 - 1)

    def before(plane: DisparityPlane) -> float:
        """Share of what is sure inside the box that lies before the plane."""
        surface = [(plane_map(plane, view.shape), plane.sigma_px)]
        near = standing_out(view.disparity, view.sigma, surface)[known]
        return float(near.mean()) if near.size else 0.0

    if (sure & use).sum() >= SURE_SHARE * use.sum():
        known_there = (u, v, view.disparity[use])
        found = fit_planes(*known_there, view.sigma[use], rng)
        things = [p for p in found[1:] if thing_before(p, found[0], *known_there, columns)]
        through = [seen_through(p, *known_there, view.sigma[use]) for p in found]
        return [
            p
            for p, false in zip(found, through, strict=True)
            if not false and p not in things and (p.sigma_px < LOOSE_PX or before(p) >= NEARER_SHARE)
        ]
    for where in (use, use & sure):
        v, u = np.nonzero(where)
        known_there = (u, v, view.disparity[where])
        found = fit_planes(*known_there, view.sigma[where], rng)
        if planes := [p for p in found if before(p) >= NEARER_SHARE and seen_beside(p, *known_there, columns)]:
            return planes
    return []


def disparity_range(view: WorkingFrame, mask: np.ndarray) -> tuple[float, float] | None:
    """Range of the reliable disparities inside the mask, widened by a tenth of it; None below 30 of them."""
    good = mask & np.isfinite(view.disparity) & (view.sigma < 1.5)
    if good.sum() < 30:
        return None
    lo, hi = np.percentile(view.disparity[good], [3, 98])
    margin = 0.1 * (hi - lo) + 2.0
    return float(lo - margin), float(hi + margin)


def _first_guess(near: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What stands out in depth where that is a fair part of the box, else the box itself shrunk by a tenth."""
    if near.sum() > 0.1 * inside.sum():
        return connected(
            cv2.morphologyEx(near.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)).astype(bool), near, 0.05
        )
    window = Window.around(inside, 0)
    dx, dy = (window.x1 - window.x0) // 10, (window.y1 - window.y0) // 10
    out = np.zeros_like(inside)
    out[window.y0 + dy : window.y1 - dy, window.x0 + dx : window.x1 - dx] = True
    return out


def _doubt(seed: Seed, box: tuple[int, int, int, int], near_share: float) -> str:
    """What is odd about the first mask; `near_share`: share of it that stands out in depth from the planes round the box."""
    x0, y0, x1, y1 = box
    if seed.mask.sum() < max(50, 0.03 * (x1 - x0) * (y1 - y0)):
        return "hardly anything inside the box differs from what surrounds it"
    if near_share < STANDS_OUT and similarity(seed.of_object, seed.of_background) > ALIKE:
        return "what the box holds has the depth and the colours of what surrounds it"
    return ""


def sides_filled(mask: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Share (0-1) of the box's width or height, the smaller, that the mask spans; 0 for an empty mask."""
    if not mask.any():
        return 0.0
    found = Window.around(mask, 0)
    return min((found.x1 - found.x0) / max(box[2] - box[0], 1), (found.y1 - found.y0) / max(box[3] - box[1], 1))
