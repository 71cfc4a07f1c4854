"""Second pass over the pictures: every texel collects its best candidates, one picture at a time.

Memory is that of the candidates (10 bytes each) and of the few pictures in flight, whatever the number of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from stages.core.parallel import ordered_map
from stages.core.texels.atlas import Texels
from stages.core.texels.gather import camera_vector, offer
from stages.core.texels.survey import Pictures, Source, Surveyed
from stages.core.texels.views import Window, picture_window
from stages.texture.blend import blend

_LOW_REDUCE = 4
_LOW_SIGMA = 1.5
"""the low band: quarter size, then a Gaussian of this many of its pixels: detail finer than about 12 picture pixels is "fine" """


@dataclass(frozen=True)
class Candidates:
    """The best views of each texel: weight (M, K) float32 (0 = none), colour and low band (M, K, 3) uint8."""

    weight: np.ndarray
    colour: np.ndarray
    low: np.ndarray

    @staticmethod
    def empty(texels: int, count: int) -> Candidates:
        """Room for `count` candidates for each texel."""
        return Candidates(
            np.zeros((texels, count), np.float32),
            np.zeros((texels, count, 3), np.uint8),
            np.zeros((texels, count, 3), np.uint8),
        )


def collect(
    texels: Texels,
    surveyed: list[Surveyed],
    tables: list[np.ndarray],
    source: Source,
    count: int,
    reduce: int,
    progress: Callable[[int], None],
) -> Candidates:
    """Offer every view to every texel. tables: (3, 257) exposure tables per view; reduce: decode pictures at 1 / reduce."""
    best, workers = Candidates.empty(len(texels.index), count), source.workers
    prepared = ordered_map(lambda s: _prepare(s, reduce, source.pictures), surveyed, workers)
    parts = ranges(len(texels.index), 4 * workers)
    with ThreadPoolExecutor(workers) as pool:
        for k, (picture, window, low, low_window) in enumerate(prepared):
            s = surveyed[k]
            cam = camera_vector(s.view, source.rig, s.sight, window, low=low_window)
            view_weight = float(np.clip(s.view.sharpness, 0.3, 1.0)) ** 2

            def one(
                part: slice, cam=cam, s=s, view_weight=view_weight, picture=picture, low=low, table=tables[k]
            ) -> None:
                offer(
                    texels.position[part],
                    texels.normal[part],
                    cam,
                    s.sight.depth,
                    border=s.sight.border,
                    limits=source.limits,
                    view_weight=view_weight,
                    image=picture,
                    low=low,
                    tables=table,
                    best_weight=best.weight[part],
                    best_colour=best.colour[part],
                    best_low=best.low[part],
                )

            list(pool.map(one, parts))
            progress(k + 1)
    return best


def blend_all(
    best: Candidates, power: float, outlier_scale: float, noise_floor: float, workers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (M, 3) float32 and the number of views used (M,) uint8, 0 = unseen."""
    colour, used = np.zeros((len(best.weight), 3), np.float32), np.zeros(len(best.weight), np.uint8)

    def one(part: slice) -> None:
        blend(
            best.weight[part],
            best.colour[part],
            best.low[part],
            power,
            outlier_scale=outlier_scale,
            noise_floor=noise_floor,
            out=colour[part],
            used=used[part],
        )

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, ranges(len(used), 4 * workers)))
    return colour, used


def ranges(count: int, parts: int) -> list[slice]:
    """Slices that cut 0..count into `parts` about equal pieces."""
    edges = np.linspace(0, count, parts + 1).astype(int).tolist()
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def low_band(picture: np.ndarray, window: Window, usable: np.ndarray) -> tuple[np.ndarray, Window]:
    """Quarter-size low-pass (h / 4, w / 4, 3) uint8 of a picture, made of the `usable` (any size, bool) pixels only, so that the
    background does not shine into the object's rim."""
    height, width = (-(-n // _LOW_REDUCE) for n in picture.shape[:2])
    padded = cv2.copyMakeBorder(
        picture,
        0,
        height * _LOW_REDUCE - picture.shape[0],
        0,
        width * _LOW_REDUCE - picture.shape[1],
        cv2.BORDER_REPLICATE,
    )
    small = cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    weight = cv2.resize(usable.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) + np.float32(1e-4)
    total = cv2.GaussianBlur(small * weight[..., None], None, _LOW_SIGMA)
    low = total / cv2.GaussianBlur(weight, None, _LOW_SIGMA)[..., None]
    return np.clip(np.rint(low), 0, 255).astype(np.uint8), Window(
        window.x0, window.y0, window.width, window.height, scale=window.scale / _LOW_REDUCE
    )


def _prepare(s: Surveyed, reduce: int, pictures: Pictures) -> tuple[np.ndarray, Window, np.ndarray, Window]:
    seen = s.sight.window
    window = picture_window(Window(seen.x0, seen.y0, seen.width, seen.height, scale=1.0), reduce)
    picture = window.cut(pictures.rgb(s.view.frame, s.view.side, reduce))
    return picture, window, *low_band(picture, window, s.sight.border > 0)
