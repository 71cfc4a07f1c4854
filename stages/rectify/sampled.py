"""Matches between the eyes of a few pairs, and of their left pictures with the next ones: what the checks of a calibration stand on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.errors import CaptureError
from stages.core.parallel import ordered_map
from stages.rectify.geometry import Geometry
from stages.rectify.judge_focal import FocalFit, focal_fit
from stages.rectify.matches import MATCH_WORKERS, Features, features, match_features
from stages.rectify.raw_pairs import PairReader
from stages.rectify.row_offset import RowMatches

FOCAL_VIEWS = 4


@dataclass(frozen=True)
class Sample:
    """`raw` (M, 4) raw px (u, v left, u, v right) of all pairs, (M,) `pair`: the frame of each; features of both eyes by frame."""

    raw: np.ndarray
    pair: np.ndarray
    eyes: dict[int, tuple[Features, Features]]

    def rows(self, geometry: Geometry) -> RowMatches:
        """Rectified."""
        K = geometry.rig.K
        return RowMatches(
            geometry.left.points(self.raw[:, :2], K), geometry.right.points(self.raw[:, 2:4], K), self.pair, K
        )


def evenly(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of them, evenly spaced, first and last among them."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))] if items else []


def sample_pairs(
    reader: PairReader, frames: Sequence[int], workers: int, progress: Callable[[int, str], None]
) -> Sample:
    """Matched pairs of the given frames. Raises CaptureError for a picture that cannot be read."""

    def job(p):
        return (p.frame, features(p.left.pixels()), features(p.right.pixels()))

    eyes, found = {}, [np.zeros((0, 5))]
    for frame, left, right in ordered_map(job, reader.stream(set(frames).__contains__), min(workers, MATCH_WORKERS)):
        eyes[frame] = (left, right)
        uv = match_features(left, right)
        found.append(np.hstack([uv, np.full((len(uv), 1), frame)]))
        progress(len(eyes), f"matching the views of frame {frame}")
    uv = np.concatenate(found)
    return Sample(uv[:, :4], uv[:, 4].astype(int), eyes)


def sampled_focal_fit(reader: PairReader, sample: Sample, usable: Sequence[int], geometry: Geometry) -> FocalFit | None:
    """`focal_fit` of some frames of the sample, each with the next usable one."""
    following = dict(itertools.pairwise(usable))
    chosen = evenly([f for f in sorted(sample.eyes) if f in following], FOCAL_VIEWS)
    needed = {following[f] for f in chosen} - sample.eyes.keys()
    later = {f: left for f, (left, _) in sample.eyes.items()}
    for p in reader.stream(needed.__contains__) if needed else ():
        if p.left is not None:
            try:
                later[p.frame] = features(p.left.pixels())
            except CaptureError:  # named by the survey
                continue
    return focal_fit([(*sample.eyes[f], later[following[f]]) for f in chosen if following[f] in later], geometry)
