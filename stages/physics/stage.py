"""Ready for simulation: colliders, mass properties, the upright pose, and files that simulators load as they are.

Where the mesh is not closed, or no colliders are found, there are no files but a reason: the twin that one looks at comes all the same.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import Inputs, Resources, StageContext, StageReport
from stages.physics.config import PhysicsConfig


class PhysicsStage:
    """mesh.ply, `textured` and the points of the scene -> `physics`: physics.json and, where there can be, the folder sim/."""

    name = "physics"
    version = 1
    needs = Resources(memory_gb=1.5)
    Config = PhysicsConfig
    inputs = ("mesh.ply", "textured", "points.npz")
    outputs = ("physics",)

    def weights_used(self, config: PhysicsConfig) -> dict[str, str]:
        """The libraries that decide the result beside the inputs."""
        return {name: metadata.version(name) for name in ("coacd", "usd-core")} if config.files else {}

    def check(self, inputs: Inputs, config: PhysicsConfig) -> None:
        """Nothing to refuse: what cannot be made is reported."""

    def run(self, inputs: Inputs, config: PhysicsConfig, out: Path, context: StageContext) -> StageReport:
        """Everything, or the reason why not."""
        from stages.core.meshes import read_ply, read_textured
        from stages.physics.colliders import NoParts
        from stages.physics.make import Unfit, make

        folder = out / "physics"
        folder.mkdir()
        if not config.files:
            return _without(folder, "physics.files=off", [])
        full = read_ply(inputs["mesh.ply"].path)
        with np.load(inputs["points.npz"].path, allow_pickle=False) as points:
            scene = np.asarray(points["scene_xyz"] if "scene_xyz" in points else [], np.float64).reshape(-1, 3)
            metric = bool(points["metric"]) if "metric" in points else True
        try:
            if not metric:
                raise Unfit("its scale is unknown, so that mass and size would be made up; posed.metres_per_unit gives the scale")
            made = make(full, read_textured(inputs["textured"].path), scene, config, context)
        except (Unfit, NoParts) as e:
            return _without(folder, str(e), [f"No files for simulators: {e}. The twin itself is complete."])
        from stages.physics.files import write_sim
        from stages.physics.pictures import write_pictures

        context.progress(4, 5, "files")
        record = write_sim(folder / "sim", made)
        _save(folder, {"files": True, **record})
        return StageReport(made.method, made.support.reason, made.figures, made.warnings, write_pictures(out, made, context.workers))


def _without(folder: Path, why: str, warnings: list[str]) -> StageReport:
    _save(folder, {"files": False, "reason": why})
    return StageReport("none", why, {}, warnings)


def _save(folder: Path, record: dict[str, Any]) -> None:
    (folder / "physics.json").write_text(json.dumps(record, indent=1, allow_nan=False))


STAGE = PhysicsStage()
