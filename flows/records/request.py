"""What a user asks for: one validated object for the command line, the form in the Prefect UI, and the record of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from stages.core.prompt_words import text_of
from stages.core.routes import Route, route_of

OF_A_SCENE = ("posed.masks=none", "novel_views.method=radiance")


class Reconstruction(BaseModel):
    """One capture to reconstruct. Paths are absolute once it has been made by `for_paths`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    capture: str = Field(
        min_length=1,
        description="folder: left/, right/ (or video), calibration; or posed pictures; or colour and depth",
    )
    out: str = Field(min_length=1, description="folder that receives the twin")
    capture_from: str = Field("", description="address in a bucket that the capture is fetched from before the run")
    twin_to: str = Field("", description="address in a bucket that the twin is sent to after it")
    route: Route = Field(
        "auto",
        description="stereo capture, posed pictures, depth camera (rgbd), new views of posed pictures without a "
        "surface (scene), or auto: what lies in the folder",
    )
    profile: Literal["preview", "standard", "quality"] = Field(
        "standard", description="preview: about a minute; quality: slow and fine"
    )
    box: tuple[float, float, float, float] | None = Field(
        None, description="x0, y0, x1, y1 of the object in the first left picture, px"
    )
    start_from: str | None = Field(
        None, description="compute this stage and all that follow again, even if the store has them"
    )
    until: str | None = Field(None, description="stop after this stage; no twin is written")
    force: bool = Field(False, description="compute every stage again")
    settings: tuple[str, ...] = Field((), description="more settings, each as stage.key=value")
    time_limit_s: float | None = Field(None, gt=0, description="a stage that takes longer is ended")
    threads: int = Field(
        0, ge=0, description="worker threads per stage; 0 = all cores, shared evenly with other runs of this machine"
    )

    @property
    def name(self) -> str:
        """The capture's folder name."""
        return Path(self.capture).name

    def taken(self) -> Literal["stereo", "posed", "scene", "rgbd", "merge", "turntable"]:
        """The route: the one asked for, or by what lies in the folder."""
        return route_of(Path(self.capture)) if self.route == "auto" else self.route

    def overrides(self) -> tuple[str, ...]:
        """All settings of the request as stage.key=value, among them the box, or the words of prompt.json, which need weights; before them
        what the route `scene` means, where nothing else is asked."""
        settings = (*OF_A_SCENE, *self.settings) if self.route == "scene" else self.settings
        words = "" if self.box is not None else text_of(Path(self.capture))
        if self.box is None and not words:
            return settings
        route = self.taken()
        stage = "rgbd" if route in ("rgbd", "turntable") else "rectify"
        if self.box is None:
            return (
                (f"{stage}.text={json.dumps(words)}", *settings)
                if route in ("stereo", "rgbd", "turntable")
                else settings
            )
        box = f"{stage}.box=[{','.join(f'{x:g}' for x in self.box)}]"
        return (box, *settings)
