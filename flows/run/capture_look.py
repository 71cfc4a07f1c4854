"""A look at the capture with the settings of a request: for `twin check`, the log of a run, and the Prefect UI."""

from __future__ import annotations

from pathlib import Path

from flows.records.request import Reconstruction
from flows.run.stage_child import load_stages
from stages.core.config import resolve
from stages.core.look import Look
from stages.graph import look_at

FIRST = {"stereo": "rectify", "posed": "posed", "scene": "posed", "rgbd": "rgbd", "merge": "merge", "turntable": "rgbd"}
"""{route: the stage that reads the capture}"""


def look(request: Reconstruction, pictures: bool = True) -> Look:
    """Raises ConfigError for settings that cannot be."""
    stages = load_stages()
    settings = resolve(
        {s.name: s.Config for s in stages}, request.profile, Path(request.capture) / "twin.yaml", request.overrides()
    )
    return look_at(Path(request.capture), settings.stages[FIRST[request.taken()]], pictures)
