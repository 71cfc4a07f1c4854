"""A folder of canonical views: front back left right top bottom (three at least), seen from one distance with one lens."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from stages.core.camera_service import VIEWS, canonical_views, focal_of
from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedSet
from stages.core.routes import LEAST_VIEWS, named_views, view_folders
from stages.posed.values import size_of


def find(root: Path) -> Path | None:
    """The folder that holds the views, or None."""
    return next((f for f in view_folders(root) if len(named_views(f)) >= LEAST_VIEWS), None)


def read(root: Path, folder: Path, distance: float, fov_deg: float) -> PosedSet:
    """`fov_deg` 0: 1111 px for a picture 512 px wide. Raises CaptureError."""
    views = named_views(folder)
    names = [n for n in VIEWS if n in views]
    sizes = {n: size_of(views[n]) for n in names}
    for n in names:
        if sizes[n] != sizes[names[0]]:
            raise CaptureError(
                f"{views[n].name} has {sizes[n][0]}x{sizes[n][1]} px, {views[names[0]].name} {sizes[names[0]]}",
                "all views must have one size",
            )
    w, h = sizes[names[0]]
    focal = focal_of(fov_deg * math.pi / 180, w) if fov_deg else None
    masks, depths = named_views(root / "masks"), named_views(root / "depth") or named_views(root / "depth_renders")
    cameras = canonical_views(w, h, distance, focal, names=names)
    cameras = [replace(c, picture=views[c.name], mask=masks.get(c.name), depth=depths.get(c.name)) for c in cameras]
    lens = f"{fov_deg:g} degrees" if fov_deg else "1111 px at 512 px"
    return PosedSet(
        "views", folder, tuple(cameras), notes=(f"{len(names)} canonical views at distance {distance:g}, lens {lens}",)
    )
