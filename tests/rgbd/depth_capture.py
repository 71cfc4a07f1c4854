"""Writes what a depth camera would give of a capture whose true depth is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.images import read_disparity

FLOOR_M, AT_1M_M = 0.0005, 0.002


def write_rgbd(capture: Path, out: Path, frames: int = 16, beside_m: float = 0.0) -> Path:
    """rgb/, depth/ (millimetres, with the noise of the default model), camera.json, prompt.json. `beside_m`: the depth sensor stands so far
    to the right of the colour lens, with three quarters of its pixels."""
    rig, rng = Rig.load(capture / "calibration.json"), np.random.default_rng(0)
    for name in ("rgb", "depth"):
        (out / name).mkdir(parents=True)
    for k in range(frames):
        shutil.copyfile(capture / "left" / f"left{k:06d}.jpg", out / "rgb" / f"{k:03d}.jpg")
        z = rig.depth_from_disparity(read_disparity(capture / "gt/disparity" / f"{k:06d}.png"))
        z = z + rng.normal(0, 1, z.shape) * np.hypot(FLOOR_M, AT_1M_M * z**2)
        if beside_m:
            z = _moved(z, rig, beside_m)
        cv2.imwrite(str(out / "depth" / f"{k:03d}.png"), np.nan_to_num(np.rint(1000 * z)).astype(np.uint16))
    lens = {"K": rig.K.ravel().tolist(), "image_size": {"width": rig.width, "height": rig.height}}
    if beside_m:
        small = rig.scaled(0.75)
        depth = {"K": small.K.ravel().tolist(), "image_size": {"width": small.width, "height": small.height}}
        between = {"R": np.eye(3).ravel().tolist(), "t_m": [beside_m, 0, 0]}
        (out / "camera.json").write_text(json.dumps({"color": lens, "depth": depth, "color_from_depth": between}))
    else:
        (out / "camera.json").write_text(json.dumps(lens))
    shutil.copyfile(capture / "prompt.json", out / "prompt.json")
    return out


def _moved(z: np.ndarray, rig: Rig, beside_m: float) -> np.ndarray:
    """(h, w) metres as a sensor of fewer pixels, `beside_m` further right, would see it: nearest first."""
    small = rig.scaled(0.75)
    v, u = np.nonzero(np.isfinite(z))
    x = rig.backproject(np.stack([u, v], 1), z[v, u])
    x[:, 0] -= beside_m
    at = np.rint(small.project(x)).astype(int)
    inside = (at >= 0).all(1) & (at[:, 0] < small.width) & (at[:, 1] < small.height)
    out = np.full((small.height, small.width), np.nan)
    for i in np.argsort(-x[:, 2]):
        if inside[i]:
            out[at[i, 1], at[i, 0]] = x[i, 2]
    return out
