"""Hollows: what nobody looked into, between a place that readings saw to be empty and a surface that they met.

Carving by sight leaves a cone standing in a cup: the cameras look past it to every side, and none looks into it. Nothing speaks for it
either. Each place without a verdict gets the probability that a random walk from it comes to an empty place before it comes to the object
(Grady 2006): the cone goes, and the hollow ends in a smooth floor about as deep as its walls were seen.
"""

from __future__ import annotations

import numpy as np

PULL = 0.2
"""of one reading that saw through a place, against a step to a neighbour: too few to decide alone, they count (Grady 2005, with priors)"""


def probability_empty(empty: np.ndarray, solid: np.ndarray, through: np.ndarray) -> np.ndarray:
    """(I, J, K) float32, 1 where `empty`, 0 where `solid` (bool; both False: undecided) and between them harmonic, pulled to 1 by `through`
    (readings that saw past the place)."""
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import cg

    undecided = ~(empty | solid)
    count = int(undecided.sum())
    if count == 0 or not empty.any():
        return empty.astype(np.float32)
    number = np.full(undecided.shape, -1)
    number[undecided] = np.arange(count)
    pull = PULL * through[undecided].astype(float)
    diagonal, right, links = pull.copy(), pull.copy(), []
    for here, there in _neighbours():
        own = undecided[here]
        i, j = number[here][own], number[there][own]
        diagonal += np.bincount(i, minlength=count)
        right += np.bincount(i, empty[there][own], minlength=count)
        links.append((i[j >= 0], j[j >= 0]))
    rows, columns = (np.concatenate(x) for x in zip(*links, strict=True))
    system = diags(diagonal) - csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    out = empty.astype(np.float32)
    out[undecided] = cg(system, right, rtol=1e-3, maxiter=500)[0]
    return out


def _neighbours() -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Pairs of slices of a volume: every voxel with a neighbour to one side, and that neighbour, for all six sides."""
    low, high, every = slice(None, -1), slice(1, None), slice(None)
    out = []
    for axis in range(3):
        here, there = (
            tuple(low if a == axis else every for a in range(3)),
            tuple(high if a == axis else every for a in range(3)),
        )
        out += [(here, there), (there, here)]
    return out
