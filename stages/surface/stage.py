"""The surface stage: depth, masks, pictures and poses of all frames become one closed, metric mesh and a neural field."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.base import ArtifactRef, Resources, Stage, StageContext, StageError, StageReport
from stages.core.backends import check_libraries, check_torch
from stages.core.camera import Rig
from stages.core.frames import FrameReader, posed, read_poses, read_table, write_poses
from stages.surface.config import PARTS, SurfaceConfig

if TYPE_CHECKING:
    from stages.surface.methods import Job
    from stages.surface.shape.meshing import Mesh
    from stages.surface.views.read import Finished
    from stages.surface.views.views import View

LEAST_FRAMES = 2


class SurfaceStage(Stage):
    """pairs, depth, masks, poses -> mesh.ply, field, poses_refined.json, masks_final, disparity_final."""

    name = "surface"
    version = 11
    needs = Resources(memory_gb=2.0, gpu=False, lower=("max_pixels", "max_views"))
    """training uses a GPU for seconds and a few hundred MB, so it does not queue for it with the CPU's minutes around it"""
    Config = SurfaceConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "masks.parquet", "poses.json", "points.npz")
    outputs = ("mesh.ply", "field", "poses_refined.json", "masks_final", "disparity_final")

    def check(self, inputs: Mapping[str, ArtifactRef], config: SurfaceConfig) -> None:
        """At least two frames with a pose and a mask, and a backend that works here. Raises StageError."""
        usable = _usable(inputs)
        if len(usable) < LEAST_FRAMES:
            raise StageError(
                f"only {len(usable)} frames have both a pose and a mask; a surface needs {LEAST_FRAMES}",
                "see the reports of masks and track for why frames were lost; capture more overlap, or give a box or masks",
            )
        self.auto_choice(config)

    def check_machine(self, config: SurfaceConfig) -> None:
        """Raises MachineError where the field is to be trained by torch and there is none."""
        if config.method not in ("fusion", "tsdf") and config.backend == "torch":
            check_torch("surface.backend=torch")

    def needs_libraries(self, config: SurfaceConfig) -> tuple[str, ...]:
        """Optional libraries that the method stands on."""
        return ("open3d",) if config.method == "tsdf" else ()

    def auto_choice(self, config: SurfaceConfig) -> tuple[str, str]:
        """The method that will run, and why. Raises StageError for a backend that cannot run here."""
        from stages.surface.backend import choose

        if config.method in ("fusion", "tsdf"):
            if config.method == "tsdf":
                check_libraries(["open3d"], "surface.method=tsdf")
            return config.method, "set by surface.method"
        backend = choose(config.backend)
        return "neural", f"its field is trained by {backend.name}: {backend.reason}"

    def card_gb(self, config: SurfaceConfig) -> float:
        """Of a field that learns from pictures. Raises StageError for a backend that cannot run here."""
        from stages.core.devices import has_cuda

        if config.method in ("fusion", "tsdf") or not has_cuda():
            return 0.0
        backend = importlib.import_module("stages.surface.backend").choose(config.backend).name
        return (
            0.0
            if backend == "numba"
            else importlib.import_module("stages.surface.device.build").learning_gb(backend, config)
        )

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: SurfaceConfig, out: Path, context: StageContext
    ) -> StageReport:
        """Recover the shape, train the field on it, mesh, refine masks and disparity."""
        from stages.surface.methods import METHODS
        from stages.surface.reporting import mesh_metrics, warnings, write_pictures

        work = _Work(inputs, config, out, context)
        job = work.load()
        mesh = METHODS[work.method](job)
        work.poses |= job.moved
        colours = work.write_mesh(mesh, job)
        work.write_poses()
        report = StageReport(
            work.method,
            work.reason,
            {**job.metrics, **mesh_metrics(mesh)},
            warnings(mesh, job.metrics["frames_used"]),
            frames=work.write_frames(mesh),
        )
        report.pictures = write_pictures(out, mesh, colours, job.views)
        context.progress(PARTS, PARTS, "surface written")
        return report


