"""A training step on a torch device: the losses of train.py by autograd, on the points and rays that train.py draws.

What is drawn goes into buffers on the device that keep their place; `finish` then computes the whole step from them, so that with `capture`
steps are recorded as CUDA graphs and replayed (cuda_graphs.py). A batch too large for the device's memory is worked
on in `parts`, whose gradients add up to those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from stages.core.field.field import Field
from stages.core.field.optimiser import DenseAdam, GridAdam
from stages.surface.device.adam import RowAdam
from stages.surface.device.cuda_graphs import StepGraphs
from stages.surface.device.field import DeviceField
from stages.surface.device.rendering import render
from stages.surface.field.taps import TETRAHEDRON
from stages.surface.training.numba_steps import HUBER_COLOUR
from stages.surface.training.train import Cube, Lesson
from stages.surface.views.pixels import Pixels

GAIN_RATE = 0.02


class DeviceSteps:
    """See train.Steps. `fused`: the optimiser's Triton kernel; `capture`: CUDA graphs."""

    def __init__(
        self,
        field: DeviceField,
        lesson: Lesson,
        threads: int,
        parts: int = 1,
        fused: bool = False,
        capture: bool = False,
    ) -> None:
        self._field, self._schedule, self._parts, self._threads = field, lesson.schedule, parts, threads
        self._cube, self._unit = lesson.cube, lesson.unit
        device = field.device
        self._gain = torch.ones((lesson.cameras, 3), device=device)
        self._pixels = None if lesson.pixels is None else _PixelTensors(lesson.pixels, lesson.cube, device)
        self._rates = torch.zeros(2, device=device)
        self._grid = RowAdam(field.parts.grid.detach().view(-1, 2), GridAdam.shape, fused)
        self._networks = [RowAdam(p.detach().view(1, -1), DenseAdam.shape) for p in field.parts.networks]
        self._taps = torch.tensor(TETRAHEDRON, device=device)
        self._inputs: dict[str, torch.Tensor] = {}
        self._kinds: list[str] = []
        self._graphs = StepGraphs(self._compute) if capture else None

    def levels(self, active: float) -> None:
        """See train.Steps."""
        self._field.set_levels(active)

    def geometry(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray, normal: np.ndarray) -> None:
        """See train.Steps."""
        near = len(x) // 5
        self._stage("geometry", x=x, target=target, weight=weight, normal=normal[:near].astype(np.float32))

    def surface_colour(self, pick: np.ndarray) -> None:
        """See train.Steps."""
        self._stage("surface_colour", surface_pick=pick)

    def rendered_colour(self, pick: np.ndarray, along: np.ndarray, ramp: float) -> None:
        """See train.Steps."""
        self._stage(
            "rendered_colour", pick=pick, along=(along / self._cube.size).astype(np.float32), ramp=np.float32(ramp)
        )

    def again(self, kind: str) -> None:
        """What was staged last for a part of the step ("geometry", ..), once more: for timing."""
        self._kinds.append(kind)

    def finish(self, lr_grid: float, lr_mlp: float) -> dict[str, torch.Tensor]:
        """See train.Steps."""
        self._rates.copy_(torch.tensor([lr_grid, lr_mlp]))
        kinds, self._kinds = tuple(self._kinds), []
        return self._graphs.run(kinds) if self._graphs else self._compute(kinds)

    def result(self) -> tuple[Field, np.ndarray]:
        """See train.Steps."""
        return self._field.to_host(self._threads), self._gain.cpu().numpy()

    def gradients(self) -> dict[str, np.ndarray]:
        """Of the step staged so far, in the parameters' own layout, without moving them: for tests."""
        self._backward(tuple(self._kinds))
        names = ("grid", "sdf_weights", "colour_weights")
        parameters = (self._field.parts.grid, *self._field.parts.networks)
        return {n: p.grad.cpu().numpy() for n, p in zip(names, parameters, strict=True) if p.grad is not None}

    def _stage(self, kind: str, **inputs: np.ndarray) -> None:
        self._kinds.append(kind)
        for name, value in inputs.items():
            held = self._inputs.get(name)
            if held is None or held.shape != value.shape:
                self._inputs[name] = torch.tensor(value, device=self._field.device)
                if self._graphs:
                    self._graphs.forget()  # they read the old buffer
            else:
                held.copy_(torch.as_tensor(value))

    def _compute(self, kinds: tuple[str, ...]) -> dict[str, torch.Tensor]:
        losses = self._backward(kinds)
        self._move()
        return losses

    def _backward(self, kinds: tuple[str, ...]) -> dict[str, torch.Tensor]:
        losses: dict[str, torch.Tensor] = {}
        for parameter in (self._field.parts.grid, *self._field.parts.networks):
            parameter.grad = None
        made = {
            "geometry": self._geometry,
            "surface_colour": self._surface_colour,
            "rendered_colour": self._rendered_colour,
        }
        for kind in kinds:
            losses |= made[kind]()
        return losses

    def _move(self) -> None:
        if self._field.parts.grid.grad is not None:
            self._grid.step(self._field.parts.grid.grad.view(-1, 2), self._rates[0])
        for network, parameter in zip(self._networks, self._field.parts.networks, strict=True):
            if parameter.grad is not None:
                network.step(parameter.grad.view(1, -1), self._rates[1])

    def _geometry(self) -> dict[str, torch.Tensor]:
        x, target, weight, normal = (self._inputs[k] for k in ("x", "target", "weight", "normal"))
        count, schedule, unit = len(x), self._schedule, self._unit
        distance = x.new_zeros(())
        for part in self._slices(count):
            error = (self._field.forward(x[part])[0] - target[part]) / unit
            (weight[part] * _huber(error, 1.0)).sum().div(count).backward()
            distance += (error.detach().abs() * weight[part]).sum() / count
        near, far = count // 5, count // 20
        turned, excess = x.new_zeros(()), x.new_zeros(())
        for part in self._slices(near):
            gradient = self._tapped(x[:near][part])
            apart = (gradient - normal[part]).square().sum()
            (schedule.normal_weight * apart / near).backward()
            turned += apart.detach() / (3 * near)
            excess += (gradient.detach().norm(dim=1) - 1).square().sum()
        for part in self._slices(far):
            over = self._tapped(x[-far:][part]).norm(dim=1) - 1
            (2 * schedule.eikonal_weight * _huber(over, 1.0).sum() / far).backward()
            excess += over.detach().square().sum()
        return {"distance": distance, "normal": turned, "eikonal": excess / (near + far)}

    def _tapped(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3) gradient by tetrahedral differences, as taps.py."""
        corners = (x[None] + self._unit * self._taps[:, None]).reshape(-1, 3)
        return self._field.forward(corners)[0].reshape(4, -1).T @ self._taps / (4 * self._unit)

    def _surface_colour(self) -> dict[str, torch.Tensor]:
        pixels, picked = self._pixels, self._inputs["surface_pick"]
        total = self._rates.new_zeros(())
        for part in self._slices(len(picked)):
            on, ray, colour, camera = pixels.at(picked[part])
            _, geo = self._field.forward(on)
            rgb = self._field.colour(geo, torch.zeros_like(ray.T), ray.T)
            error = rgb.T * self._gain[camera] - colour
            _huber_colour(error).sum().div(len(picked)).backward()
            total += error.detach().abs().sum() / (3 * len(picked))
        return {"surface_colour": total}

    def _rendered_colour(self) -> dict[str, torch.Tensor]:
        picked, along, ramp = (self._inputs[k] for k in ("pick", "along", "ramp"))
        total, pull = self._rates.new_zeros(()), ramp * self._schedule.colour_weight
        slopes = torch.zeros((len(self._gain), 4), device=along.device)
        for part in self._slices(len(picked)):
            on, ray, colour, camera = self._pixels.at(picked[part])
            made = self._rendered(on, ray, along[part], pull)
            error = made * self._gain[camera] - colour
            _huber_colour(error).sum().div(len(picked)).backward()
            total += error.detach().abs().sum() / (3 * len(picked))
            slope = (error.detach() / HUBER_COLOUR).clamp(-1, 1) * made.detach()
            slopes.index_add_(0, camera, torch.cat([slope, torch.ones_like(slope[:, :1])], 1))
        self._gain.sub_(GAIN_RATE * slopes[:, :3] / slopes[:, 3:].clamp(min=1))
        self._gain.div_(self._gain.mean(0))
        return {"colour": total}

    def _rendered(self, on: torch.Tensor, ray: torch.Tensor, along: torch.Tensor, pull: torch.Tensor) -> torch.Tensor:
        """(R, 3) colours of rays sampled `along (R, S)` from `on` the surface; `pull` scales what they do to the signed distance."""
        n, s = along.shape
        sdf, geo = self._field.forward((on[:, None] + along[..., None] * ray[:, None]).reshape(-1, 3))
        sdf = sdf.detach() + pull * (sdf - sdf.detach())
        inner = geo.reshape(-1, n, s)[:, :, :-1].flatten(1)
        view = ray.T[:, :, None].expand(3, n, s - 1).flatten(1)
        rgb = self._field.colour(inner, torch.zeros_like(view), view).T.reshape(n, s - 1, 3)
        return render(sdf.reshape(n, s), rgb, self._schedule.steepness / self._unit)

    def _slices(self, count: int) -> Iterator[slice]:
        """The batch in `parts`."""
        size = max(1, -(-count // self._parts))
        return (slice(a, min(a + size, count)) for a in range(0, count, size))


class _PixelTensors:
    """The pixels on the device. Where rays meet the surface is worked out in float64: float32 from the eye rounds too much."""

    def __init__(self, pixels: Pixels, cube: Cube, device: torch.device) -> None:
        on = cube.inside(pixels.eye + pixels.depth[:, None] * pixels.ray)
        arrays = on, pixels.ray.astype(np.float32), pixels.colour, pixels.camera.astype(np.int64)
        self._all = tuple(torch.tensor(a, device=device) for a in arrays)

    def at(self, pick: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """on (n, 3) in the cube, ray (n, 3), colour (n, 3), camera (n,) of the picked pixels."""
        return tuple(a[pick] for a in self._all)


def _huber(error: torch.Tensor, knee: float) -> torch.Tensor:
    """Quadratic below the knee with slope error / knee, linear above with slope 1."""
    size = error.abs()
    return torch.where(size <= knee, error.square() / (2 * knee), size - knee / 2)


def _huber_colour(error: torch.Tensor) -> torch.Tensor:
    return _huber(error, HUBER_COLOUR)
