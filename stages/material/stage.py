"""Take the light out of the texture: base colour, roughness and an environment light, solved from what all views show of each point."""

from __future__ import annotations

from pathlib import Path

from stages.base import Inputs, Resources, Stage, StageContext, StageReport
from stages.core.errors import StageError
from stages.material.config import MaterialConfig


class MaterialStage(Stage):
    """`textured` and the pictures -> `material` (maps of base colour and roughness, and the light). Left out of a run unless asked for."""

    name = "material"
    version = 1
    needs = Resources(memory_gb=2.0, lower=("max_views",))
    Config = MaterialConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "masks_final", "poses_refined.json", "textured")
    outputs = ("material",)

    def asked_for(self, config: MaterialConfig) -> bool:
        """Whether a run has this stage."""
        return config.method != "off"

    def check(self, inputs: Inputs, config: MaterialConfig) -> None:
        """Raises StageError when it was not asked for."""
        if not self.asked_for(config):
            raise StageError("material.method=off: there is nothing to solve", "material.method=solved")

    def run(self, inputs: Inputs, config: MaterialConfig, out: Path, context: StageContext) -> StageReport:
        """Look at the pictures, solve, write."""
        from stages.core.camera import Rig
        from stages.core.frames import FrameReader, posed, read_poses, read_table
        from stages.core.material_files import write_maps
        from stages.core.meshes import read_textured
        from stages.core.texels.views import stereo_views
        from stages.material.gather import look
        from stages.material.maps import solve_maps
        from stages.material.show import write_pictures

        rig, mesh = Rig.load(inputs["rig.json"].path), read_textured(inputs["textured"].path)
        reader = FrameReader(
            tuple(read_table(inputs["frames.parquet"].path)), inputs["pairs"].path, None, inputs["masks_final"].path
        )
        poses = {k: p for k, p in posed(read_poses(inputs["poses_refined.json"].path)).items() if k in set(reader.ids)}
        views = stereo_views(poses, rig, ("left", "right") if reader.has_right else ("left",), {})
        try:
            seen, agreed = look(mesh, views, rig, reader, config=config, work=context.work)
            made = solve_maps(seen, config, context.workers, context.seed, progress=context.progress)
        except ValueError as e:
            raise StageError(
                f"materials cannot be solved: {e}", "material.method=off, or more pictures from other sides"
            ) from e
        write_maps(out / "material", made.base, made.roughness, made.light)
        explained = 100 * (1 - made.error / max(made.plain_error, 1e-9))
        figures = {
            "views": len(seen.views),
            "error_percent_of_white": round(100 * made.error, 2),
            "error_of_one_colour_percent_of_white": round(100 * made.plain_error, 2),
            "change_between_views_explained_percent": round(explained, 1),
            "roughness_median": round(float(_median(made.roughness)) / 255, 3),
            "unseen_texels_percent": round(100 * made.unseen, 2),
            **{k: v for k, v in agreed.items() if k.startswith("gain_")},
        }
        return StageReport("solved", "", figures, _warnings(explained), pictures=write_pictures(out, mesh, made))


def _median(values):
    import numpy as np

    return np.median(values)


def _warnings(explained: float) -> list[str]:
    if explained > 5:
        return []
    return [
        f"Light and gloss explain {max(explained, 0):.0f} % of what changes between the views: an object that moves in its light, "
        "a matt one, or poses that are off. Its roughness and light are guesses; material.method=off keeps the pictures' colours."
    ]


STAGE = MaterialStage()
