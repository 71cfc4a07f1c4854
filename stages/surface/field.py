"""The neural field: signed distance, geometry features and colour of points in the unit cube, trained on CPU.

Hash grid (hash_grid.py) -> perceptron (mlp.py) -> network share of the signed distance and features -> colour head
(colour_kernels.py). The signed distance is |x - 1/2| - radius + network, the network starting at exactly 0 (its hidden neurons come in
pairs of opposite output weight), so training starts from a clean sphere. `torch_twin.py` says the same in a few lines of torch.

Results do not depend on the number of threads: work is cut into fixed runs of blocks, gradients of the weights are summed per run and
then over runs in order, and each level's table has one owner while gradients are scattered.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.core.errors import StageError
from stages.surface import adam, colour_kernels, field_kernels
from stages.surface.hash_grid import BLOCK, FEATURES, LINE, GridLayout
from stages.surface.mlp import MlpShape, rounded_up_to_four
from stages.surface.thread_team import ThreadTeam

RUNS = 16                       # fixed cut of a batch: never a function of the number of threads
SLICE = 1 << 17                 # points of one inference pass: bounds memory
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FieldShape:
    """Sizes of the field. Resolutions are cells along an edge of the unit cube."""

    levels: int = 16
    features: int = FEATURES
    log2_entries: int = 19
    base_resolution: int = 16
    finest_resolution: int = 2048
    hidden: int = 64
    sdf_layers: int = 1
    geo_features: int = 15
    colour_hidden: int = 64
    colour_layers: int = 1

    def __post_init__(self) -> None:
        if self.features != FEATURES:
            raise ValueError(f"the kernels are written for {FEATURES} features a level, not {self.features}")
        if self.hidden % 8 or self.colour_hidden % 8:
            raise ValueError("hidden widths must be multiples of 8")

    @property
    def sdf_mlp(self) -> MlpShape:
        """Grid features, position, ones -> signed distance and geometry features."""
        inputs = rounded_up_to_four(self.levels * self.features + 4)
        return MlpShape((inputs, *(self.hidden,) * self.sdf_layers, 1 + self.geo_features))

    @property
    def colour_mlp(self) -> MlpShape:
        """Geometry features, normal, viewing direction, ones -> RGB."""
        inputs = rounded_up_to_four(self.geo_features + 3 + colour_kernels.HARMONICS + 1)
        return MlpShape((inputs, *(self.colour_hidden,) * self.colour_layers, 3))

    def grid(self) -> GridLayout:
        """Layout of the grid's levels."""
        return GridLayout.of(self.levels, self.log2_entries, self.base_resolution, self.finest_resolution)


@dataclass
class Tape:
    """A forward pass: results, and what one backward pass needs (its buffers are overwritten and reused by it)."""

    x: np.ndarray
    sdf: np.ndarray
    geo: np.ndarray | None
    buffers: tuple[np.ndarray, ...] | None


@dataclass
class ColourTape:
    """A forward pass of the colour head, for one backward pass."""

    rgb: np.ndarray
    geo_features: int
    buffers: tuple[np.ndarray, ...] | None


