"""novel_views: pictures of the object from cameras that took none, with a score that says how much they are worth.

By the pictures through the surface (stages/core/new_views), or from a radiance field learned from them (radiance/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import ArtifactRef, Inputs, Resources, Stage, StageContext, StageReport
from stages.core.errors import StageError
from stages.novel_views.config import NovelViewsConfig

LEAST_PICTURES = 3
METHODS = {
    "image_based": "image-based rendering through the surface",
    "radiance": "radiance field learned from the pictures",
}
MOST_SCORED = 8
"""pictures that are scored, spread over those that every n-th is of"""
ONE_SIDED = 0.7
"""length of the mean of the unit vectors to the cameras: 0 all round, 1 all in one direction, 0.7 within some 60 degrees of their middle"""


class NovelViewsStage(Stage):
    """mesh.ply and the pictures -> `novel_views` (scores.json; with a path: turntable.mp4 or spiral.mp4 and cameras.json; of a radiance
    field depth/ of the scored pictures too). A radiance field needs no mesh, and on the route `scene` there is none."""

    name = "novel_views"
    version = 1
    needs = Resources(memory_gb=1.0, lower=("width", "radiance_samples"))
    Config = NovelViewsConfig
    inputs = ("pairs", "frames.parquet", "rig.json")
    inputs_where_made = ("masks_final", "poses_refined.json", "mesh.ply", "masks", "poses.json")
    """the last two stand for the first two where no surface is made"""
    outputs = ("novel_views",)

    def needs_libraries(self, config: NovelViewsConfig) -> tuple[str, ...]:
        """Optional libraries that these settings use."""
        return ("pyav",) if config.path != "none" else ()

    def check(self, inputs: Inputs, config: NovelViewsConfig) -> None:
        """Raises StageError without pictures or what the method needs, MachineError for a video without PyAV."""
        from stages.core.backends import check_libraries
        from stages.core.frames import posed, read_poses

        check_libraries(self.needs_libraries(config), f"novel_views.path={config.path}")
        if config.method == "image_based" and "mesh.ply" not in inputs:
            raise StageError(
                "novel_views.method=image_based looks through a surface, and there is none",
                "novel_views.method=radiance",
            )
        if len(posed(read_poses(_poses(inputs).path))) < LEAST_PICTURES:
            raise StageError(
                f"fewer than {LEAST_PICTURES} pictures have a pose", "see the reports of the stages before"
            )

    def run(self, inputs: Inputs, config: NovelViewsConfig, out: Path, context: StageContext) -> StageReport:
        """Score, then the video."""
        work = _Work(inputs, config, out / "novel_views", context)
        report = StageReport(METHODS[config.method])
        report.metrics |= work.learned()
        if config.score_every:
            report.metrics |= work.score()
            report.pictures = work.pictures(out)
        if config.path != "none":
            report.metrics |= work.video()
        work.write()
        return report


def _poses(inputs: Inputs) -> ArtifactRef:
    return inputs.get("poses_refined.json") or inputs["poses.json"]


class _Work:
    """One run."""

    def __init__(self, inputs: Inputs, config: NovelViewsConfig, out: Path, context: StageContext) -> None:
        from stages.core.camera import Rig
        from stages.core.frames import FrameReader, posed, read_poses, read_table
        from stages.core.meshes import read_ply
        from stages.novel_views.radiance.renderer import scored

        self.config, self.out, self.context, self.has_mesh = config, out, context, "mesh.ply" in inputs
        out.mkdir()
        mesh, self.rig = (
            read_ply(inputs["mesh.ply"].path) if "mesh.ply" in inputs else None,
            Rig.load(inputs["rig.json"].path),
        )
        rows = tuple(read_table(inputs["frames.parquet"].path))
        self.reader = FrameReader(rows, inputs["pairs"].path, None, (inputs.get("masks_final") or inputs["masks"]).path)
        found, readable = posed(read_poses(_poses(inputs).path)), set(self.reader.ids)
        self.poses = {k: p for k, p in found.items() if k in readable and self.reader.mask(k).any()}
        self.frames = scored(list(self.poses), config.score_every, MOST_SCORED)
        self.total = len(self.frames) + (config.frames if config.path != "none" else 0)
        self.figures: dict[str, float | int | str | None] = {}
        self.renderer = self._radiance(mesh) if config.method == "radiance" else self._image_based(mesh)
        self.scores: list[dict[str, Any]] = []
        self.worst: tuple[float, int, np.ndarray, np.ndarray, np.ndarray] | None = None
        self.cameras: list[dict[str, Any]] = []

    def _image_based(self, mesh: Any) -> Any:
        from stages.core.new_views.image_based import ImageBased
        from stages.core.render import Caster

        caster = Caster(mesh.vertices, mesh.faces)
        return ImageBased(
            caster,
            self.rig,
            self.poses,
            self.reader.rgb,
            mask=self.reader.mask,
            colours=mesh.colour,
            blended=self.config.blended,
        )

    def _radiance(self, mesh: Any) -> Any:
        """Learned from the pictures that are not scored."""
        from stages.novel_views.radiance.renderer import Seen, learned_all, learned_object

        config, reader = self.config, self.reader
        seen = Seen(
            self.rig,
            {k: p for k, p in self.poses.items() if k not in self.frames},
            reader.rgb,
            reader.mask,
            hidden=reader.hidden,
        )
        how = config.radiance_steps, config.radiance_samples, self.context.seed, self.context.workers, self._learning
        learned = (
            learned_all(seen, *how)
            if mesh is None
            else learned_object(seen, (mesh.vertices.min(0), mesh.vertices.max(0)), *how)
        )
        self.figures = learned.field.figures() | {"learned_pictures": len(seen.poses)}
        return learned

    def _learning(self, step: int, steps: int, squared: float) -> None:
        """Of a field's progress: steps count as many views as they take about as long as."""
        decibel = -10 * np.log10(max(squared, 1e-9))
        self.context.progress(
            step, steps + self.total, f"radiance field, step {step} of {steps}: {decibel:.1f} dB on what it learns from"
        )

    def learned(self) -> dict[str, float | int | str | None]:
        """What is said of a field, before the scores."""
        return self.figures

    def score(self) -> dict[str, float | int | str | None]:
        """Every n-th picture from all others, against the picture itself; and the nearest picture copied as it is."""
        from stages.core.new_views.image_based import filled, psnr_inside
        from stages.core.new_views.nearest import nearest

        for i, k in enumerate(self.frames):
            self.context.progress(self._done() + i, self._done() + self.total, f"picture {k} from the others")
            others = {j: p for j, p in self.poses.items() if j != k}
            near = nearest(self.poses[k], others, self.renderer.centre)[0]
            picture, mask = self.reader.rgb(k), self.reader.mask(k)
            rendered, there, more = self._rendered(k, picture, mask)
            rendered = filled(rendered, there)
            found = psnr_inside(picture, rendered, mask)
            copied = psnr_inside(picture, self.reader.rgb(near.frame), mask)
            self.scores.append(
                {
                    "frame": k,
                    "nearest": near.frame,
                    "angle_deg": round(float(np.degrees(near.angle_rad)), 2),
                    "distance_ratio": round(near.distance_ratio, 3),
                    "psnr_db": round(found, 2),
                    "nearest_copied_db": round(copied, 2),
                    "covered_share": round(float((there & mask).sum() / mask.sum()), 4),
                }
                | more
            )
            if self.worst is None or found < self.worst[0]:
                self.worst = (
                    found,
                    k,
                    picture,
                    np.where(mask[..., None], rendered, 255).astype(np.uint8),
                    self.reader.rgb(near.frame),
                )

        def mean(key):
            return round(float(np.mean([s[key] for s in self.scores])), 3)

        white = {"psnr_on_white_db": mean("psnr_on_white_db")} if self.config.method == "radiance" else {}
        return {
            "scored_pictures": len(self.frames),
            **white,
            "psnr_db": mean("psnr_db"),
            "nearest_copied_db": mean("nearest_copied_db"),
            "covered_share": mean("covered_share"),
            "angle_to_nearest_mean_deg": mean("angle_deg"),
        }

    def _rendered(
        self, k: int, picture: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """(picture, where the object is, what else is scored) of a camera whose own picture takes no part; a field leaves its depth too."""
        if self.config.method == "image_based":
            return *self.renderer.render(self.poses[k], self.rig, without=k), {}
        from stages.core.images import write_depth
        from stages.core.new_views.image_based import psnr_inside

        rendered, there, depth = self.renderer.whole(self.poses[k], self.rig)
        write_depth(self.out / "depth" / f"{k:06d}.tiff", np.where(there, depth, np.nan))
        on_white = np.where(mask[..., None], picture, 255)
        return rendered, there, {"psnr_on_white_db": round(psnr_inside(on_white, rendered, np.ones_like(mask)), 2)}

    def _done(self) -> int:
        """Steps before the first view, in the count of progress."""
        return self.config.radiance_steps if self.config.method == "radiance" else 0

    def video(self) -> dict[str, float | int | str | None]:
        """Along the path; what is nearest to each camera goes into cameras.json."""
        from stages.novel_views.video import write_mp4

        rig = self._video_rig()
        count = write_mp4(
            self.out / f"{self.config.path}.mp4",
            self._along(self._path(), rig),
            (rig.width, rig.height),
            self.config.fps,
        )
        worst = max(c["angle_deg"] for c in self.cameras)
        return {"video_frames": count, "video_width_px": rig.width, "farthest_from_a_picture_deg": worst}

    def _path(self) -> list[np.ndarray]:
        """Round the object; before a scene that was seen from one side, to and fro among its cameras."""
        from stages.core.camera_service import orbit, sway, up_of

        centre, up, climbs = self.renderer.centre, up_of(list(self.poses.values())), self.config.path == "spiral"
        eyes = np.array([p[:3, 3] for p in self.poses.values()]) - centre
        away = np.linalg.norm(eyes, axis=1)
        if not self.has_mesh and np.linalg.norm((eyes / away[:, None]).mean(0)) > ONE_SIDED:
            return sway(eyes + centre, centre, self.config.frames, up, climb=climbs)
        elevation = np.arcsin(np.clip(eyes @ up / away, -1, 1))
        spread = 0.5 * float(np.ptp(elevation)) if climbs else 0.0
        return orbit(
            centre,
            float(np.median(away)),
            self.config.frames,
            up,
            elevation_rad=float(np.median(elevation)),
            climb_rad=min(spread, 0.6),
        )

    def _along(self, poses: list[np.ndarray], rig: Any) -> Iterator[np.ndarray]:
        from stages.core.new_views.nearest import nearest

        for i, pose in enumerate(poses):
            near = nearest(pose, self.poses, self.renderer.centre)[0]
            self.cameras.append(
                {
                    "object_from_camera": pose.tolist(),
                    "nearest": near.frame,
                    "angle_deg": round(float(np.degrees(near.angle_rad)), 2),
                    "distance_ratio": round(near.distance_ratio, 3),
                }
            )
            done = self._done() + len(self.frames)
            self.context.progress(done + i, self._done() + self.total, f"view {i + 1}, nearest picture {near.frame}")
            picture, _ = self.renderer.render(pose, rig)
            yield np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def _video_rig(self) -> Any:
        rig = self.rig.scaled(min(1.0, self.config.width / self.rig.width))
        return rig.cropped(0, 0, rig.width - rig.width % 2, rig.height - rig.height % 2)

    def pictures(self, out: Path) -> list[tuple[str, str]]:
        """The picture that is rendered worst: itself, as rendered, the nearest one."""
        from stages.core.images import thumbnail_jpeg

        if self.worst is None:
            return []
        db, k, *parts = self.worst
        thumbnail_jpeg(out / "pictures/worst.jpg", np.hstack(parts), 1280)
        return [
            (
                f"picture {k}, rendered from the others ({db:.1f} dB): itself, as rendered, the nearest picture",
                "pictures/worst.jpg",
            )
        ]

    def write(self) -> None:
        """scores.json and cameras.json."""
        (self.out / "scores.json").write_text(json.dumps(self.scores, indent=1))
        if self.cameras:
            (self.out / "cameras.json").write_text(json.dumps(self.cameras, indent=1))


STAGE = NovelViewsStage()
