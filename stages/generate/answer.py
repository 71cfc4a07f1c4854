"""What a model of completion answers, brought to one form: signed distance on a grid, and colours where it has any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.errors import StageError
from stages.generate.model import ADVICE, Model
from stages.generate.paint import Colours
from stages.generate.scene import Known, Room
from stages.generate.solid import at, distance_of_mesh

LEAST_NODES, MOST_NODES = 8, 512


@dataclass(frozen=True)
class Answer:
    """distance (n, n, n) of the room; colour (3, n, n, n) 0 to 1 of the room, or vertices (V, 3) with colours (V, 3); or neither."""

    distance: np.ndarray
    colour: np.ndarray | None = None
    coloured: tuple[np.ndarray, np.ndarray] | None = None

    def colours(self, room: Room) -> Colours | None:
        """The model's, by place."""

        def into(x):
            return (x - room.centre) / room.half

        if self.colour is not None:
            grid = self.colour
            return lambda x: _grey(at(grid, into(x)))
        if self.coloured is None:
            return None
        from scipy.spatial import cKDTree

        tree, values = cKDTree(self.coloured[0]), self.coloured[1]
        return lambda x: _grey(values[tree.query(into(x))[1]])


def asked(model: Model, known: Known, seed: int, size: int) -> Answer:
    """From pictures spread over those there are. `size` of the grid for a model that answers with a mesh. Raises StageError."""
    frames = sorted(known.poses)
    frames = frames[:: max(1, -(-len(frames) // model.contract.pictures))][: model.contract.pictures]
    answer = model(known.given(known.crops(frames, model.contract.size_px), seed))
    if "distance" in answer:
        return _of_grid(model.name, answer)
    return _of_mesh(model.name, answer, size)


def _of_grid(name: str, answer: dict[str, np.ndarray]) -> Answer:
    n = answer["distance"].shape[-1]
    if not LEAST_NODES <= n <= MOST_NODES:
        raise StageError(
            f"the model {name} gives a distance of shape {answer['distance'].shape}, expected a cube of nodes", ADVICE
        )
    colour = _shaped(name, "colour", answer["colour"], (3, n, n, n)) if "colour" in answer else None
    return Answer(_shaped(name, "distance", answer["distance"], (n, n, n)), colour)


def _of_mesh(name: str, answer: dict[str, np.ndarray], size: int) -> Answer:
    count, faces = answer["vertices"].size // 3, np.asarray(answer["faces"], np.int64).reshape(-1, 3)
    vertices = _shaped(name, "vertices", answer["vertices"], (count, 3))
    if not len(faces) or faces.min() < 0 or faces.max() >= count:
        raise StageError(f"the model {name} gives faces of vertices that are not there", ADVICE)
    try:
        distance = distance_of_mesh(vertices, faces, size)
    except ValueError as e:
        raise StageError(
            f"the model {name}: {e}", "give a closed mesh, or `distance` on a grid (docs/generated.md)"
        ) from e
    colours = _shaped(name, "colours", answer["colours"], (count, 3)) if "colours" in answer else None
    return Answer(distance, None, None if colours is None else (vertices, colours))


def _shaped(name: str, what: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """float64 of that shape, axes of length 1 before it dropped. Raises StageError."""
    if value.size != int(np.prod(shape)) or value.shape[-1] != shape[-1] or not np.isfinite(value).all():
        raise StageError(f"the model {name} gives {what} of shape {value.shape}, expected {shape}, finite", ADVICE)
    return np.asarray(value, np.float64).reshape(shape)


def _grey(colours: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(255 * colours), 0, 255).astype(np.uint8)
