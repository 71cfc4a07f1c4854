"""The per-frame tables and the readers that every stage shares: rectified pairs, disparity with its sigma, masks, poses.

`frames.parquet` (kind of `rectify`): one row per frame found in the capture, also for the ones that cannot be used:
    frame int32        index of the frame in the capture (0-based order of its files, or the video's frame number)
    status str         "ok", or why not: "missing_pair", "broken", "size", "blurred", "duplicate"
    reason str         the same in plain words
    left, right str    file names below pairs/ ("" where there is none)
    sharpness, exposure_ratio, row_offset_px float32
`masks.parquet`: frame, status ("ok", "uncertain", "lost", "given"), trust (0-1), area_px, reason. Where the object
    is moved in the scene also rest (int): number of the run of frames in which it keeps still, -1 = it is moved then, or nothing is known.
`poses.json`: {"convention": .., "frames": [{"frame", "object_from_left" 4x4 or null, "status", "inliers", "rms_px", "reason"}]}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.images import read_disparity, read_gray, read_mask, read_rgb, read_sigma
from stages.core.plain_files import read_json
from stages.core.store import ArtifactRef

POSES_BYTES, MOST_FRAMES = 1 << 28, 10_000_000
POSE_CONVENTION = "x_object = object_from_left @ x_left, OpenCV axes, metres, rectified left camera"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows (dicts with the same keys) as parquet; raises ValueError on an empty list, because it would lose the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows:
        raise ValueError(f"{path.name}: no rows")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(r) for r in rows]), path, compression="zstd")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a parquet table."""
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


@dataclass(frozen=True)
class FrameReader:
    """Streams what is known of each frame; holds paths only, never pictures."""

    rows: tuple[dict[str, Any], ...]
    pairs: Path
    disparity: Path | None = None
    masks: Path | None = None

    @staticmethod
    def of(inputs: Mapping[str, ArtifactRef]) -> FrameReader:
        """From a stage's inputs: needs "frames.parquet" and "pairs"; "disparity" and "masks" where the stage has them."""

        def path(kind):
            return inputs[kind].path if kind in inputs else None

        rows = tuple(read_table(inputs["frames.parquet"].path))
        return FrameReader(rows, inputs["pairs"].path, path("disparity"), path("masks"))

    @property
    def ids(self) -> list[int]:
        """Frames that can be used, in order."""
        return [r["frame"] for r in self.rows if r["status"] == "ok"]

    @property
    def has_right(self) -> bool:
        """Whether the frames are pairs; posed single pictures have no right one."""
        return all(r["right"] for r in self.rows if r["status"] == "ok")

    def _file(self, frame: int, side: str) -> Path:
        return self.pairs / next(r[side] for r in self.rows if r["frame"] == frame)

    def rgb(self, frame: int, side: str = "left", reduce: int = 1) -> np.ndarray:
        """(H, W, 3) uint8 rectified picture; `reduce` as in `read_rgb`."""
        return read_rgb(self._file(frame, side), reduce)

    def gray(self, frame: int, side: str = "left") -> np.ndarray:
        """(H, W) uint8 rectified picture."""
        return read_gray(self._file(frame, side))

    def disparity_px(self, frame: int) -> np.ndarray:
        """(H, W) float32, NaN = none."""
        return read_disparity(_folder(self.disparity) / f"{frame:06d}.png")

    def sigma_px(self, frame: int) -> np.ndarray:
        """(H, W) float32 calibrated standard deviation of the disparity, NaN = none."""
        return read_sigma(_folder(self.disparity) / "sigma" / f"{frame:06d}.png")

    def mask(self, frame: int) -> np.ndarray:
        """(H, W) bool; all False for a frame whose object was lost."""
        return read_mask(_folder(self.masks) / f"{frame:06d}.png")

    def hidden(self, frame: int, side: str = "left") -> np.ndarray | None:
        """(H, W) bool: something stands before the object there, so that the picture says nothing about it; None = nowhere."""
        path = _folder(self.masks) / ("hidden" if side == "left" else "hidden_right") / f"{frame:06d}.png"
        return read_mask(path) if path.exists() else None


def _folder(path: Path | None) -> Path:
    if path is None:
        raise ValueError("this stage did not declare the input it reads")
    return path


@dataclass(frozen=True)
class FramePose:
    """Where the left camera of one frame was: object_from_left (4, 4) or None with the reason."""

    frame: int
    object_from_left: np.ndarray | None
    status: str
    inliers: int = 0
    rms_px: float | None = None
    reason: str = ""


def write_poses(path: Path, poses: Sequence[FramePose], convention: str = POSE_CONVENTION) -> None:
    """poses.json; `convention` says in words what its poses are."""
    frames = [
        {
            "frame": p.frame,
            "object_from_left": None if p.object_from_left is None else np.asarray(p.object_from_left, float).tolist(),
            "status": p.status,
            "inliers": int(p.inliers),
            "rms_px": None if p.rms_px is None else float(p.rms_px),
            "reason": p.reason,
        }
        for p in poses
    ]
    path.write_text(
        json.dumps({"schema_version": 1, "convention": convention, "frames": frames}, indent=1, allow_nan=False)
    )


def read_poses(path: Path) -> list[FramePose]:
    """All rows of poses.json, also the ones without a pose. Raises CaptureError for what is none: a truth is written by anybody."""
    data = read_json(path, most=POSES_BYTES)
    rows = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise CaptureError(
            f"{path} has no list of frames", 'write {"frames": [{"frame": 0, "object_from_left": [4 rows of 4]}, ..]}'
        )
    return [_pose(r, path) for r in rows]


def _pose(row: Any, path: Path) -> FramePose:
    frame = row.get("frame") if isinstance(row, dict) else None
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < MOST_FRAMES:
        raise CaptureError(
            f"{path}: a row has the frame {str(frame)[:40]!r}; expected a whole number from 0 on", "correct the file"
        )
    matrix = row.get("object_from_left")
    if matrix is not None:
        try:
            matrix = np.array(matrix, float)
        except (TypeError, ValueError, OverflowError):
            matrix = np.zeros(0)
        if matrix.shape != (4, 4) or not np.all(np.isfinite(matrix)):
            raise CaptureError(
                f"{path}: object_from_left of frame {frame} is no 4 x 4 of numbers", "store it row by row, or null"
            )
    return FramePose(
        frame,
        matrix,
        row.get("status", "ok"),
        row.get("inliers", 0),
        rms_px=row.get("rms_px"),
        reason=row.get("reason", ""),
    )


def posed(poses: Sequence[FramePose]) -> dict[int, np.ndarray]:
    """{frame: object_from_left} of the frames that have a pose."""
    return {p.frame: p.object_from_left for p in poses if p.object_from_left is not None}


def frame_ranges(frames: Sequence[int]) -> str:
    """For messages: (1, 2, 3, 7) -> "1-3, 7"."""
    parts: list[list[int]] = []
    for f in sorted(frames):
        if parts and f == parts[-1][1] + 1:
            parts[-1][1] = f
        else:
            parts.append([f, f])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
