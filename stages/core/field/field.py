"""The neural field: signed distance, geometry features and colour of points in the unit cube, trained on CPU.

Hash grid (hash_grid.py) -> perceptron (mlp.py) -> network share of the signed distance and features -> colour head
(colour_kernels.py). The signed distance is |x - 1/2| - radius + network, the network starting at exactly 0 (its hidden neurons come in
pairs of opposite output weight), so training starts from a clean sphere. `torch_twin.py` says the same in a few lines of torch.

Results do not depend on the number of threads: work is cut into fixed runs of blocks, gradients of the weights are summed per run and
then over runs in order, and each level's table has one owner while gradients are scattered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.field import colour_kernels, field_kernels, second_order
from stages.core.field.buffers import BufferPool
from stages.core.field.field_shape import FieldShape
from stages.core.field.hash_grid import BLOCK, FEATURES, aligned_zeros
from stages.core.field.optimiser import Optimiser, Pending
from stages.core.field.thread_team import ThreadTeam

MOST_RUNS = 16  # parts of a batch, and so sums of weight gradients; never a function of the number of threads
RUN_BLOCKS = 8  # blocks of a part at least: hand-over costs about 10 us
LEVEL_BLOCKS = 64  # blocks that visit one level's table in one go, at least
SLICE = 1 << 17  # points of one inference pass: bounds memory


@dataclass
class _Held:
    buffers: tuple[np.ndarray, ...] | None
    """blocks by the kernels' order; None once a backward pass has used them"""

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        """The buffers. Raises ValueError once they are used up."""
        if self.buffers is None:
            raise ValueError("this tape has been used by a backward pass already")
        return self.buffers


@dataclass
class Tape(_Held):
    """A forward pass: results, and what one backward pass needs: positions, perceptron inputs, hidden activations (field_kernels.py)."""

    x: np.ndarray
    active: np.ndarray
    """weight of each level in this pass"""
    sdf: np.ndarray
    geo: np.ndarray | None


@dataclass
class ColourTape(_Held):
    """A forward pass of the colour head, for one backward pass: inputs and hidden activations (colour_kernels.py)."""

    rgb: np.ndarray
    geo_features: int


