"""Which route a folder takes: a stereo capture, pictures with known cameras, or colour and depth of a depth camera. Decided by names
alone, before anything is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from stages.core.capture_links import refuse_links_out
from stages.core.errors import CaptureError
from stages.core.plain_files import require_all_regular
from stages.core.rgbd_files import looks_rgbd

Route = Literal["auto", "stereo", "posed", "scene", "rgbd", "merge", "turntable"]
PICTURES = (".png", ".jpg", ".jpeg")
CAMERA_FILES = ("transforms.json", "transforms_train.json", "poses_bounds.npy", "cameras.npz", "cameras_sphere.npz")
MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "dense/sparse", ".")
STEREO = (
    "left",
    "right",
    "left.mp4",
    "right.mp4",
    "stereo.mp4",
    "left.mov",
    "right.mov",
    "stereo.mov",
    "left.mkv",
    "left.avi",
)
VIEW_NAMES = ("front", "back", "left", "right", "top", "bottom")
LEAST_VIEWS = 3
MODEL_FILES = tuple(f"{part}{suffix}" for part in ("cameras", "images", "points3D") for suffix in (".bin", ".txt"))
IGNORED = ("gt", "truth")
"""folders of truth beside the data"""
MERGE_FILE = "merge.json"
MOST_FILES, DEEPEST = 60_000, 4


def route_of(root: Path) -> Literal["stereo", "posed", "rgbd", "merge"]:
    """merge where merge.json lies; posed where camera files or canonical views lie and no stereo pictures do; rgbd where colour and depth
    lie and none of these."""
    if (root / MERGE_FILE).is_file():
        return "merge"
    if any((root / name).exists() for name in STEREO):
        return "stereo"
    if looks_posed(root):
        return "posed"
    return "rgbd" if looks_rgbd(root) else "stereo"


def looks_posed(root: Path) -> bool:
    """Whether a camera file of any known format, or three canonical views, are there."""
    if any((root / n).is_file() for n in CAMERA_FILES) or any(root.glob("*_par.txt")):
        return True
    if any((root / f / f"cameras{s}").is_file() for f in MODEL_FOLDERS for s in (".bin", ".txt")):
        return True
    return any(len(named_views(f)) >= LEAST_VIEWS for f in view_folders(root))


def view_folders(root: Path) -> list[Path]:
    """Where canonical views may lie."""
    named = [root / f for f in (".", "images", "train", "views")]
    others = sorted(p for p in root.iterdir() if p.is_dir() and "view" in p.name.lower()) if root.is_dir() else []
    return [f for f in (*named, *others) if f.is_dir()]


def named_views(folder: Path) -> dict[str, Path]:
    """{canonical name: picture}. Raises CaptureError for two of one name."""
    found: dict[str, Path] = {}
    for p in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = p.stem.lower()
        if name in VIEW_NAMES and p.suffix.lower() in PICTURES:
            if name in found:
                raise CaptureError(f"{folder} holds {found[name].name} and {p.name}", "keep one of them")
            found[name] = p
    return found


def _is_read(name: str) -> bool:
    known = name in CAMERA_FILES or name in MODEL_FILES or name.endswith("_par.txt")
    return known or (Path(name).suffix.lower() in PICTURES and not name.startswith("."))


def posed_files(root: Path) -> tuple[Path, ...]:
    """Every file of a folder of posed pictures that can change a result, sorted. Raises CaptureError."""
    root = Path(root)
    if not root.is_dir():
        raise CaptureError(f"{root} is not a folder", "name a folder with pictures and cameras")
    found: list[Path] = []
    for folder, names, files in os.walk(root):
        here = Path(folder)
        depth = len(here.relative_to(root).parts)
        if "run.json" in files or {"artifacts", "locks"} <= set(
            names
        ):  # a twin, or a store, that was put into the folder
            names.clear()
            continue
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in IGNORED and depth < DEEPEST)
        found += [here / f for f in files if _is_read(f)]
        if len(found) > MOST_FILES:
            raise CaptureError(f"{root} holds more than {MOST_FILES:,} files", "name the folder of one object")
    if not looks_posed(root):
        raise CaptureError(
            f"{root} holds no cameras",
            "expected transforms.json or transforms_train.json, poses_bounds.npy, cameras.npz, *_par.txt, a COLMAP model in sparse/0, or "
            "pictures named front, back, left, right, top, bottom",
        )
    files = tuple(sorted(found))
    require_all_regular(files)
    refuse_links_out(root, (*files, root / "twin.yaml"))
    return files
