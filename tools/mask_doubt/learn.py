"""Networks that tell wrong masks from right ones by the figures of `stages/masks/trust/audit.py`, tried on captures not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from stages.masks.trust.audit import CUES
from stages.masks.trust.mask_doubt import REACH, Doubt

HIDDEN = (24, 12)
STEPS, RATE, DECAY = 600, 0.01, 0.03
UNKNOWN_BY_CHANCE = 0.08
"""share of the figures that are hidden in training, so that none is leaned on alone"""
OWN_COUNTS = 3.0
"""a mask that was found counts as much as so many that were spoilt"""
WRONG_BELOW = 0.8


@dataclass(frozen=True)
class Examples:
    """cues (N, C) with NaN = unknown, overlap (N,) 0-1, capture (N,) int, found (N,) bool: a method's own mask."""

    cues: np.ndarray
    overlap: np.ndarray
    capture: np.ndarray
    found: np.ndarray

    def only(self, where: np.ndarray) -> Examples:
        """Those in `where`."""
        return Examples(self.cues[where], self.overlap[where], self.capture[where], self.found[where])


def taught(examples: Examples, networks: int = 5) -> Doubt:
    """Each network leaves another fifth of the captures out."""
    mean, scale = np.nanmean(examples.cues, axis=0), np.nanstd(examples.cues, axis=0) + 1e-6
    folds = list(_folds(examples.capture, networks))
    return Doubt(mean, scale, [_network(examples.only(~left), mean, scale, seed) for seed, left in enumerate(folds)])


def on_others(examples: Examples, folds: int = 5) -> np.ndarray:
    """(N,) probabilities by networks that were taught with other captures."""
    out = np.zeros(len(examples.overlap))
    for left in _folds(examples.capture, folds):
        doubt = taught(examples.only(~left))
        out[left] = [doubt.probability(dict(zip(CUES, row, strict=True))) for row in examples.cues[left]]
    return out


def save(doubt: Doubt, path: Path) -> None:
    """As `mask_doubt.learned` reads it."""
    held = {
        f"{kind}{n}_{k}": pair[i].astype(np.float32)
        for n, net in enumerate(doubt.networks)
        for k, pair in enumerate(net)
        for i, kind in enumerate("wb")
    }
    np.savez_compressed(
        path, mean=doubt.mean, scale=doubt.scale, networks=len(doubt.networks), layers=len(doubt.networks[0]), **held
    )


def separation(wrong: np.ndarray, probability: np.ndarray) -> float:
    """Area under the curve: how often a wrong mask has the higher probability of two."""
    rank = np.argsort(np.argsort(probability)) + 1.0
    a, b = int(wrong.sum()), int((~wrong).sum())
    return float((rank[wrong].sum() - a * (a + 1) / 2) / max(a * b, 1))


def _folds(capture: np.ndarray, count: int) -> Iterator[np.ndarray]:
    names = np.random.default_rng(0).permutation(np.unique(capture))
    for k in range(count):
        yield np.isin(capture, names[k::count])


def _network(examples: Examples, mean: np.ndarray, scale: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    torch.manual_seed(seed)
    x = torch.from_numpy(np.clip((examples.cues - mean) / scale, -REACH, REACH)).float()
    unknown = ~torch.isfinite(x)
    wrong = torch.from_numpy(examples.overlap < WRONG_BELOW).float()
    weight = torch.from_numpy(np.where(examples.found, OWN_COUNTS, 1.0)).float()
    layers = _layers((2 * x.shape[1], *HIDDEN, 1))
    optimiser = torch.optim.AdamW([p for pair in layers for p in pair], lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        hidden = unknown | (torch.rand_like(x) < UNKNOWN_BY_CHANCE)
        said = _through(torch.cat([torch.where(hidden, 0.0, x), hidden.float()], 1), layers)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(said, wrong, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return [(w.detach().numpy().astype(float), b.detach().numpy().astype(float)) for w, b in layers]


def _layers(widths: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [
        ((torch.randn(a, b) / a**0.5).requires_grad_(), torch.zeros(b, requires_grad=True)) for a, b in pairwise(widths)
    ]


def _through(x: torch.Tensor, layers: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    for weights, bias in layers[:-1]:
        x = torch.tanh(x @ weights + bias)
    return (x @ layers[-1][0] + layers[-1][1])[:, 0]
