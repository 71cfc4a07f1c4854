"""Joint refinement of the blended texture, exposure and poses: rendered texels are to equal all pictures at once, by gradient descent.

Blending decides texel by texel; here every pixel of every picture has a say in all texels it mixes, and what exposure or a pose still gets
wrong is taken from the residuals of all of them. Pictures come compensated for exposure, so gains start at 1. A tenth of each picture, in
blocks, is only looked at: the result counts if it shows those pixels better than the blend did (`Refined.kept`).

The renderer (raycast_renderer.py anywhere, nvdiffrast_renderer.py on CUDA) says where in the texture each pixel looks, differentiably in
the pose. Arrays come in and go out; torch in between, on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from stages.core.camera import Rig

BLOCK_PX = 8
HELD_SHARE = 0.1
KNEE = 4 / 255
"""Huber's: noise of a good camera is quadratic, a highlight is linear"""
LEAST_GAIN = 0.01
"""share by which the error of the held pixels must fall for the result to count"""
RATES = {"texture": 1 / 255, "gain": 2e-3, "pose": 2e-4}
"""Adam's, a step: grey levels, log gain, radians (and the same share of the distance to the object)"""


@dataclass(frozen=True)
class Shown:
    """What a picture shows of the object: camera of its crop, camera_from_object (4, 4), picture (h, w, 3) uint8 compensated for exposure,
    usable (h, w) bool."""

    camera: Rig
    camera_from_object: np.ndarray
    picture: np.ndarray
    usable: np.ndarray


@dataclass(frozen=True)
class Refined:
    """texture (S, S, 3) uint8, log gains (V, 3), corrections (V, 6) of the poses (rotation, translation), mean absolute error of the held
    pixels before and after in grey levels, and whether it is better."""

    texture: np.ndarray
    log_gain: np.ndarray
    twist: np.ndarray
    before_levels: float
    after_levels: float

    @property
    def kept(self) -> bool:
        """Whether the error fell by more than chance."""
        return self.after_levels < (1 - LEAST_GAIN) * self.before_levels


