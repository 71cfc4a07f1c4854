"""A folder of canonical views: front back left right top bottom (three at least), seen from one distance with one lens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stages.core.camera_service import VIEWS, canonical_views, focal_of
from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedSet
from stages.posed.values import pictures_in, size_of

FOLDERS = (".", "images", "train", "views")
LEAST = 3


def find(root: Path) -> Path | None:
    """The folder that holds the views, or None."""
    others = sorted(p for p in root.iterdir() if p.is_dir() and "view" in p.name.lower())
    return next((f for f in (*(root / f for f in FOLDERS), *others) if len(_named(f)) >= LEAST), None)


def read(root: Path, folder: Path, distance: float, fov_deg: float) -> PosedSet:
    """`fov_deg` 0: 1111 px for a picture 512 px wide. Raises CaptureError."""
    views = _named(folder)
    names = [n for n in VIEWS if n in views]
    sizes = {n: size_of(views[n]) for n in names}
    for n in names:
        if sizes[n] != sizes[names[0]]:
            raise CaptureError(
                f"{views[n].name} has {sizes[n][0]}x{sizes[n][1]} px, {views[names[0]].name} {sizes[names[0]]}",
                "all views must have one size",
            )
    w, h = sizes[names[0]]
    focal = focal_of(fov_deg * 3.141592653589793 / 180, w) if fov_deg else None
    masks, depths = _named(root / "masks"), _named(root / "depth") or _named(root / "depth_renders")
    cameras = canonical_views(w, h, distance, focal, names)
    cameras = [replace(c, picture=views[c.name], mask=masks.get(c.name), depth=depths.get(c.name)) for c in cameras]
    lens = f"{fov_deg:g} degrees" if fov_deg else "1111 px at 512 px"
    return PosedSet("views", folder, tuple(cameras), notes=(f"{len(names)} canonical views at distance {distance:g}, lens {lens}",))


def _named(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for p in pictures_in(folder):
        name = p.stem.lower()
        if name in VIEWS:
            if name in found:
                raise CaptureError(f"{folder} holds {found[name].name} and {p.name}", "keep one of them")
            found[name] = p
    return found
