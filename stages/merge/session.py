"""One finished session as the store has it: pictures, depth, masks, the poses of bundle and the tracks they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.camera import Rig
from stages.core.errors import CaptureError, StageError
from stages.core.frames import FramePose, FrameReader, read_poses, read_table
from stages.core.geometry.rigid import inverse
from stages.core.geometry.stereo_points import triangulate
from stages.core.merged_capture import KINDS, kind_of
from stages.core.store import ArtifactRef

FOCAL_SHARE, CENTRE_PX, BASELINE_SHARE = 1e-3, 0.5, 2e-3
"""by how much two rigs may differ and be one: less than any calibration is good for"""


@dataclass(frozen=True)
class Tracks:
    """Observation m is of point `point[m]` in frame `frame[m]` at `uvr[m]` px (u, v, u_right) with `sigma_px[m]`; `xyz` (P, 3) in the
    object frame, NaN = unknown; `inside` (P,) on the object; `aside` (P,) steadies poses, but is no part of the scene that is kept."""

    point: np.ndarray
    frame: np.ndarray
    uvr: np.ndarray
    sigma_px: np.ndarray
    xyz: np.ndarray
    inside: np.ndarray
    aside: np.ndarray


@dataclass(frozen=True)
class Session:
    """`poses` {frame: object_from_left} of the frames that the session's own bundle stands by; `rows` of all its frames."""

    name: str
    rig: Rig
    reader: FrameReader
    rows: list[FramePose]
    poses: dict[int, np.ndarray]
    tracks: Tracks
    scope: str
    mask_rows: list[dict]

    @property
    def centre(self) -> np.ndarray:
        """(3,) of the object's points, object frame."""
        return np.median(self._own(), 0)

    @property
    def size_m(self) -> float:
        """Longest side of the box round the object's points."""
        return float(np.ptp(np.percentile(self._own(), (2, 98), axis=0), axis=0).max())

    def _own(self) -> np.ndarray:
        own = self.tracks.xyz[self.tracks.inside]
        return own[np.isfinite(own).all(1)]


def load(name: str, which: str, inputs: Mapping[str, ArtifactRef]) -> Session:
    """A session of the stage's inputs, `which` = "first" or "second". Raises StageError where hardly a frame has a pose."""
    own = {kind: inputs[kind_of(which, kind)] for kind in KINDS}
    rig, reader, rows = Rig.load(own["rig.json"].path), FrameReader.of(own), read_poses(own["poses.json"].path)
    poses = {r.frame: r.object_from_left for r in rows if r.status == "ok" and r.object_from_left is not None}
    if len(poses) < 2:
        raise StageError(
            f"{name}: {len(poses)} frames have a pose that can be relied on",
            "a session needs at least 2: see its own report",
        )
    tracks, scope = _tracks(own["tracks.npz"].path, rig, poses)
    found = Session(
        name,
        rig,
        reader,
        rows,
        poses=poses,
        tracks=tracks,
        scope=scope,
        mask_rows=read_table(own["masks.parquet"].path),
    )
    if len(found._own()) < 3:
        raise StageError(
            f"{name}: hardly a point of the object is known", "see its own report: the object may have no texture"
        )
    return found


def require_one_rig(first: Session, second: Session) -> float:
    """Factor that brings the second's disparities to the first's baseline: 1 for pairs. Raises CaptureError for two different cameras."""
    a, b = first.rig, second.rig
    same = (
        (a.width, a.height) == (b.width, b.height)
        and abs(a.fx / b.fx - 1) < FOCAL_SHARE
        and abs(a.fy / b.fy - 1) < FOCAL_SHARE
    )
    same = same and max(abs(a.cx - b.cx), abs(a.cy - b.cy)) < CENTRE_PX
    eyes = first.reader.has_right, second.reader.has_right
    if same and not any(eyes):
        return a.baseline_m / b.baseline_m  # of a depth camera: it stands for noise, and can be any
    if same and all(eyes) and abs(a.baseline_m / b.baseline_m - 1) < BASELINE_SHARE:
        return 1.0
    raise CaptureError(
        f"the sessions were taken with different cameras: {first.name} {_words(a, eyes[0])}; {second.name} {_words(b, eyes[1])}",
        "sessions of one camera with one calibration can be merged, in one picture size: give rectify.max_width the smaller one for both",
    )


def _words(rig: Rig, right: bool) -> str:
    eyes = f"baseline {1e3 * rig.baseline_m:.2f} mm" if right else "one eye and depth"
    return f"{rig.width}x{rig.height} px, focal length {rig.fx:.1f} px, centre {rig.cx:.1f}, {rig.cy:.1f} px, {eyes}"


def _tracks(path: Path, rig: Rig, poses: Mapping[int, np.ndarray]) -> tuple[Tracks, str]:
    """Of the posed frames, points numbered anew, placed by the session's final poses; and "object" or "scene"."""
    frames = sorted(poses)
    with np.load(path, allow_pickle=False) as t:
        keep = np.isin(t["frame"], frames)
        used, point = np.unique(t["point_id"][keep], return_inverse=True)
        uvr = np.stack([t["u"], t["v"], t["u_right"]], 1).astype(np.float64)[keep]
        frame, sigma, scope = t["frame"][keep].astype(np.int64), t["sigma_px"][keep].astype(np.float64), str(t["scope"])
        inside = t["inside"][used].astype(bool)
        aside = t["aside"][used].astype(bool) if "aside" in t else np.zeros(len(used), bool)
    left_from_object = inverse(np.stack([poses[f] for f in frames]))
    at = np.searchsorted(frames, frame)
    xyz = triangulate(rig, left_from_object, at, point, uvr=uvr, sigma_px=np.maximum(sigma, 0.05), count=len(used))
    return Tracks(point, frame, uvr, sigma, xyz=xyz, inside=inside, aside=aside), scope
