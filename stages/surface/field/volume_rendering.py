"""Colour of a ray from samples of signed distance and colour, and its hand-written gradient (NeuS, Wang et al. 2021, eq. 13).

alpha_i = max(0, (S(f_i) - S(f_i+1)) / S(f_i)), S the logistic function with steepness k; weight w_i = alpha_i prod_{j<i} (1 - alpha_j).
The colour is the weighted mean (weights normalised), because only rays that hit the object inside its mask are rendered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TINY = 1e-6


@dataclass
class Rendered:
    """colour (R, 3) and what the backward pass needs; weight (R, S - 1)."""

    colour: np.ndarray
    weight: np.ndarray
    logistic: np.ndarray
    alpha: np.ndarray
    clear: np.ndarray
    total: np.ndarray


def render(sdf: np.ndarray, rgb: np.ndarray, steepness: float) -> Rendered:
    """sdf (R, S) along each ray from the camera, rgb (R, S - 1, 3) of the intervals; steepness in 1 / unit of sdf."""
    s = 1 / (1 + np.exp(-np.clip(steepness * sdf, -30, 30)))
    alpha = np.clip((s[:, :-1] - s[:, 1:]) / (s[:, :-1] + _TINY), 0, 1 - 1e-4)
    clear = np.cumprod(np.concatenate([np.ones((len(sdf), 1), sdf.dtype), 1 - alpha[:, :-1]], 1), 1)
    weight = clear * alpha
    total = weight.sum(1, keepdims=True) + _TINY
    colour = np.einsum("rs,rsc->rc", weight, rgb) / total
    return Rendered(colour, weight, s, alpha, clear=clear, total=total)


def render_backward(
    made: Rendered, rgb: np.ndarray, steepness: float, d_colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(d_sdf (R, S), d_rgb (R, S - 1, 3)) from d_colour (R, 3)."""
    share = made.weight / made.total
    d_rgb = share[..., None] * d_colour[:, None]
    d_weight = np.einsum("rsc,rc->rs", rgb - made.colour[:, None], d_colour) / made.total
    later = np.cumsum((made.weight * d_weight)[:, ::-1], 1)[:, ::-1]
    after = np.concatenate([later[:, 1:], np.zeros((len(later), 1), later.dtype)], 1)
    d_alpha = made.clear * d_weight - after / (1 - made.alpha)
    d_alpha = np.where((made.alpha > 0) & (made.alpha < 1 - 1e-4), d_alpha, 0)
    s = made.logistic
    d_s = np.zeros_like(s)
    d_s[:, :-1] += d_alpha * (s[:, 1:] + _TINY) / (s[:, :-1] + _TINY) ** 2
    d_s[:, 1:] -= d_alpha / (s[:, :-1] + _TINY)
    return steepness * s * (1 - s) * d_s, d_rgb