class Field:
    """Parameters, their gradients and optimiser state; see the module docstring. Not safe for calls from several threads at once."""

    def __init__(
        self,
        shape: FieldShape,
        radius: float,
        grid: np.ndarray,
        sdf_weights: np.ndarray,
        colour_weights: np.ndarray,
        threads: int,
    ) -> None:
        self.shape, self.radius = shape, float(radius)
        self.layout = shape.grid()
        self.grid, self.sdf_weights, self.colour_weights = grid, sdf_weights, colour_weights
        self.active_levels = float(shape.levels)
        self.team = ThreadTeam(threads)
        self._optimiser: Optimiser | None = None
        self._pool = BufferPool()
        self._levels = [(self.layout.part(grid, k), *self.layout.place(k)) for k in range(shape.levels)]
        self._sdf_widths = np.array(shape.sdf_mlp.widths, np.int64)
        self._colour_widths = np.array(shape.colour_mlp.widths, np.int64)

    @staticmethod
    def create(shape: FieldShape, seed: int = 0, sphere_radius: float = 0.3, threads: int = 2) -> Field:
        """A new field whose signed distance is exactly that of a sphere round the cube's centre."""
        rng = np.random.default_rng(seed)
        grid = aligned_zeros((shape.grid().entries, FEATURES))
        grid[:] = rng.uniform(-1e-4, 1e-4, grid.shape)
        weights = shape.sdf_mlp.initial(rng)
        half = shape.hidden // 2
        *below, last = shape.sdf_mlp.layers(weights)
        for layer in below:
            layer[half:] = layer[:half]
        last[0, half:] = -last[0, :half]
        return Field(shape, sphere_radius, grid, weights, colour_weights=shape.colour_mlp.initial(rng), threads=threads)

    # ---- inference -------------------------------------------------------------------------------------------------------------

    def sdf(self, x: np.ndarray) -> np.ndarray:
        """(N, 3) float32 points -> (N,) signed distance."""
        return np.concatenate([self._inference(part, False)[0] for part in _slices(x)])

    def sdf_and_features(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) -> (N,) signed distance, (G, N) geometry features."""
        parts = [self._inference(part, True) for part in _slices(x)]
        return np.concatenate([s for s, _ in parts]), np.concatenate([g for _, g in parts], axis=1)

    def sdf_and_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) -> (N,) signed distance, (N, 3) its exact gradient."""
        values, gradients = [], []
        for part in _slices(x):
            tape = self.forward(part, features=False)
            values.append(tape.sdf)
            gradients.append(self.gradient(tape))
            self._pool.give(*tape.parts)
        return np.concatenate(values), np.concatenate(gradients)

    def colour(self, geo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> np.ndarray:
        """(G, N) features, (N, 3) normals, (N, 3) unit viewing directions -> (N, 3) RGB in 0..1."""
        parts = []
        for at in range(0, len(normal), SLICE):
            tape = self.colour_forward(geo[:, at : at + SLICE], normal[at : at + SLICE], view[at : at + SLICE])
            parts.append(tape.rgb)
            self._pool.give(*tape.parts)
        return np.concatenate(parts) if parts else np.empty((0, 3), np.float32)

    def _inference(self, x: np.ndarray, features: bool) -> tuple[np.ndarray, np.ndarray | None]:
        tape = self.forward(x, features)
        self._pool.give(*tape.parts)
        return tape.sdf, tape.geo

    # ---- training --------------------------------------------------------------------------------------------------------------

    def forward(self, x: np.ndarray, features: bool = True) -> Tape:
        """Signed distance and (optionally) geometry features of (N, 3) points, with what `backward` needs."""
        x = np.ascontiguousarray(x, np.float32)
        blocks = -(-len(x) // BLOCK)
        neurons = int(self._sdf_widths[1:-1].sum())
        xs, enc = self._rows(blocks, 3), self._rows(blocks, int(self._sdf_widths[0]))
        hidden = self._rows(blocks, neurons)
        sdf = np.empty(len(x), np.float32)
        geo = np.empty((self.shape.geo_features if features else 0, len(x)), np.float32)

        cut = _cut(blocks)

        def prepare(job: int) -> None:
            field_kernels.prepare(x, *cut[job], self.shape.levels, xs, enc)

        def decode(job: int) -> None:
            field_kernels.decode(
                x, *cut[job], self.sdf_weights, self._sdf_widths, np.float32(self.radius), enc, hidden, sdf, geo
            )

        self.team.run(prepare, len(cut))
        active = self._encode(xs, enc)
        self.team.run(decode, len(cut))
        return Tape((xs, enc, hidden), x, active, sdf, geo=geo if features else None)

    def _encode(self, xs: np.ndarray, enc: np.ndarray) -> np.ndarray:
        """Fill the grid's rows of `enc`; returns the weights of the levels."""
        active, cut = self.active_weights(), _cut(len(xs), LEVEL_BLOCKS)

        def run(job: int) -> None:  # all runs of a level, then the next level: its table stays in the cache
            level, (a, b) = job // len(cut), cut[job % len(cut)]
            if active[level] == 0:
                enc[a:b, level * FEATURES * BLOCK : (level + 1) * FEATURES * BLOCK] = 0
            else:
                field_kernels.encode_level(level, a, b, *self._levels[level], active[level], xs, enc)

        self.team.run(run, self.shape.levels * len(cut))
        return active

    def gradient(self, tape: Tape) -> np.ndarray:
        """(N, 3) exact d sdf / d x at the points of a forward pass, which stays usable."""
        ones, none = np.ones(len(tape.x), np.float32), np.zeros((MOST_RUNS, 0), np.float32)
        d_enc = self._rows(len(tape.parts[0]), int(self._sdf_widths[0]))
        self._decode_backward(tape, ones, None, none, d_enc=d_enc)
        out = self._position_gradient(tape, ones, d_enc)
        self._pool.give(d_enc)
        return out

    def backward(
        self,
        tape: Tape,
        d_sdf: np.ndarray,
        d_geo: np.ndarray | None = None,
        d_gradient: np.ndarray | None = None,
        want_dx: bool = False,
    ) -> np.ndarray | None:
        """Adds the parameters' gradients for d loss / d sdf (N,), d geo (G, N) and d `gradient(tape)` (N, 3).

        Returns d loss / d x (N, 3) if wanted (for losses on sdf and features only). Uses the tape up.
        """
        if d_gradient is not None and want_dx:
            raise ValueError("d loss / d x is not available for losses on the gradient")
        d_sdf = np.ascontiguousarray(d_sdf, np.float32)
        d_w = np.zeros((MOST_RUNS, self.sdf_weights.size), np.float32)
        if d_gradient is None:
            self._decode_backward(tape, d_sdf, d_geo, d_w, d_enc=tape.parts[1])
        else:
            self._decode_backward_second(tape, d_sdf, d_geo, np.ascontiguousarray(d_gradient, np.float32), d_w=d_w)
        self._training().sdf.grad += d_w.sum(0)
        d_x = self._position_gradient(tape, d_sdf, tape.parts[1]) if want_dx else None
        self._training().pending.append(Pending(len(tape.x), tape.active, tape.parts))
        tape.buffers = None
        return d_x

    def _decode_backward(
        self, tape: Tape, d_sdf: np.ndarray, d_geo: np.ndarray | None, d_w: np.ndarray, d_enc: np.ndarray
    ) -> None:
        xs, enc, hidden = tape.parts
        d_geo, cut = _columns(d_geo, len(d_sdf)), _cut(len(xs))

        def run(job: int) -> None:
            field_kernels.decode_backward(
                d_sdf, d_geo, *cut[job], self.sdf_weights, self._sdf_widths, d_w[job], enc, hidden, d_enc
            )

        self.team.run(run, len(cut))

    def _decode_backward_second(
        self, tape: Tape, d_sdf: np.ndarray, d_geo: np.ndarray | None, d_gradient: np.ndarray, d_w: np.ndarray
    ) -> None:
        """As `_decode_backward` into the tape itself; appends directions and the gradient of the tangents to its buffers."""
        xs, enc, hidden = tape.parts
        cut, along, enc_t = _cut(len(xs)), self._rows(len(xs), 3), self._rows(len(xs), int(self._sdf_widths[0]))
        d_geo, active, levels = _columns(d_geo, len(d_sdf)), tape.active, self.shape.levels

        def run(job: int) -> None:
            a, b = cut[job]
            second_order.load_directions(tape.x, d_gradient, a, b, levels=levels, along=along, enc_t=enc_t)
            for level in range(levels):
                second_order.encode_tangent_level(level, a, b, *self._levels[level], active[level], xs, along, enc_t)
            second_order.decode_backward(
                d_sdf,
                d_geo,
                a,
                b,
                w=self.sdf_weights,
                widths=self._sdf_widths,
                d_w=d_w[job],
                enc=enc,
                enc_t=enc_t,
                hidden=hidden,
            )

        self.team.run(run, len(cut))
        tape.buffers = (xs, enc, hidden, along, enc_t)

    def _position_gradient(self, tape: Tape, d_sdf: np.ndarray, d_enc: np.ndarray) -> np.ndarray:
        xs, d_x = tape.parts[0], np.empty_like(tape.x)
        d_xs = self._rows(len(xs), 3)
        active, cut = tape.active, _cut(len(xs), LEVEL_BLOCKS)

        def run(job: int) -> None:
            a, b = cut[job]
            d_xs[a:b] = 0
            for level in np.flatnonzero(active):
                field_kernels.position_gradient_level(level, a, b, *self._levels[level], active[level], xs, d_enc, d_xs)
            field_kernels.position_gradient(
                tape.x, d_sdf, a, b, levels=self.shape.levels, d_enc=d_enc, d_xs=d_xs, d_x=d_x
            )

        self.team.run(run, len(cut))
        self._pool.give(d_xs)
        return d_x

    def colour_forward(self, geo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> ColourTape:
        """As `colour`, with what `colour_backward` needs."""
        geo, normal, view = (np.ascontiguousarray(a, np.float32) for a in (geo, normal, view))
        blocks = -(-len(normal) // BLOCK)
        enc, hidden = (
            self._rows(blocks, int(self._colour_widths[0])),
            self._rows(blocks, int(self._colour_widths[1:-1].sum())),
        )
        rgb, cut = np.empty((len(normal), 3), np.float32), _cut(blocks)

        def run(job: int) -> None:
            colour_kernels.colour(
                geo, normal, view, *cut[job], self.colour_weights, self._colour_widths, enc, hidden, rgb
            )

        self.team.run(run, len(cut))
        return ColourTape((enc, hidden), rgb, len(geo))

    def colour_backward(self, tape: ColourTape, d_rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Adds the colour weights' gradient; returns d loss / d geo (G, N) and d loss / d normal (N, 3). Uses the tape up."""
        enc, hidden = tape.parts
        d_rgb = np.ascontiguousarray(d_rgb, np.float32)
        d_geo, d_normal = np.empty((tape.geo_features, len(d_rgb)), np.float32), np.empty((len(d_rgb), 3), np.float32)
        d_w, cut = np.zeros((MOST_RUNS, self.colour_weights.size), np.float32), _cut(len(enc))

        def run(job: int) -> None:
            network = self.colour_weights, self._colour_widths, d_w[job]
            colour_kernels.colour_backward(tape.rgb, d_rgb, *cut[job], *network, enc, hidden, d_geo, d_normal)

        self.team.run(run, len(cut))
        self._training().colour.grad += d_w.sum(0)
        self._pool.give(*tape.parts)
        tape.buffers = None
        return d_geo, d_normal

    def step(self, lr_grid: float = 1e-2, lr_mlp: float = 1e-3) -> None:
        """One Adam step with the gradients gathered since the last one; clears them."""
        for batch in self._training().step(self.team, lr_grid, lr_mlp):
            self._pool.give(*batch.buffers)

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients gathered since the last step: "grid" (entries, 2), "sdf_weights", "colour_weights" (flat)."""
        return self._training().gradients()

    # ---- plumbing --------------------------------------------------------------------------------------------------------------

    def _training(self) -> Optimiser:
        if self._optimiser is None:
            self._optimiser = Optimiser(
                self.layout, self.grid, self.sdf_weights, self.colour_weights, threads=self.team.threads
            )
        return self._optimiser

    def _rows(self, blocks: int, rows: int) -> np.ndarray:
        return self._pool.take(blocks, rows * BLOCK)

    def active_weights(self) -> np.ndarray:
        """(levels,) float32 weight of each level for the present `active_levels`."""
        return np.clip(self.active_levels - np.arange(self.shape.levels), 0, 1).astype(np.float32)


def _slices(x: np.ndarray) -> list[np.ndarray]:
    x = np.ascontiguousarray(x, np.float32).reshape(-1, 3)
    return [x[at : at + SLICE] for at in range(0, max(len(x), 1), SLICE)]


def _columns(d_geo: np.ndarray | None, n: int) -> np.ndarray:
    return np.empty((0, n), np.float32) if d_geo is None else np.ascontiguousarray(d_geo, np.float32)


def _cut(blocks: int, least: int = RUN_BLOCKS) -> list[tuple[int, int]]:
    """Runs (first, past the last) of at least `least` blocks that make up a batch."""
    runs = min(MOST_RUNS, max(1, blocks // least)) if blocks else 0
    return [(blocks * k // runs, blocks * (k + 1) // runs) for k in range(runs)]
