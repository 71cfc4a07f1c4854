"""Pictures that frames_meta.json (cuSFM) names, for captures whose folders are called otherwise than left/ and right/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core.errors import CaptureError
from stages.core.plain_files import read_json

MOST_BYTES, MOST_NAME = 1 << 25, 1000
_ADVICE = "export the recording again, or put the pictures into left/ and right/"


def pictures_named(path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """(left, right) pictures of the one stereo pair, in the order of the file, those of one moment at the same place.

    Pictures without a partner are left out. Raises CaptureError for names that lead out of the capture, or are not there.
    """
    data, root = read_json(path, most=MOST_BYTES), path.parent
    pairs, frames = (data.get(k) if isinstance(data, dict) else None for k in ("stereo_pair", "keyframes_metadata"))
    if not isinstance(frames, list) or not isinstance(pairs, list) or len(pairs) != 1 or not isinstance(pairs[0], dict):
        raise CaptureError(f"{path.name} has no keyframes_metadata with one stereo_pair", _ADVICE)
    eyes = [str(pairs[0].get(f"{side}_camera_param_id")) for side in ("left", "right")]
    moments: dict[str, dict[str, Path]] = {}
    for frame in frames:
        if isinstance(frame, dict) and str(frame.get("camera_params_id")) in eyes:
            moment = str(frame.get("synced_sample_id", frame.get("timestamp_microseconds")))
            moments.setdefault(moment, {})[str(frame["camera_params_id"])] = _inside(
                root, frame.get("image_name"), path.name
            )
    both = [(m[eyes[0]], m[eyes[1]]) for m in moments.values() if len(m) == 2]
    if not both:
        raise CaptureError(f"{path.name} names no pictures of both eyes of one moment", _ADVICE)
    return tuple(a for a, _ in both), tuple(b for _, b in both)


def _inside(root: Path, name: Any, source: str) -> Path:
    fits = (
        isinstance(name, str)
        and 0 < len(name) < MOST_NAME
        and all(len(p.encode(errors="replace")) < 256 for p in Path(name).parts)
    )
    if not fits or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise CaptureError(f"{source}: image_name {str(name)[:60]!r} is no path inside the capture", _ADVICE)
    if not (root / name).exists() and not (root / name).is_symlink():
        raise CaptureError(f"{source} names {name[:100]}, which is not there", _ADVICE)
    return root / name
