"""The surface stage: depth, masks, pictures and poses of all frames become one closed, metric mesh and a neural field."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.base import ArtifactRef, Resources, Stage, StageContext, StageError, StageReport
from stages.core.backends import check_libraries, check_torch
from stages.core.camera import Rig
from stages.core.frames import FrameReader, posed, read_poses, read_table, write_poses
from stages.surface.config import SurfaceConfig

if TYPE_CHECKING:
    from stages.surface.learned_shape import FromPictures
    from stages.surface.shape.meshing import Mesh
    from stages.surface.shape.rounds import Shape
    from stages.surface.views.hidden import SeenObject
    from stages.surface.views.views import View

LEAST_FRAMES = 2
VIEWS_PER_HULL_RANK = 10
"""with fewer views each outline bounds a part of its own: asking three of ten to agree would leave their cones standing as wings"""
PARTS = 100
"""of the progress bar"""


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
        work = _Work(inputs, config, out, context)
        views, points = work.load_views()
        if work.method == "tsdf":
            mesh, metrics = _tsdf(work, views)
        else:
            shape, views = work.recover(views, points)
            mesh, metrics = METHODS[work.method](work, views, shape)
        work.write_mesh(mesh, views)
        work.write_poses()
        frames = work.write_frames(mesh)
        report = StageReport(
            work.method,
            work.reason,
            {**work.metrics, **metrics, **_mesh_metrics(mesh)},
            work.warnings(mesh),
            pictures=[],
            frames=frames,
        )
        report.pictures = work.write_pictures(mesh, views)
        context.progress(PARTS, PARTS, "surface written")
        return report


class _Work:
    """One run: what is read, and where it is written. The algorithms live in the other files of this folder."""

    def __init__(
        self, inputs: Mapping[str, ArtifactRef], config: SurfaceConfig, out: Path, context: StageContext
    ) -> None:
        self.inputs, self.config, self.out, self.context = inputs, config, out, context
        self.rig = Rig.load(inputs["rig.json"].path)
        self.reader = FrameReader.of(inputs)
        self.poses = posed(read_poses(inputs["poses.json"].path))
        self.trust = _usable(inputs)
        self.method, self.reason = STAGE.auto_choice(config)
        self.metrics: dict[str, Any] = {}
        self.footprint = float("nan")
        self.seen: SeenObject | None = None
        self.by_depth = True

    def load_views(self) -> tuple[list[View], np.ndarray]:
        """The chosen frames as crops, and the bundle-adjusted points."""
        from stages.core.parallel import ordered_map
        from stages.surface.schedule import needs_no_field
        from stages.surface.shape.rounds import footprint_of
        from stages.surface.shape.without_depth import has_depth
        from stages.surface.views.views import choose_frames, disparity_bias

        held_out = self.config.hold_out
        used = {k: pose for k, pose in self.poses.items() if not held_out or k % held_out}
        frames = choose_frames(used, self.trust, self.config.max_views)
        self.seen = self._seen_object(frames)
        views = []
        for i, view in enumerate(ordered_map(self._view, frames, self.context.workers)):
            self.context.progress(round(10 * i / len(frames)), PARTS, f"reading frame {frames[i]}")
            if view is not None:
                views.append(view)
        self.by_depth = has_depth(views)
        if self.reader.has_right and sum(np.isfinite(v.depth).any() for v in views) < LEAST_FRAMES:
            raise StageError(
                "almost no frame has depth inside its mask",
                "see the report of depth; the object may have no texture, or the mask may be wrong",
            )
        points = np.load(self.inputs["points.npz"].path, allow_pickle=False)["xyz"]
        bias, readings = disparity_bias(views, points)
        veiled = [v.frame for v in views if v.hidden is not None]
        self.metrics |= {"frames_used": len(views), "frames_with_hidden_parts": len(veiled)}
        self.metrics |= {"disparity_bias_px": round(bias, 4), "disparity_bias_readings": readings}
        if self.config.correct_disparity_bias:
            views = [v.shifted_disparity(bias) for v in views]
        if self.method == "neural" and needs_no_field(self.config, self.by_depth):
            self.method, self.reason = (
                "fusion",
                "surface.field=lean: depth gave the shape, so that no field is trained on it",
            )
        self.footprint = footprint_of(views)
        self.metrics["pixel_on_object_mm"] = round(1000 * self.footprint, 4)
        return views, points

    def _seen_object(self, frames: list[int]) -> SeenObject | None:
        """Where several of the frames saw the object; None where hidden parts are not looked for."""
        from stages.core.parallel import ordered_map
        from stages.surface.views.hidden import glance, seen_object

        if not self.config.find_hidden or not self.reader.has_right:
            return None

        def look(k):
            return glance(self.poses[k], self.rig, self.reader.mask(k), *self._disparity(k))

        return seen_object(list(ordered_map(look, frames, self.context.workers)))

    def _disparity(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        return self.reader.disparity_px(frame), self.reader.sigma_px(frame)

    def _view(self, frame: int) -> View | None:
        from stages.surface.views.hidden import LEAST_CELLS, expected_depth, hidden_pixels
        from stages.surface.views.views import make_view

        pair = self.reader.rgb(frame), self.reader.rgb(frame, "right") if self.reader.has_right else None
        mask, hidden, measured = self.reader.mask(frame), self.reader.hidden(frame), self._disparity(frame)
        if self.seen is not None:
            expected = expected_depth(self.seen, self.poses[frame], self.rig)
            found = hidden_pixels(expected, LEAST_CELLS * self.seen.size, self.rig, mask, *measured)
            hidden = found if hidden is None else found | hidden
        pose, c = self.poses[frame], self.config
        return make_view(
            frame, pose, self.rig, pair, mask, self.trust[frame], *measured, c.max_pixels, c.mask_margin_px, hidden
        )

    def recover(self, views: list[View], points: np.ndarray) -> tuple[Shape, list[View]]:
        """The grid's surface, and the views where their cameras stand by now."""
        from stages.surface.schedule import rounds_of_learned, schedule_rounds
        from stages.surface.shape.bounds import Bounds, Unbounded
        from stages.surface.shape.rounds import Evidence, recover_shape

        c = self.config
        depth = c.use_depth and self.by_depth
        evidence = Evidence(
            depth, c.use_colour, c.use_outlines, c.use_points, right_eyes=c.use_right, outline_px=c.outline_sigma_px
        )
        learner = self._learner(views)
        done = iter(range(10, 60, 10) if learner is None else (10, 45, 50, 55))
        try:
            shape = recover_shape(
                views,
                points,
                schedule_rounds(c, self.by_depth) if learner is None else rounds_of_learned(c),
                evidence,
                smooth=c.smooth,
                hull_rank=max(1, min(c.hull_rank, len(views) // VIEWS_PER_HULL_RANK)),
                coarse_cells=c.coarse_cells,
                workers=self.context.workers,
                progress=lambda note: self.context.progress(next(done, 60), PARTS, note),
                bounds=Bounds(c.max_cells, c.max_vertices),
                learner=learner,
            )
        except Unbounded as e:
            raise StageError(f"no surface was made: {e}", e.advice) from e
        except ValueError as e:
            raise StageError(f"no surface could be found: {e}", "check the masks and poses in their reports") from e
        if np.isfinite(shape.thinnest):
            self.metrics["thinnest_part_mm"] = round(1000 * shape.thinnest, 2)
        for i, entry in enumerate(shape.log):
            self.metrics |= {f"round_{i + 1}_{k}": round(v, 4) for k, v in entry.items()}
        if learner is None:
            return shape, views
        self.poses |= learner.moved
        return shape, learner.placed(views)

    def _learner(self, views: list[View]) -> FromPictures | None:
        """What learns the first shape from the pictures; None where the rounds begin with the hull."""
        from stages.surface.schedule import learns_from_pictures

        c = self.config
        if self.method != "neural" or not learns_from_pictures(c, self.by_depth):
            return None
        backend = importlib.import_module("stages.surface.backend").choose(c.backend)
        observed = c.field == "observations"
        if observed and not self.by_depth:
            raise StageError(
                "surface.field=observations needs depth, and no frame has any", "use surface.field=pictures"
            )
        self.metrics["field_learns_from"] = "observations" if observed else "pictures"

        def told(i, n):
            return self.context.progress(10 + round(35 * i / n), PARTS, f"learning from the pictures, step {i} of {n}")

        learned = importlib.import_module("stages.surface.learned_shape")
        return learned.FromPictures(
            views,
            self.footprint,
            c,
            backend,
            seed=self.context.seed,
            workers=self.context.workers,
            progress=told,
            metrics=self.metrics,
            glance=self._glance(views),
            by_depth=observed,
        )

    def _glance(self, views: list[View]) -> Callable[[int, Callable[[], tuple[np.ndarray, np.ndarray]]], None]:
        """Writes a progress picture of what is learned so far, where any are asked for."""
        from stages.core.render import Caster
        from stages.surface.pictures import four_sides
        from stages.surface.shape.colours import vertex_colours

        aside, before = self.context.aside, 0

        def glance(step: int, mesh: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
            nonlocal before
            if aside is None or not aside.due(step, before):
                return
            before = step
            vertices, faces = mesh()
            if len(faces):
                caster = Caster(vertices, faces)
                colours = vertex_colours(vertices, faces, views, 3 * self.footprint, workers=self.context.workers)
                aside.write(
                    f"surface_step_{step:05d}", {"normal": four_sides(caster), "kd": four_sides(caster, colours)}
                )

        return glance

    def write_mesh(self, mesh: Mesh, views: list[View]) -> None:
        """mesh.ply."""
        from stages.core.meshes import SurfaceMesh, write_ply
        from stages.surface.shape.colours import vertex_colours

        if len(mesh.faces) == 0:
            raise StageError(
                "nothing of the surface was seen by any camera", "check the poses: the object may be outside the views"
            )
        self.colours = vertex_colours(
            mesh.vertices, mesh.faces, views, 3 * self.footprint, workers=self.context.workers
        )
        write_ply(
            self.out / "mesh.ply",
            SurfaceMesh(mesh.vertices, mesh.faces, self.colours, mesh.confidence.astype(np.float32)),
        )

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
        for i, status in enumerate(
            ordered_map(lambda f: self._write_frame(f, caster, mesh.confidence), frames, self.context.workers)
        ):
            counts[status] = counts.get(status, 0) + 1
            self.context.progress(85 + round(12 * i / len(frames)), PARTS, f"mask and disparity of frame {frames[i]}")
        return counts

    def _write_frame(self, frame: int, caster: Any, confidence: np.ndarray) -> str:
        from stages.core.images import write_disparity, write_mask
        from stages.surface.views.silhouettes import completed_disparity, sight

        mask, hidden, status, seen = self.reader.mask(frame), self.reader.hidden(frame), "mask kept, no pose", None
        if frame in self.poses and frame in self.reader.ids:
            seen = sight(caster, confidence, self.poses[frame], self.rig)
            hidden = self._final_hidden(frame, mask, hidden, seen.depth)
            mask, status = self._final_mask(frame, mask, seen.outline, hidden)
        write_mask(self.out / "masks_final" / f"{frame:06d}.png", mask)
        if frame in self.reader.ids:
            disparity = self.reader.disparity_px(frame)
            if seen is not None and self.config.complete_disparity:
                disparity = completed_disparity(disparity, seen, mask, self.rig)
            write_disparity(self.out / "disparity_final" / f"{frame:06d}.png", disparity)
        return status

    def _final_hidden(
        self, frame: int, mask: np.ndarray, hidden: np.ndarray | None, depth: np.ndarray
    ) -> np.ndarray | None:
        """Where something stands before the mesh (`depth` metres, inf = none); written beside the mask, for both eyes."""
        from stages.core.images import write_mask
        from stages.surface.views.hidden import LEAST_CELLS, hidden_pixels, right_hidden

        disparity, sigma = self._disparity(frame)
        if self.seen is not None:
            of = mask if frame in self.trust else np.zeros_like(mask)
            found = hidden_pixels(
                depth, LEAST_CELLS * self.seen.size, self.rig, of, disparity_px=disparity, sigma_px=sigma
            )
            hidden = found if hidden is None else found | hidden
        if hidden is None or not hidden.any():
            return None
        write_mask(self.out / "masks_final" / "hidden" / f"{frame:06d}.png", hidden)
        write_mask(self.out / "masks_final" / "hidden_right" / f"{frame:06d}.png", right_hidden(hidden, disparity))
        return hidden

    def _final_mask(
        self, frame: int, mask: np.ndarray, outline: np.ndarray, hidden: np.ndarray | None
    ) -> tuple[np.ndarray, str]:
        from stages.surface.views.silhouettes import refined

        if frame not in self.trust or not mask.any():
            return outline if hidden is None else outline & ~hidden, "mask from silhouette"
        mask, changed = refined(mask, outline, self.reader.rgb(frame), self.config.mask_band_px, hidden=hidden)
        return mask, "mask refined" if changed else "mask kept"

    def write_pictures(self, mesh: Mesh, views: list[View]) -> list[tuple[str, str]]:
        """Small JPEGs for the report."""
        from stages.core.images import thumbnail_jpeg
        from stages.core.render import Caster
        from stages.surface.pictures import confidence_colours, depth_pair, four_sides

        caster = Caster(mesh.vertices, mesh.faces)
        shown = {
            "mesh": ("Surface from four sides", four_sides(caster)),
            "colours": ("The same with the colour of each vertex", four_sides(caster, self.colours)),
            "confidence": (
                "Confidence: green measured, red interpolated, grey never seen",
                four_sides(caster, confidence_colours(mesh.confidence)),
            ),
            "depth": (
                "Depth as measured, as the surface has it, and the difference in standard deviations (full colour: 3)",
                depth_pair(caster, views[len(views) // 2]),
            ),
        }
        for name, (_, picture) in shown.items():
            thumbnail_jpeg(self.out / "pictures" / f"{name}.jpg", picture, 1280 if name != "depth" else 960)
        return [(caption, f"pictures/{name}.jpg") for name, (caption, _) in shown.items()]

    def warnings(self, mesh: Mesh) -> list[str]:
        """What a user should know about this surface."""
        said, unseen = [], float((mesh.seen == 0).mean())
        if unseen > 0.25:
            said.append(
                f"{100 * unseen:.0f} % of the surface was never seen and is closed by the outlines alone: its shape there is a guess"
            )
        if (vague := float((mesh.confidence[mesh.seen > 0] < 0.4).mean()) if (mesh.seen > 0).any() else 1.0) > 0.3:
            said.append(
                f"{100 * vague:.0f} % of the seen surface has no texture that fixes it: it is interpolated smoothly"
            )
        if self.metrics["frames_used"] < 8:
            said.append(
                f"only {self.metrics['frames_used']} frames have a pose and a trusted mask: expect a coarse shape"
            )
        return said


def _fusion(work: _Work, views: list[View], shape: Shape) -> tuple[Mesh, dict[str, Any]]:
    """The grid's own mesh; the field artifact is the grid."""
    from stages.surface.shape.field_grid import save_grid

    save_grid(work.out / "field", shape.grid, shape.distance)
    return _kept(work, views, shape, shape.vertices), {}


def _neural(work: _Work, views: list[View], shape: Shape) -> tuple[Mesh, dict[str, Any]]:
    """The neural field trained on shape and colours, and the mesh of its zero set."""
    neural, backend = (
        importlib.import_module("stages.surface.neural"),
        importlib.import_module("stages.surface.backend"),
    )

    def progress(i, n):
        return work.context.progress(60 + round(25 * i / max(n, 1)), PARTS, f"training the field, step {i} of {n}")

    vertices, metrics = neural.train_field(
        views,
        shape,
        work.footprint,
        work.config,
        backend=backend.choose(work.config.backend),
        seed=work.context.seed,
        workers=work.context.workers,
        folder=work.out / "field",
        progress=progress,
    )
    return _kept(work, views, shape, vertices), metrics


def _kept(work: _Work, views: list[View], shape: Shape, vertices: np.ndarray) -> Mesh:
    from stages.surface.shape.meshing import keep_supported

    return keep_supported(
        vertices,
        shape.faces,
        views,
        shape.read_at,
        read_sigma=shape.read_sigma,
        footprint=work.footprint,
        least_part=work.config.least_part,
        workers=work.context.workers,
    )


def _tsdf(work: _Work, views: list[View]) -> tuple[Mesh, dict[str, Any]]:
    """Open3D's fusion of the same depth; the field artifact is its grid."""
    from stages.surface.shape.field_grid import save_grid
    from stages.surface.shape.meshing import keep_supported
    from stages.surface.shape.tsdf import fuse_tsdf

    work.context.progress(30, PARTS, "TSDF fusion")
    found = fuse_tsdf(views, work.config.voxel_px * work.footprint)
    save_grid(work.out / "field", found.grid, found.distance)
    least, workers = work.config.least_part, work.context.workers
    mesh = keep_supported(
        found.vertices,
        found.faces,
        views,
        found.read_at,
        read_sigma=found.read_sigma,
        footprint=work.footprint,
        least_part=least,
        workers=workers,
    )
    return mesh, {"tsdf_voxel_mm": round(1000 * found.grid.voxel, 3)}


METHODS = {"neural": _neural, "fusion": _fusion}


def _mesh_metrics(mesh: Mesh) -> dict[str, Any]:
    extent = 1000 * (mesh.vertices.max(0) - mesh.vertices.min(0))
    return {
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "unseen_share": round(float((mesh.seen == 0).mean()), 4),
        "confidence_median": round(float(np.median(mesh.confidence)), 4),
        **{f"extent_{a}_mm": round(float(e), 2) for a, e in zip("xyz", extent, strict=True)},
    }


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
