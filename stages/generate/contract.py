"""What a generative model is given, and what it answers: the one contract of all of them (docs/generated.md has it for whoever wraps one).

Lengths are in units of the room: its centre is that of the mesh's box, 1 is half the diagonal of that box. Cameras are OpenCV's (x right, y
down, z forward), pixel centres at integers; `b_from_a` turns coordinates of a into those of b.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.errors import WeightsError
from stages.core.weights import entry

GIVEN: Mapping[str, str] = {
    "pictures": "(N, 3, S, S) float32, RGB 0 to 1, the object on white, nearest picture first",
    "opacities": "(N, 1, S, S) float32, 1 on the object",
    "intrinsics": "(N, 3, 3) float32, px of the pictures",
    "object_from_camera": "(N, 4, 4) float32",
    "view_from_camera": "(N, 4, 4) float32, of the camera that is asked for",
    "view_intrinsics": "(3, 3) float32, px",
    "view_object_from_camera": "(4, 4) float32",
    "points": "(M, 3) float32, places of the surface that cameras saw, even over it; M up to 4000",
    "seed": "() int64",
}
"""every input that a model may have; it gets those that it declares"""
OF_A_VIEW = ("view_from_camera", "view_intrinsics", "view_object_from_camera")
ANSWERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "views": (("picture", "opacity"),),
    "completion": (("distance",), ("vertices", "faces")),
}
"""outputs that a model must have, by what it answers: one of these sets"""


def inputs_for(answers: str) -> tuple[str, ...]:
    """What a model that answers this can have."""
    return tuple(k for k in GIVEN if answers == "views" or k not in OF_A_VIEW)


@dataclass(frozen=True)
class Contract:
    """The `model` part of an entry in registry.yaml."""

    answers: str
    size_px: int
    """side S of the pictures that it takes, and of the one that it gives, where it gives one"""
    pictures: int = 1
    """most that it takes"""


def contract(name: str, asked: str) -> Contract:
    """Of the weights of that name, which are asked for `asked`. Raises WeightsError that says what is wrong with their entry."""
    model = entry(name).model
    known = [f.name for f in dataclasses.fields(Contract)]
    if not isinstance(model, Mapping) or model.get("answers") not in ANSWERS or (strange := set(model) - set(known)):
        wrong = (
            f"unknown keys {', '.join(sorted(strange))}" if model.get("answers") in ANSWERS else "no `answers` there"
        )
        raise WeightsError(
            f"the weights {name} are no generative model: `model` of their entry has {wrong}",
            f"it needs {', '.join(known)}, `answers` one of {', '.join(ANSWERS)} (docs/generated.md)",
        )
    if model["answers"] != asked:
        raise WeightsError(
            f"generate.{asked}={name}: that model answers {model['answers']}", f"generate.{model['answers']}={name}"
        )
    return _made(name, model)


def _made(name: str, model: Mapping[str, Any]) -> Contract:
    try:
        made = Contract(str(model["answers"]), int(model["size_px"]), int(model.get("pictures", 1)))
        if not 16 <= made.size_px <= 2048 or not 1 <= made.pictures <= 64:
            raise ValueError
    except (KeyError, TypeError, ValueError) as e:
        raise WeightsError(
            f"the entry of {name} needs model.size_px (16 to 2048) and may have model.pictures (1 to 64)",
            "correct registry.yaml (docs/generated.md)",
        ) from e
    return made
