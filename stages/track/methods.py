"""Which ways to find and match points there are, what each needs, and which one `method: auto` takes.

A method is features and a pair matcher. `track.matcher` exchanges the matcher where a learned one exists for the features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from stages.core.backends import KITS
from stages.core.errors import ConfigError, StageError
from stages.core.weights import require

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from stages.track.config import TrackConfig
    from stages.track.links.pair_matching import PairMatcher
    from stages.track.points.features import FeatureMethod

    Pictures = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Place:
    """What an adapter is given: the files of its weights, the device ("cpu" or "cuda"), the size of the full rectified picture, and the
    left pictures by frame (H, W, 3) RGB."""

    weights: tuple[Path, ...]
    device: str
    width: int
    height: int
    pictures: Pictures


@dataclass(frozen=True)
class Part:
    """Features or a matcher: how it is made, and the weights and libraries (names in stages/core/backends.py) it needs."""

    make: Callable[[TrackConfig, Place], object]
    weights: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """Features, and matchers that go with them by the name used in the settings; `matcher: auto` takes the first."""

    summary: str
    features: Part
    matchers: Mapping[str, Part]


def _sift(config: TrackConfig, place: Place) -> FeatureMethod:
    from stages.track.points.features import Sift

    return Sift(config.contrast, config.ratio)


def _aliked(config: TrackConfig, place: Place) -> FeatureMethod:
    from stages.track.learned.aliked import AlikedFeatures

    return AlikedFeatures.load(place.weights[0], place.device)


def _xfeat(config: TrackConfig, place: Place) -> FeatureMethod:
    from stages.track.learned.xfeat import XFeatFeatures

    return XFeatFeatures(place.weights[0])


def _disk(config: TrackConfig, place: Place) -> FeatureMethod:
    from stages.track.learned.disk import DiskFeatures

    return DiskFeatures.load(place.weights[0], place.device)


def _dedode(config: TrackConfig, place: Place) -> FeatureMethod:
    from stages.track.learned.dedode import DedodeFeatures

    return DedodeFeatures.load(place.weights[0], place.weights[1], place.device)


def _lighterglue(config: TrackConfig, place: Place) -> PairMatcher:
    from stages.track.learned.lighterglue import LighterGlue

    return LighterGlue(place.weights[0], place.width, place.height)


def _lightglue(config: TrackConfig, place: Place) -> PairMatcher:
    from stages.track.learned.lightglue import LightGlueMatcher

    return LightGlueMatcher.load(place.weights[0], place.device, place.width, place.height)


def _loftr(config: TrackConfig, place: Place) -> PairMatcher:
    from stages.track.learned.dense import DenseMatcher
    from stages.track.learned.loftr import Loftr

    return DenseMatcher(Loftr.load(place.weights[0], place.device), place.pictures)


def _roma(config: TrackConfig, place: Place) -> PairMatcher:
    from stages.track.learned.dense import DenseMatcher
    from stages.track.learned.roma import Roma

    return DenseMatcher(Roma.load(place.weights[0], place.weights[1], place.device), place.pictures)


def _nearest(config: TrackConfig, place: Place) -> PairMatcher:
    from stages.track.learned.packing import LIKENESS
    from stages.track.links.pair_matching import MutualNearest

    return MutualNearest(config.ratio if choice(config)[0] == "sift" else LIKENESS.ratio)


NEAREST = Part(_nearest)
METHODS: dict[str, Method] = {
    "sift": Method("SIFT", Part(_sift), {"mutual": NEAREST}),
    "aliked": Method(
        "ALIKED",
        Part(_aliked, ("aliked-n16",)),
        {"mutual": NEAREST, "lightglue": Part(_lightglue, ("lightglue-aliked",), ("kornia",))},
    ),
    "xfeat": Method(
        "XFeat",
        Part(_xfeat, ("xfeat",), ("onnxruntime",)),
        {"mutual": NEAREST, "lightglue": Part(_lighterglue, ("lighterglue",), ("onnxruntime",))},
    ),
    "disk": Method(
        "DISK",
        Part(_disk, ("disk-depth",), ("kornia",)),
        {"lightglue": Part(_lightglue, ("lightglue-disk",), ("kornia",)), "mutual": NEAREST},
    ),
    "dedode": Method(
        "DeDoDe", Part(_dedode, ("dedode-detector", "dedode-descriptor"), ("kornia",)), {"mutual": NEAREST}
    ),
    "loftr": Method("LoFTR between SIFT points", Part(_sift), {"loftr": Part(_loftr, ("loftr-outdoor",), ("kornia",))}),
    "roma": Method(
        "RoMa between SIFT points",
        Part(_sift),
        {"roma": Part(_roma, ("roma-outdoor", "dinov2-vitl14"), ("romatch",))},
    ),
}
"""By the name used in the settings."""
AUTO = "sift"
AUTO_REASON = "the most accurate of those measured, and it needs no weights (docs/methods/tracking.md)"


def choice(config: TrackConfig) -> tuple[str, str]:
    """(method, why) for these settings."""
    return (
        (AUTO, AUTO_REASON)
        if config.method == "auto"
        else (config.method, f"{METHODS[config.method].summary}, set by track.method")
    )


def parts(config: TrackConfig) -> tuple[Part, Part]:
    """Features and matcher. Raises ConfigError for a matcher that does not go with the features."""
    name, _ = choice(config)
    method = METHODS[name]
    if config.matcher == "auto":
        return method.features, next(iter(method.matchers.values()))
    if config.matcher not in method.matchers:
        raise ConfigError(
            f"track.matcher={config.matcher} does not go with track.method={name}",
            f"use track.matcher=auto (for {name}: {' or '.join(method.matchers)})",
        )
    return method.features, method.matchers[config.matcher]


def needs_weights(config: TrackConfig) -> tuple[str, ...]:
    """Names in the registry that these settings use."""
    return tuple(name for part in parts(config) for name in part.weights)


def check(config: TrackConfig) -> None:
    """Raises ConfigError for a library that is not there, WeightsError for weights that are not."""
    for part in parts(config):
        for name in part.libraries:
            if problem := KITS[name].problem():
                raise ConfigError(
                    f"track.method={config.method} needs {name}: {problem}",
                    f"{KITS[name].command}; or use track.method=auto",
                )
        for name in part.weights:
            require(name)


def build(
    config: TrackConfig, device: str, width: int, height: int, pictures: Pictures
) -> tuple[FeatureMethod, PairMatcher]:
    """Features and matcher, their networks loaded; see Place for the arguments. Raises StageError if memory is short."""
    places = (
        Place(tuple(require(n).path for n in part.weights), device, width, height, pictures) for part in parts(config)
    )
    features, matcher = (part.make(config, place) for part, place in zip(parts(config), places, strict=True))
    if device == "cpu":
        _enough_memory(cast("FeatureMethod", features), config, width, height)
    return cast("FeatureMethod", features), cast("PairMatcher", matcher)


def _enough_memory(features: FeatureMethod, config: TrackConfig, width: int, height: int) -> None:
    import psutil

    from stages.track.points.features import working_scale

    scale = working_scale(features, config.max_width_px, width)
    size = (round(width * scale), round(height * scale))
    needed, free = features.gigabytes_per_megapixel * size[0] * size[1] / 1e6, psutil.virtual_memory().available / 1e9
    if needed > free:
        raise StageError(
            f"track.method={config.method} needs about {needed:.1f} GB of memory for {size[0]}x{size[1]} px, {free:.1f} GB are free",
            f"lower track.max_width_px (now {config.max_width_px}), or use track.method=auto",
        )
