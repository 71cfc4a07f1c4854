"""The steps of `posed` in order; what they say goes into the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.base import StageContext, StageReport
from stages.core.errors import CaptureError
from stages.core.file_units import UNKNOWN
from stages.core.parallel import ordered_map
from stages.core.posed_cameras import PosedCamera
from stages.posed import findings, formats
from stages.posed.agreement import REPAIRS, Silhouette
from stages.posed.config import PosedConfig
from stages.posed.lens import Pinhole, Warp, common, undistorted
from stages.posed.masks import mask_of, read_picture
from stages.posed.write import Frame, Writer

NO_SCALE = "the scale is not known: lengths are in units of the camera file. Set posed.metres_per_unit to have metres"


class Run:
    """One run; pictures are read one by one, twice: once for the masks, once to be written."""

    def __init__(self, folder: Path, config: PosedConfig, out: Path, context: StageContext) -> None:
        self.config, self.out, self.context = config, out, context
        self.found = formats.read(
            folder, config.format, config.axes, config.views_distance, fov_deg=config.field_of_view_deg
        )
        self.cameras = list(self.found.cameras)
        self.turns: dict[str, str] = {}
        self.done = StageReport(self.found.format, f"found {self.found.source.name}")
        self.done.warnings += self.found.notes

    def report(self) -> StageReport:
        """Do it all."""
        c = self.config
        if c.field_of_view_deg and self.found.format != "views":
            self.cameras = [_with_fov(camera, c.field_of_view_deg) for camera in self.cameras]
        masks = [] if c.masks == "none" else self._masks()
        found = findings.check(masks) if masks and c.check_silhouettes else None
        if found is not None:
            self._apply(found)
        target = self._target()
        writer = Writer(self.found, target, self._scale(), self.out)
        for k, frame in enumerate(
            ordered_map(lambda i: self._frame(i, target), range(len(self.cameras)), self.context.workers)
        ):
            writer.add(frame)
            self.context.progress(len(masks) + k + 1, len(masks) + len(self.cameras), f"writing {self.cameras[k].name}")
        self.done.warnings += writer.finish(metric=bool(self.config.metres_per_unit))
        if not c.metres_per_unit:
            self.done.warnings.append(NO_SCALE)
        self.done.metrics |= {**self._metrics(found), **writer.metrics()}
        self.done.frames = writer.counts() if masks else {"whole": len(self.cameras)}
        self.done.pictures = writer.pictures(
            found.repair.name if found is not None and found.repair is not None else ""
        )
        return self.done

    def _scale(self) -> float:
        return self.config.metres_per_unit or 1.0

    def _masks(self) -> list[Silhouette]:
        """Small ones of every picture, with the camera that the file gives; distortion counts for little in an outline's place."""
        sources: dict[str, int] = {}
        out = []

        def one(camera: PosedCamera) -> tuple[Silhouette, str]:
            picture, alpha = _read(camera)
            mask, source = mask_of(camera, picture, alpha, self.config.masks)
            lens = undistorted(camera)
            warp = Warp.of(camera, lens)
            flat = warp(mask.astype(np.uint8)) > 0 if warp.maps is not None else mask
            view = Silhouette(camera.name, flat, lens.K, camera.world_from_camera)
            return findings.small(view), source

        for k, (view, source) in enumerate(ordered_map(one, self.cameras, self.context.workers)):
            out.append(view)
            sources[source] = sources.get(source, 0) + 1
            self.context.progress(k + 1, 2 * len(self.cameras), f"mask of {view.name}")
        empty = [v.name for v in out if not v.mask.any()]
        if len(empty) > len(out) - 2:
            raise CaptureError(f"{len(empty)} of {len(out)} masks are empty", "give masks that show the object")
        self.done.metrics["masks_from"] = ", ".join(f"{source} ({n})" for source, n in sources.items())
        return out

    def _apply(self, found: findings.Findings) -> None:
        """The repairs that are asked for; the others are told."""
        repair, fov = found.repair, found.fov_deg
        if repair is not None and self.config.apply_repair:
            self.turns[repair.name] = repair.what
            self.done.warnings.append(
                f"as asked, the picture {repair.name} was repaired: {repair.what} "
                f"(mean agreement {repair.before:.3f} -> {repair.after:.3f})"
            )
            found = replace(found, repair=None)
        if fov is not None and self.config.apply_field_of_view:
            self.cameras = [_with_focal(c, found.focal_factor) for c in self.cameras]
            self.done.warnings.append(
                f"as asked, the field of view of {found.fov_now_deg:.1f} degrees was replaced by {fov:.1f}"
            )
            found = replace(found, fov_deg=None)
        self.done.warnings += found.warnings()

    def _target(self) -> Pinhole:
        target = common([undistorted(c) for c in self.cameras])
        most = self.config.max_width
        return target.scaled(most / target.width) if most and target.width > most else target

    def _frame(self, index: int, target: Pinhole) -> Frame:
        camera = self.cameras[index]
        picture, alpha = _read(camera)
        mask, source = mask_of(camera, picture, alpha, self.config.masks)
        turn = REPAIRS[self.turns.get(camera.name, "as it is")]
        return Frame(
            index,
            camera,
            np.ascontiguousarray(turn(picture)),
            np.ascontiguousarray(turn(mask)),
            mask_source=source,
            warp=Warp.of(camera, target),
            as_in_file=alpha is None and camera.name not in self.turns,
        )

    def _metrics(self, found: findings.Findings | None) -> dict[str, float | int | str | None]:
        out: dict[str, float | int | str | None] = {
            "pictures": len(self.cameras),
            "unit": f"{self.config.metres_per_unit:g} m" if self.config.metres_per_unit else UNKNOWN,
        }
        if found is not None:
            out |= {
                "silhouettes_agree_mean": round(float(found.agreement.mean()), 4),
                "silhouettes_agree_least": round(float(found.agreement.min()), 4),
                "least_agreeing_picture": found.names[int(found.agreement.argmin())],
                "proposed_repair": "none" if found.repair is None else f"{found.repair.name}: {found.repair.what}",
                "field_of_view_deg": round(found.fov_now_deg, 2),
                "proposed_field_of_view_deg": None if found.fov_deg is None else round(found.fov_deg, 2),
            }
        return out  # fmt: skip


def _read(camera: PosedCamera) -> tuple[np.ndarray, np.ndarray | None]:
    if camera.picture is None:
        raise CaptureError(f"{camera.name} has no picture", "add it")
    return read_picture(camera.picture)


def _with_focal(camera: PosedCamera, factor: float) -> PosedCamera:
    K = camera.K.copy()
    K[:2, :2] *= factor
    return replace(camera, K=K)


def _with_fov(camera: PosedCamera, fov_deg: float) -> PosedCamera:
    wanted = camera.width / 2 / np.tan(np.radians(fov_deg) / 2)
    return _with_focal(camera, float(wanted / camera.K[0, 0]))
