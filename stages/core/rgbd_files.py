"""The files of a depth camera's capture: colour pictures, depth pictures, and what says how both belong together.

color/ (or colour/, rgb/) + depth/         or rgb_0.png + depth_0.png (color_, colour_) in the folder itself
associations.txt                           optional: "time rgb/FILE time depth/FILE", as TUM's tools write it
camera.json, camera_intrinsic.json (Open3D), cam_K.txt, K.txt, intrinsics.txt          optional: the lens
masks/ hidden/ prompt.json prompt/ depth/depth.json        as in any capture
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stages.core.capture_links import refuse_links_out
from stages.core.errors import CaptureError
from stages.core.plain_files import require_all_regular

COLOUR_FOLDERS = ("color", "colour", "rgb")
DEPTH_FOLDER = "depth"
CAMERAS = ("camera.json", "camera_intrinsic.json", "cam_K.txt", "K.txt", "intrinsics.txt")
LISTS = ("associations.txt", "association.txt", "associate.txt", "assoc.txt")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
DEPTHS = (".png", ".tif", ".tiff", ".npy", ".pgm")
ADVICE = ("a depth camera's capture holds color/ (or rgb/) and depth/ with as many pictures, or rgb_0.png, depth_0.png ..; "
          "and the lens in camera.json, cam_K.txt or rgbd.intrinsics")  # fmt: skip


@dataclass(frozen=True)
class RgbdFiles:
    """Absolute paths, each tuple sorted by name; what is absent is empty or None."""

    root: Path
    colour: tuple[Path, ...]
    depth: tuple[Path, ...]
    camera: Path | None = None
    association: Path | None = None
    prompt: Path | None = None
    prompt_masks: tuple[Path, ...] = ()
    masks: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    depth_notes: Path | None = None

    def all(self) -> tuple[Path, ...]:
        """Every file that can change a result."""
        single = (self.camera, self.association, self.prompt, self.depth_notes)
        folders = (*self.colour, *self.depth, *self.masks, *self.hidden, *self.prompt_masks)
        return (*folders, *(p for p in single if p is not None))

    @property
    def tum(self) -> bool:
        """Whether the folder is laid out as TUM's RGB-D data sets: their depth has 5000 units a metre."""
        return self.association is not None or all((self.root / f"{n}.txt").is_file() for n in ("rgb", "depth"))


def looks_rgbd(root: Path) -> bool:
    """By names alone: a folder of colour and one of depth, or both kinds of names in the folder itself."""
    if not root.is_dir():
        return False
    if (root / DEPTH_FOLDER).is_dir():
        return any((root / n).is_dir() for n in COLOUR_FOLDERS)
    return bool(_flat(root, COLOUR_FOLDERS, PICTURES) and _flat(root, (DEPTH_FOLDER,), DEPTHS))


def find_rgbd(root: Path) -> RgbdFiles:
    """Raises CaptureError where colour or depth is missing, or stands there twice."""
    root = Path(root)
    if not root.is_dir():
        raise CaptureError(f"{root} is not a folder", f"name a capture folder; {ADVICE}")
    folders = [n for n in COLOUR_FOLDERS if _in(root / n, PICTURES)]
    if len(folders) > 1:
        raise CaptureError(
            f"{root} holds colour pictures in {' and '.join(f + '/' for f in folders)}", "keep one of the folders"
        )
    colour = _in(root / folders[0], PICTURES) if folders else _flat(root, COLOUR_FOLDERS, PICTURES)
    depth = _in(root / DEPTH_FOLDER, DEPTHS) or _flat(root, (DEPTH_FOLDER,), DEPTHS)
    for found, what in ((colour, "colour"), (depth, "depth")):
        if not found:
            raise CaptureError(f"{root} holds no {what} pictures", ADVICE)
    found = RgbdFiles(
        root,
        colour,
        depth,
        _one(root, CAMERAS, "lenses"),
        association=_one(root, LISTS, "lists of what belongs together"),
        prompt=_there(root / "prompt.json"),
        prompt_masks=_in(root / "prompt", PICTURES),
        masks=_in(root / "masks", PICTURES),
        hidden=_in(root / "hidden", PICTURES),
        depth_notes=_there(root / DEPTH_FOLDER / "depth.json"),
    )
    require_all_regular(found.all())
    refuse_links_out(root, (*found.all(), root / "twin.yaml"))
    return found


def _in(folder: Path, kinds: tuple[str, ...]) -> tuple[Path, ...]:
    found = folder.iterdir() if folder.is_dir() else ()
    return tuple(sorted(p for p in found if p.suffix.lower() in kinds and not p.name.startswith(".")))


def _flat(root: Path, starts: tuple[str, ...], kinds: tuple[str, ...]) -> tuple[Path, ...]:
    """rgb_0.png, depth-12.png: one of the words, then a number."""

    def belongs(path: Path) -> bool:
        word = path.stem.lower().rstrip("0123456789.").rstrip("_- ")
        return word in starts and word != path.stem.lower() and path.suffix.lower() in kinds

    return tuple(sorted(p for p in root.iterdir() if belongs(p)))


def _one(root: Path, names: tuple[str, ...], what: str) -> Path | None:
    found = [root / n for n in names if _there(root / n)]
    if len(found) > 1:
        raise CaptureError(
            f"{root} holds {len(found)} {what}: {' and '.join(p.name for p in found)}",
            "keep the one that belongs to it",
        )
    return found[0] if found else None


def _there(path: Path) -> Path | None:
    return path if os.path.lexists(path) else None