class Renderer(Protocol):
    """Where pixels look."""

    device: torch.device
    """where its tensors lie"""

    def coordinates(self, view: int, camera_from_object: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """((n, 2) uv of the view's pixels, differentiable in the pose; (n,) bool, which of them hit the mesh)."""
        ...

    def look_up(self, texture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
        """(S, S, 3) and (n, 2) -> (n, 3), bilinear, origin of uv at the bottom left."""
        ...


def refine(
    texture: np.ndarray,
    views: list[Shown],
    renderer: Renderer,
    level: int,
    steps: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Refined:
    """`level`: mip level whose texels are about a pixel; the finer detail of the blend stays. `renderer` answers for `pixels_of(view)`."""
    problem = _Problem(texture, views, renderer, level, seed=seed)
    before = problem.held_error()
    optimiser = torch.optim.Adam(
        [
            {"params": [problem.texture], "lr": RATES["texture"]},
            {"params": [problem.log_gain], "lr": RATES["gain"]},
            {"params": [problem.twist], "lr": RATES["pose"]},
        ],
        betas=(0.9, 0.99),
    )
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: 0.1 ** (k / max(steps, 1)))
    order = np.random.default_rng(seed)
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        for view in order.choice(len(views), min(4, len(views)), replace=False):
            problem.loss(int(view)).backward()
        optimiser.step()
        decay.step()
        problem.take_back_common_part()
        progress(step + 1)
    with torch.no_grad():
        levels = (255 * problem.texture.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
    twist = (problem.twist * problem.units).detach().cpu().numpy()
    return Refined(levels, problem.log_gain.detach().cpu().numpy(), twist, before, after_levels=problem.held_error())


def pixels_of(view: Shown) -> np.ndarray:
    """(n,) flat indices of the usable pixels, in order."""
    return np.flatnonzero(view.usable)


def held(view: Shown, seed: int) -> np.ndarray:
    """(n,) bool: which of `pixels_of(view)` lie in blocks that are not learnt from."""
    height, width = view.usable.shape
    blocks = np.random.default_rng(seed).random((-(-height // BLOCK_PX), -(-width // BLOCK_PX))) < HELD_SHARE
    row, column = np.divmod(pixels_of(view), width)
    return blocks[row // BLOCK_PX, column // BLOCK_PX]


class _Problem:
    """Parameters and data on the device."""

    def __init__(self, texture: np.ndarray, views: list[Shown], renderer: Renderer, level: int, seed: int) -> None:
        self._renderer, self._level, device = renderer, level, renderer.device
        self.texture = torch.tensor(texture, device=device).float().div(255).requires_grad_()
        self.log_gain = torch.zeros((len(views), 3), device=device, requires_grad=True)
        self.twist = torch.zeros((len(views), 6), device=device, requires_grad=True)
        reach = np.array([np.linalg.norm(v.camera_from_object[:3, 3]) for v in views])
        units = np.repeat(np.stack([np.ones(len(views)), reach], 1), 3, 1)
        self.units = torch.tensor(units, dtype=torch.float32, device=device)
        self._poses = [torch.tensor(v.camera_from_object, dtype=torch.float32, device=device) for v in views]
        self._colours = [torch.tensor(v.picture.reshape(-1, 3)[pixels_of(v)], device=device) for v in views]
        self._held = [torch.tensor(held(v, seed + k), device=device) for k, v in enumerate(views)]

    def loss(self, view: int) -> torch.Tensor:
        """Mean Huber loss over the pixels that are learnt from."""
        size, use = self._error(view).abs(), ~self._held[view]
        robust = torch.where(size <= KNEE, size.square() / (2 * KNEE), size - KNEE / 2).sum(1)
        return (robust * self._seen * use).sum() / (self._seen & use).sum().clamp(min=1)

    @torch.no_grad()
    def held_error(self) -> float:
        """Mean absolute error of the held pixels of all views, grey levels."""
        total, count = 0.0, 0
        for view in range(len(self._poses)):
            error, use = self._error(view), self._held[view] & self._seen
            total, count = total + float(error[use].abs().sum()), count + 3 * int(use.sum())
        return 255 * total / max(count, 1)

    @torch.no_grad()
    def take_back_common_part(self) -> None:
        """What all gains or all poses share would change the texture or move the object, not make the pictures agree."""
        self.log_gain -= self.log_gain.mean(0)
        self.twist -= self.twist.mean(0)

    def _error(self, view: int) -> torch.Tensor:
        """(n, 3) rendered minus seen; `_seen` says where there is anything."""
        uv, self._seen = self._renderer.coordinates(
            view, small_motion(self.twist[view] * self.units[view]) @ self._poses[view]
        )
        rendered = self._renderer.look_up(mip(self.texture, self._level), uv) * self.log_gain[view].exp()
        return rendered - self._colours[view].float() / 255


def mip(texture: torch.Tensor, level: int) -> torch.Tensor:
    """(S, S, 3) averaged over 2^level x 2^level texels."""
    if level == 0:
        return texture
    return torch.nn.functional.avg_pool2d(texture.permute(2, 0, 1)[None], 2**level)[0].permute(1, 2, 0)


def small_motion(twist: torch.Tensor) -> torch.Tensor:
    """(4, 4) of a rotation vector and a translation: the matrix exponential's series, exact to 1e-9 below a hundredth of a radian."""
    rx, ry, rz, tx, ty, tz = twist
    zero = torch.zeros_like(rx)
    rows = [[zero, -rz, ry, tx], [rz, zero, -rx, ty], [-ry, rx, zero, tz], [zero, zero, zero, zero]]
    a = torch.stack([torch.stack(r) for r in rows])
    square = a @ a
    return torch.eye(4, dtype=a.dtype, device=a.device) + a + square / 2 + square @ a / 6
