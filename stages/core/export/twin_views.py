"""What a twin was made from, as far as other programs want it: pictures, cameras, masks and depth of every frame that has a pose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.camera import Rig
from stages.core.errors import StoreError
from stages.core.frames import posed, read_poses, read_table
from stages.core.images import read_disparity, read_mask, read_rgb
from stages.core.plain_files import read_json
from stages.core.posed_cameras import PosedCamera
from stages.core.store import Store


@dataclass(frozen=True)
class TwinViews:
    """Cameras in the twin frame (that of mesh.ply), and where their maps lie. Depth and points in metres, or in the capture's units."""

    twin: Path
    disparities: Path
    rig: Rig
    cameras: tuple[PosedCamera, ...]
    frames: tuple[int, ...]

    def rgb(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        path = self.cameras[i].picture
        if path is None:
            raise StoreError(f"frame {self.frames[i]} has no picture", "run `twin reconstruct` again")
        return read_rgb(path)

    def mask(self, i: int) -> np.ndarray:
        """(H, W) bool; all of the picture where the twin has no mask of it."""
        path = self.cameras[i].mask
        return np.ones((self.rig.height, self.rig.width), bool) if path is None else read_mask(path)

    def depth(self, i: int) -> np.ndarray | None:
        """(H, W) float64 along the optical axis, NaN = none; None where the twin has no disparity."""
        path = self.disparities / f"{self.frames[i]:06d}.png"
        return self.rig.depth_from_disparity(read_disparity(path)) if path.is_file() else None


def twin_views(twin: Path, store: Store) -> TwinViews:
    """Of a twin folder; its rectified pictures are taken from the store, and its masks and disparities where it was to have none
    (package.maps). Raises StoreError where a picture is missing."""
    for name in ("run.json", "poses.json", "rig.json"):
        if not (twin / name).is_file():
            raise StoreError(
                f"{twin} is no whole twin folder: it has no {name}", "name a folder that `twin reconstruct` wrote"
            )
    rig, poses = Rig.load(twin / "rig.json"), posed(read_poses(twin / "poses.json"))
    rows, pairs = _pictures(twin, store)
    frames = tuple(k for k in sorted(poses) if k in rows)
    if not frames:
        raise StoreError(f"no frame of {twin} has both a pose and a picture", "run `twin reconstruct` again")
    masks = _maps(twin, store, "masks")
    cameras = tuple(_camera(masks, rig, k, poses[k], picture=pairs / rows[k]) for k in frames)
    return TwinViews(twin, _maps(twin, store, "disparity"), rig, cameras, frames=frames)


def _maps(twin: Path, store: Store, name: str) -> Path:
    """The folder of the twin, or of the stage that made it."""
    if (twin / name).is_dir():
        return twin / name
    record: Any = read_json(twin / "run.json", StoreError)
    made = ((stage, str(entry.get("fingerprint"))) for stage, entry in record.get("stages", {}).items())
    there = (
        store.artifact_dir(s, f)
        for s, f in made
        if f"{name}_final" in (store.manifest(s, f) or {"outputs": ()})["outputs"]
    )
    return next((folder / f"{name}_final" for folder in there), twin / name)


def _camera(masks: Path, rig: Rig, frame: int, object_from_left: np.ndarray, picture: Path) -> PosedCamera:
    mask = masks / f"{frame:06d}.png"
    return PosedCamera(
        f"{frame:06d}",
        picture,
        rig.K,
        object_from_left,
        width=rig.width,
        height=rig.height,
        mask=mask if mask.is_file() else None,
    )


def _pictures(twin: Path, store: Store) -> tuple[dict[int, str], Path]:
    """({frame: name below the folder}, the folder) of the stage that wrote `pairs`."""
    record: Any = read_json(twin / "run.json", StoreError)
    for name, entry in record.get("stages", {}).items():
        found = store.manifest(name, str(entry.get("fingerprint")))
        if found is not None and "pairs" in found["outputs"]:
            folder = store.artifact_dir(name, entry["fingerprint"])
            table = read_table(folder / "frames.parquet")
            return {r["frame"]: r["left"] for r in table if r["status"] == "ok" and r["left"]}, folder / "pairs"
    raise StoreError(
        f"the store {store.root} no longer has the pictures that {twin} was made from",
        "run `twin reconstruct` on the capture again, with the same store",
    )


def write_json(path: Path, data: Any) -> None:
    """Indented, floats in full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, allow_nan=False))
