"""Where the user marked the object, from raw left pixels to pixels of the rectified left picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.rectify.geometry import edges

MIN_BOX_PX = 8
REACH = 3
"""frames; a prompt on a frame that cannot be used moves to a usable one at most this far away, where the box still fits"""


def read_prompt(path: Path | None, box: tuple[float, ...] | None, box_frame: int) -> dict[str, Any]:
    """{"frame", "box_xyxy"} or {"frame", "points"} in raw left px, or {}. A box given by setting comes first. Raises CaptureError."""
    if box is not None:
        return {"frame": box_frame, "box_xyxy": list(box)}
    if path is None:
        return {}
    try:
        data = json.loads(path.read_text())
        frame = int(data.get("frame", 0))
        if data.get("box_xyxy") is not None:
            return {"frame": frame, "box_xyxy": _numbers(data["box_xyxy"], 4)}
        if data.get("points"):
            return {"frame": frame, "points": [_numbers(p, 3) for p in data["points"]]}
    except (ValueError, TypeError, AttributeError) as e:
        raise CaptureError(f"{path.name} cannot be understood: {e}", 'write {"frame": 0, "box_xyxy": [x0, y0, x1, y1]}') from e
    return {}


def _numbers(values: Any, count: int) -> list[float]:
    out = [float(v) for v in values]
    if len(out) != count or not np.all(np.isfinite(out)):
        raise ValueError(f"{values} is not {count} numbers")
    return out


def check_prompt(prompt: dict[str, Any], size: tuple[int, int], frames: int) -> None:
    """Raise CaptureError for a box or point outside the (width, height) raw picture, or a frame that the capture does not have."""
    if not prompt:
        return
    if not 0 <= prompt["frame"] < frames:
        raise CaptureError(f"the prompt is for frame {prompt['frame']}; the capture has frames 0 to {frames - 1}",
                           "correct the frame in prompt.json, or rectify.box_frame")
    if "points" in prompt:
        outside = [p for p in prompt["points"] if not (-0.5 <= p[0] <= size[0] - 0.5 and -0.5 <= p[1] <= size[1] - 0.5)]
        if outside or not any(p[2] for p in prompt["points"]):
            what = f"lie outside the {size[0]}x{size[1]} px picture" if outside else "mark no object"
            raise CaptureError(f"the prompt's points {outside or prompt['points']} {what}",
                               "give at least one point [x, y, 1] on the object, in px of the left picture as captured")
        return
    x0, y0, x1, y1 = prompt["box_xyxy"]
    if x1 - x0 < MIN_BOX_PX or y1 - y0 < MIN_BOX_PX:
        raise CaptureError(f"the box {prompt['box_xyxy']} is empty or turned round; expected x0 < x1, y0 < y1 and {MIN_BOX_PX} px at least",
                           "give [x0, y0, x1, y1]: top left corner, then bottom right corner")
    if x0 < -1 or y0 < -1 or x1 > size[0] + 1 or y1 > size[1] + 1:
        raise CaptureError(f"the box {prompt['box_xyxy']} does not lie inside the {size[0]}x{size[1]} px picture",
                           "give it in px of the left picture as captured (not of a smaller preview)")


def move_to_usable(prompt: dict[str, Any], usable: Sequence[int]) -> tuple[dict[str, Any], str]:
    """The prompt on the nearest usable frame, and a warning ("" if it did not move). Raises CaptureError where none is near."""
    if not prompt or prompt["frame"] in usable:
        return prompt, ""
    nearest = min(usable, key=lambda f: abs(f - prompt["frame"]))
    if abs(nearest - prompt["frame"]) > REACH:
        raise CaptureError(f"the prompt's frame {prompt['frame']} cannot be used, and the nearest usable one is frame {nearest}",
                           "draw the box on a usable frame (the report lists them)")
    return {**prompt, "frame": nearest}, f"the prompt's frame {prompt['frame']} cannot be used: the box is taken for frame {nearest}"


def map_prompt(prompt: dict[str, Any], mapped: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]) -> dict[str, Any]:
    """In rectified px. `mapped` takes (N, 2) raw px to rectified px; a box becomes the hull of its mapped edges, cut to `size`."""
    if "points" in prompt:
        uv = mapped(np.array([p[:2] for p in prompt["points"]]))
        return {"frame": prompt["frame"], "points": [[*_rounded(p), int(q[2] > 0)] for p, q in zip(uv, prompt["points"], strict=True)]}
    if not prompt:
        return {}
    uv = mapped(np.concatenate(edges(tuple(prompt["box_xyxy"]))))
    low, high = np.maximum(uv.min(0), -0.5), np.minimum(uv.max(0), np.array(size) - 0.5)
    if np.any(high - low < MIN_BOX_PX):
        raise CaptureError(f"nothing of the box {prompt['box_xyxy']} is left in the rectified picture",
                           "the object must be well inside the picture")
    return {"frame": prompt["frame"], "box_xyxy": [*_rounded(low), *_rounded(high)]}


def _rounded(uv: np.ndarray) -> list[float]:
    return [round(float(x), 4) for x in uv]
