"""Whether given masks fit their pictures: an outline that belongs to a picture lies on edges of it.

Each outline is laid on the pictures of the frames around its own, and made wider and narrower: where the edges are clearly stronger for
another frame or another width, the masks are off by that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from stages.core.frame_names import listed
from stages.core.mask_reading import read_mask
from stages.rectify.raw_pairs import PairReader
from stages.rectify.sampled import evenly

PictureOf = Callable[[int], np.ndarray | None]
PLACES = (0, -1, 1, -2, 2)
WIDTHS_PX = (0, -12, -8, -5, -3, 3, 5, 8, 12)
"""how much wider (+) or narrower (-) an outline is made; of a picture 1000 px wide, others in proportion"""
CLEARLY = 1.15
"""edges at another place over those at the given one"""
WIDER = 1.3
MOST = 0.6
"""share of the frames that must agree"""
TURNS = {
    "as they are": lambda m: m,
    "mirrored": lambda m: m[:, ::-1],
    "upside down": lambda m: m[::-1],
    "turned by 180 degrees": lambda m: m[::-1, ::-1],
}
MOVE_WIDTH = 320
THUMB, MOVED = (48, 36), 2.0
"""a small picture, and by how many grey levels it changes where something moves"""
SAMPLES = 8
BOX = 0.985
"""share of the box round a mask that is filled"""
LEAST_OTHERS, MOST_OTHERS = 5, 0.5
"""masks that are tried on each other's pictures, and the share of the pictures that must ask for another"""
MOST_WIDTH = 1000
LEAST_FRAMES = 3
LEAST_OUTLINE = 60


def edge_picture(gray: np.ndarray) -> np.ndarray:
    """(H, W) float32: slope, the largest of 3 x 3, cut at the steepest twentieth, so that a few bright lights do not decide."""
    blurred = cv2.GaussianBlur(gray, (0, 0), 1.0)
    slope = cv2.magnitude(cv2.Scharr(blurred, cv2.CV_32F, 1, 0), cv2.Scharr(blurred, cv2.CV_32F, 0, 1))
    return np.minimum(cv2.dilate(slope, np.ones((3, 3), np.uint8)), np.quantile(slope[::4, ::4], 0.95))


