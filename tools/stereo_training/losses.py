"""What the network is asked for: the right level, an exact value, and an honest standard deviation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from stages.depth.stereo_net.network import StereoNet
from stereo_training.scenes import Batch


def stereo_loss(disparity: torch.Tensor, log_sigma: torch.Tensor, coarse: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Smooth L1 on the coarse and the fine disparity, and the Laplace likelihood that ties sigma to the error (Kendall and Gal, 2017)."""
    weight = torch.where(batch.visible, 1.0, 0.15) * (batch.disparity < 255)
    truth4 = F.avg_pool2d(batch.disparity, 4)
    flat = F.max_pool2d(batch.disparity, 4) + F.max_pool2d(-batch.disparity, 4) < 2.0  # cells that straddle an edge have no one truth
    coarse_error = F.smooth_l1_loss(coarse / 4, truth4 / 4, reduction="none", beta=0.5)
    coarse_loss = (coarse_error * flat * F.avg_pool2d(weight, 4)).mean()
    error = (disparity - batch.disparity).abs()
    fine_loss = (weight * F.smooth_l1_loss(disparity, batch.disparity, reduction="none", beta=0.5).clamp(max=30)).mean()
    scale = log_sigma.clamp(-5, 4)
    likelihood = (weight * ((error.detach().clamp(max=60) * torch.exp(-scale)) + scale)).mean()
    return coarse_loss + 0.5 * fine_loss + 0.3 * likelihood


@torch.inference_mode()
def validation_figures(net: StereoNet, batches: list[Batch]) -> dict[str, float]:
    """Over visible pixels of held-back scenes: median and mean error px, share off by > 1 and > 2 px, share within 2 sigma."""
    errors, inside = [], []
    for b in batches:
        disparity, log_sigma, _ = net(b.left, b.right)
        error = (disparity - b.disparity).abs()[b.visible]
        errors.append(error)
        inside.append(error < 2 * 1.414 * torch.exp(log_sigma[b.visible]))
    e = torch.cat(errors)
    figures = {"median_px": e.median(), "mean_px": e.mean(), "bad1": 100 * (e > 1).float().mean(), "bad2": 100 * (e > 2).float().mean()}
    return {
        **{k: round(float(v), 4) for k, v in figures.items()},
        "within_2_sigma": round(100 * float(torch.cat(inside).float().mean()), 2),
    }
