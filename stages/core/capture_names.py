"""What lies in a capture folder and is not read, as far as its name suggests that it was meant to be."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path

from stages.core.capture import CALIBRATIONS, PICTURES, RIG_CONFIG, VIDEOS

FOLDERS = ("left", "right", "masks", "hidden", "depth", "prompt")
FILES = (
    "prompt.json",
    "twin.yaml",
    "stereo.mp4",
    "left.mp4",
    "right.mp4",
    "frames_meta.json",
    RIG_CONFIG,
    *CALIBRATIONS,
)
OTHER_NAMES = {
    "mask": "masks",
    "segmentation": "masks",
    "segmentations": "masks",
    "seg": "masks",
    "silhouettes": "masks",
    "depths": "depth",
    "depth_maps": "depth",
    "occlusion": "hidden",
    "occlusions": "hidden",
}
_NEAR = 0.8
_OF_SYSTEMS = ("Thumbs.db", "desktop.ini")
_NOT_MEANT = ("gt", "truth", "notes", "readme")


def unread(root: Path) -> list[str]:
    """Warnings: names close to one that would be read and is not there, and folders that hold no picture or others beside them."""
    names = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))
    out = [f"{name} is not read: did it mean to be {meant}?" for name in names if (meant := _meant(root, name))]
    for folder in FOLDERS:
        if (root / folder).is_dir() and (found := _foreign(root / folder)):
            kinds = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in found.most_common(3))
            out.append(
                f"{folder}/ holds files that are not read ({kinds}); pictures are {', '.join(s[1:] for s in PICTURES[:5])}"
            )
        if (root / folder).is_dir() and (inner := _inner(root / folder)):
            out.append(
                f"{folder}/{inner}/ is not read, and {folder}/ itself holds no picture: put the pictures into {folder}/"
            )
    return out


def _meant(root: Path, name: str) -> str:
    """The name that would be read, "" where `name` is read, or speaks of something else, or the other is there too."""
    is_folder = (root / name).is_dir()
    known = FOLDERS if is_folder else FILES
    low = name.lower()
    if name in known or Path(name).suffix.lower() in VIDEOS or any(low.startswith(w) for w in _NOT_MEANT):
        return ""
    near = difflib.get_close_matches(low, known, 1, _NEAR)
    meant = (OTHER_NAMES.get(low, "") if is_folder else "") or (near[0] if near else "")
    if not meant:
        return ""
    instead = CALIBRATIONS if meant in CALIBRATIONS else (meant,)
    return "" if any((root / n).exists() for n in instead) else meant


def _inner(folder: Path) -> str:
    """The first folder in it that holds pictures, where it holds none itself; else ""."""
    inside = sorted(folder.iterdir())
    if any(p.suffix.lower() in PICTURES and not p.name.startswith(".") for p in inside if not p.is_dir()):
        return ""
    return next((p.name for p in inside if p.is_dir() and any(q.suffix.lower() in PICTURES for q in p.iterdir())), "")


def _foreign(folder: Path) -> Counter[str]:
    known = (*PICTURES, ".json") if folder.name == "depth" else PICTURES
    files = (p for p in folder.iterdir() if not p.is_dir() and not p.name.startswith(".") and p.name not in _OF_SYSTEMS)
    return Counter(p.suffix.lower() for p in files if p.suffix.lower() not in known)
