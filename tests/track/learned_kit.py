"""What the tests of learned methods share: pictures, networks put into files, a run on the wall."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.track.test_stage import errors, run

torch = pytest.importorskip("torch")


def tracked(wall, out: Path, **settings) -> dict:
    """Figures of a run on the wall whose poses are right to half a degree and half a millimetre (no bundle adjustment)."""
    report, rows, _ = run(wall, out, **settings)
    assert report.method == settings["method"] and [r.status for r in rows] == ["ok"] * 4
    turn, shift = errors(rows, wall)
    assert np.median(turn) < 0.5 and np.median(shift) < 0.6, (turn, shift)
    return report.metrics


def saved(network, path: Path) -> Path:
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, str(path))
    return path


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 of coloured blots."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width, 3)), (0, 0), 2.0)
    return np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)


def as_image(rgb: np.ndarray):
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)
