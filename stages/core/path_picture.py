"""The camera's path round the object, drawn for reports."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

_GREY, _BLUE, _RED = (190, 190, 190), (40, 90, 200), (210, 60, 40)


def draw_camera_path(poses: Mapping[int, np.ndarray], points: np.ndarray, size: int = 460) -> np.ndarray:
    """RGB picture of cameras (frame -> object_from_left) and points (N, 3): from above (x right, z up), from the side (x right, y down)."""
    panels = [
        _panel(poses, points, axes, title, size=size)
        for axes, title in (((0, 2), "from above: x right, z up"), ((0, 1), "from the side: x right, y down"))
    ]
    return np.concatenate(panels, 1)


def _panel(
    poses: Mapping[int, np.ndarray], points: np.ndarray, axes: tuple[int, int], title: str, size: int
) -> np.ndarray:
    canvas = np.full((size, size, 3), 255, np.uint8)
    stack = np.stack(list(poses.values()))
    centres, sight = stack[:, :3, 3][:, axes], stack[:, :3, 2][:, axes]
    cloud = points[np.isfinite(points).all(1)][:, axes]
    around = np.concatenate([centres, np.percentile(cloud, (2, 98), axis=0) if len(cloud) else centres])
    low, high = around.min(0), around.max(0)
    scale = 0.82 * size / max(float((high - low).max()), 1e-6)
    flip = -1.0 if axes[1] == 2 else 1.0

    def pixel(x: np.ndarray) -> np.ndarray:
        return np.rint((x - (low + high) / 2) * [scale, flip * scale] + size / 2).astype(int)

    inside = pixel(cloud)
    inside = inside[((inside >= 0) & (inside < size)).all(1)]
    canvas[inside[:, 1], inside[:, 0]] = _GREY
    length = 0.06 * size / scale
    ends = pixel(centres + sight * length)
    at = pixel(centres)
    cv2.polylines(canvas, [at.reshape(-1, 1, 2)], False, _GREY, 1, cv2.LINE_AA)
    for i, (p, q) in enumerate(zip(at.tolist(), ends.tolist(), strict=True)):
        cv2.line(canvas, p, q, _BLUE, 1, cv2.LINE_AA)
        cv2.circle(canvas, p, 3, _RED if i == 0 else _BLUE, -1, cv2.LINE_AA)
    cv2.putText(canvas, title, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 60, 60), 1, cv2.LINE_AA)
    bar = _round_length(0.25 * size / scale)
    cv2.line(canvas, (10, size - 14), (10 + round(bar * scale), size - 14), (60, 60, 60), 2)
    cv2.putText(
        canvas, f"{1000 * bar:g} mm", (10, size - 20), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA
    )
    return canvas


def _round_length(metres: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not longer."""
    power = 10.0 ** np.floor(np.log10(max(metres, 1e-9)))
    return float(max(m * power for m in (1, 2, 5) if m * power <= metres * (1 + 1e-9)))