def outline_strength(edges: np.ndarray, mask: np.ndarray, widen_px: int = 0) -> float:
    """Mean edge under the outline of `mask` (H, W bool), widened by so many px; NaN where there is hardly any outline in the picture."""
    shape = mask.astype(np.uint8)
    if widen_px:
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(widen_px) + 1,) * 2)
        shape = cv2.dilate(shape, disk) if widen_px > 0 else cv2.erode(shape, disk)
    line = cv2.morphologyEx(shape, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    line[[0, -1]] = 0
    line[:, [0, -1]] = 0
    return float(edges[line > 0].mean()) if np.count_nonzero(line) >= LEAST_OUTLINE else float("nan")


def judge_masks(frames: Sequence[int], gray_of: PictureOf, mask_of: PictureOf, last: int = 0) -> list[str]:
    """Warnings. `gray_of`, `mask_of`: the picture and the mask of a frame in px of the same picture, None where there is none; `last`: the
    last frame of the capture."""
    places, widths, turns, shapes, empty, moves = [], [], [], [], [], []
    for k in frames:
        gray, own = gray_of(k), mask_of(k)
        if own is not None and not own.any():
            empty.append(k)
        if gray is None or own is None or not own.any():
            continue
        full_width, gray = gray.shape[1], _small(gray)
        edges, scale = edge_picture(gray), max(gray.shape[1] / 1000, 0.4)
        tried = [own if d == 0 else mask_of(k + d) for d in PLACES] + [
            mask_of(last - k) if abs(last - 2 * k) > 2 else None
        ]
        small = [None if m is None else _small(m.astype(np.uint8)) > 0 for m in tried]
        places.append([np.nan if m is None else outline_strength(edges, m) for m in small])
        widths.append([outline_strength(edges, small[0], round(w * scale)) for w in WIDTHS_PX])
        turns.append([outline_strength(edges, turn(small[0])) for turn in TURNS.values()])
        moves.append(best_move(edges, small[0], full_width))
        shapes.append((cv2.resize(gray, THUMB, interpolation=cv2.INTER_AREA), small[0]))
    out = [f"{len(empty)} of the {len(frames)} masks looked at are empty: frames {listed(empty)}"] if empty else []
    if found := _clear_winner(np.array(turns), WIDER) if len(turns) >= LEAST_FRAMES else 0:
        return [
            *out,
            f"masks/ fit their pictures clearly better {list(TURNS)[found]}: they were made of turned or mirrored pictures",
        ]
    if words := _move_words(np.array(moves)):
        return [*out, words]
    out += _all_alike(shapes) + _boxes([m for _, m in shapes]) + _words(np.array(places), np.array(widths))
    return out or _of_others(frames, gray_of, mask_of)


def _boxes(masks: Sequence[np.ndarray]) -> list[str]:
    """A warning for rectangles along the picture's sides."""
    boxes = [cv2.boundingRect(m.astype(np.uint8)) for m in masks]
    full = [np.count_nonzero(m) > BOX * w * h for m, (_, _, w, h) in zip(masks, boxes, strict=True)]
    if len(full) < LEAST_FRAMES or sum(full) < MOST * len(full):
        return []
    return [
        "masks/ hold boxes, not outlines: what lies in the box beside the object would become part of it. Give the outline, or the "
        "box as a prompt (prompt.json)"
    ]


def _of_others(frames: Sequence[int], gray_of: PictureOf, mask_of: PictureOf) -> list[str]:
    """A warning where most pictures are clearly better outlined by the mask of one of the other frames."""
    masks = {k: _small(m.astype(np.uint8)) > 0 for k in frames if (m := mask_of(k)) is not None}
    grays = {k: _small(g) for k in masks if (g := gray_of(k)) is not None}
    if len(grays) < LEAST_OTHERS:
        return []
    found = np.array(
        [
            [outline_strength(edge_picture(grays[k]), masks[j]) for j in (k, *(j for j in masks if j != k))]
            for k in grays
        ]
    )
    best = np.nanmax(found[:, 1:], axis=1)
    better = best > CLEARLY * found[:, 0]
    if better.sum() < MOST_OTHERS * len(better):
        return []
    return [
        f"{int(better.sum())} of {len(better)} pictures are clearly better outlined by the mask of another frame: masks/ and left/ are "
        "not in the same order"
    ]


def best_move(edges: np.ndarray, mask: np.ndarray, width: int) -> tuple[float, float, float]:
    """(dx, dy, ratio): where the outline of `mask` meets the strongest edges, px of a picture `width` px wide, and how much stronger."""
    scale = MOVE_WIDTH / edges.shape[1]
    size = (MOVE_WIDTH, max(8, round(edges.shape[0] * scale)))
    line = cv2.morphologyEx(
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), cv2.MORPH_GRADIENT, np.ones((3, 3))
    )
    found = cv2.resize(edges, size, interpolation=cv2.INTER_AREA)
    if not line.any():
        return 0.0, 0.0, 0.0
    strength = (
        np.fft.irfft2(np.fft.rfft2(found) * np.conj(np.fft.rfft2(line.astype(np.float32))), s=found.shape) / line.sum()
    )
    y, x = size[1] // 5, size[0] // 3
    window = np.roll(strength, (y, x), (0, 1))[: 2 * y + 1, : 2 * x + 1]
    own = window[y - 1 : y + 2, x - 1 : x + 2].max()
    at = np.unravel_index(np.argmax(window), window.shape)
    return (at[1] - x) * width / size[0], (at[0] - y) * width / size[0], float(window[at] / max(own, 1e-9))


def _move_words(found: np.ndarray) -> str:
    """found (frames, 3) of `best_move`: a warning where most frames ask for the same clear move."""
    if len(found) < LEAST_FRAMES:
        return ""
    clear = found[found[:, 2] > WIDER]
    if len(clear) < max(LEAST_FRAMES, MOST * len(found)):
        return ""
    dx, dy = np.median(clear[:, :2], axis=0)
    near = np.linalg.norm(clear[:, :2] - [dx, dy], axis=1) < max(6.0, 0.25 * np.hypot(dx, dy))
    if np.count_nonzero(near) < MOST * len(found):
        return ""
    where = f"{abs(dx):.0f} px further {'right' if dx > 0 else 'left'} and {abs(dy):.0f} px further {'down' if dy > 0 else 'up'}"
    return (
        f"masks/ fit their pictures clearly better {where}: are they of the right eye, or of pictures cut at another "
        "place?"
    )


