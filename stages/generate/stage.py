"""What a generative model invents of the object, beside the twin and never in it: every invented pixel, vertex and texel is marked.

The twin's own mesh, texture, verdict, expected error and PSNR are made by other stages, none of which reads what this one writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import Inputs, Resources, Stage, StageContext, StageReport
from stages.core.errors import StageError
from stages.core.weights import entry, identity, require
from stages.generate.config import GenerateConfig
from stages.generate.contract import contract

MOST_POINTS = 4000
"""of the surface that a model gets"""
NOTE = "invented by a generative model where a mask beside it says so; measured by nobody, and in no figure of the twin"


class GenerateStage(Stage):
    """The pictures and the surface -> `generated` (generated.json, views/, completed/). In a run only where a model is named."""

    name = "generate"
    version = 1
    needs = Resources(memory_gb=2.0, gpu=True, lower=("grid",))
    Config = GenerateConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "masks_final", "poses_refined.json", "mesh.ply", "textured")
    outputs = ("generated",)

    def asked_for(self, config: GenerateConfig) -> bool:
        """Whether a run has this stage."""
        return bool(config.models)

    def needs_weights(self, config: GenerateConfig) -> tuple[str, ...]:
        """The models."""
        return tuple(dict.fromkeys(config.models.values()))

    def weights_used(self, config: GenerateConfig) -> dict[str, str]:
        """Digests of the models and of their contracts. Raises WeightsError when they are not there."""
        return {k: v for name in self.needs_weights(config) for k, v in identity(name).items()}

    def check_machine(self, config: GenerateConfig) -> None:
        """Raises WeightsError for a model that is not there, or answers something else."""
        for kind, name in config.models.items():
            contract(name, kind)
            require(name)

    def check(self, inputs: Inputs, config: GenerateConfig) -> None:
        """Raises StageError when nothing was asked for or no picture has a pose, else as `check_machine`."""
        from stages.core.frames import posed, read_poses

        if not self.asked_for(config):
            raise StageError(
                "generate: no model is named, so nothing is invented", "generate.views=NAME (docs/generated.md)"
            )
        self.check_machine(config)
        if len(posed(read_poses(inputs["poses_refined.json"].path))) < 2:
            raise StageError("fewer than two pictures have a pose", "see the reports of the stages before")

    def run(self, inputs: Inputs, config: GenerateConfig, out: Path, context: StageContext) -> StageReport:
        """What each model answers."""
        work = _Work(inputs, config, out, context)
        report = StageReport("by " + ", ".join(config.models.values()))
        if "views" in config.models:
            work.views(report)
        if "completion" in config.models:
            work.completion(inputs, report)
        work.write()
        return report


class _Work:
    """One run."""

    def __init__(self, inputs: Inputs, config: GenerateConfig, out: Path, context: StageContext) -> None:
        from stages.core.camera import Rig
        from stages.core.frames import FrameReader, posed, read_poses, read_table
        from stages.core.meshes import read_ply
        from stages.generate.completion import Measured
        from stages.generate.scene import Known, Room

        self.config, self.out, self.context = config, out, context
        (out / "generated").mkdir()
        self.mesh = read_ply(inputs["mesh.ply"].path)
        rows = tuple(read_table(inputs["frames.parquet"].path))
        reader = FrameReader(rows, inputs["pairs"].path, None, inputs["masks_final"].path)
        found = posed(read_poses(inputs["poses_refined.json"].path))
        poses = {k: p for k, p in found.items() if k in set(reader.ids) and reader.mask(k).any()}
        if len(poses) < 2 or not len(self.mesh.faces):
            raise StageError(
                "there is no surface, or fewer than two pictures show the object",
                "see the reports of the stages before",
            )
        self.known = Known(
            Rig.load(inputs["rig.json"].path), poses, reader.rgb, reader.mask, room=Room.about(self.mesh.vertices)
        )
        self.hidden, self.measured = reader.hidden, Measured.of(self.mesh, self.known.room)
        step = -(-len(self.measured.points) // MOST_POINTS)
        self.known.points = self.measured.points[::step].astype(np.float32)
        self.record: dict[str, Any] = {"note": NOTE, "models": {}}

    def _model(self, kind: str) -> Any:
        from stages.generate.model import Model

        name = self.config.models[kind]
        model = Model(name, require(name).path, contract(name, kind), self.context.device, threads=self.context.workers)
        known = entry(name)
        self.record["models"][kind] = {
            "name": name,
            "sha256": require(name).sha256,
            "licence": known.licence,
            "commercial_use": known.commercial,
            "runs_on": model.runs_on,
        }
        return model

    def views(self, report: StageReport) -> None:
        """Pictures from where none was taken."""
        from stages.core.camera_service import up_of
        from stages.core.new_views.image_based import ImageBased
        from stages.core.render import Caster
        from stages.generate.views import Generator, chosen

        known, config, mesh = self.known, self.config, self.mesh
        through = ImageBased(
            Caster(mesh.vertices, mesh.faces), known.rig, known.poses, known.rgb, mask=known.mask, colours=mesh.colour
        )
        maker = Generator(self._model("views"), known, through, mesh.confidence, seed=self.context.seed)
        taken = sorted(known.poses)
        scored = taken[:: max(1, -(-len(taken) // config.score))][: config.score] if config.score else []
        poses = chosen(
            known.poses,
            known.room,
            up_of(list(known.poses.values())),
            config.count,
            from_rad=float(np.radians(config.from_deg)),
        )
        total, made = len(scored) + len(poses), []
        scores = []
        for found in maker.scores(scored):
            scores.append(found)
            self.context.progress(len(scores), total, f"picture {found['frame']} by the model: {found['model_db']} dB")
        for k, pose in enumerate(poses):
            made.append(maker.view(pose))
            self.context.progress(
                len(scored) + k + 1, total, f"view {k + 1}, {made[-1].angle_deg:.0f} degrees from any picture"
            )
        self._write_views(made, scores, report)

    def _write_views(self, made: list[Any], scores: list[dict[str, Any]], report: StageReport) -> None:
        from stages.core.images import write_mask, write_rgb
        from stages.generate.show import sheet

        folder, rows = self.out / "generated/views", []
        for k, view in enumerate(made):
            write_rgb(folder / f"{k:03d}.png", view.picture)
            write_mask(folder / f"{k:03d}_invented.png", view.invented)
            rows.append(
                {
                    "file": f"views/{k:03d}.png",
                    "invented": f"views/{k:03d}_invented.png",
                    **_camera(view.pose, view.rig),
                    "nearest": view.nearest,
                    "angle_deg": round(view.angle_deg, 2),
                    "invented_share": round(_share(view.invented & view.shown, view.shown), 4),
                }
            )
        shown = sum(int(v.shown.sum()) for v in made)
        share = sum(int((v.invented & v.shown).sum()) for v in made) / max(shown, 1)
        self.record |= {
            "views": rows,
            "scores": scores,
            "axes": "object_from_camera: the twin frame of poses.json from an OpenCV camera",
        }
        model = self.record["models"]["views"]
        report.metrics |= _told("views", model) | {
            "views": len(made),
            "views_invented_percent": round(100 * share, 1) if made else None,
        }
        if scores:

            def mean(key):
                return round(float(np.mean([s[key] for s in scores])), 2)

            report.metrics |= {
                "views_scored": len(scores),
                "views_model_against_pictures_db": mean("model_db"),
                "views_nearest_copied_db": mean("nearest_copied_db"),
            }
        if made:
            report.warnings.append(
                f"{100 * share:.0f} % of what generated/views shows of the object is invented by {model['name']}: no "
                "camera saw it. The masks beside the pictures say where. It is in no figure of the twin."
            )
            report.pictures += sheet(self.out, made)
        else:
            report.warnings.append(
                f"No view was made: pictures were taken within {self.config.from_deg:g} degrees of every direction. "
                "generate.from_deg lowers that."
            )

    def completion(self, inputs: Inputs, report: StageReport) -> None:
        """The whole solid, joined to what was measured."""
        from stages.core.meshes import read_textured
        from stages.generate.answer import asked
        from stages.generate.completed_files import write_completed
        from stages.generate.completion import Nearby, complete, invented_share, silhouettes
        from stages.generate.paint import paint, twins_colours
        from stages.generate.show import completed_sheet

        known, config, room = self.known, self.config, self.known.room
        model, near = self._model("completion"), Nearby(self.measured)
        self.context.progress(0, 3, f"the solid by {model.name}")
        answer = asked(model, known, self.context.seed, config.grid)
        self.context.progress(1, 3, "joining it to what was measured")
        empty = silhouettes(known.poses, known.rig, known.mask, self.hidden, room=room)
        found = complete(answer.distance, self.measured, room, config.grid, empty=empty)
        self.context.progress(2, 3, "colours")
        colours = twins_colours(read_textured(inputs["textured"].path))
        painted = paint(
            found,
            near,
            room,
            2 / (config.grid - 1),
            size=config.texture_px,
            measured=colours,
            invented=answer.colours(room) or colours,
        )
        write_completed(self.out / "generated/completed", found, painted, self.mesh)
        share, off_mm = invented_share(found.vertices, found.faces, found.invented), 1000 * found.off * room.half
        told = self.record["models"]["completion"]
        self.record["completed"] = {
            "mesh": "completed/mesh.ply",
            "glb": "completed/twin.glb",
            "texture": "completed/texture.png",
            "invented": "completed/invented.png",
            "vertices": len(found.vertices),
            "invented_share": round(share, 4),
            "pieces_dropped": found.dropped,
        }
        report.metrics |= _told("completion", told) | {
            "completion_invented_percent": round(100 * share, 1),
            "completion_vertices": len(found.vertices),
            "completion_model_beside_measured_mm": round(off_mm, 3),
            "completion_pieces_dropped": found.dropped,
        }
        report.warnings.append(
            f"{100 * share:.0f} % of the surface in generated/completed is invented by {model.name}: no camera saw it. "
            "mesh.ply (property invented) and invented.png say where. The twin's own mesh and figures are without it."
        )
        report.pictures += completed_sheet(self.out, found, painted)

    def write(self) -> None:
        """generated.json."""
        (self.out / "generated/generated.json").write_text(json.dumps(self.record, indent=1, allow_nan=False))


def _told(kind: str, model: dict[str, Any]) -> dict[str, Any]:
    use = "commercial use" if model["commercial_use"] else "NOT for commercial use"
    return {
        f"{kind}_model": model["name"],
        f"{kind}_licence": f"{model['licence']} ({use})",
        f"{kind}_runs_on": model["runs_on"],
    }


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / max(int(whole.sum()), 1))


def _camera(pose: np.ndarray, rig: Any) -> dict[str, Any]:
    """In the twin frame, as poses.json is."""
    from stages.core.twin_frame import TWIN_FROM_OBJECT

    turn = np.eye(4)
    turn[:3, :3] = TWIN_FROM_OBJECT
    return {
        "object_from_camera": (turn @ pose + 0.0).tolist(),
        "K": rig.K.ravel().tolist(),
        "width": rig.width,
        "height": rig.height,
    }


STAGE = GenerateStage()
