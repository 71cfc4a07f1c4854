"""A look at a folder of posed pictures before any work: format, lenses, masks, and whether the silhouettes agree. `twin check` shows it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.look import Look
from stages.core.posed_cameras import PosedCamera, PosedSet
from stages.posed import findings, formats
from stages.posed.agreement import Silhouette
from stages.posed.config import PosedConfig
from stages.posed.lens import common, undistorted
from stages.posed.masks import mask_of, read_picture


def look_at(capture: Path, config: PosedConfig, pictures: bool = True) -> Look:
    """Everything that is known; with `pictures` up to 24 are read. What would end a run is in `refused`."""
    start, out = time.monotonic(), Look(str(capture))
    try:
        found = formats.read(
            capture, config.format, config.axes, config.views_distance, fov_deg=config.field_of_view_deg
        )
        _by_cameras(out, found, config)
        if pictures:
            _by_pictures(out, found.cameras, config)
    except CaptureError as e:
        out.refused = (e.message, e.advice)
    out.seconds = round(time.monotonic() - start, 2)
    return out


def _by_cameras(out: Look, found: PosedSet, config: PosedConfig) -> None:
    sizes = Counter((c.width, c.height) for c in found.cameras)
    out.sections.append(("cameras", [f"{len(found.cameras)} of {found.source.name}, format {found.format}"]))
    out.sections.append(("pictures", [f"{n} of {w}x{h} px" for (w, h), n in sizes.most_common(4)]))
    lens = common([undistorted(c) for c in found.cameras])
    bent = sum(c.lens != "none" for c in found.cameras)
    undo = f", {bent} with distortion to undo" if bent else ""
    out.sections.append(("lens", [f"{lens.K[0, 0]:.1f} px at {lens.width}x{lens.height}{undo}"]))
    scale = (
        f"{config.metres_per_unit:g} m a unit"
        if config.metres_per_unit
        else "unknown: the twin is in units of the file"
    )
    out.sections.append(("scale", [scale]))
    if len(found.points):
        out.sections.append(("points", [f"{len(found.points):,}"]))
    out.notes += found.notes
    width, height = max(sizes, key=lambda size: (size[0] * size[1], size))
    out.figures |= {
        "frames": len(found.cameras),
        "format": found.format,
        "focal_px": round(float(lens.K[0, 0]), 2),
        "width_px": width,
        "height_px": height,
    }  # of the largest


def _by_pictures(out: Look, cameras: tuple[PosedCamera, ...], config: PosedConfig) -> None:
    if config.masks == "none":
        out.sections.append(("masks", ["none: all of every picture is wanted"]))
        return
    chosen = np.unique(np.linspace(0, len(cameras) - 1, findings.MOST_VIEWS).round().astype(int))
    views, sources = [], Counter[str]()
    for camera in (cameras[i] for i in chosen):
        if camera.picture is None:
            continue
        mask, source = mask_of(camera, *read_picture(camera.picture), config.masks)
        sources[source] += 1
        views.append(findings.small(Silhouette(camera.name, mask, camera.K, camera.world_from_camera)))
    out.pictures_read = len(views)
    out.sections.append(("masks", [f"{n} from {source}" for source, n in sources.items()]))
    found = findings.check(views) if config.check_silhouettes else None
    if found is not None:
        mean, least = found.agreement.mean(), found.agreement.min()
        out.sections.append(("silhouettes", [f"agree to {mean:.3f} on average, {least:.3f} at the least"]))
        out.odd += found.warnings()
        out.figures["silhouettes_agree_mean"] = round(float(found.agreement.mean()), 4)
