"""Settings that have no effect on the route of a run: said before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.run.stage_child import load_stages
from stages.core.errors import ConfigError

WHAT = {
    "stereo": "a stereo capture",
    "posed": "pictures with known cameras",
    "scene": "taken for posed pictures of which new views alone are asked (route scene)",
    "rgbd": "a depth camera's capture",
    "merge": "two finished sessions",
    "turntable": "a depth camera's capture of an object that turns with marks under it",
}


def refuse_of_other_route(overrides: Sequence[str], route: str, stages: Sequence[Any]) -> None:
    """Raises ConfigError for a setting, of the command line or the form, of a stage that only another route has."""
    own, known = {s.name for s in stages}, {s.name for s in load_stages()}
    for text in overrides:
        stage = text.partition("=")[0].partition(".")[0].strip()
        if stage in known - own:
            what = WHAT[route]
            raise ConfigError(
                f"{text[:80]}: this folder is {what}, and {stage} is no stage of that route",
                f"its stages are {', '.join(s.name for s in stages)}; --route chooses the route",
            )


def refuse_unfit(configs: Mapping[str, Any], route: str) -> None:
    """Raises ConfigError for settings, by stage, with which a route of posed pictures cannot end well."""
    if route == "scene" and configs["novel_views"].method != "radiance":
        raise ConfigError(
            f"novel_views.method={configs['novel_views'].method} looks through a surface, and the route scene makes none",
            "leave that setting out, or use --route posed",
        )
    if route == "scene" and configs["material"].method != "off":
        raise ConfigError(
            "material.method=solved needs a textured surface, and the route scene makes none",
            "leave that setting out, or use --route posed",
        )
    if route == "posed" and configs["posed"].masks == "none":
        raise ConfigError(
            "posed.masks=none leaves no object of which a surface could be made",
            "--route scene makes new views of all that the pictures show",
        )
