"""The training loop of the stereo network: learning rate, gradients, moving average, checkpoints, log."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from stages.depth.stereo_net.network import StereoNet, channels_last
from tools.moving_average import follow
from tools.stereo_training.losses import stereo_loss, validation_figures
from tools.stereo_training.pool import Pool, Sizes, collate, make_scene, training_pair
from tools.stereo_training.scenes import Batch, SceneMaker
from tools.stereo_training.textures import texture_bank

AVERAGE = 0.995
"""Share of the moving average of the weights that stays per step; the average is what is validated and exported."""
WARM_UP, LAST_RATE = 0.05, 0.01
"""Share of the schedule in which the rate rises; what is left of it at the end."""
WEIGHT_DECAY, LARGEST_GRADIENT = 1e-4, 1.0
LOG_EVERY = 20
HELD_BACK_SEED, HELD_BACK = 10**6, 12
TEXTURES = 240


@dataclass(frozen=True)
class Plan:
    """What to train and how long; see tools/train_stereo.py."""

    out: Path
    steps: int
    minutes: float = math.inf
    device: str = "cpu"
    batch: int = 4
    processes: int = 1
    threads: int = 1
    rate: float = 1.5e-3
    seed: int = 0
    validate_every: int = 250
    save_every: int = 100
    start: Path | None = None
    """weights to begin with"""
    sizes: Sizes = field(default_factory=Sizes)
    textures: int = TEXTURES


def train(rank: int, plan: Plan, meeting_point: str) -> None:
    """One process of a training run, from its checkpoint to its end; `meeting_point` is where several processes find each other."""
    torch.set_num_threads(plan.threads)
    if plan.processes > 1:
        dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=plan.processes)
    maker = scene_maker(plan.textures, plan.seed, plan.device)
    learner, pool = Learner(plan), Pool(maker, plan.seed, rank, plan.sizes)
    held_back = held_back_batches(maker, plan.sizes) if rank == 0 else []
    while learner.progress < 1:
        learner.step_on(pool.batch(plan.batch, learner.step))
        if rank == 0:
            learner.report(held_back)
    if rank == 0:
        learner.log(validation_figures(learner.average, held_back))
        learner.save()
    if plan.processes > 1:
        dist.destroy_process_group()


def scene_maker(textures: int, seed: int, device: str) -> SceneMaker:
    """For scenes of the training's size."""
    from tools.stereo_training.pool import SCENE_HEIGHT, SCENE_WIDTH

    bank = torch.from_numpy(texture_bank(textures, seed)).to(device)
    return SceneMaker(bank, SCENE_HEIGHT, SCENE_WIDTH)


def held_back_batches(maker: SceneMaker, sizes: Sizes, count: int = HELD_BACK) -> list[Batch]:
    """Pairs of scenes with odd seeds, which training never draws, four to a batch."""
    import numpy as np

    rng = np.random.default_rng(HELD_BACK_SEED)
    pairs = [training_pair(make_scene(maker, HELD_BACK_SEED + 2 * i + 1), sizes, rng) for i in range(count)]
    return [collate(pairs[i : i + 4]) for i in range(0, count, 4)]


