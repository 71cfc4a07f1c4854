"""The rectified stereo rig.

Conventions (they hold everywhere below this line): OpenCV axes (x right, y down, z forward), pixel centres at integers, metres,
transforms named `b_from_a` so that x_b = b_from_a @ x_a. A positive disparity moves a point to the LEFT in the right image:
u_right = u_left - disparity, and depth z = fx * baseline / disparity. After `rectify` both cameras share K (disparity is zero at
infinity) and right_from_left is the translation (-baseline, 0, 0).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.plain_files import read_json


@dataclass(frozen=True)
class Rig:
    """Intrinsics of a rectified pair; they travel with the image size they hold for. Lengths in metres, the rest in px."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    baseline_m: float

    @property
    def K(self) -> np.ndarray:
        """(3, 3) float64 camera matrix of both rectified cameras."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], float)

    @property
    def right_from_left(self) -> np.ndarray:
        """(4, 4) float64."""
        out = np.eye(4)
        out[0, 3] = -self.baseline_m
        return out

    def depth_from_disparity(self, disparity_px: np.ndarray) -> np.ndarray:
        """Depth in metres; NaN where the disparity is 0 or NaN."""
        d = np.asarray(disparity_px, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(d > 0, self.fx * self.baseline_m / d, np.nan)

    def disparity_from_depth(self, depth_m: np.ndarray) -> np.ndarray:
        """Disparity in px; NaN where depth is not positive."""
        z = np.asarray(depth_m, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(z > 0, self.fx * self.baseline_m / z, np.nan)

    def rays(self, uv_px: np.ndarray) -> np.ndarray:
        """(..., 2) pixels -> (..., 3) directions with z = 1 in the left camera."""
        uv = np.asarray(uv_px, np.float64)
        return np.stack(
            [(uv[..., 0] - self.cx) / self.fx, (uv[..., 1] - self.cy) / self.fy, np.ones(uv.shape[:-1])], -1
        )

    def backproject(self, uv_px: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
        """(..., 2) pixels and (...) depths -> (..., 3) points in the left camera, metres."""
        return self.rays(uv_px) * np.asarray(depth_m, np.float64)[..., None]

    def project(self, x_left_m: np.ndarray) -> np.ndarray:
        """(..., 3) points in a rectified camera -> (..., 2) pixels; NaN behind the camera."""
        x = np.asarray(x_left_m, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(x[..., 2] > 0, x[..., 2], np.nan)
        return np.stack([self.fx * x[..., 0] / z + self.cx, self.fy * x[..., 1] / z + self.cy], -1)

    def scaled(self, scale: float) -> Rig:
        """The rig of images resized by `scale` with pixel centres at integers: c' = (c + 0.5) * s - 0.5 (so K is not simply K * s)."""
        w, h = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        sx, sy = w / self.width, h / self.height
        return Rig(
            w,
            h,
            self.fx * sx,
            self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            baseline_m=self.baseline_m,
        )

    def cropped(self, x0: int, y0: int, width: int, height: int) -> Rig:
        """The rig of the crop whose top-left pixel is (x0, y0)."""
        return Rig(width, height, self.fx, self.fy, cx=self.cx - x0, cy=self.cy - y0, baseline_m=self.baseline_m)

    def save(self, path: Path) -> None:
        """Write rig.json."""
        data = {
            "schema_version": 1,
            "image_size": {"width": self.width, "height": self.height},
            "K": self.K.ravel().tolist(),
            "baseline_m": self.baseline_m,
            "rectified": True,
            "unit": "metre, pixel (centres at integers)",
        }
        path.write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(path: Path) -> Rig:
        """Read rig.json as `save` writes it. Raises CaptureError for anything else."""
        try:
            data = read_json(path)
            K, size, b = np.array(data["K"], float).reshape(3, 3), data["image_size"], float(data["baseline_m"])
            found = Rig(int(size["width"]), int(size["height"]), K[0, 0], K[1, 1], cx=K[0, 2], cy=K[1, 2], baseline_m=b)
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise CaptureError(
                f"{path} is no rig: {type(e).__name__} {str(e)[:80]}", "it holds image_size, K and baseline_m"
            ) from e
        if not np.all(np.isfinite([*K.ravel(), b])) or min(found.width, found.height, found.fx, found.fy, b) <= 0:
            raise CaptureError(
                f"{path} holds numbers that no camera has", "it holds image_size, K (9 numbers), baseline_m"
            )
        return found
