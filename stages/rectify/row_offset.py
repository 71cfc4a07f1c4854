"""How far the rows of the two rectified views miss each other, and the small change of the right camera that makes them meet.

A right camera that is turned by a small w = (pitch, yaw, roll) against its calibration, with a focal length off by a factor 1 + z, moves
a point at normalised (x, y) in rows by   f (-pitch (1 + y^2) + yaw x y + roll x + z y)   (first order of K exp(w) K^-1).
Rows tell pitch and roll without doubt. Yaw and zoom show only through the small terms x y and y, and they would change every depth; a
calibration knows the mean disparity far better than it knows yaw apart from cx, so both are applied with the mean disparity kept.
What then remains is the lenses' (row_field.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.rectify.row_field import RowField, fit_row_field

PITCH, YAW, ROLL, ZOOM = range(4)
MODELS = {"pitch": (PITCH,), "turn": (PITCH, ROLL), "full": (PITCH, YAW, ROLL, ZOOM), "lens": (PITCH, YAW, ROLL, ZOOM)}
"""from plain to rich; lens: full, and a row field"""
BAND = 0.05
"""share of the height within which a match may miss its row before anything is corrected; the rest are wrong matches"""
MIN_MATCHES = 30
MIN_SPREAD_PX = 0.02
MIN_GAIN = 0.06
"""a richer model must lower the row error of pairs it has not seen by this share"""
CERTAIN = 3.0
"""and by so many standard errors: a few matches on a small object would otherwise turn a good camera"""
MIN_EFFECT_PX = 0.05
"""and move rows by at least this much somewhere in the matched region"""


@dataclass(frozen=True)
class RightChange:
    """How the right view must change: a (3, 3) map of its normalised coordinates, then perhaps a shift of rows."""

    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    rows: RowField | None = None

    def __call__(self, uv_px: np.ndarray, K: np.ndarray) -> np.ndarray:
        """(N, 2) px of the right view -> (N, 2) px after the change."""
        xy = cv2.perspectiveTransform(cv2.perspectiveTransform(uv_px[:, None], np.linalg.inv(K)), self.turn)[:, 0]
        if self.rows is not None:
            xy = self.rows.moved(xy)
        return xy * [K[0, 0], K[1, 1]] + K[:2, 2]


@dataclass(frozen=True)
class RowMatches:
    """Matches in the rectified views: (M, 2) px left and right, (M,) index of the pair. K (3, 3) of both views."""

    left: np.ndarray
    right: np.ndarray
    pair: np.ndarray
    K: np.ndarray

    @property
    def rows_px(self) -> np.ndarray:
        """(M,) row in the right view minus row in the left."""
        return self.right[:, 1] - self.left[:, 1]

    @property
    def disparity_px(self) -> np.ndarray:
        """(M,)."""
        return self.left[:, 0] - self.right[:, 0]

    def chosen(self, keep: np.ndarray) -> RowMatches:
        """The subset `keep` (bool or index)."""
        return RowMatches(self.left[keep], self.right[keep], self.pair[keep], self.K)

    def corrected(self, change: RightChange) -> RowMatches:
        """With the right view changed."""
        return RowMatches(self.left, change(self.right, self.K), self.pair, self.K)


@dataclass(frozen=True)
class RowOffset:
    """Median and robust spread (1.4826 MAD) of the row error, px; NaN where there were too few matches."""

    median_px: float
    spread_px: float
    matches: int

    @staticmethod
    def of(m: RowMatches) -> RowOffset:
        """Of all matches together."""
        if len(m.pair) == 0:
            return RowOffset(float("nan"), float("nan"), 0)
        e = m.rows_px
        return RowOffset(float(np.median(e)), float(1.4826 * np.median(np.abs(e - np.median(e)))), len(e))

    @property
    def error_px(self) -> float:
        """Standard error of the median of as many errors of that spread (pi / 2 of the mean's variance)."""
        return 1.2533 * self.spread_px / max(1, self.matches) ** 0.5


def plausible(m: RowMatches, height: int) -> RowMatches:
    """Matches near the bulk of the row errors and of the right disparity sign; the wrong ones are spread over the whole picture."""
    near = m.chosen(np.abs(m.rows_px) < BAND * height)
    if len(near.pair) < MIN_MATCHES:
        return near
    centre = _mode(near.rows_px)
    spread = 1.4826 * np.median(np.abs(near.rows_px - centre)[np.abs(near.rows_px - centre) < 4.0])
    return near.chosen(np.abs(near.rows_px - centre) < max(1.0, 4 * spread))


def swapped_share(m: RowMatches) -> float:
    """Share of the matches whose disparity is negative: near 0 as it should be, near 1 when the sides are swapped; NaN if too few."""
    d = m.disparity_px
    clear = np.abs(d) > 1.0
    return float(np.mean(d[clear] < 0)) if np.count_nonzero(clear) >= MIN_MATCHES else float("nan")


def fit_right_camera(m: RowMatches, model: str) -> tuple[RightChange, str]:
    """The change that makes rows meet, and the model used (`auto` picks by held-out pairs)."""
    if model != "auto":
        return _fit(m, model), model
    best = "pitch"
    for richer in list(MODELS)[1:]:
        if _is_better(m, best, richer):
            best = richer
    return _fit(m, best), best


def _is_better(m: RowMatches, plain: str, rich: str) -> bool:
    """Whether the richer model explains pairs it was not fitted to clearly better, and does something at all."""
    effect = np.abs(m.corrected(_fit(m, rich)).rows_px - m.corrected(_fit(m, plain)).rows_px)
    if np.quantile(effect, 0.9) < MIN_EFFECT_PX:
        return False
    order = np.unique(m.pair, return_inverse=True)[1]
    even = (order if order.any() else np.arange(len(order))) % 2 == 0  # a single pair is halved by its matches
    errors = []
    for part in (even, ~even):
        if np.count_nonzero(part) < MIN_MATCHES or np.count_nonzero(~part) < MIN_MATCHES:
            return False
        errors.append(
            [np.abs(m.chosen(~part).corrected(_fit(m.chosen(part), model)).rows_px) for model in (plain, rich)]
        )
    before, after = np.concatenate(errors, axis=1)
    gain = before - after
    return bool(gain.mean() > MIN_GAIN * before.mean() and gain.mean() > CERTAIN * gain.std() / np.sqrt(len(gain)))


def _fit(m: RowMatches, model: str) -> RightChange:
    turn = _fit_turn(m, MODELS[model])
    if model != "lens":
        return turn
    now, f = m.corrected(turn), m.K[1, 1]
    xy = (now.right - m.K[:2, 2]) / [m.K[0, 0], f]
    return RightChange(turn.turn, fit_row_field(xy, now.rows_px / f, MIN_SPREAD_PX / f))


def _fit_turn(m: RowMatches, free: tuple[int, ...], rounds: int = 8) -> RightChange:
    """Gauss-Newton with Cauchy weights on the row errors."""
    p, f = np.zeros(4), m.K[1, 1]
    for _ in range(rounds):
        now = m.corrected(_change(p))
        xy = (now.right - m.K[:2, 2]) / [m.K[0, 0], f]
        x, y = xy.T
        columns = f * np.stack([-(1 + y * y), x * y, x, y], 1)[:, free]
        e = now.rows_px
        spread = max(1.4826 * np.median(np.abs(e - np.median(e))), MIN_SPREAD_PX)
        w = 1.0 / (1.0 + (e / (2.0 * spread)) ** 2)
        p[list(free)] -= np.linalg.solve(
            (columns * w[:, None]).T @ columns + 1e-6 * np.eye(len(free)), (columns * w[:, None]).T @ e
        )
    change = _change(p)
    return _keep_mean_disparity(m, change) if YAW in free else change


def _change(p: np.ndarray) -> RightChange:
    w = np.array([p[PITCH], p[YAW], p[ROLL]])
    return RightChange(np.diag([1 + p[ZOOM], 1 + p[ZOOM], 1.0]) @ cv2.Rodrigues(w)[0])


def _keep_mean_disparity(m: RowMatches, change: RightChange) -> RightChange:
    moved = np.median(m.corrected(change).right[:, 0] - m.right[:, 0]) / m.K[0, 0]
    return RightChange(np.array([[1, 0, -moved], [0, 1, 0], [0, 0, 1.0]]) @ change.turn)


def _mode(values: np.ndarray, width: float = 1.0) -> float:
    """Centre of the densest interval of `width` (half-sample style)."""
    v = np.sort(values)
    inside = np.searchsorted(v, v + width) - np.arange(len(v))
    first = int(inside.argmax())
    return float(np.median(v[first : first + inside[first]]))
