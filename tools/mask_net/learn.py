"""Teaching the network of stages/masks/cut/mask_net.py: examples changed by chance, so that none of its cues is leaned on alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from stages.masks.cut.mask_net import CHANNELS, SIZE
from stages.masks.cut.outline import jaccard
from tools.mask_net.network import MaskNet
from tools.moving_average import follow

BATCH, RATE, DECAY = 16, 3e-3, 1e-3
ZOOM, SHIFT = (0.75, 1.3), 0.12
HIDDEN = 0.08
"""chance that a cue is hidden in an example"""
AVERAGE = 0.995
"""what the moving average of the weights keeps at each step"""
OPSET = 17


@dataclass(frozen=True)
class Examples:
    """cues (N, CHANNELS, S, S) float16, truth (N, S, S) uint8 0-255, capture (N,) int."""

    cues: np.ndarray
    truth: np.ndarray
    capture: np.ndarray

    def only(self, where: np.ndarray) -> Examples:
        """Those in `where`."""
        return Examples(self.cues[where], self.truth[where], self.capture[where])


def taught(
    examples: Examples, steps: int, seed: int, told: Callable[[int, float, MaskNet], None], start: MaskNet | None = None
) -> MaskNet:
    """The moving average of a network after `steps`; `told` hears of the mean loss every 50, and at the last."""
    torch.manual_seed(seed)
    net, average = (MaskNet().to(memory_format=torch.channels_last) for _ in range(2))
    if start is not None:
        net.load_state_dict(start.state_dict())
    average.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    since: list[float] = []
    for step, (x, y) in enumerate(_batches(examples, steps, seed), 1):
        with torch.autocast("cpu", torch.bfloat16):
            log_odds = net.train()(x.contiguous(memory_format=torch.channels_last))
        loss = mask_loss(log_odds.float(), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0, error_if_nonfinite=True)
        optimiser.step()
        rate.step()
        follow(average, net, min(AVERAGE, step / (step + 10)))
        since.append(float(loss.detach()))
        if step % 50 == 0 or step == steps:
            told(step, float(np.mean(since)), average.eval())
            since.clear()
    return average.eval()


def mask_loss(log_odds: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and one minus the overlap; (N, 1, S, S) and (N, 1, S, S) in 0 to 1."""
    p = torch.sigmoid(log_odds)
    both, either = (p * truth).sum((1, 2, 3)), (p + truth - p * truth).sum((1, 2, 3))
    return F.binary_cross_entropy_with_logits(log_odds, truth) + 0.5 * (1 - (both + 50) / (either + 50)).mean()


@torch.inference_mode()
def overlaps(net: MaskNet, examples: Examples) -> np.ndarray:
    """(N,) intersection over union of the network's masks with the truth."""
    out = []
    for i in range(0, len(examples.cues), BATCH):
        found = net(torch.from_numpy(examples.cues[i : i + BATCH].astype(np.float32)))[:, 0].numpy() > 0
        true = examples.truth[i : i + BATCH] > 127
        out += [jaccard(a, b) for a, b in zip(found, true, strict=True)]
    return np.array(out)


def write_onnx(net: MaskNet, path: Path) -> None:
    """As `stages/masks/cut/mask_net.py` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(1, CHANNELS, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is called old
        torch.onnx.export(
            net.eval(),
            (example,),
            str(path),
            input_names=["cues"],
            output_names=["log_odds"],
            opset_version=OPSET,
            dynamo=False,
        )


def _batches(examples: Examples, steps: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Captures are equally likely, however many frames they have."""
    rng = np.random.default_rng(seed)
    of = {c: np.flatnonzero(examples.capture == c) for c in np.unique(examples.capture)}
    for _ in range(steps):
        chosen = [int(rng.choice(of[c])) for c in rng.choice(list(of), BATCH)]
        pairs = [changed(examples.cues[i].astype(np.float32), examples.truth[i], rng) for i in chosen]
        yield (
            torch.from_numpy(np.stack([x for x, _ in pairs])),
            torch.from_numpy(np.stack([y for _, y in pairs])[:, None]),
        )


def changed(cues: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One example in another place, size, light, with cues weakened or hidden; truth comes back as float32 0 to 1."""
    cues, truth = _moved(cues, truth.astype(np.float32) / 255, rng)
    if rng.random() < 0.5:
        cues, truth = cues[..., ::-1].copy(), truth[:, ::-1].copy()
    rgb = cues[:3] + 0.5
    rgb = rgb[rng.permutation(3)] if rng.random() < 0.2 else rgb
    rgb = np.clip(rgb, 0, 1) ** math.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.12, (3, 1, 1)))
    inside = cues[7:8] != -1
    cues[:3] = np.where(inside | (np.abs(cues[:3]).sum(0) > 0), rgb + rng.normal(0, 0.01, rgb.shape) - 0.5, 0)
    for group in ((3, 4), (5,), (6,), (0, 1, 2)):
        if rng.random() < HIDDEN:
            cues[list(group)] = 0
    cues[5:7] *= np.float32(math.exp(rng.normal(0, 0.3)))
    cues[3] = cues[3] * np.float32(math.exp(rng.normal(0, 0.1))) + np.float32(rng.normal(0, 0.05)) * (cues[4] > 0)
    if rng.random() < 0.35:
        cues = _spoilt(cues, rng)
    return np.clip(cues, -1, 1).astype(np.float32), truth


def _moved(cues: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    zoom = math.exp(rng.uniform(math.log(ZOOM[0]), math.log(ZOOM[1])))
    dx, dy = rng.uniform(-SHIFT, SHIFT, 2) * SIZE + SIZE / 2 * (1 - zoom)
    step = np.float32([[zoom, 0, dx], [0, zoom, dy]])

    def warp(a, edge):
        return cv2.warpAffine(a, step, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderValue=edge)

    return np.stack([warp(np.ascontiguousarray(c), -1.0 if k == 7 else 0.0) for k, c in enumerate(cues)]), warp(
        truth, 0.0
    )


def _spoilt(cues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In a patch the evidence is wrong, or missing: as where a side has the wall's colours, or depth bled."""
    import cv2

    field = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)).astype(np.float32), (0, 0), float(rng.uniform(4, 16)))
    patch = field > np.quantile(field, rng.uniform(0.75, 0.97))
    kind = rng.integers(4)
    if kind == 0:
        cues[5:7, patch] = 0
    elif kind == 1:
        cues[5:7, patch] = np.float32(rng.uniform(-0.6, 0.6))
    elif kind == 2:
        cues[3:5, patch] = 0
    else:
        cues[5:7, patch] *= -1
    return cues
