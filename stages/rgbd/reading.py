"""What the folder of a depth camera holds, opened: pairs, lens, unit of depth; and its frames as maps in the colour picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.images import decode_bytes
from stages.core.json_entries import number
from stages.core.picture_size import check_size
from stages.core.plain_files import read_bytes, read_json
from stages.core.rgbd_files import RgbdFiles
from stages.core.stereo_calibration import check_camera
from stages.rgbd.camera_file import DepthCamera, read_camera
from stages.rgbd.config import RgbdConfig
from stages.rgbd.depth_reading import metres, read_raw_depth, units_per_metre
from stages.rgbd.noise import without_edges
from stages.rgbd.pairing import Pair, pair
from stages.rgbd.registering import Registering

SAMPLES = 6
FARTHEST_OBJECT_M = 6.0
"""an object whose middle is farther is likely one whose depth was read in a wrong unit"""
_NOTES_ADVICE = 'write {"kind": "depth", "per_unit": 1000}: units per metre'


@dataclass(frozen=True)
class Opened:
    """size: (width, height) of the colour pictures; units per metre and who says so; notes: warnings."""

    files: RgbdFiles
    pairs: list[Pair]
    camera: DepthCamera
    size: tuple[int, int]
    units: float
    units_by: str
    notes: list[str]
    config: RgbdConfig

    @property
    def registering(self) -> Registering:
        """How depth comes to the colour picture."""
        return Registering.of(self.camera, self.size)

    def numbers(self) -> list | None:
        """The number in each frame's name, None where they go by order."""
        from stages.core.frame_names import distinct_numbers

        return distinct_numbers([c for c, _ in self.pairs])

    def colour(self, frame: int) -> np.ndarray:
        """(h, w, 3) uint8 RGB as captured. Raises CaptureError for a broken file or another size."""
        picture = _decoded(self.pairs[frame][0])
        if picture.shape[1::-1] != self.size:
            raise CaptureError(
                f"{self.pairs[frame][0].name} is {_by(picture.shape[1::-1])} px, the capture has {_by(self.size)} px",
                "",
            )
        return picture

    def depth(self, frame: int, registering: Registering, edges: bool = False) -> np.ndarray:
        """(H, W) float32 metres in the undistorted colour picture, NaN = none. Raises CaptureError.

        `edges`: keep the pixels beside steps of depth, which mix what is near and far.
        """
        path = self.pairs[frame][1]
        if path is None:
            raise CaptureError(f"{self.pairs[frame][0].name} has no depth picture", "")
        raw = read_raw_depth(path)
        wanted = _depth_size(self.camera, self.size)
        if wanted is not None and raw.shape[::-1] != wanted:
            raise CaptureError(f"{path.name} is {_by(raw.shape[::-1])} px; expected {_by(wanted)} px", "")
        z = metres(raw, self.units, self.config.min_depth_m, self.config.max_depth_m)
        return registering.depth(z if edges else without_edges(z, self.config.edge_share))

    def sample(self) -> list[int]:
        """A few frames that have both, evenly spread."""
        both = [k for k, (_, d) in enumerate(self.pairs) if d is not None]
        return [both[i] for i in np.unique(np.linspace(0, len(both) - 1, SAMPLES).round().astype(int))] if both else []


def open_capture(files: RgbdFiles, config: RgbdConfig) -> Opened:
    """Names, headers and small files, and one depth picture for its kind. Raises CaptureError."""
    pairs, notes = pair(files, config.max_apart_s)
    camera = read_camera(files.camera, config.intrinsics)
    size = _common_size([c for c, _ in pairs])
    if camera.colour.size and camera.colour.size != size:
        raise CaptureError(
            f"{camera.source}: the lens is for {_by(camera.colour.size)} px, the colour pictures are {_by(size)} px",
            "give the lens of pictures of this size",
        )
    check_camera(camera.source, "colour", camera.colour.camera, size)
    first = read_raw_depth(next(d for _, d in pairs if d is not None))
    _check_depth_size(camera, size, first.shape[::-1])
    stated = (config.depth_scale, _stated_in_notes(files.depth_notes), camera.units_per_metre)
    units, by = units_per_metre(first, stated, files.tum)
    return Opened(files, pairs, camera, size, units=units, units_by=by, notes=notes, config=config)


