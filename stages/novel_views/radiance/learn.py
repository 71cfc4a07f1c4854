"""A radiance field learned from posed pictures, and pictures rendered from it (NeRF, Mildenhall et al. 2020, on a hash grid).

The field is the project's own (stages/core/field): its first output, less the starting sphere, is the logarithm of the density; its
colour head sees 9 harmonics of the viewing direction. Each ray is drawn over a background of random colour, so that neither is learned
as the other. Finer levels of the grid join in while it learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.novel_views.radiance.marching import runs
from stages.novel_views.radiance.pixels import PixelBank, directions
from stages.novel_views.radiance.space import Samples, Space
from stages.novel_views.radiance.volume import compose, compose_backward, densities

RENEW, RENEW_FIRST = 16, 8
"""steps between two renewals of what is remembered; more often during the first"""
FIRST_STEPS = 256
RAYS_FIRST, MOST_RAYS = 512, 1 << 15
KNEE = 0.1
"""colour losses are quadratic below 10 % of full scale, linear above"""
RENDERED, MOST_ALONG = 4096, 512
"""rays that are rendered together; samples of a ray at the most, which no march through the cube reaches"""


@dataclass(frozen=True)
class Plan:
    """How long is learned, and how much in a step."""

    steps: int
    samples: int = 1 << 15
    first_samples: float = 0.25
    """share of them at the beginning: a rough field needs no exact gradient"""
    samples_by: float = 0.4
    """share of the steps after which a step has all samples"""
    first_levels: float = 6
    levels_by: float = 0.3
    """share of the steps after which all levels take part"""
    rate_grid: float = 1e-2
    rate_mlp: float = 5e-3
    last_rate: float = 0.03
    """of the first"""


class RadianceField:
    """A field and the space it fills."""

    def __init__(self, shape: FieldShape, space: Space, seed: int, threads: int) -> None:
        self.shape, self.space = shape, space
        self.field = Field.create(shape, seed, sphere_radius=0.0, threads=threads)
        self.log: list[dict[str, float]] = []

    def figures(self) -> dict[str, float]:
        """Of the end of learning: PSNR of the rays learned from, each over a random colour, and the share of the cube that is not empty."""
        last, error = self.log[-1], max(self.log[-1]["squared_error"], 1e-9)
        return {"learned_db": round(float(-10 * np.log10(error)), 2), "occupied_share": round(last["occupied"], 4)}

    def density(self, x: np.ndarray) -> np.ndarray:
        """(N, 3) places in the cube -> (N,)."""
        return densities(self.field.sdf(x), x)

    def learn(
        self, bank: PixelBank, plan: Plan, rng: np.random.Generator, progress: Callable[[int, int, float], None]
    ) -> None:
        """All steps of the plan; `progress(step, steps, squared error of late)`."""
        rays, error = RAYS_FIRST, 1.0
        for step in range(plan.steps):
            done = step / plan.steps
            self.field.active_levels = plan.first_levels + min(1.0, done / plan.levels_by) * (
                self.shape.levels - plan.first_levels
            )
            if step % (RENEW_FIRST if step < FIRST_STEPS else RENEW) == 0 and step:
                self.space.renew(self.density, plan.samples, rng)
            wanted = plan.samples * min(1.0, plan.first_samples + (1 - plan.first_samples) * done / plan.samples_by)
            used, squared = self._step(bank, rays, plan, rng, done=done)
            rays = int(min(max(rays * wanted / max(used, 1), 256), 2 * rays, MOST_RAYS))
            error += (squared - error) * (0.02 if step > 50 else 0.2)
            if step % 100 == 99 or step == plan.steps - 1:
                self.log.append(
                    {"step": step + 1, "squared_error": round(error, 6), "rays": rays, "occupied": self.space.occupied}
                )
                progress(step + 1, plan.steps, error)
        self.field.active_levels = float(self.shape.levels)

    def _step(
        self, bank: PixelBank, count: int, plan: Plan, rng: np.random.Generator, done: float
    ) -> tuple[int, float]:
        """(samples used, mean squared error)."""
        drawn = bank.draw(count, rng)
        background, jitter = rng.random((count, 3), np.float32), rng.random(count, np.float32)
        found = self.space.samples(drawn.eye, drawn.ray, jitter, 2 * plan.samples)
        if len(found.at) == 0:
            return 0, 0.0
        target = np.where(drawn.inside[:, None], drawn.colour, background)
        field = self.field
        tape, ctape = self._forward(found, drawn.ray)
        colour, _, _ = self._compose(found, tape.sdf, ctape.rgb, background)
        met = found.count > 0
        error = np.where(met[:, None], colour - target, 0)
        d_colour = (np.clip(error, -KNEE, KNEE) / max(int(met.sum()), 1)).astype(np.float32)
        d_output, d_rgb = np.empty_like(tape.sdf), np.empty_like(ctape.rgb)
        parts = runs(count)

        def back(job: int) -> None:
            compose_backward(
                tape.sdf,
                found.at,
                ctape.rgb,
                found.start,
                found.count,
                *parts[job],
                self.space.step,
                background,
                colour,
                d_colour,
                d_output,
                d_rgb,
            )

        field.team.run(back, len(parts))
        d_geo, _ = field.colour_backward(ctape, d_rgb)
        field.backward(tape, d_output, d_geo)
        rate = plan.last_rate**done
        field.step(lr_grid=plan.rate_grid * rate, lr_mlp=plan.rate_mlp * rate)
        return len(found.at), float(np.square(error).sum() / (3 * max(int(met.sum()), 1)))

    def _forward(self, found: Samples, ray: np.ndarray):
        tape = self.field.forward(found.at, features=True)
        view = np.repeat(ray, found.count, 0)
        return tape, self.field.colour_forward(tape.geo, np.zeros_like(view), view)

    def _compose(
        self, found: Samples, output: np.ndarray, rgb: np.ndarray, background: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        n, parts = len(found.count), runs(len(found.count))
        colour, opacity, depth = np.empty((n, 3), np.float32), np.empty(n, np.float32), np.empty(n, np.float32)

        def run(job: int) -> None:
            compose(
                output,
                found.at,
                found.along,
                rgb,
                found.start,
                found.count,
                *parts[job],
                self.space.step,
                background,
                colour,
                opacity,
                depth,
            )

        self.field.team.run(run, len(parts))
        return colour, opacity, depth

    def render(self, pose: np.ndarray, rig: Rig, background: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """((H, W, 3) float32 grey levels, (H, W) opacity, (H, W) depth along the optical axis, world units, NaN = nothing is there)."""
        v, u = np.divmod(np.arange(rig.width * rig.height), rig.width)
        unit = directions(rig, pose, np.stack([u, v], -1))
        eyes, rays = self.space.frame.rays(np.broadcast_to(pose[:3, 3], unit.shape), unit)
        parts = [
            self._some(eyes[a : a + RENDERED], rays[a : a + RENDERED], background)
            for a in range(0, len(rays), RENDERED)
        ]
        colour, opacity, along = (np.concatenate(p) for p in zip(*parts, strict=True))
        depth = along * self.space.frame.size * (unit @ pose[:3, 2])
        shape = (rig.height, rig.width)
        return 255 * colour.reshape(*shape, 3), opacity.reshape(shape), depth.reshape(shape).astype(np.float32)

    def _some(self, eye: np.ndarray, ray: np.ndarray, background: float) -> tuple[np.ndarray, ...]:
        behind = np.full((len(eye), 3), background, np.float32)
        found = self.space.samples(eye, ray, np.full(len(eye), 0.5, np.float32), len(eye) * MOST_ALONG)
        if len(found.at) == 0:
            return behind, np.zeros(len(eye), np.float32), np.full(len(eye), np.nan, np.float32)
        output, geo = self.field.sdf_and_features(found.at)
        view = np.repeat(ray, found.count, 0)
        return self._compose(found, output, self.field.colour(geo, np.zeros_like(view), view), behind)
