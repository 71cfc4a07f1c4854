"""Every artifact a stage can ask for, made from the truth of a capture: each stage is tested alone, on perfect or degraded input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import trimesh

from stages.core.camera import Rig
from stages.core.fingerprint import digest_mapping
from stages.core.frames import read_poses, write_poses, write_table
from stages.core.images import read_disparity, read_mask, write_disparity, write_sigma
from stages.core.store import ArtifactRef


def make(capture: Path, out: Path, sigma_px: float = 0.08, seed: int = 0) -> dict[str, ArtifactRef]:
    """References by kind to inputs below `out`, from a rectified `capture` with gt/; disparity gets Gaussian noise of `sigma_px`."""
    out.mkdir(parents=True, exist_ok=True)
    rig = Rig.load(capture / "calibration.json")
    rig.save(out / "rig.json")
    count = len(list((capture / "left").iterdir()))
    _pictures(capture, out, count)
    _tables(capture, out, count)
    _disparity(capture, out, count, sigma_px, np.random.default_rng(seed))
    _poses_and_points(capture, out)
    (out / "given").mkdir(exist_ok=True)
    (out / "given/given.json").write_text(json.dumps({"masks": False, "depth": False}))
    shutil.copyfile(capture / "prompt.json", out / "prompt.json")
    kinds = [p.name for p in out.iterdir()]
    refs = {
        k: ArtifactRef(k, out / k, digest_mapping({"truth": capture.name, "kind": k, "sigma": sigma_px, "seed": seed}))
        for k in kinds
    }
    return {**refs, "capture": ArtifactRef("capture", capture, digest_mapping({"truth": capture.name}))}


def _pictures(capture: Path, out: Path, count: int) -> None:
    for side in ("left", "right"):
        (out / "pairs" / side).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            shutil.copyfile(capture / side / f"{side}{k:06d}.jpg", out / "pairs" / side / f"{k:06d}.jpg")
    for kind in ("masks", "masks_final"):
        shutil.copytree(capture / "gt/masks", out / kind, dirs_exist_ok=True)


def _tables(capture: Path, out: Path, count: int) -> None:
    write_table(
        out / "frames.parquet",
        [
            {
                "frame": k,
                "status": "ok",
                "reason": "",
                "left": f"left/{k:06d}.jpg",
                "right": f"right/{k:06d}.jpg",
                "sharpness": 1.0,
                "exposure_ratio": 1.0,
                "row_offset_px": 0.0,
            }
            for k in range(count)
        ],
    )

    def area(k):
        return int(read_mask(capture / "gt/masks" / f"{k:06d}.png").sum())

    write_table(
        out / "masks.parquet",
        [{"frame": k, "status": "ok", "trust": 1.0, "area_px": area(k), "reason": ""} for k in range(count)],
    )


def _disparity(capture: Path, out: Path, count: int, sigma_px: float, rng: np.random.Generator) -> None:
    for k in range(count):
        truth = read_disparity(capture / "gt/disparity" / f"{k:06d}.png")
        write_disparity(
            out / "disparity" / f"{k:06d}.png", truth + rng.normal(0, sigma_px, truth.shape) if sigma_px else truth
        )
        write_sigma(out / "disparity/sigma" / f"{k:06d}.png", np.where(np.isfinite(truth), max(sigma_px, 0.02), np.nan))


def _poses_and_points(capture: Path, out: Path) -> None:
    poses = read_poses(capture / "gt/poses.json")
    for name in ("poses_initial.json", "poses.json", "poses_refined.json"):
        write_poses(out / name, poses)
    shutil.copyfile(capture / "gt/mesh.ply", out / "mesh.ply")
    vertices = trimesh.load(capture / "gt/mesh.ply", process=False).vertices[::97]
    np.savez(
        out / "points.npz",
        xyz=np.asarray(vertices, float),
        observations=np.full(len(vertices), 4, np.int32),
        rms_px=np.full(len(vertices), 0.3, np.float32),
    )