def distance_words(middle_m: float, units: float) -> str:
    """A warning where the object would be strangely far, "" else."""
    if middle_m <= FARTHEST_OBJECT_M:
        return ""
    return (
        f"with {units:g} units a metre the middle of the pictures is {middle_m:.1f} m away: is that so? "
        "Else set rgbd.depth_scale (5000 for TUM's data, 1000 for millimetres, 10000 for tenths of one)"
    )


def middle_depth(opened: Opened, registering: Registering, box: list[float] | None) -> tuple[float, float]:
    """(median depth inside the box, or in the middle of the pictures, nearest), metres. Raises CaptureError where there is none."""
    w, h = opened.size
    x0, y0, x1, y1 = (round(v) for v in (box or (0.25 * w, 0.25 * h, 0.75 * w, 0.75 * h)))
    values, near = [], []
    for k in opened.sample():
        try:
            z = opened.depth(k, registering)
        except CaptureError:
            continue  # the run names it
        inside = z[max(0, y0) : y1, max(0, x0) : x1]
        values += [float(np.median(inside[np.isfinite(inside)]))] if np.isfinite(inside).any() else []
        near += [float(np.nanpercentile(z, 0.5))] if np.isfinite(z).any() else []
    if not values:
        raise CaptureError(
            f"no depth from {opened.config.min_depth_m:g} to {opened.config.max_depth_m:g} m in the middle of the pictures "
            f"({opened.units:g} units a metre, by {opened.units_by})",
            "set rgbd.depth_scale, or rgbd.max_depth_m",
        )
    return float(np.median(values)), float(min(near))


def _common_size(colour: list[Path]) -> tuple[int, int]:
    some = [colour[i] for i in np.unique(np.linspace(0, len(colour) - 1, 9).astype(int))]
    found = Counter(check_size(read_bytes(p), p.name) for p in some)
    return found.most_common(1)[0][0]


def _depth_size(camera: DepthCamera, size: tuple[int, int]) -> tuple[int, int] | None:
    """What depth pictures must have; None where any size of the first one goes."""
    if camera.depth is not None:
        return camera.depth.size
    return None if camera.registered else size


def _check_depth_size(camera: DepthCamera, size: tuple[int, int], found: tuple[int, int]) -> None:
    if camera.depth is not None:
        if camera.depth.size and camera.depth.size != found:
            raise CaptureError(
                f"{camera.source}: the depth lens is for {_by(camera.depth.size)} px, the pictures are {_by(found)} px",
                "give the lens of depth pictures of this size",
            )
        check_camera(camera.source, "depth", camera.depth.camera, found)
        return
    same_shape = abs(found[0] * size[1] - found[1] * size[0]) <= max(found)
    if found != size and not (camera.registered and same_shape):
        raise CaptureError(
            f"depth has {_by(found)} px, colour {_by(size)} px, and nothing says how they go together",
            'camera.json: add the depth lens ("depth", "color_from_depth"), or "registered": true if they show the same',
        )


def _stated_in_notes(path: Path | None) -> float:
    if path is None:
        return 0.0
    data = read_json(path)
    if not isinstance(data, dict) or data.get("kind") != "depth":
        raise CaptureError(f"depth/{path.name} cannot be understood: {str(data)[:80]}", _NOTES_ADVICE)
    unit = number(data.get("per_unit"), "per_unit", f"depth/{path.name}")
    if not 0.1 < unit < 1e7:
        raise CaptureError(f"depth/{path.name}: per_unit is {unit:g}", _NOTES_ADVICE)
    return unit


def _decoded(path: Path) -> np.ndarray:
    data = read_bytes(path)
    check_size(data, path)
    return cv2.cvtColor(decode_bytes(data, path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _by(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
