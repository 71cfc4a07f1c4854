"""A smooth shift of the rows of the right view, for what no turn of the camera explains: lens distortion that the calibration has wrong.

Cubic in normalised image coordinates, because the leading error of a radial or tangential model is. It moves rows only: what the same lens
error does to columns cannot be seen between two views, so disparities stay as calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEGREE = 3
RIDGE = 1e-4
"""per match; keeps terms that the matches do not determine near zero"""


@dataclass(frozen=True)
class RowField:
    """Row error of the right view at normalised (x, y), itself normalised (px / fy). Outside the box of the matches it was fitted to it
    stays as it is at the box's edge, because a cubic must not be extrapolated."""

    coefficients: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        """(N, 2) -> (N,)."""
        return _terms((np.clip(xy, self.low, self.high) - self._middle) / self._half) @ self.coefficients

    @property
    def _middle(self) -> np.ndarray:
        return (self.low + self.high) / 2

    @property
    def _half(self) -> np.ndarray:
        return np.maximum((self.high - self.low) / 2, 1e-6)

    def moved(self, xy: np.ndarray) -> np.ndarray:
        """(N, 2) normalised points of the right view with the error taken off."""
        return np.stack([xy[:, 0], xy[:, 1] - self(xy)], 1)


def fit_row_field(xy: np.ndarray, error: np.ndarray, least_spread: float, rounds: int = 10) -> RowField:
    """(N, 2) normalised points of the right view and their row errors (N,), normalised; robust (Cauchy weights), ridge-regularised.

    least_spread: smallest scale of the errors, so that perfect data do not make the weights collapse.
    """
    field = RowField(np.zeros(len(_powers())), *np.quantile(xy, [0.02, 0.98], axis=0))
    A = _terms((np.clip(xy, field.low, field.high) - field._middle) / field._half)
    p = field.coefficients
    for _ in range(rounds):
        rest = error - A @ p
        spread = max(1.4826 * np.median(np.abs(rest - np.median(rest))), least_spread)
        w = 1.0 / (1.0 + (rest / (2.0 * spread)) ** 2)
        p = np.linalg.solve(
            (A * w[:, None]).T @ A + RIDGE * len(error) * np.eye(A.shape[1]), (A * w[:, None]).T @ error
        )
    return RowField(p, field.low, field.high)


def _powers() -> list[tuple[int, int]]:
    return [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]


def _terms(xy: np.ndarray) -> np.ndarray:
    return np.stack([xy[:, 0] ** i * xy[:, 1] ** j for i, j in _powers()], 1)