class _Work:
    """One run: what is read, and where it is written. The algorithms live in the other files of this folder."""

    def __init__(
        self, inputs: Mapping[str, ArtifactRef], config: SurfaceConfig, out: Path, context: StageContext
    ) -> None:
        from stages.surface.views.read import Frames

        self.inputs, self.config, self.out, self.context = inputs, config, out, context
        self.poses = posed(read_poses(inputs["poses.json"].path))
        self.method, self.reason = STAGE.auto_choice(config)
        rig, reader = Rig.load(inputs["rig.json"].path), FrameReader.of(inputs)
        self.frames = Frames(reader, rig, self.poses, _usable(inputs), config=config)

    def load(self) -> Job:
        """The chosen frames as crops, and the bundle-adjusted points."""
        from stages.surface.methods import Job
        from stages.surface.schedule import needs_no_field
        from stages.surface.shape.rounds import footprint_of
        from stages.surface.shape.without_depth import has_depth
        from stages.surface.views.views import disparity_bias

        views = self._views()
        by_depth = has_depth(views)
        if self.frames.reader.has_right and sum(np.isfinite(v.depth).any() for v in views) < LEAST_FRAMES:
            raise StageError(
                "almost no frame has depth inside its mask",
                "see the report of depth; the object may have no texture, or the mask may be wrong",
            )
        points = np.load(self.inputs["points.npz"].path, allow_pickle=False)["xyz"]
        bias, readings = disparity_bias(views, points)
        veiled = [v.frame for v in views if v.hidden is not None]
        metrics: dict[str, Any] = {"frames_used": len(views), "frames_with_hidden_parts": len(veiled)}
        metrics |= {"disparity_bias_px": round(bias, 4), "disparity_bias_readings": readings}
        if self.config.correct_disparity_bias:
            views = [v.shifted_disparity(bias) for v in views]
        if self.method == "neural" and needs_no_field(self.config, by_depth):
            self.method, self.reason = (
                "fusion",
                "surface.field=lean: depth gave the shape, so that no field is trained on it",
            )
        footprint = footprint_of(views)
        metrics["pixel_on_object_mm"] = round(1000 * footprint, 4)
        folder, context = self.out / "field", self.context
        return Job(
            views, points, footprint, by_depth, config=self.config, context=context, folder=folder, metrics=metrics
        )

    def _views(self) -> list[View]:
        from stages.core.parallel import ordered_map
        from stages.surface.views.views import choose_frames

        held_out, workers = self.config.hold_out, self.context.workers
        used = {k: pose for k, pose in self.poses.items() if not held_out or k % held_out}
        chosen = choose_frames(used, self.frames.trust, self.config.max_views)
        self.frames = replace(self.frames, seen=self.frames.look_for_object(chosen, workers))
        views = []
        for i, view in enumerate(ordered_map(self.frames.view, chosen, workers)):
            self.context.progress(round(10 * i / len(chosen)), PARTS, f"reading frame {chosen[i]}")
            if view is not None:
                views.append(view)
        return views

    def write_mesh(self, mesh: Mesh, job: Job) -> np.ndarray:
        """mesh.ply; returns the colours (V, 3) of its vertices."""
        from stages.core.meshes import SurfaceMesh, write_ply
        from stages.surface.shape.colours import vertex_colours

        if len(mesh.faces) == 0:
            raise StageError(
                "nothing of the surface was seen by any camera", "check the poses: the object may be outside the views"
            )
        reach, workers = 3 * job.footprint, self.context.workers
        colours = vertex_colours(mesh.vertices, mesh.faces, job.views, reach, workers=workers)
        shown = SurfaceMesh(mesh.vertices, mesh.faces, colours, mesh.confidence.astype(np.float32))
        write_ply(self.out / "mesh.ply", shown)
        return colours

    def write_poses(self) -> None:
        """poses_refined.json: the poses of the bundle adjustment, moved where the field set them right (`field` observations)."""
        rows = read_poses(self.inputs["poses.json"].path)
        moved = [replace(r, object_from_left=self.poses.get(r.frame, r.object_from_left)) for r in rows]
        write_poses(self.out / "poses_refined.json", moved)

    def write_frames(self, mesh: Mesh) -> dict[str, int]:
        """masks_final and disparity_final, every frame; returns how many masks were refined, kept, or drawn from the silhouette."""
        from stages.core.parallel import ordered_map
        from stages.core.render import Caster

        caster, counts = Caster(mesh.vertices, mesh.faces), {}
        frames = [r["frame"] for r in read_table(self.inputs["masks.parquet"].path)]

        def one(frame: int) -> str:
            return self._write_frame(frame, self.frames.finished(frame, caster, mesh.confidence))

        for i, status in enumerate(ordered_map(one, frames, self.context.workers)):
            counts[status] = counts.get(status, 0) + 1
            self.context.progress(85 + round(12 * i / len(frames)), PARTS, f"mask and disparity of frame {frames[i]}")
        return counts

    def _write_frame(self, frame: int, made: Finished) -> str:
        from stages.core.images import write_disparity, write_mask

        masks, name = self.out / "masks_final", f"{frame:06d}.png"
        write_mask(masks / name, made.mask)
        if made.hidden is not None and made.hidden_right is not None:
            write_mask(masks / "hidden" / name, made.hidden)
            write_mask(masks / "hidden_right" / name, made.hidden_right)
        if made.disparity is not None:
            write_disparity(self.out / "disparity_final" / name, made.disparity)
        return made.status


def _usable(inputs: Mapping[str, ArtifactRef]) -> dict[int, float]:
    """{frame: trust of its mask} of the frames with a pose, a picture and a mask."""
    return dict(_usable_rows(inputs))


def _usable_rows(inputs: Mapping[str, ArtifactRef]) -> Iterator[tuple[int, float]]:
    poses = posed(read_poses(inputs["poses.json"].path))
    readable = set(FrameReader.of(inputs).ids)
    for row in read_table(inputs["masks.parquet"].path):
        if (
            row["frame"] in poses
            and row["frame"] in readable
            and row["status"] != "lost"
            and row["trust"] > 0
            and row["area_px"] > 0
        ):
            yield row["frame"], float(row["trust"])


STAGE = SurfaceStage()
