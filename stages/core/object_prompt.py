"""Where the user marked the object, from raw left pixels to pixels of the rectified left picture.

prompt.json names one frame and what is known there: a box, points on the object (1) and beside it (0), a box and points, a mask (a
picture in the capture's folder prompt/, bright = object), or words (`text`; text_prompt.py makes a box of them). `corrections` holds
further frames with the same, in any order; there, points beside the object may stand alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.frame_names import listed
from stages.core.plain_files import read_json

MIN_BOX_PX = 8
REACH = 3
"""frames; a prompt on a frame that cannot be used moves to a usable one at most this far away, where the box still fits"""
FOLDER = "prompt"
"""of the capture, with the masks that prompt.json names; and of `given`, with the same masks rectified"""
KINDS = ("box_xyxy", "points", "mask")
MOST_WORDS = 200
"""characters"""
REMARKS = ("comment", "note", "description")
"""keys that say nothing about the object"""
Prompt = dict[str, Any]


def read_prompt(
    path: Path | None, box: tuple[float, ...] | None, box_frame: int, masks: Sequence[Path] = (), text: str = ""
) -> Prompt:
    """In raw left px, as the module describes it; {} where there is none. A box or words given by setting take the place of the file.

    `masks`: the pictures in the capture's folder prompt/. Raises CaptureError.
    """
    if box is not None:
        return {"frame": box_frame, "box_xyxy": list(box)}
    found = {} if path is None else _of_file(path, masks)
    if text and found.get("text") != text:
        return {"frame": box_frame, "text": text}
    return found


def _of_file(path: Path, masks: Sequence[Path]) -> Prompt:
    data = read_json(path)
    try:
        first = _entry(data, (*KINDS, "text", "frame", "corrections"))
        corrections = data.get("corrections") or []
        if not isinstance(corrections, list):
            raise TypeError("corrections is no list")
        more = [_entry(entry, (*KINDS, "frame")) for entry in corrections]
    except (ValueError, TypeError, OverflowError) as e:
        raise CaptureError(
            f"{path.name} cannot be understood: {e}", 'write {"frame": 0, "box_xyxy": [x0, y0, x1, y1]}'
        ) from e
    if more and len(first) == 1:
        raise CaptureError(
            f"{path.name} has corrections, but says nowhere what the object is",
            "add box_xyxy, points or mask beside them",
        )
    prompt = ({**first, "corrections": more} if more else first) if len(first) > 1 else {}
    there = {p.name for p in masks}
    for entry in entries(prompt):
        if len(entry) == 1:
            raise CaptureError(
                f"{path.name}: the correction of frame {entry['frame']} says nothing", f"give one of {', '.join(KINDS)}"
            )
        if entry.get("mask", "") not in (*there, ""):
            raise CaptureError(
                f"{path.name} names the mask {entry['mask']}, which is not in the capture's folder {FOLDER}/",
                f"copy it there; found {', '.join(sorted(there)) or 'nothing'}",
            )
    return prompt


def entries(prompt: Prompt) -> Iterator[Prompt]:
    """The prompt and its corrections, each with its frame."""
    if prompt:
        yield {k: v for k, v in prompt.items() if k != "corrections"}
        yield from prompt.get("corrections", ())


def _entry(data: Any, known: tuple[str, ...]) -> Prompt:
    if not isinstance(data, dict):
        raise TypeError(f"{str(data)[:40]} is no entry with keys")
    for key in data:
        if key not in known and not key.startswith("_") and key not in REMARKS:
            near = difflib.get_close_matches(key, known, 1, 0.4)
            raise ValueError(
                f"unknown key {key[:60]!r}" + (f", did you mean {near[0]}?" if near else f"; known: {', '.join(known)}")
            )
    frame = data.get("frame", 0)
    if isinstance(frame, bool) or not isinstance(frame, (int, float)) or frame != int(frame):
        raise ValueError(f"frame is {str(frame)[:40]!r}; expected a whole number")
    out: Prompt = {"frame": int(frame)}
    if data.get("box_xyxy") is not None:
        out["box_xyxy"] = _numbers(data["box_xyxy"], 4)
    if data.get("points"):
        if not isinstance(data["points"], list):
            raise TypeError("points is no list")
        out["points"] = [_numbers(p, 3) for p in data["points"]]
    if data.get("text") is not None:
        if not isinstance(data["text"], str) or not 0 < len(data["text"].strip()) <= MOST_WORDS:
            raise ValueError(f"text is {str(data['text'])[:40]!r}; expected words for the object")
        if len(out) > 1 or data.get("mask"):
            raise ValueError("text and a box, points or a mask: say it once")
        out["text"] = data["text"].strip()
    if data.get("mask"):
        if len(out) > 1:
            raise ValueError(f"frame {out['frame']} has a mask and a box or points: a mask says it all")
        out["mask"] = str(data["mask"]).removeprefix(f"{FOLDER}/")
    return out


def _numbers(values: Any, count: int) -> list[float]:
    numbers = isinstance(values, list) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    out = [float(v) for v in values] if numbers else []
    if len(out) != count or not np.all(np.isfinite(out)):
        raise ValueError(f"{str(values)[:80]} is not {count} numbers")
    return out


def check_prompt(prompt: Prompt, size: tuple[int, int], frames: int) -> None:
    """Raise CaptureError for a box or point outside the (width, height) raw picture, or a frame that the capture does not have."""
    for k, entry in enumerate(entries(prompt)):
        if not 0 <= entry["frame"] < frames:
            raise CaptureError(
                f"the prompt is for frame {entry['frame']}; the capture has frames 0 to {frames - 1}",
                "correct the frame in prompt.json, or rectify.box_frame",
            )
        if "points" in entry:
            _check_points(entry["points"], size, k == 0 and "box_xyxy" not in entry)
        if "box_xyxy" in entry:
            _check_box(entry["box_xyxy"], size)
    seen = [entry["frame"] for entry in entries(prompt)]
    if twice := sorted({f for f in seen if seen.count(f) > 1}):
        raise CaptureError(
            f"the prompt speaks of frame {twice[0]} twice", "put what it says of one frame into one entry"
        )


def _check_points(points: list, size: tuple[int, int], needs_object: bool) -> None:
    outside = [p for p in points if not (-0.5 <= p[0] <= size[0] - 0.5 and -0.5 <= p[1] <= size[1] - 0.5)]
    if outside or (needs_object and not any(p[2] for p in points)):
        what = f"lie outside the {size[0]}x{size[1]} px picture" if outside else "mark no object"
        raise CaptureError(
            f"the prompt's points {outside or points} {what}",
            "give at least one point [x, y, 1] on the object, in px of the left picture as captured",
        )


def _check_box(box: list[float], size: tuple[int, int]) -> None:
    x0, y0, x1, y1 = box
    if x1 - x0 < MIN_BOX_PX or y1 - y0 < MIN_BOX_PX:
        raise CaptureError(
            f"the box {box} is empty or turned round; expected x0 < x1, y0 < y1 and {MIN_BOX_PX} px at least",
            "give [x0, y0, x1, y1]: top left corner, then bottom right corner",
        )
    if x0 < -1 or y0 < -1 or x1 > size[0] + 1 or y1 > size[1] + 1:
        raise CaptureError(
            f"the box {box} does not lie inside the {size[0]}x{size[1]} px picture",
            "give it in px of the left picture as captured (not of a smaller preview)",
        )


def move_to_usable(prompt: Prompt, usable: Sequence[int]) -> tuple[Prompt, str]:
    """The prompt on the nearest usable frame, and a warning ("" if nothing changed). Raises CaptureError where none is near.

    A mask does not fit another frame, nor does a correction: the first is refused, the others are left out.
    """
    kept = [c for c in prompt.get("corrections", ()) if c["frame"] in usable]
    gone = [c["frame"] for c in prompt.get("corrections", ()) if c["frame"] not in usable]
    warning = f"corrections of frames that cannot be used are left out: {listed(gone)}" if gone else ""
    moved = {k: v for k, v in prompt.items() if k != "corrections"} | ({"corrections": kept} if kept else {})
    if not prompt or prompt["frame"] in usable:
        return moved, warning
    nearest = min(usable, key=lambda f: abs(f - prompt["frame"]))
    if abs(nearest - prompt["frame"]) > REACH or "mask" in prompt or any(c["frame"] == nearest for c in kept):
        raise CaptureError(
            f"the prompt's frame {prompt['frame']} cannot be used, and the nearest usable one is frame {nearest}",
            "draw the box on a usable frame (the report lists them)",
        )
    words = f"the prompt's frame {prompt['frame']} cannot be used: the box is taken for frame {nearest}"
    return {**moved, "frame": nearest}, "; ".join(w for w in (words, warning) if w)


def map_prompt(prompt: Prompt, mapped: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]) -> Prompt:
    """In rectified px. `mapped` takes (N, 2) raw px to rectified px; a box becomes the hull of its mapped edges, cut to `size`."""
    made = [_mapped_entry(entry, mapped, size) for entry in entries(prompt)]
    if not made:
        return {}
    return {**made[0], "corrections": made[1:]} if made[1:] else made[0]


def _mapped_entry(entry: Prompt, mapped: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]) -> Prompt:
    out: Prompt = {"frame": entry["frame"]}
    if "box_xyxy" in entry:
        uv = mapped(np.concatenate(edges(tuple(entry["box_xyxy"]))))
        low, high = np.maximum(uv.min(0), -0.5), np.minimum(uv.max(0), np.array(size) - 0.5)
        if np.any(high - low < MIN_BOX_PX):
            raise CaptureError(
                f"nothing of the box {entry['box_xyxy']} is left in the rectified picture",
                "the object must be well inside the picture",
            )
        out["box_xyxy"] = [*_rounded(low), *_rounded(high)]
    if "points" in entry:
        uv = mapped(np.array([p[:2] for p in entry["points"]]))
        out["points"] = [[*_rounded(p), int(q[2] > 0)] for p, q in zip(uv, entry["points"], strict=True)]
    if "mask" in entry:
        out["mask"] = f"{FOLDER}/{entry['frame']:06d}.png"
    return out


def _rounded(uv: np.ndarray) -> list[float]:
    return [round(float(x), 4) for x in uv]


def edges(box: tuple[float, float, float, float], samples: int = 33) -> list[np.ndarray]:
    """Points along the left, top, right and bottom edge of a box, each (samples, 2)."""
    x0, y0, x1, y1 = box
    s = np.linspace(0, 1, samples)
    x, y = x0 + s * (x1 - x0), y0 + s * (y1 - y0)
    one = np.ones(samples)
    return [np.stack(p, 1) for p in ((x0 * one, y), (x, y0 * one), (x1 * one, y), (x, y1 * one))]
