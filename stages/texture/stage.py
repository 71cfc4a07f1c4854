"""Colour the mesh from the pictures: UV unwrapping, visibility, exposure, blending, and figures that say how true the colours are."""

from __future__ import annotations

from pathlib import Path

from stages.base import Inputs, Resources, Stage, StageContext, StageReport
from stages.core.errors import StageError
from stages.texture.config import TextureConfig


class TextureStage(Stage):
    """mesh.ply and the pictures -> `textured` (mesh with UV, texture, provenance)."""

    name = "texture"
    version = 3
    needs = Resources(memory_gb=2.0, lower=("size", "max_views"))
    Config = TextureConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "masks_final", "poses_refined.json", "mesh.ply")
    outputs = ("textured",)

    def needs_libraries(self, config: TextureConfig) -> tuple[str, ...]:
        """Optional libraries that these settings use."""
        return ("nvdiffrast",) if config.refine == "nvdiffrast" else ()

    def check_machine(self, config: TextureConfig) -> None:
        """Raises MachineError where the fit to all pictures is asked for without torch."""
        from stages.core.backends import check_torch

        if config.refine != "none":
            check_torch(f"texture.refine={config.refine}")

    def check(self, inputs: Inputs, config: TextureConfig) -> None:
        """Raises StageError when there is nothing to colour from, or a library that is asked for does not work here."""
        from stages.core.backends import check_libraries
        from stages.core.frames import posed, read_poses, read_table

        self.check_machine(config)
        check_libraries(self.needs_libraries(config), f"texture.refine={config.refine}")
        usable = {r["frame"] for r in read_table(inputs["frames.parquet"].path) if r["status"] == "ok"}
        frames = sorted(usable & set(posed(read_poses(inputs["poses_refined.json"].path))))
        if not frames:
            raise StageError(
                "no frame has a pose, so no picture can colour the mesh",
                "see the report of the track stage for the reasons",
            )
        if config.hold_out and not set(training(frames, config.hold_out)):
            raise StageError(
                f"texture.hold_out={config.hold_out} leaves no frame of {len(frames)}", "use a larger number or 0"
            )

    def run(self, inputs: Inputs, config: TextureConfig, out: Path, context: StageContext) -> StageReport:
        """Bake, measure, write."""
        from stages.core.camera import Rig
        from stages.core.frames import FrameReader, posed, read_poses, read_table
        from stages.core.meshes import read_ply, write_textured
        from stages.core.texels.views import relative_sharpness, stereo_views
        from stages.texture.bake import bake, median_footprint, prepare_shape
        from stages.texture.measure import measure

        rig, mesh = Rig.load(inputs["rig.json"].path), read_ply(inputs["mesh.ply"].path)
        if not len(mesh.faces):
            raise StageError("the mesh has no faces", "see the report of the surface stage")
        reader = FrameReader(
            tuple(read_table(inputs["frames.parquet"].path)), inputs["pairs"].path, None, inputs["masks_final"].path
        )
        poses = {k: p for k, p in posed(read_poses(inputs["poses_refined.json"].path)).items() if k in set(reader.ids)}
        used = {k: poses[k] for k in training(sorted(poses), config.hold_out)}
        sharpness = relative_sharpness({r["frame"]: r["sharpness"] for r in reader.rows if r["status"] == "ok"})
        both = config.sides == "both" and reader.has_right
        views = stereo_views(used, rig, ("left", "right") if both else ("left",), sharpness)
        context.progress(0, 1, "unwrapping")
        shape = prepare_shape(mesh.vertices, mesh.faces, median_footprint(views, rig, mesh.vertices.mean(0)), config)
        try:
            baked = bake(shape, views, rig, reader, config=config, work=context.work)
        except ValueError as e:
            raise StageError(
                str(e), "look at the masks and poses in the report: they and the mesh do not fit together"
            ) from e
        if config.refine != "none":
            from stages.texture.refine_views import refined

            baked = refined(baked, rig, config, reader, work=context.work)
        context.progress(0, 1, "measuring the texture")
        held = sorted(set(poses) - set(used))
        measured = measure(
            baked.mesh,
            held or sorted(used),
            poses,
            rig,
            pictures=reader,
            workers=context.workers,
        )
        write_textured(out / "textured", baked.mesh, baked.provenance)
        figures = {
            "faces": len(shape.faces),
            "charts": shape.unwrapped.charts,
            "atlas_used_percent": round(100 * shape.unwrapped.utilisation, 1),
            "simplify_deviation_p99_mm": round(1000 * shape.deviation_m, 4),
            **baked.figures,
            **measured.figures,
            "measured_on": "frames left out" if held else "frames used",
        }
        pictures = measured.write_pictures(out, baked)
        return StageReport(
            "multi-view blend",
            "",
            figures,
            _warnings(figures),
            pictures=pictures,
            frames={"coloured from": len(used), "left out": len(held)},
        )


def training(frames: list[int], hold_out: int) -> list[int]:
    """The frames that may be used: all, or all but every `hold_out`-th by number (0, 8, 16, .. for 8)."""
    return [k for k in frames if not hold_out or k % hold_out]


def _warnings(figures: dict) -> list[str]:
    out = []
    if figures["unseen_texels_percent"] > 15:
        out.append(
            f"{figures['unseen_texels_percent']:.0f} % of the surface was seen by no picture; its colour is filled in from around it "
            "(0 in provenance.png). Film the object from below, or a second time lying on its side."
        )
    if figures["psnr_db"] is not None and figures["psnr_db"] < 22:
        out.append(
            f"The texture differs from the pictures ({figures['psnr_db']:.1f} dB): a shiny object, moving light, or poses that are off."
        )
    if figures.get("alignment_shift_max_px", 0) > 2:
        out.append(
            f"Poses had to be corrected by up to {figures['alignment_shift_max_px']:.1f} px for the pictures to agree."
        )
    return out


STAGE = TextureStage()
