"""Two positions of the object are told from light, on a painted sphere whose colours are computed, not rendered."""

from __future__ import annotations

import numpy as np

from stages.core.texels.disagreement import disagreement_ratio
from tests.texture.scene import paint

VIEWS = 24


def seen(turned_deg: np.ndarray, light: float) -> tuple[np.ndarray, ...]:
    """What cameras 15 degrees apart see of a sphere that turns under a still lamp (light: its share); turned_deg (V,): how far the surface
    is from where its pose says. Colours with sensor noise of 2 levels, weights, normals, directions, frames."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)

    def round_y(angle):
        return np.array([np.sin(angle), np.zeros_like(angle), -np.cos(angle)]).T

    directions = round_y(2 * np.pi * np.arange(VIEWS) / VIEWS)
    lamps = round_y(2 * np.pi * np.arange(VIEWS) / VIEWS + 0.9)
    colours = []
    for away, (c, s) in zip(lamps, np.c_[np.cos(np.radians(turned_deg)), np.sin(np.radians(turned_deg))], strict=True):
        own = points @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        shown = paint(own) + 40 * np.sign(np.sin(20 * own)).prod(1, keepdims=True)
        colours.append(
            shown * (1 - light + light * np.maximum(points @ away, 0))[:, None] + rng.normal(0, 2, shown.shape)
        )
    return np.array(colours), np.maximum(points @ directions.T - 0.2, 0).T, points, directions, np.arange(VIEWS)


def test_one_place_under_still_and_under_moving_light():
    for light in (0.0, 0.7):
        assert disagreement_ratio(*seen(np.zeros(VIEWS), light)) < 2


def test_two_places_are_found_whatever_the_light():
    half = np.where(np.arange(VIEWS) // (VIEWS // 4) % 2, 12.0, 0.0)
    for light in (0.0, 0.7):
        assert disagreement_ratio(*seen(half, light)) > 3


def test_too_few_pairs_say_nothing():
    colours, weights, normals, directions, frames = seen(np.zeros(VIEWS), 0.0)
    assert disagreement_ratio(colours[:4], weights[:4], normals, directions[:4], frames[:4]) is None
    assert disagreement_ratio(colours[::4], weights[::4], normals, directions[::4], frames[::4]) is None, (
        "60 degrees apart"
    )
