"""The form of reconstruct-capture in the Prefect UI: what it shows, and the `Reconstruction` it means.

The class names and the field order are what a user reads. Limits are JSON-schema constraints, which the server checks before a run exists.
"""

from __future__ import annotations

import dataclasses
import typing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from flows.records.places import capture_folder, twin_address, twin_folder
from flows.records.request import Reconstruction
from flows.records.s3_addresses import capture_address, place_of_address
from flows.run.stage_child import load_stages
from flows.ui.field_docs import field_docs
from stages.core.errors import ConfigError

Setting = Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_0-9]+)?=.+$")]


class Profile(StrEnum):
    """How much work a run puts in."""

    preview = "preview"
    standard = "standard"
    quality = "quality"


def _edge(which: str, position: int) -> Any:
    return Field(None, ge=0, le=20000, description=which, json_schema_extra={"position": position})


class RouteChoice(StrEnum):
    """Stereo capture, pictures with known cameras (posed; scene: new views of all they show, without a surface), colour and depth of a
    depth camera (rgbd), or two sessions that `twin merge` joins, or a depth camera before marks that turn with the object (turntable);
    auto goes by what lies in the folder."""

    auto = "auto"
    stereo = "stereo"
    posed = "posed"
    scene = "scene"
    rgbd = "rgbd"
    merge = "merge"
    turntable = "turntable"


class Box(BaseModel):
    """Round the object in the first left picture, in pixels of the capture: four numbers, or none."""

    model_config = ConfigDict(frozen=True)

    left: float | None = _edge("x of the left edge, px, from 0 to 20000", 0)
    top: float | None = _edge("y of the upper edge, px, from 0 to 20000", 1)
    right: float | None = _edge("x of the right edge, px, right of the left one", 2)
    bottom: float | None = _edge("y of the lower edge, px, below the upper one", 3)

    @property
    def edges(self) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1; None if nothing was written. Raises ConfigError for some of the four."""
        left, top, right, bottom = self.left, self.top, self.right, self.bottom
        if left is not None and top is not None and right is not None and bottom is not None:
            return left, top, right, bottom
        if written := [name for name, value in self.model_dump().items() if value is not None]:
            raise ConfigError(
                f"the box has only {', '.join(written)}", "write all four numbers, or none: the object is then found"
            )
        return None


def _method_fields() -> dict[str, Any]:
    """One dropdown per stage that has a choice of methods, from its config class."""
    found: dict[str, Any] = {}
    for position, stage in enumerate(load_stages()):
        hint = typing.get_type_hints(stage.Config).get("method")
        if typing.get_origin(hint) is typing.Literal:
            default = next(f.default for f in dataclasses.fields(stage.Config) if f.name == "method")
            about = field_docs(stage.Config).get("method", f"method of {stage.name}").replace("`", "")
            found[stage.name] = (hint, Field(default, description=about, json_schema_extra={"position": position}))
    return found


if TYPE_CHECKING:

    class Methods(BaseModel): ...

    class StageName(StrEnum): ...
else:
    Methods = create_model("Methods", __config__=ConfigDict(frozen=True, extra="forbid"), **_method_fields())
    Methods.__doc__ = "Method of each stage; auto takes the best one whose weights and device are there."
    StageName = StrEnum("StageName", {s.name: s.name for s in load_stages()})


def request_of(
    capture: str,
    methods: BaseModel,
    box: Box | None,
    settings: list[str],
    time_limit_min: float | None,
    **as_given: Any,
) -> Reconstruction:
    """The form's content as a request. A capture is a name below `captures_root`, or an absolute path. `as_given`: what a request has by
    the same name (profile, start_from, force, route)."""
    fields = type(methods).model_fields
    chosen = tuple(
        f"{stage}.method={value}" for stage, value in methods.model_dump().items() if value != fields[stage].default
    )
    edges = None if box is None else box.edges
    address = capture_address(capture)
    path = place_of_address(address) if address else capture_folder(capture)
    out = twin_folder(path)
    return Reconstruction(
        capture=str(path),
        out=str(out),
        capture_from=address,
        twin_to=twin_address(out),
        box=edges,
        settings=(*chosen, *settings),
        time_limit_s=None if time_limit_min is None else 60 * time_limit_min,
        **as_given,
    )
