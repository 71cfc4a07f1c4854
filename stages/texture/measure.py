"""The texture measured on pictures and shown in the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.images import thumbnail_jpeg
from stages.core.meshes import TexturedMesh
from stages.core.parallel import ordered_map
from stages.core.render import Caster, turntable_rig
from stages.core.render_textured import mip_levels, render_textured
from stages.core.texels.survey import Pictures, reduction
from stages.core.texels.views import View, object_window, picture_window
from stages.texture.bake import Baked
from stages.texture.quality import ViewScore, score_view, seam_step

_MOST_VIEWS = 8
_MOST_PIXELS = 1_000_000
"""pictures are compared at a size of at most this many pixels round the object: ray casting costs 0.1 us a pixel"""


@dataclass
class Measured:
    """Figures over the measured frames, and the worst frame: (frame, picture, rendered, measured pixels) crops."""

    figures: dict[str, float | int | None]
    worst: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None

    def write_pictures(self, out: Path, baked: Baked) -> list[tuple[str, str]]:
        """Write pictures/*.jpg below `out`; returns (caption, relative path)."""
        thumbnail_jpeg(out / "pictures/texture.jpg", baked.mesh.texture, 900)
        thumbnail_jpeg(out / "pictures/provenance.jpg", _false_colour(baked.provenance), 480)
        thumbnail_jpeg(out / "pictures/sides.jpg", four_sides(baked.mesh), 1280)
        found = [
            ("the textured mesh from four sides, unlit", "pictures/sides.jpg"),
            ("the texture", "pictures/texture.jpg"),
            (
                "views behind each texel: dark red none (filled in, or between charts), blue few, yellow most",
                "pictures/provenance.jpg",
            ),
        ]
        if self.worst is not None:
            frame, picture, rendered, inside = self.worst
            error = np.where(
                inside, np.clip(np.abs(rendered - picture.astype(np.float32)).mean(-1) * 5, 0, 255), 0
            ).astype(np.uint8)
            error = cv2.cvtColor(cv2.applyColorMap(error, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
            strip = np.hstack([picture, np.clip(rendered, 0, 255).astype(np.uint8), error])
            thumbnail_jpeg(out / "pictures/worst.jpg", strip, 1280)
            found.insert(
                1,
                (
                    f"frame {frame}, where the texture fits least: picture, twin, error (white = 51 grey levels)",
                    "pictures/worst.jpg",
                ),
            )
        return found


def measure(
    mesh: TexturedMesh,
    frames: list[int],
    poses: dict[int, np.ndarray],
    rig: Rig,
    pictures: Pictures,
    workers: int,
) -> Measured:
    """Compare the rendered twin with at most 8 of the left pictures, evenly chosen from `frames`; poses as stored, object_from_left."""
    chosen = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_VIEWS)).astype(int))]
    caster, mips = Caster(mesh.vertices, mesh.faces), mip_levels(mesh.texture)

    def one(frame: int) -> tuple[int, ViewScore, np.ndarray, np.ndarray, np.ndarray] | None:
        window = object_window(View(frame, "left", np.linalg.inv(poses[frame])), rig, mesh.vertices)
        if window is None:
            return None
        window = picture_window(window, reduction(1.4 * np.sqrt(window.width * window.height / _MOST_PIXELS)))
        reduce = round(1 / window.scale)
        picture = window.cut(pictures.rgb(frame, "left", reduce))
        mask = (
            cv2.resize(
                window.cut(pictures.mask(frame)[::reduce, ::reduce]).astype(np.uint8),
                picture.shape[1::-1],
                interpolation=cv2.INTER_NEAREST,
            )
            > 0
        )
        camera = replace(window.rig(rig), width=picture.shape[1], height=picture.shape[0])
        rendered, seen = render_textured(mesh, poses[frame], camera, caster, mips=mips)
        score = score_view(picture, rendered, mask, seen)
        return (frame, score, picture, rendered, mask & seen) if score else None

    scores, worst = [], None
    for result in ordered_map(one, chosen, workers):
        if result is None:
            continue
        if worst is None or result[1].psnr_db < min(s.psnr_db for s in scores):
            worst = (result[0], *result[2:])
        scores.append(result[1])
    return Measured(_figures(scores, seam_step(mesh)), worst)


def four_sides(mesh: TexturedMesh, size: int = 320) -> np.ndarray:
    """(size, 4 * size, 3) uint8: the textured mesh from four sides, unlit."""
    rig, poses = turntable_rig(mesh.vertices, size)
    caster, mips = Caster(mesh.vertices, mesh.faces), mip_levels(mesh.texture)
    return np.hstack(
        [np.clip(np.rint(render_textured(mesh, p, rig, caster, mips=mips)[0]), 0, 255).astype(np.uint8) for p in poses]
    )


def _figures(scores: list[ViewScore], seam: float) -> dict[str, float | int | None]:
    def mean(key, digits):
        return round(float(np.mean([getattr(s, key) for s in scores])), digits) if scores else None

    return {
        "psnr_db": mean("psnr_db", 2),
        "psnr_raw_db": mean("psnr_raw_db", 2),
        "psnr_worst_db": round(min((s.psnr_db for s in scores), default=0.0), 2),
        "ssim": mean("ssim", 4),
        "colour_difference_delta_e": mean("colour_difference", 2),
        "mask_covered_share": mean("covered", 4),
        "seam_step_levels": round(seam, 3),
        "frames_measured": len(scores),
    }


def _false_colour(count: np.ndarray) -> np.ndarray:
    shown = cv2.applyColorMap(np.rint(count * (255 / max(int(count.max()), 1))).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    shown[count == 0] = (0, 0, 90)
    return cv2.cvtColor(shown, cv2.COLOR_BGR2RGB)
