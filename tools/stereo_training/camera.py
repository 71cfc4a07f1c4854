"""What cameras do to a pair: exposure, white balance, vignetting, blur, rows that do not line up, noise, JPEG, 8 bits."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class CameraPair:
    """Faults of one pair; the eyes share exposure and compression, and differ in gain, white balance, focus and rows."""

    gamma: float
    exposure: float
    gains: tuple[np.ndarray, np.ndarray]
    vignetting: float
    blur_px: tuple[float, float]
    rows_px: float
    """at the left and right border the right picture is off by this and by the opposite or the same, up to 1 px"""
    tilt_px: float
    noise: float
    """grey levels of white noise in mid-grey"""
    grain: float
    """how much smoother than white the noise is"""
    quality: int

    @staticmethod
    def draw(rng: np.random.Generator) -> CameraPair:
        """At random; one pair in seven is taken in low light."""
        low = rng.random() < 0.15
        exposure = rng.uniform(0.12, 0.4) if low else rng.uniform(0.65, 1.2)
        right = 1 + rng.uniform(-0.15, 0.15) * (rng.random() < 0.7) + rng.uniform(-0.06, 0.06, 3)
        focus = np.abs(rng.normal(0, 0.5)) + 0.25
        blur = (focus, max(0.2, focus + rng.normal(0, 0.15)))
        rows, tilt = (rng.uniform(-1, 1) * 0.5, rng.uniform(-1, 1) * 0.5) if rng.random() < 0.4 else (0.0, 0.0)
        noise = float(np.exp(rng.uniform(-1.2, 1.4))) * (1.5 if low else 1.0)
        return CameraPair(
            rng.uniform(0.65, 1.5),
            exposure,
            (1 + rng.uniform(-0.05, 0.05, 3), right),
            rng.uniform(0, 0.3),
            blur_px=blur,
            rows_px=float(rows),
            tilt_px=float(tilt),
            noise=noise,
            grain=rng.uniform(0, 0.6),
            quality=int(rng.integers(60, 100)),
        )

    def take(self, left: np.ndarray, right: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 clean pictures -> what the cameras deliver."""
        return self._eye(left, 0, rng), self._eye(self._moved(right), 1, rng)

    def _moved(self, image: np.ndarray) -> np.ndarray:
        if self.rows_px == 0 and self.tilt_px == 0:
            return image
        w = image.shape[1]
        shear = np.array([[1, 0, 0], [2 * self.tilt_px / w, 1, self.rows_px - self.tilt_px]])
        return cv2.warpAffine(image, shear, image.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def _eye(self, image: np.ndarray, eye: int, rng: np.random.Generator) -> np.ndarray:
        h, w = image.shape[:2]
        light = (np.arange(256, dtype=np.float32) / 255) ** self.gamma * self.exposure
        seen = light[image]
        seen = cv2.GaussianBlur(seen, (0, 0), self.blur_px[eye])
        y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)[None]
        seen *= (1 - self.vignetting * (x**2 + y**2) / 2)[..., None] * self.gains[eye].astype(np.float32)
        noise = rng.standard_normal(image.shape, np.float32)
        if self.grain > 0.3:
            noise = cv2.GaussianBlur(noise, (0, 0), self.grain)
        seen = 255 * np.clip(seen, 0, 1)
        seen += self.noise * (0.4 + 0.05 * np.sqrt(seen)) * noise
        data = cv2.imencode(
            ".jpg", np.clip(np.rint(seen), 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        )[1]
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