class Learner:
    """Network, its moving average, optimiser and place in the schedule; on disk one atomic checkpoint."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.device = plan, torch.device(plan.device)
        torch.manual_seed(plan.seed)
        self.net = channels_last(StereoNet(plan.sizes.levels).to(self.device)).train()
        if plan.start is not None:
            self.net.load_state_dict(read_weights(plan.start))
        self.average = channels_last(StereoNet(plan.sizes.levels).to(self.device)).eval()
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=plan.rate, weight_decay=WEIGHT_DECAY)
        self.step, self.seconds, self.progress = 0, 0.0, 0.0
        self._terms: dict[str, float] = {}
        self._clock = time.monotonic()
        if (plan.out / "checkpoint.pt").exists():
            self._resume(torch.load(plan.out / "checkpoint.pt", map_location=self.device, weights_only=True))
        self._logged = self.seconds, self.step

    def step_on(self, batch: Batch) -> None:
        """Learn from one batch."""
        rate = self.plan.rate * schedule(self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = Batch(*(v.to(self.device) for v in (batch.left, batch.right, batch.disparity, batch.visible)))
        with torch.autocast(self.device.type, torch.bfloat16):
            prediction = self.net.predict(
                *(x.contiguous(memory_format=torch.channels_last) for x in (batch.left, batch.right))
            )
        terms = stereo_loss(prediction, batch)
        self.optimiser.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        self.step += 1
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        self._share_gradients(max(self.step / self.plan.steps, self.seconds / 60 / self.plan.minutes))
        if not torch.nn.utils.clip_grad_norm_(self.net.parameters(), LARGEST_GRADIENT).isfinite():
            raise FloatingPointError(
                f"step {self.step}: a gradient is not a number, so nothing more is learnt. Start the command again:"
                " it goes on from the last checkpoint. If that stops too, lower the learning rate."
            )
        self.optimiser.step()
        follow(self.average, self.net, min(AVERAGE, (self.step + 1) / (self.step + 10)))
        for key, value in terms.items():
            self._terms[key] = self._terms.get(key, 0.0) + float(value.detach()) / LOG_EVERY

    def report(self, held_back: list[Batch]) -> None:
        """Log, validate and save when it is time."""
        if self.step % LOG_EVERY == 0:
            pace = (self.seconds - self._logged[0]) / max(1, self.step - self._logged[1])
            self.log(
                {
                    "loss": round(sum(self._terms.values()), 4),
                    **{k: round(v, 4) for k, v in self._terms.items()},
                    "seconds_per_step": round(pace, 3),
                }
            )
            self._terms, self._logged = {}, (self.seconds, self.step)
        if self.step % self.plan.validate_every == 0:
            self.log(validation_figures(self.average, held_back))
        if self.step % self.plan.save_every == 0:
            self.save()

    def log(self, row: dict[str, float]) -> None:
        """Add a line to log.jsonl."""
        with (self.plan.out / "log.jsonl").open("a") as f:
            f.write(json.dumps({"step": self.step, "progress": round(self.progress, 4), **row}) + "\n")

    def save(self) -> None:
        """Write the checkpoint; a crash leaves the one before."""
        part = self.plan.out / "checkpoint.part"
        nets = {name: getattr(self, name).state_dict() for name in ("net", "average", "optimiser")}
        torch.save({**nets, "step": self.step, "seconds": self.seconds, "progress": self.progress}, part)
        part.replace(self.plan.out / "checkpoint.pt")

    def _resume(self, saved: dict) -> None:
        for name in ("net", "average", "optimiser"):
            getattr(self, name).load_state_dict(saved[name])
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.progress = max(self.step / self.plan.steps, self.seconds / 60 / self.plan.minutes)

    def _share_gradients(self, progress: float) -> None:
        """Average gradients over the processes, and how far they are, so that all stop at the same step."""
        self.progress = progress
        if self.plan.processes == 1:
            return
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        flat = torch.cat([*(g.reshape(-1).float() for g in gradients), torch.tensor([progress], device=self.device)])
        dist.all_reduce(flat)
        flat /= self.plan.processes
        self.progress = float(flat[-1])
        for gradient, mean in zip(gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def write_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    """A network's weights as float16, to go on from: half the size, and rounding is far below what a step changes."""
    from safetensors.torch import save_file

    save_file({k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}, path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """What `write_weights` wrote, as float32."""
    from safetensors.torch import load_file

    return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}


def schedule(progress: float) -> float:
    """Learning rate over the highest: a rise, then half a cosine."""
    if progress < WARM_UP:
        return 0.1 + 0.9 * progress / WARM_UP
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))
