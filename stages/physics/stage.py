"""Ready for simulation: colliders, mass properties, the upright pose, and files that simulators load as they are.

Where the mesh is not closed, or no colliders are found, there are no files but a reason: the twin that one looks at comes all the same.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import Inputs, Resources, Stage, StageContext, StageReport
from stages.physics.config import PhysicsConfig


class PhysicsStage(Stage):
    """mesh.ply, `textured` and the points of the scene -> `physics`: physics.json, levels/ and, where there can be, the folder sim/."""

    name = "physics"
    version = 5
    needs = Resources(memory_gb=1.5)
    Config = PhysicsConfig
    inputs = ("mesh.ply", "textured", "points.npz")
    inputs_where_made = ("material",)
    outputs = ("physics",)

    def weights_used(self, config: PhysicsConfig) -> dict[str, str]:
        """The libraries that decide the result beside the inputs."""
        from stages.physics.drop_test import engine_version

        return (
            {**{name: metadata.version(name) for name in ("coacd", "usd-core")}, **engine_version()}
            if config.files
            else {}
        )

    def check(self, inputs: Inputs, config: PhysicsConfig) -> None:
        """Nothing to refuse: what cannot be made is reported."""

    def run(self, inputs: Inputs, config: PhysicsConfig, out: Path, context: StageContext) -> StageReport:
        """Everything, or the reason why not."""
        from stages.core.levels import NAMES, write_levels
        from stages.core.material_files import shown_mesh
        from stages.core.meshes import read_ply
        from stages.physics.colliders import NoParts
        from stages.physics.levels import figures, make_levels
        from stages.physics.make import Unfit, make

        folder = out / "physics"
        folder.mkdir()
        if not config.files:
            return _without(folder, "physics.files=off", [])
        full, (textured, _) = read_ply(inputs["mesh.ply"].path), shown_mesh(inputs)
        context.progress(0, 5, "levels of detail and colliders")
        with np.load(inputs["points.npz"].path, allow_pickle=False) as points:
            scene = np.asarray(points["scene_xyz"] if "scene_xyz" in points else [], np.float64).reshape(-1, 3)
            metric = bool(points["metric"]) if "metric" in points else True
        with ThreadPoolExecutor(1) as pool:  # levels while CoACD works in its own process
            making = pool.submit(make_levels, full, textured)
            try:
                if not metric:
                    raise Unfit(
                        "its scale is unknown, so that mass and size would be made up; posed.metres_per_unit gives the scale"
                    )
                made, unfit = (
                    make(
                        full,
                        textured,
                        scene,
                        config,
                        context=context,
                        levels=lambda: [m.level for m in making.result()],
                    ),
                    "",
                )
            except (Unfit, NoParts) as e:
                made, unfit = None, str(e)
            levels = making.result()
        write_levels(folder / "levels", [m.level for m in levels])
        told = {"levels": {name: m.record for name, m in zip(NAMES, levels, strict=True)}}
        if made is None:
            return _without(
                folder,
                unfit,
                [f"No files for simulators: {unfit}. The twin itself is complete."],
                told,
                metrics=figures(levels),
            )
        from stages.physics.drop_test import dropped
        from stages.physics.files import write_sim
        from stages.physics.pictures import write_pictures

        context.progress(4, 5, "files")
        record = write_sim(folder / "sim", made)
        fall = dropped(folder / "sim")
        _save(folder, {"files": True, **record, **told, "drop": fall.record})
        metrics = {**made.figures, **figures(levels), "drop": fall.line}
        pictures = write_pictures(out, made, fall.drops)
        warnings = made.warnings + ([f"The drop test failed: {fall.why}."] if fall.why and fall.version else [])
        return StageReport(made.method, made.support.reason, metrics, warnings, pictures=pictures)


def _without(
    folder: Path,
    why: str,
    warnings: list[str],
    told: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> StageReport:
    _save(folder, {"files": False, "reason": why, **(told or {})})
    return StageReport("none", why, metrics or {}, warnings)


def _save(folder: Path, record: dict[str, Any]) -> None:
    (folder / "physics.json").write_text(json.dumps(record, indent=1, allow_nan=False))


STAGE = PhysicsStage()
