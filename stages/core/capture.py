"""The capture folder: which of its files the pipeline reads, and the digest of their content.

    left/*.{png,jpg,tif,..} right/*... or left.mp4 + right.mp4, or stereo.mp4 (side by side, left half = left camera)
    calibration.{json,yaml,yml,xml}, calib.txt, or intrinsics.yml + extrinsics.yml
    prompt.json with prompt/*.png, masks/*.png, hidden/*.png, depth/*.png with depth/depth.json         (optional)

Names count in the digest, as they decide which pictures pair up; where the folder lies and the age of its files do not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stages.core.capture_links import refuse_links_out
from stages.core.disk import THE_DISK
from stages.core.errors import CaptureError
from stages.core.fingerprint import digest_file, digest_mapping
from stages.core.merged_capture import merge_files
from stages.core.meta_pictures import pictures_named
from stages.core.plain_files import require_all_regular
from stages.core.rgbd_files import find_rgbd
from stages.core.routes import Route, posed_files, route_of
from stages.core.store import ArtifactRef

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
VIDEOS = (".mp4", ".mov", ".mkv", ".avi")
CALIBRATIONS = (
    "calibration.json",
    "calibration.yaml",
    "calibration.yml",
    "calibration.xml",
    "calib.txt",
    "K.txt",
    "camchain.yaml",
    "stereoParams.json",
    "stereoParams.mat",
    "calibration.mat",
)
CALIBRATION_ENDINGS = (".conf", "camchain.yaml")
"""of files whose names hold more: a ZED's serial number, the bag that Kalibr read"""
COLMAP_RIGS = tuple(
    tuple(f"{folder}{part}{end}" for part in ("cameras", "rigs", "images"))
    for folder in ("", "sparse/0/", "sparse/")
    for end in (".bin", ".txt")
)
"""a COLMAP model whose cameras form a rig, where no other calibration lies: models are made of captures that have one, too"""
RIG_CONFIG = "rig_config.json"
"""what COLMAP was told of the rig; read where there is neither a model nor another calibration"""
FRAMES_META, EDEX = "frames_meta.json", "stereo.edex"
CALIBRATION_PAIRS = (
    ("left.yaml", "right.yaml"),
    ("left.yml", "right.yml"),
    ("camera_info_left.yaml", "camera_info_right.yaml"),
    ("left_camera_info.yaml", "right_camera_info.yaml"),
    ("left/camera_info.yaml", "right/camera_info.yaml"),
    ("intrinsics.yml", "extrinsics.yml"),
    ("intrinsics.yaml", "extrinsics.yaml"),
    ("intrinsics.xml", "extrinsics.xml"),
)
LAYOUT_ADVICE = (
    "a capture holds left/ and right/ with png or jpg pictures (or left.mp4 + right.mp4, or stereo.mp4 side by side) "
    "and calibration.json, .yaml, .xml or calib.txt"
)
_SETTLED_S = 2.0
"""a file that changed less than this ago is digested again next time: a second write within the clock's grain would go unseen"""


@dataclass(frozen=True)
class CaptureFiles:
    """The files of one capture, absolute paths, each tuple sorted by name; what is absent is empty or None."""

    root: Path
    left: tuple[Path, ...] = ()
    right: tuple[Path, ...] = ()
    left_video: Path | None = None
    right_video: Path | None = None
    stereo_video: Path | None = None
    calibration: tuple[Path, ...] = ()
    """one file, or intrinsics and extrinsics"""
    prompt: Path | None = None
    prompt_masks: tuple[Path, ...] = ()
    """that prompt.json may name"""
    masks: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    """where something stands before the object"""
    depth: tuple[Path, ...] = ()
    depth_notes: Path | None = None

    def all(self) -> tuple[Path, ...]:
        """Every file that can change a result."""
        single = (self.left_video, self.right_video, self.stereo_video, self.prompt, self.depth_notes)
        folders = (
            *self.left,
            *self.right,
            *self.calibration,
            *self.masks,
            *self.hidden,
            *self.depth,
            *self.prompt_masks,
        )
        return (*folders, *(p for p in single if p is not None))


def find_files(root: Path) -> CaptureFiles:
    """The capture's files. Raises CaptureError if the folder is missing, empty, or holds no pair of views or no calibration."""
    root = Path(root)
    if not root.is_dir():
        raise CaptureError(f"{root} is not a folder", f"name a capture folder; {LAYOUT_ADVICE}")
    if not any(root.iterdir()):
        raise CaptureError(f"{root} is empty", LAYOUT_ADVICE)
    left, right = _pictures(root / "left"), _pictures(root / "right")
    if not left and not right and (root / FRAMES_META).is_file():
        left, right = pictures_named(root / FRAMES_META)
    found = CaptureFiles(
        root,
        left,
        right,
        _video(root, "left"),
        right_video=_video(root, "right"),
        stereo_video=_video(root, "stereo"),
        calibration=_calibration(root),
        prompt=_file(root / "prompt.json"),
        prompt_masks=_pictures(root / "prompt"),
        masks=_pictures(root / "masks"),
        hidden=_pictures(root / "hidden"),
        depth=_pictures(root / "depth"),
        depth_notes=_file(root / "depth" / "depth.json"),
    )
    _refuse_incomplete(found)
    require_all_regular(found.all())
    refuse_links_out(root, (*found.all(), root / "twin.yaml"))
    return found


def capture_files(root: Path, route: Route = "auto") -> tuple[Path, ...]:
    """Every file that can change a result, of any route. Raises CaptureError for a folder that is no capture."""
    chosen = route_of(Path(root)) if route == "auto" else route
    if chosen in ("rgbd", "turntable"):
        return find_rgbd(Path(root)).all()
    if chosen == "merge":
        return merge_files(Path(root))
    return posed_files(Path(root)) if chosen in ("posed", "scene") else find_files(root).all()


