"""What the network is asked for: the right level, an exact value, and an honest standard deviation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from stages.depth.stereo_net.network import Prediction, StereoNet
from tools.stereo_training.scenes import Batch

HIDDEN_WEIGHT = 0.15
"""Of pixels that only the left eye sees: they are guesses, and a result marks them as hidden anyway."""
HOPE = 0.5
"""1/px; pixels whose predicted scale is 1 / HOPE count half: blank surfaces that nobody could measure shall not drown the others."""
SIGMA_PER_SCALE = 2.0**0.5
"""Standard deviation of a Laplace distribution over its scale."""


def stereo_loss(p: Prediction, batch: Batch) -> dict[str, torch.Tensor]:
    """The terms, already weighted; their sum is the loss.

    Cross-entropy on the levels of features and volume, smooth L1 on all disparities in px of the picture, and the Laplace likelihood
    that ties the scale to the error (Kendall and Gal, NeurIPS 2017), which does not move the disparity itself.
    """
    levels = p.logits.shape[1]
    weight = torch.where(batch.visible, 1.0, HIDDEN_WEIGHT) * (
        (batch.disparity >= 0) & (batch.disparity < 4 * (levels - 1))
    )
    truth4, sure4 = _smaller(batch.disparity, weight, 4, 3.0)
    seen4 = (sure4 > 0.9).float()
    error = (p.disparity_px - batch.disparity).abs()
    scale = p.log_scale.clamp(-5, 5)
    hopeful = weight / (1 + HOPE * torch.exp(scale.detach()))
    truth2, hopeful2 = _smaller(batch.disparity, hopeful, 2, 1.5)
    hopeful4 = _smaller(batch.disparity, hopeful, 4, 3.0)[1]
    rounds = [
        _mean(F.smooth_l1_loss(4 * q, truth4, reduction="none", beta=0.5).clamp(max=40), hopeful4) for q in p.quarters
    ]
    return {
        "features": 0.3 * _mean(_cross_entropy(p.similarity, truth4 / 4), seen4),
        "volume": 0.5 * _mean(_cross_entropy(p.logits, truth4 / 4), sure4),
        "quarter": 0.1 * rounds[0] + 0.15 * sum(rounds[1:]),
        "half": 0.3 * _mean(F.smooth_l1_loss(2 * p.half, truth2, reduction="none", beta=0.5).clamp(max=40), hopeful2),
        "full": 0.5
        * _mean(F.smooth_l1_loss(p.disparity_px, batch.disparity, reduction="none", beta=0.5).clamp(max=40), hopeful),
        "sigma": 0.2 * _mean(error.detach().clamp(max=60) * torch.exp(-scale) + scale, weight),
    }


def _smaller(
    disparity: torch.Tensor, weight: torch.Tensor, k: int, spread_px: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means over k x k cells; cells that straddle a depth edge have no one truth and weigh nothing."""
    flat = F.max_pool2d(disparity, k) + F.max_pool2d(-disparity, k) < spread_px
    return F.avg_pool2d(disparity, k), F.avg_pool2d(weight, k) * flat


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / (weight.sum() + 1)


def _cross_entropy(logits: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """(B, D, H, W), (B, 1, H, W) -> (B, 1, H, W) against the two levels next to the truth, shared linearly."""
    level = level.clamp(0, logits.shape[1] - 1.001)
    low = level.floor()
    log_p = F.log_softmax(logits, 1)
    below, above = log_p.gather(1, low.long()), log_p.gather(1, low.long() + 1)
    return -(below * (low + 1 - level) + above * (level - low))


@torch.inference_mode()
def validation_figures(net: StereoNet, batches: list[Batch]) -> dict[str, float]:
    """Over visible pixels of held-back scenes: median and mean error px, percent off by > 1, 2, 4 px, and within 2 sigma."""
    errors, inside = [], []
    for b in batches:
        disparity, log_scale = net(b.left, b.right)
        error = (disparity - b.disparity).abs()[b.visible]
        errors.append(error)
        inside.append(error < 2 * SIGMA_PER_SCALE * torch.exp(log_scale[b.visible]))
    e = torch.cat(errors)
    figures = {
        "median_px": e.median(),
        "mean_px": e.mean(),
        **{f"bad{k}": 100 * (e > k).float().mean() for k in (1, 2, 4)},
    }
    figures["within_2_sigma"] = 100 * torch.cat(inside).float().mean()
    return {k: round(float(v), 4) for k, v in figures.items()}
