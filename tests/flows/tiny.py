"""Real captures that are as small as the real stages allow: nine pairs of 240x180, an arc of 80 degrees, reconstructed in seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from stages.core.synthetic.capture import CaptureSpec, write_capture

FRAMES_ROUND, FRAMES_KEPT = 40, 9
SETTINGS = (
    "surface.rounds=1",
    "surface.geometry_steps=30",
    "texture.size=256",
    "physics.colliders=hull",
    "package.preview_px=128",
)
"""beside profile preview; no stage is left out"""
NOISE = 1.2


def render_base(folder: Path) -> Path:
    """The pictures that all tiny captures are made from, without noise; done once per folder."""
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        spec = CaptureSpec(
            frames=FRAMES_ROUND, width=240, height=180, samples=1, noise=0.0, jpeg_quality=100, swings=2, voxel_m=0.0015
        )
        write_capture(partial, spec, workers=2)
        partial.rename(folder)
    return folder


def write_tiny(base: Path, folder: Path, seed: int) -> Path:
    """A capture of its own: each seed has other noise, so no result of another capture fits it. READY is not set."""
    rng = np.random.default_rng(seed)
    for side in ("left", "right"):
        (folder / side).mkdir(parents=True)
        for path in sorted((base / side).iterdir())[:FRAMES_KEPT]:
            image = cv2.imread(str(path)).astype(np.float32)
            noisy = np.clip(np.rint(image + rng.normal(0, NOISE, image.shape)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / side / path.name), noisy, [cv2.IMWRITE_JPEG_QUALITY, 95])
    for name in ("calibration.json", "prompt.json"):
        shutil.copyfile(base / name, folder / name)
    return folder


def write_settings(folder: Path) -> None:
    """Put the tiny settings into the capture's own settings file, for runs that are started without any."""
    stages: dict[str, dict[str, int | str]] = {}
    for text in SETTINGS:
        name, _, value = text.partition("=")
        stage, _, key = name.partition(".")
        stages.setdefault(stage, {})[key] = int(value) if value.isdigit() else value
    (folder / "twin.yaml").write_text(json.dumps(stages))  # JSON is YAML


def spoil(folder: Path) -> None:
    """Make the capture unusable in a way that is found only after work has begun: every right picture is cut off in the middle."""
    for path in (folder / "right").iterdir():
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 3])