def capture_ref(path: Path, memo_folder: Path | None = None, workers: int = 4, route: Route = "auto") -> ArtifactRef:
    """The capture as the input of the first stage, with the digest of the content of the files that the pipeline reads.

    memo_folder: where to remember digests of unchanged files (size, times of change and inode), for example store.root / "digests";
    None = read every byte. Raises CaptureError for a folder that is no capture.
    """
    root = Path(path).expanduser().resolve()
    paths = capture_files(root, route)
    memo = _Memo(memo_folder, root)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        digests = dict(zip((p.relative_to(root).as_posix() for p in paths), pool.map(memo.digest, paths), strict=True))
    memo.save(digests)
    return ArtifactRef("capture", root, digest_mapping(digests))


class _Memo:
    """Digests of one capture's files as of the last time, trusted while size, mtime, ctime and inode are unchanged: whoever writes a file
    can set its mtime back, but not its ctime."""

    def __init__(self, folder: Path | None, root: Path) -> None:
        self.root, self.now_ns = root, time.time_ns()
        self.path = (
            None if folder is None else Path(folder) / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:24]}.json"
        )
        self.known: dict[str, list] = {}
        self.stamps: dict[str, list[int]] = {}
        if self.path is not None and self.path.is_file():
            with contextlib.suppress(ValueError, TypeError, OSError, RecursionError):  # a damaged one is rebuilt
                checksum, known = json.loads(self.path.read_bytes())
                self.known = known if checksum == digest_mapping(known) else {}

    def digest(self, path: Path) -> str:
        name, stat = path.relative_to(self.root).as_posix(), path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        self.stamps[name] = stamp
        known = self.known.get(name)
        return known[4] if known and known[:4] == stamp else digest_file(path)

    def save(self, digests: dict[str, str]) -> None:
        """On a full or read-only disk nothing is remembered: a memo only saves time."""
        if self.path is None:
            return
        settled = {
            n: [*self.stamps[n], d]
            for n, d in digests.items()
            if self.now_ns - max(self.stamps[n][1:3]) > _SETTLED_S * 1e9
        }
        if settled != self.known:
            with contextlib.suppress(OSError):
                THE_DISK.replace(self.path, json.dumps([digest_mapping(settled), settled]).encode())


def _refuse_incomplete(f: CaptureFiles) -> None:
    kinds = [bool(f.left or f.right), bool(f.left_video or f.right_video), bool(f.stereo_video)]
    if sum(kinds) == 0:
        raise CaptureError(
            f"{f.root} holds no pictures and no video of two views (found: {_listing(f.root)})", LAYOUT_ADVICE
        )
    if sum(kinds) > 1:
        raise CaptureError(
            f"{f.root} holds the views twice (picture folders, left/right videos, stereo video: {kinds})",
            "keep one of them in the capture folder",
        )
    for have, lack, folder in ((f.left, f.right, "right/"), (f.right, f.left, "left/")):
        if have and not lack:
            raise CaptureError(
                f"{f.root / folder} holds no png or jpg pictures, its counterpart has {len(have)}",
                "copy the other camera's pictures there",
            )
    videos = [v for v in (f.left_video, f.right_video) if v is not None]
    if len(videos) == 1:
        raise CaptureError(
            f"{f.root} has only {videos[0].name}",
            "add the other camera's video, or name a side-by-side video stereo.mp4",
        )
    if not f.calibration:
        raise CaptureError(
            f"{f.root} has no calibration (looked for {', '.join(CALIBRATIONS)}, intrinsics.yml + extrinsics.yml)",
            "add the rig's calibration; `twin calibrate` makes one from chessboard pairs",
        )


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for p in _entries(folder) if p.suffix.lower() in PICTURES and not p.name.startswith(".")))


def _entries(folder: Path) -> Iterable[Path]:
    return folder.iterdir() if folder.is_dir() else ()


def _video(root: Path, stem: str) -> Path | None:
    found = [p for p in sorted(root.iterdir()) if p.stem == stem and p.suffix.lower() in VIDEOS]
    if len(found) > 1:
        raise CaptureError(
            f"{root} holds {found[0].name} and {found[1].name}", "keep the right one of them in the capture folder"
        )
    return found[0] if found else None


def _calibration(root: Path) -> tuple[Path, ...]:
    names = [(n,) for n in CALIBRATIONS] + list(CALIBRATION_PAIRS)
    names += [
        (p.name,) for p in sorted(root.iterdir()) if p.name.endswith(CALIBRATION_ENDINGS) and p.name not in CALIBRATIONS
    ]
    found = [tuple(root / n for n in group) for group in names if all(_file(root / n) for n in group)]
    found += [(root / n,) for n in (FRAMES_META, EDEX) if _file(root / n)][
        :1
    ]  # both come from one tool, and say the same
    found = found or [tuple(root / n for n in group) for group in COLMAP_RIGS if all(_file(root / n) for n in group)]
    found = found or [(root / RIG_CONFIG,)] * (_file(root / RIG_CONFIG) is not None)
    if len(found) > 1:
        raise CaptureError(
            f"{root} holds {len(found)} calibrations: {' and '.join(' + '.join(p.name for p in group) for group in found)}",
            "keep the one that belongs to these pictures",
        )
    return found[0] if found else ()


def _file(path: Path) -> Path | None:
    """The path where something lies there, whatever it is: what is no file must be refused, not passed over."""
    return path if os.path.lexists(path) else None


def _listing(root: Path, most: int = 6) -> str:
    names = sorted(p.name for p in root.iterdir())
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
