"""Writes both sessions as one: frames of the second numbered after those of the first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.core.frames import FramePose, write_poses, write_table
from stages.core.images import read_disparity, read_sigma, write_disparity, write_sigma
from stages.merge.session import Session, Tracks

FRAME_KEYS = ("status", "reason", "sharpness", "exposure_ratio", "row_offset_px")
MASK_KEYS = ("status", "trust", "area_px", "reason")


def write_frames(
    out: Path, sessions: tuple[Session, Session], offset: int, ratio: float, progress: Callable[[int, int, str], None]
) -> None:
    """pairs, disparity, masks and their tables. `ratio` brings disparities of the second to the rig of the first."""
    rows, masks, total, done = [], [], sum(len(s.reader.rows) for s in sessions), 0
    for k, session in enumerate(sessions):
        start = k * offset
        for row in session.reader.rows:
            rows.append(_frame(out, session, row, start))
            if row["status"] == "ok":
                _maps(out, session, row["frame"], start, ratio=ratio if k else 1.0)
            done += 1
            progress(done, total, "taking over frames")
        masks += [{"frame": r["frame"] + start, **{n: r[n] for n in MASK_KEYS}} for r in session.mask_rows]
    write_table(out / "frames.parquet", rows)
    write_table(out / "masks.parquet", masks)


def write_motion(
    out: Path, sessions: tuple[Session, Session], offset: int, first_from_second: np.ndarray, tracks: Tracks, scope: str
) -> None:
    """poses_initial.json and tracks.npz."""
    rows = [_pose(r, sessions[0].name, np.eye(4), 0) for r in sessions[0].rows]
    rows += [_pose(r, sessions[1].name, first_from_second, offset) for r in sessions[1].rows]
    write_poses(out / "poses_initial.json", rows)
    np.savez_compressed(
        out / "tracks.npz",
        point_id=tracks.point.astype(np.int32), frame=tracks.frame.astype(np.int32),
        u=tracks.uvr[:, 0].astype(np.float32), v=tracks.uvr[:, 1].astype(np.float32), u_right=tracks.uvr[:, 2].astype(np.float32),
        sigma_px=tracks.sigma_px.astype(np.float32), point_xyz=tracks.xyz.astype(np.float32), inside=tracks.inside, aside=tracks.aside,
        scope=np.array(scope),
    )  # fmt: skip


def write_sessions(path: Path, sessions: tuple[Session, Session], offset: int, first_from_second: np.ndarray) -> None:
    """sessions.json: which session each frame came from, for who opens the twin."""
    rows = []
    for k, session in enumerate(sessions):
        frames = [r.frame for r in session.rows]
        rows.append(
            {
                "name": session.name,
                "frames": [min(frames) + k * offset, max(frames) + k * offset],
                "first_frame_was": min(frames),
                "frames_with_a_pose": len(session.poses),
            }
        )
    data = {
        "schema_version": 1,
        "sessions": rows,
        "first_from_second": first_from_second.tolist(),
        "note": "first_from_second: between the object frames of both sessions before bundle adjustment (OpenCV axes, metres)",
    }
    path.write_text(json.dumps(data, indent=1, allow_nan=False))


def _frame(out: Path, session: Session, row: dict, start: int) -> dict:
    """Its row, its pictures copied."""
    named = {}
    for side in ("left", "right"):
        named[side] = f"{side}/{row['frame'] + start:06d}{Path(row[side]).suffix}" if row[side] else ""
        if row[side] and row["status"] == "ok":
            _copy(session.reader.pairs / row[side], out / "pairs" / named[side])
    reason = f"{session.name}: {row['reason']}" if row["reason"] else session.name
    return {"frame": row["frame"] + start, **{k: row[k] for k in FRAME_KEYS}, "reason": reason, **named}


def _maps(out: Path, session: Session, frame: int, start: int, ratio: float) -> None:
    """Mask, disparity and its sigma of one frame."""
    old, new = f"{frame:06d}.png", f"{frame + start:06d}.png"
    masks, disparity = session.reader.masks, session.reader.disparity
    for part in ("", "hidden"):
        if (masks / part / old).is_file():
            _copy(masks / part / old, out / "masks" / part / new)
    if ratio == 1.0:
        _copy(disparity / old, out / "disparity" / new)
        _copy(disparity / "sigma" / old, out / "disparity/sigma" / new)
        return
    (out / "disparity/sigma").mkdir(parents=True, exist_ok=True)
    write_disparity(out / "disparity" / new, ratio * read_disparity(disparity / old))
    write_sigma(out / "disparity/sigma" / new, ratio * read_sigma(disparity / "sigma" / old))


def _pose(row: FramePose, name: str, first_from_second: np.ndarray, start: int) -> FramePose:
    """Only poses that the session stands by are taken over."""
    if row.status == "ok" and row.object_from_left is not None:
        return replace(row, frame=row.frame + start, object_from_left=first_from_second @ row.object_from_left)
    status = "unusable" if row.status == "unusable" else "lost"
    doubt = "uncertain in its own session, " if row.status == "uncertain" else ""
    return FramePose(row.frame + start, None, status, reason=f"{name}: {doubt}{row.reason or row.status}")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
