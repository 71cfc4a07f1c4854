"""Trains the project's stereo network on generated scenes only; stops and resumes at any time.

    python tools/train_stereo.py [--out build/stereo_net] [--steps 10000] [--minutes M] [--device cpu|cuda] [--batch 4] [--seed 0]

Resumes from <out>/checkpoint.pt, logs one JSON line per 20 steps to <out>/log.jsonl and validates every --validate-every steps on
held-back scenes (their seeds are never drawn for training). On the CPU each scene is used several times with fresh camera faults,
because making one costs about as much as learning from it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from stereo_training.losses import stereo_loss, validation_figures
from stereo_training.scenes import Batch, SceneMaker, camera_faults
from stereo_training.textures import texture_bank

from stages.depth.stereo_net.network import StereoNet

HEIGHT, WIDTH = 256, 512
BUFFER = 192
VALIDATION_SEED = 10**9
VALIDATION_BATCHES = 6
EMA = 0.998


def main() -> None:
    args = _arguments()
    out, device = Path(args.out), torch.device(args.device)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    state = Training(out, device, args.steps, args.rate)
    maker = SceneMaker(torch.from_numpy(texture_bank(600, args.seed)).to(device), HEIGHT, WIDTH)
    held_back = [maker.batch(4, VALIDATION_SEED + i) for i in range(VALIDATION_BATCHES)]
    scenes = Scenes(maker, args.seed, fresh=args.fresh or (args.batch if device.type == "cuda" else 1))
    deadline = time.monotonic() + 60 * args.minutes
    while state.step < args.steps and time.monotonic() < deadline:
        started = time.monotonic()
        loss = state.learn(scenes.batch(args.batch, state.step))
        if state.step % 20 == 0:
            state.log({"step": state.step, "loss": loss, "seconds_per_step": round(time.monotonic() - started, 3)})
        if state.step % args.validate_every == 0:
            state.log({"step": state.step, **validation_figures(state.average, held_back)})
            state.save()
    state.save()


def _arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default="build/stereo_net")
    p.add_argument("--steps", type=int, default=10_000)
    p.add_argument("--minutes", type=float, default=1e9)
    p.add_argument("--device", default="cpu")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--fresh", type=int, default=0, help="new scenes per step; 0 = 1 on the CPU, all on CUDA")
    p.add_argument("--rate", type=float, default=1e-3)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--validate-every", type=int, default=200)
    return p.parse_args()


class Training:
    """Network, its moving average, optimiser and step; on disk one atomic checkpoint."""

    def __init__(self, out: Path, device: torch.device, steps: int, rate: float) -> None:
        self.out, self.device, self.steps, self.rate = out, device, steps, rate
        self.net = StereoNet().to(device, memory_format=torch.channels_last)
        self.average = StereoNet().to(device, memory_format=torch.channels_last).eval()
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=rate, weight_decay=1e-4)
        self.step = 0
        if (out / "checkpoint.pt").exists():
            saved = torch.load(out / "checkpoint.pt", map_location=device, weights_only=True)
            self.net.load_state_dict(saved["net"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.step = saved["step"]
        else:
            self.average.load_state_dict(self.net.state_dict())

    def learn(self, batch: Batch) -> float:
        """One step; the rate warms up over 200 steps and falls as a cosine to 2 % at the planned end."""
        progress = self.step / max(self.steps, 1)
        scale = min(1, (self.step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * min(progress, 1))))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * scale
        self.net.train()
        with torch.autocast(self.device.type, torch.bfloat16):
            prediction = self.net(*(x.contiguous(memory_format=torch.channels_last) for x in (batch.left, batch.right)))
        loss = stereo_loss(*prediction, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return float(loss)

    def _follow(self) -> None:
        keep = min(EMA, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for a, b in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                a.lerp_(b, 1 - keep) if a.is_floating_point() else a.copy_(b)

    def log(self, row: dict) -> None:
        with (self.out / "log.jsonl").open("a") as f:
            f.write(json.dumps(row) + "\n")

    def save(self) -> None:
        part = self.out / "checkpoint.part"
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
            },
            part,
        )
        part.replace(self.out / "checkpoint.pt")


class Scenes:
    """A pool of clean scenes that is renewed step by step; batches get flips, other colours and fresh camera faults."""

    def __init__(self, maker: SceneMaker, seed: int, fresh: int) -> None:
        self.maker, self.seed, self.fresh, self.pool = maker, seed, fresh, []

    def batch(self, size: int, step: int) -> Batch:
        """`size` scenes from the pool after `fresh` new ones joined it."""
        new = self.maker.clean(max(self.fresh, size - len(self.pool)), self.seed + 1 + step)
        self.pool = ([(new.left[i], new.right[i], new.disparity[i], new.visible[i]) for i in range(len(new.left))] + self.pool)[:BUFFER]
        rng = np.random.default_rng([self.seed, step])
        chosen = [self.pool[0], *(self.pool[i] for i in rng.integers(0, len(self.pool), size - 1))]
        if self.fresh >= size:
            chosen = self.pool[:size]
        left, right, disparity, visible = (torch.stack(x) for x in zip(*chosen, strict=True))
        if rng.random() < 0.5:
            left, right, disparity, visible = (x.flip(2) for x in (left, right, disparity, visible))
        colours = torch.from_numpy(rng.permutation(3)).to(left.device)
        g = torch.Generator(left.device).manual_seed(int(rng.integers(2**62)))
        left, right = camera_faults(left[:, colours], right[:, colours], g)
        return Batch(left, right, disparity, visible)


if __name__ == "__main__":
    main()
