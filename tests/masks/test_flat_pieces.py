"""A separate piece on the support goes, one that stands off it stays, and nothing is said where nothing is known."""

from __future__ import annotations

import numpy as np

from stages.masks.cut.flat_pieces import without_flat_pieces

TABLE = np.tile(np.linspace(20.0, 30.0, 120)[:, None], (1, 160))
SURFACES = [(TABLE, 0.3)]
SIGMA = np.full(TABLE.shape, 0.4)
BODY, PIECE = np.s_[20:80, 30:80], np.s_[60:85, 110:140]


def scene(piece_above_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A mask of two parts, and the disparity: the body well above the table, the piece so much."""
    mask, disparity = np.zeros(TABLE.shape, bool), TABLE + np.random.default_rng(0).normal(0, 0.3, TABLE.shape)
    mask[BODY] = mask[PIECE] = True
    disparity[BODY] = 45.0
    disparity[PIECE] += piece_above_px
    return mask, disparity


def test_a_patch_on_the_table_goes_and_the_object_stays():
    mask, disparity = scene(0.0)
    found = without_flat_pieces(mask, disparity, SIGMA, SURFACES)
    assert not found[PIECE].any() and found[BODY].all()


def test_a_bare_patch_is_told_by_its_rim():
    mask, disparity = scene(0.0)
    disparity[PIECE] = np.nan
    assert not without_flat_pieces(mask, disparity, SIGMA, SURFACES)[PIECE].any()


def test_a_part_that_stands_off_stays():
    mask, disparity = scene(8.0)
    assert (without_flat_pieces(mask, disparity, SIGMA, SURFACES) == mask).all()


def test_where_nothing_is_known_nothing_goes():
    mask, disparity = scene(0.0)
    assert (without_flat_pieces(mask, np.full_like(disparity, np.nan), SIGMA, SURFACES) == mask).all()
    assert (without_flat_pieces(mask, disparity, SIGMA, []) == mask).all()
    flat = mask.copy()
    flat[BODY] = False
    assert (without_flat_pieces(flat, disparity, SIGMA, SURFACES) == flat).all(), (
        "an object that lies flat is its own largest piece"
    )
