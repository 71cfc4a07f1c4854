"""A training step from pictures on a torch device, for the backends torch, triton and tcnn: the losses of steps.py by autograd."""

from __future__ import annotations

import numpy as np
import torch

from stages.core.field.field import SLICE, Field
from stages.core.field.optimiser import DenseAdam, GridAdam
from stages.surface.device.adam import RowAdam
from stages.surface.device.field import DeviceField
from stages.surface.field.taps import TETRAHEDRON
from stages.surface.learning.rays import Rays
from stages.surface.learning.rendering import MOST_ALPHA, STEEPEST
from stages.surface.learning.steps import BEND_KNEE, FREE_KNEE, KNEE, LEAST_OPACITY, Weights


class DeviceLearningSteps:
    """See steps.LearningSteps. `fused`: the optimiser's Triton kernel."""

    def __init__(self, field: DeviceField, weights: Weights, threads: int, fused: bool = False) -> None:
        self._field, self._weights, self._threads = field, weights, threads
        self._grid = RowAdam(field.parts.grid.detach().view(-1, 2), GridAdam.shape, fused)
        self._networks = [RowAdam(p.detach().view(1, -1), DenseAdam.shape) for p in field.parts.networks]
        self._taps = torch.tensor(TETRAHEDRON, device=field.device)
        self._losses: dict[str, torch.Tensor] = {}

    def levels(self, active: float) -> None:
        """See LearningSteps."""
        self._field.set_levels(active)

    def sdf(self, x: np.ndarray) -> np.ndarray:
        """See LearningSteps."""
        with torch.no_grad():
            parts = [self._field.forward(self._here(x[at : at + SLICE]))[0] for at in range(0, len(x), SLICE)]
        return torch.cat(parts).cpu().numpy()

    def distance(self, x: np.ndarray, target: np.ndarray) -> None:
        """See LearningSteps."""
        error = self._field.forward(self._here(x))[0] - self._here(target)
        _huber(error, FREE_KNEE).mean().backward()

    def observe(self, rays: Rays, along: np.ndarray, steepness: float) -> None:
        """See LearningSteps."""
        eye, ray, seen = (self._here(a) for a in (rays.eye, rays.ray, rays.colour))
        n, s = along.shape
        sdf, geo = self._field.forward((eye[:, None] + self._here(along)[..., None] * ray[:, None]).reshape(-1, 3))
        inner = geo.reshape(-1, n, s)[:, :, :-1].flatten(1)
        view = ray.T[:, :, None].expand(3, n, s - 1).flatten(1)
        rgb = self._field.colour(inner, torch.zeros_like(view), view).T.reshape(n, s - 1, 3)
        colour, opacity = rendered(sdf.reshape(n, s), rgb, steepness)
        inside = self._here(rays.inside.astype(np.float32))
        error = (colour - seen) * inside[:, None]
        o = _clamped(opacity, inside)
        entropy = -torch.where(inside > 0, o, 1 - o).log()
        (_huber(error, KNEE).sum() / n + self._weights.opacity * entropy.mean()).backward()
        self._losses |= {
            "colour": error.detach().abs().sum() / (3 * inside.sum().clamp(min=1)),
            "opacity": entropy.detach().mean(),
        }

    def regular(self, near: np.ndarray, reach: float, free: np.ndarray, bound: np.ndarray) -> None:
        """See LearningSteps."""
        x, weights, n = self._here(near), self._weights, len(near)
        corners = (x[None] + reach * self._taps[:, None]).reshape(-1, 3)
        value = self._field.forward(torch.cat([corners, x]))[0]
        around = value[: 4 * n].reshape(4, n)
        length = (around.T @ self._taps / (4 * reach)).norm(dim=1)
        bend = (around.mean(0) - value[4 * n :]) / reach
        short = (self._here(bound) - self._field.forward(self._here(free))[0]).clamp(min=0)
        loss = weights.eikonal * 2 * _huber(length - 1, 1.0).mean() + weights.bend * _huber(bend, BEND_KNEE).mean()
        (loss + weights.free * _huber(short, FREE_KNEE).mean()).backward()
        seen = {"eikonal": (length - 1).square().mean(), "bend": bend.abs().mean(), "free": short.mean()}
        self._losses |= {k: v.detach() for k, v in seen.items()}

    def measured(self, x: np.ndarray, sigma: np.ndarray, unit: float, free: np.ndarray) -> None:
        """See LearningSteps."""
        value = self._field.forward(self._here(np.concatenate([x, free])))[0]
        sigma_here = self._here(np.maximum(sigma, unit))
        error, below = value[: len(x)], (-value[len(x) :]).clamp(min=0)
        held = (unit / sigma_here * _huber(error, sigma_here)).mean()
        (self._weights.depth * held + self._weights.free * _huber(below, FREE_KNEE).mean()).backward()
        self._losses |= {"depth": error.detach().abs().mean(), "passed": below.detach().mean()}

    def colours(self, x: np.ndarray, view: np.ndarray) -> np.ndarray:
        """See LearningSteps."""
        out = []
        with torch.no_grad():
            for at in range(0, len(x), SLICE):
                _, geo = self._field.forward(self._here(x[at : at + SLICE]))
                along = self._here(view[at : at + SLICE]).T
                out.append(self._field.colour(geo, torch.zeros_like(along), along).T)
        return torch.cat(out).cpu().numpy()

    def finish(self, lr_grid: float, lr_mlp: float) -> dict[str, torch.Tensor]:
        """See LearningSteps."""
        rates = torch.tensor([lr_grid, lr_mlp], device=self._field.device)
        parameters = (self._field.parts.grid, *self._field.parts.networks)
        if parameters[0].grad is not None:
            self._grid.step(parameters[0].grad.view(-1, 2), rates[0])
        for network, parameter in zip(self._networks, parameters[1:], strict=True):
            if parameter.grad is not None and parameter.grad.any():
                network.step(parameter.grad.view(1, -1), rates[1])
        for parameter in parameters:
            parameter.grad = None
        losses, self._losses = self._losses, {}
        return losses

    def gradients(self) -> dict[str, np.ndarray]:
        """Of the losses so far, in the parameters' own layout, without moving them: for tests."""
        names, parameters = (
            ("grid", "sdf_weights", "colour_weights"),
            (self._field.parts.grid, *self._field.parts.networks),
        )
        return {n: p.grad.cpu().numpy() for n, p in zip(names, parameters, strict=True) if p.grad is not None}

    def result(self) -> Field:
        """See LearningSteps."""
        return self._field.to_host(self._threads)

    def _here(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, np.float32), device=self._field.device)


