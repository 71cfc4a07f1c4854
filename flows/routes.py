"""Settings that have no effect on the route of a run: said before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.stage_child import load_stages
from stages.core.errors import ConfigError

WHAT = {"stereo": "a stereo capture", "posed": "pictures with known cameras", "rgbd": "a depth camera's capture",
        "merge": "two finished sessions",
        "turntable": "a depth camera's capture of an object that turns with marks under it"}


def refuse_of_other_route(overrides: Sequence[str], route: str, stages: Sequence[Any]) -> None:
    """Raises ConfigError for a setting, of the command line or the form, of a stage that only another route has."""
    own, known = {s.name for s in stages}, {s.name for s in load_stages()}
    for text in overrides:
        stage = text.partition("=")[0].partition(".")[0].strip()
        if stage in known - own:
            what = WHAT[route]
            raise ConfigError(f"{text[:80]}: this folder is {what}, and {stage} is no stage of that route",
                              f"its stages are {', '.join(s.name for s in stages)}; --route chooses the route")