def _all_alike(shapes: list[tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """A warning for one and the same mask on pictures that differ."""
    if len(shapes) < LEAST_FRAMES:
        return []
    first_picture, first = shapes[0]
    alike = all(np.count_nonzero(m != first) <= 1e-4 * m.size for _, m in shapes[1:])
    moved = max(float(np.abs(p.astype(float) - first_picture).mean()) for p, _ in shapes[1:])
    return (
        ["masks/ hold the same mask for frames whose pictures differ: only the first may be right"]
        if alike and moved > MOVED
        else []
    )


def judge_given(
    reader: PairReader, masks: Mapping[int, Path], usable: Sequence[int], size: tuple[int, int]
) -> list[str]:
    """`judge_masks` of some of the frames that have a mask. Raises CaptureError for a mask that cannot be read."""
    chosen = evenly([k for k in usable if k in masks], SAMPLES)
    grays = {p.frame: to_gray(p.left.pixels()) for p in reader.stream(set(chosen).__contains__) if p.left is not None}
    return judge_masks(chosen, grays.get, lambda k: read_mask(masks[k], size) if k in masks else None, reader.count - 1)


def to_gray(picture: np.ndarray) -> np.ndarray:
    """(H, W) of a grey or BGR picture."""
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture


def _small(picture: np.ndarray) -> np.ndarray:
    scale = MOST_WIDTH / picture.shape[1]
    return picture if scale >= 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _words(places: np.ndarray, widths: np.ndarray) -> list[str]:
    """What explains the edges best: an outline of a wrong width fits other frames a little better, too."""
    if len(places) < LEAST_FRAMES:
        return []
    place, width = _clear_winner(places, CLEARLY), _clear_winner(widths, WIDER)
    if place and width:
        by_place = _ratio(places, place) > _ratio(widths, width)
        place, width = (place, 0) if by_place else (0, width)
    return ([_place_words(places, place)] if place else []) + ([_width_words(widths, width)] if width else [])


def _place_words(found: np.ndarray, best: int) -> str:
    if best == len(PLACES):
        return (
            f"masks/ fit their pictures clearly better in the opposite order ({_ratio(found, best):.1f} times the edges along their "
            "outlines): is the first mask that of the last picture?"
        )
    d = PLACES[best]
    which = "before" if d > 0 else "after"
    return (
        f"masks/ fit the pictures {abs(d)} frame{'s' * (abs(d) > 1)} {which} their own clearly better "
        f"({_ratio(found, best):.1f} times the edges along their outlines): are they numbered from another start?"
    )


def _width_words(found: np.ndarray, best: int) -> str:
    w = WIDTHS_PX[best]
    return (
        f"masks/ look too {'small' if w > 0 else 'large'}: outlines that lie {abs(w) / 10:.1f} % of the picture width further "
        f"{'out' if w > 0 else 'in'} meet {_ratio(found, best):.1f} times the edges"
    )


def _clear_winner(found: np.ndarray, clearly: float) -> int:
    """The column that beats the first by the factor over most rows, 0 if none does."""
    with np.errstate(invalid="ignore"):
        wins = found > clearly * found[:, :1]
    share = wins.sum(0) / np.maximum(np.isfinite(found).sum(0), LEAST_FRAMES)
    ratios = np.array([_ratio(found, k) for k in range(found.shape[1])])
    good = (share >= MOST) & (ratios > clearly)
    return int(np.argmax(np.where(good, ratios, 0.0))) if good.any() else 0


def _ratio(found: np.ndarray, column: int) -> float:
    both = np.isfinite(found[:, column]) & np.isfinite(found[:, 0])
    return float(found[both, column].sum() / max(found[both, 0].sum(), 1e-9)) if both.any() else 0.0