class Field:
    """Parameters, their gradients and optimiser state; see the module docstring. Not safe for calls from several threads at once."""

    def __init__(self, shape: FieldShape, radius: float, grid: np.ndarray, sdf_weights: np.ndarray, colour_weights: np.ndarray, threads: int = 2) -> None:
        self.shape, self.radius = shape, float(radius)
        self.layout = shape.grid()
        self.grid, self.sdf_weights, self.colour_weights = grid, sdf_weights, colour_weights
        self.active_levels = float(shape.levels)
        self.team = ThreadTeam(threads)
        self.adam_grid = adam.AdamShape()
        self.adam_mlp = adam.AdamShape(beta2=0.99, epsilon=1e-12)
        self._training: _TrainingState | None = None
        self._spare: dict[tuple, list[np.ndarray]] = {}
        lay = self.layout
        self._tables = (lay.scale, lay.resolution, lay.offset, lay.size, lay.hashed)
        self._sdf_widths = np.array(shape.sdf_mlp.widths, np.int64)
        self._colour_widths = np.array(shape.colour_mlp.widths, np.int64)

    @staticmethod
    def create(shape: FieldShape, seed: int = 0, sphere_radius: float = 0.3, threads: int = 2) -> Field:
        """A new field whose signed distance is exactly that of a sphere round the cube's centre."""
        rng = np.random.default_rng(seed)
        grid = _aligned_zeros((shape.grid().entries, FEATURES))
        grid[:] = rng.uniform(-1e-4, 1e-4, grid.shape)
        weights = shape.sdf_mlp.initial(rng)
        half = shape.hidden // 2
        *below, last = shape.sdf_mlp.layers(weights)
        for layer in below:
            layer[half:] = layer[:half]
        last[0, half:] = -last[0, :half]
        return Field(shape, sphere_radius, grid, weights, shape.colour_mlp.initial(rng), threads)

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
            gradients.append(self._backward(tape, np.ones(len(part), np.float32), None, weights=False, want_dx=True))
            self._release(tape.buffers)
        return np.concatenate(values), np.concatenate(gradients)

    def colour(self, geo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> np.ndarray:
        """(G, N) features, (N, 3) normals, (N, 3) unit viewing directions -> (N, 3) RGB in 0..1."""
        parts = []
        for at in range(0, len(normal), SLICE):
            tape = self.colour_forward(geo[:, at : at + SLICE], normal[at : at + SLICE], view[at : at + SLICE])
            parts.append(tape.rgb)
            self._release(tape.buffers)
        return np.concatenate(parts) if parts else np.empty((0, 3), np.float32)

    def _inference(self, x: np.ndarray, features: bool) -> tuple[np.ndarray, np.ndarray | None]:
        tape = self.forward(x, features)
        self._release(tape.buffers)
        return tape.sdf, tape.geo

    # ---- training --------------------------------------------------------------------------------------------------------------

    def forward(self, x: np.ndarray, features: bool = True) -> Tape:
        """Signed distance and (optionally) geometry features of (N, 3) points, with what `backward` needs."""
        x = np.ascontiguousarray(x, np.float32)
        blocks = -(-len(x) // BLOCK)
        neurons = int(self._sdf_widths[1:-1].sum())
        xs, enc = self._buffer(blocks, 3), self._buffer(blocks, int(self._sdf_widths[0]))
        hidden = self._buffer(blocks, neurons)
        sdf = np.empty(len(x), np.float32)
        geo = np.empty((self.shape.geo_features if features else 0, len(x)), np.float32)
        active = self.active_weights()

        def run(job: int) -> None:
            a, b = _run(job, blocks)
            field_kernels.encode(x, a, b, self.grid, *self._tables, active, xs, enc)
            field_kernels.decode(x, a, b, self.sdf_weights, self._sdf_widths, np.float32(self.radius), enc, hidden, sdf, geo)

        self.team.run(run, RUNS)
        return Tape(x, sdf, geo if features else None, (xs, enc, hidden))

    def backward(self, tape: Tape, d_sdf: np.ndarray, d_geo: np.ndarray | None = None, want_dx: bool = False) -> np.ndarray | None:
        """Adds the parameters' gradients for d loss / d sdf (N,) and d loss / d geo (G, N); returns d loss / d x (N, 3) if wanted.

        Uses the tape up.
        """
        self._start_training()
        out = self._backward(tape, np.ascontiguousarray(d_sdf, np.float32), d_geo, weights=True, want_dx=want_dx)
        self._scatter(tape)
        self._release(tape.buffers)
        tape.buffers = None
        return out

    def _backward(self, tape: Tape, d_sdf: np.ndarray, d_geo: np.ndarray | None, weights: bool, want_dx: bool) -> np.ndarray | None:
        if tape.buffers is None:
            raise ValueError("this tape has been used by a backward pass already")
        xs, enc, hidden = tape.buffers
        blocks = len(xs)
        d_geo = np.empty((0, len(d_sdf)), np.float32) if d_geo is None else np.ascontiguousarray(d_geo, np.float32)
        d_w = np.zeros((RUNS, self.sdf_weights.size if weights else 0), np.float32)
        d_x = np.empty_like(tape.x) if want_dx else None
        active = self.active_weights()

        def run(job: int) -> None:
            a, b = _run(job, blocks)
            field_kernels.decode_backward(d_sdf, d_geo, a, b, self.sdf_weights, self._sdf_widths, d_w[job], enc, hidden)
            if d_x is not None:
                field_kernels.position_gradient(tape.x, d_sdf, a, b, self.grid, *self._tables, active, xs, enc, d_x)

        self.team.run(run, RUNS)
        if weights:
            self._training.d_sdf_weights += d_w.sum(0)
        return d_x

    def _scatter(self, tape: Tape) -> None:
        xs, d_enc, _ = tape.buffers
        active, state = self.active_weights(), self._training
        levels = np.flatnonzero(active)[::-1]               # fine levels take longest: first

        def run(job: int) -> None:
            field_kernels.scatter_level(levels[job], len(tape.x), *self._tables, active, xs, d_enc, state.d_grid, state.touched)

        self.team.run(run, len(levels))

    def colour_forward(self, geo: np.ndarray, normal: np.ndarray, view: np.ndarray) -> ColourTape:
        """As `colour`, with what `colour_backward` needs."""
        geo, normal, view = (np.ascontiguousarray(a, np.float32) for a in (geo, normal, view))
        blocks = -(-len(normal) // BLOCK)
        enc, hidden = self._buffer(blocks, int(self._colour_widths[0])), self._buffer(blocks, int(self._colour_widths[1:-1].sum()))
        rgb = np.empty((len(normal), 3), np.float32)

        def run(job: int) -> None:
            colour_kernels.colour(geo, normal, view, *_run(job, blocks), self.colour_weights, self._colour_widths, enc, hidden, rgb)

        self.team.run(run, RUNS)
        return ColourTape(rgb, len(geo), (enc, hidden))

    def colour_backward(self, tape: ColourTape, d_rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Adds the colour weights' gradient; returns d loss / d geo (G, N) and d loss / d normal (N, 3). Uses the tape up."""
        if tape.buffers is None:
            raise ValueError("this tape has been used by a backward pass already")
        self._start_training()
        enc, hidden = tape.buffers
        d_rgb = np.ascontiguousarray(d_rgb, np.float32)
        d_geo, d_normal = np.empty((tape.geo_features, len(d_rgb)), np.float32), np.empty((len(d_rgb), 3), np.float32)
        d_w = np.zeros((RUNS, self.colour_weights.size), np.float32)

        def run(job: int) -> None:
            colour_kernels.colour_backward(tape.rgb, d_rgb, *_run(job, len(enc)), self.colour_weights, self._colour_widths, d_w[job],
                                           enc, hidden, d_geo, d_normal)

        self.team.run(run, RUNS)
        self._training.d_colour_weights += d_w.sum(0)
        self._release(tape.buffers)
        tape.buffers = None
        return d_geo, d_normal

    def step(self, lr_grid: float = 1e-2, lr_mlp: float = 1e-3) -> None:
        """One Adam step with the gradients gathered since the last one; clears them."""
        state = self._start_training()
        state.step(self, np.float32(lr_grid), lr_mlp)

    def gradients(self) -> dict[str, np.ndarray]:
        """Views of the gradients gathered since the last step: "grid", "sdf_weights", "colour_weights"."""
        state = self._start_training()
        return {"grid": state.d_grid, "sdf_weights": state.d_sdf_weights, "colour_weights": state.d_colour_weights}

    # ---- plumbing --------------------------------------------------------------------------------------------------------------

    def _start_training(self) -> _TrainingState:
        if self._training is None:
            self._training = _TrainingState(self)
        return self._training

    def active_weights(self) -> np.ndarray:
        """(levels,) float32 weight of each level for the present `active_levels`."""
        return np.clip(self.active_levels - np.arange(self.shape.levels), 0, 1).astype(np.float32)

    def _buffer(self, blocks: int, rows: int) -> np.ndarray:
        spare = self._spare.get((blocks, rows * BLOCK))
        return spare.pop() if spare else _aligned_zeros((blocks, rows * BLOCK))

    def _release(self, buffers: tuple[np.ndarray, ...]) -> None:
        if len(self._spare) > 64:                           # ever new batch sizes: forget the old ones
            self._spare.clear()
        for buffer in buffers:
            self._spare.setdefault(buffer.shape, []).append(buffer)

    # ---- disk ------------------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write field.safetensors (parameters) and field.json (sizes; enough to evaluate the field anywhere)."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({"grid": self.grid, "sdf_weights": self.sdf_weights, "colour_weights": self.colour_weights}, folder / "field.safetensors")
        about = {"schema_version": SCHEMA_VERSION, "shape": asdict(self.shape), "sphere_radius": self.radius, "active_levels": self.active_levels,
                 "sdf_widths": self.shape.sdf_mlp.widths, "colour_widths": self.shape.colour_mlp.widths,
                 "level_scale": self.layout.scale.tolist(), "level_offset": self.layout.offset.tolist(), "level_size": self.layout.size.tolist()}
        (folder / "field.json").write_text(json.dumps(about, indent=1))

    @staticmethod
    def load(folder: Path, threads: int = 2) -> Field:
        """Read what `save` wrote. Raises StageError if the two files do not agree."""
        from safetensors.numpy import load_file

        about = json.loads((folder / "field.json").read_text())
        if about["schema_version"] != SCHEMA_VERSION:
            raise StageError(f"{folder}: field schema {about['schema_version']}, this program reads {SCHEMA_VERSION}", "run the surface stage again")
        shape, parts = FieldShape(**about["shape"]), load_file(folder / "field.safetensors")
        expected = {"grid": (shape.grid().entries, FEATURES), "sdf_weights": (shape.sdf_mlp.count,), "colour_weights": (shape.colour_mlp.count,)}
        for name, size in expected.items():
            if name not in parts or parts[name].shape != size:
                raise StageError(f"{folder}: {name} is not of shape {size}", "the field is damaged; run the surface stage again")
        grid = _aligned_zeros(expected["grid"])
        grid[:] = parts["grid"]
        field = Field(shape, about["sphere_radius"], grid, parts["sdf_weights"], parts["colour_weights"], threads)
        field.active_levels = about["active_levels"]
        return field


class _TrainingState:
    """Gradients and Adam moments; made on the first backward pass, so that fields used only for inference stay small."""

    def __init__(self, field: Field) -> None:
        entries = field.layout.entries
        self.d_grid, self.first, self.second = (_aligned_zeros((entries, FEATURES)) for _ in range(3))
        self.touched = np.zeros(entries // LINE, np.uint8)
        self.steps = np.zeros(entries, np.uint16)
        self.corrections = field.adam_grid.corrections()
        self.d_sdf_weights, self.d_colour_weights = np.zeros_like(field.sdf_weights), np.zeros_like(field.colour_weights)
        self.moments = {"sdf": [np.zeros_like(field.sdf_weights) for _ in range(2)], "colour": [np.zeros_like(field.colour_weights) for _ in range(2)]}
        self.dense_steps = {"sdf": 0, "colour": 0}

    def step(self, field: Field, lr_grid: np.float32, lr_mlp: float) -> None:
        self._step_grid(field, lr_grid)
        self._step_dense("sdf", field.sdf_weights, self.d_sdf_weights, field.adam_mlp, lr_mlp)
        self._step_dense("colour", field.colour_weights, self.d_colour_weights, field.adam_mlp, lr_mlp)

    def _step_grid(self, field: Field, rate: np.float32) -> None:
        shape, lines = field.adam_grid, len(self.touched)
        beta1, beta2, epsilon = np.float32(shape.beta1), np.float32(shape.beta2), np.float32(shape.epsilon)
        flat = [a.reshape(-1) for a in (field.grid, self.d_grid, self.first, self.second)]
        jobs = 4 * RUNS

        def run(job: int) -> None:
            adam.step_touched(lines * job // jobs, lines * (job + 1) // jobs, self.touched, *flat, self.steps, self.corrections, rate,
                              beta1, beta2, epsilon)

        field.team.run(run, jobs)

    def _step_dense(self, name: str, weights: np.ndarray, grad: np.ndarray, shape: adam.AdamShape, lr: float) -> None:
        if not grad.any():
            return
        self.dense_steps[name] += 1
        rate = lr * shape.corrections()[min(self.dense_steps[name], adam.CORRECTIONS - 1)]
        adam.step_dense(weights, grad, *self.moments[name], np.float32(rate), np.float32(shape.beta1), np.float32(shape.beta2), np.float32(shape.epsilon))
        grad[:] = 0


def tetrahedral_taps(x: np.ndarray, epsilon: float) -> np.ndarray:
    """(N, 3) -> (4 N, 3): x + epsilon k for the four corners k of a tetrahedron, corner by corner."""
    return (x[None] + np.float32(epsilon) * _TETRAHEDRON[:, None]).reshape(-1, 3)


def tap_gradient(sdf: np.ndarray, epsilon: float) -> np.ndarray:
    """(4 N,) values at `tetrahedral_taps` -> (N, 3) gradient, exact for linear functions."""
    return (sdf.reshape(4, -1).T @ _TETRAHEDRON) / np.float32(4 * epsilon)


def tap_gradient_backward(d_gradient: np.ndarray, epsilon: float) -> np.ndarray:
    """Adjoint of `tap_gradient`: (N, 3) -> (4 N,)."""
    return (_TETRAHEDRON @ d_gradient.T).reshape(-1) / np.float32(4 * epsilon)


_TETRAHEDRON = np.array([(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)], np.float32)


def _slices(x: np.ndarray) -> list[np.ndarray]:
    x = np.ascontiguousarray(x, np.float32).reshape(-1, 3)
    return [x[at : at + SLICE] for at in range(0, max(len(x), 1), SLICE)]


def _run(job: int, blocks: int) -> tuple[int, int]:
    return blocks * job // RUNS, blocks * (job + 1) // RUNS


def _aligned_zeros(shape: tuple[int, ...], align: int = 64) -> np.ndarray:
    """float32 zeros whose first byte starts a cache line."""
    count = int(np.prod(shape))
    raw = np.zeros(count + align // 4, np.float32)
    skip = (-raw.ctypes.data % align) // 4
    return raw[skip : skip + count].reshape(shape)