def rendered(sdf: torch.Tensor, rgb: torch.Tensor, steepness: float) -> tuple[torch.Tensor, torch.Tensor]:
    """As rendering.render: (colour (R, 3), opacity (R,)) of sdf (R, S), rgb (R, S - 1, 3)."""
    log = torch.nn.functional.logsigmoid((steepness * sdf).clamp(-float(STEEPEST), float(STEEPEST)))
    alpha = (1 - (log[:, 1:] - log[:, :-1]).exp()).clamp(0, float(MOST_ALPHA))
    clear = torch.cat([torch.ones_like(alpha[:, :1]), (1 - alpha).cumprod(1)], 1)
    return ((clear[:, :-1] * alpha)[..., None] * rgb).sum(1), 1 - clear[:, -1]


def _clamped(opacity: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """The opacity within its limits; a ray that is wrong beyond them is still pulled, one that is right no more."""
    limited = opacity.clamp(LEAST_OPACITY, 1 - LEAST_OPACITY).detach()
    right = ((inside > 0) == (opacity > 0.5)) & (limited != opacity)
    return torch.where(right, limited, opacity + (limited - opacity).detach())


def _huber(error: torch.Tensor, knee: float | torch.Tensor) -> torch.Tensor:
    """Quadratic below the knee with slope error / knee, linear above with slope 1."""
    size = error.abs()
    return torch.where(size <= knee, error.square() / (2 * knee), size - knee / 2)
