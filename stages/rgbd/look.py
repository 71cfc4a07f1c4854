"""A look at a depth camera's capture before any work. `twin check` shows it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from stages.core import text_prompt
from stages.core.errors import CaptureError
from stages.core.look import Look
from stages.core.object_prompt import check_prompt, read_prompt
from stages.core.rgbd_files import find_rgbd
from stages.rgbd import judge_registration, judge_turntable
from stages.rgbd.camera_file import Lens
from stages.rgbd.config import RgbdConfig
from stages.rgbd.reading import Opened, distance_words, middle_depth, open_capture


def look_at(capture: Path, config: RgbdConfig, pictures: bool = True) -> Look:
    """Everything that is known; with `pictures` a few are read. What would end a run is in `refused`."""
    start, out = time.monotonic(), Look(str(capture))
    try:
        files = find_rgbd(capture)
        given = [f"{n} {len(f)}" for n, f in (("masks/", files.masks), ("hidden/", files.hidden)) if f]
        out.sections.append(
            ("there", [", ".join([f"{len(files.colour)} colour and {len(files.depth)} depth pictures", *given])])
        )
        opened = open_capture(files, config)
        _by_files(out, opened)
        prompt = read_prompt(files.prompt, config.box, config.box_frame, files.prompt_masks, text=config.text)
        check_prompt(prompt, opened.size, len(opened.pairs))
        out.sections.append(("object", [_object(prompt, bool(files.masks))]))
        out.refused = text_prompt.refusal(prompt)
        if pictures and "text" in prompt and out.refused is None:
            prompt = _by_words(out, opened, prompt)
        if pictures:
            _by_pictures(out, opened, prompt.get("box_xyxy"))
    except CaptureError as e:
        out.refused = (e.message, e.advice)
    out.seconds = round(time.monotonic() - start, 2)
    return out


def _by_words(out: Look, opened: Opened, prompt: dict) -> dict:
    """With a box in the place of the words."""
    found, box, warning = text_prompt.with_box(prompt, opened.colour(prompt["frame"]), text_prompt.load_detector())
    out.sections.append(("by words", [text_prompt.words_of(box, prompt)]))
    out.odd += [warning] * bool(warning)
    return found


def _by_files(out: Look, opened: Opened) -> None:
    both = [(c, d) for c, d in opened.pairs if d is not None]
    ends = " .. ".join(f"{c.name} + {d.name}" for c, d in (both[0], both[-1]))
    out.sections.append(
        ("pictures", [f"{len(both)} pairs of colour and depth, {opened.size[0]}x{opened.size[1]} px", ends])
    )
    camera = opened.camera
    words = [f"{camera.source}: colour {_lens(camera.colour)}"]
    if camera.depth is None:
        words.append("depth is registered to colour")
    elif camera.color_from_depth is not None:
        words += [
            f"depth {_lens(camera.depth)}",
            f"{1e3 * np.linalg.norm(camera.color_from_depth[:3, 3]):.1f} mm from the colour lens",
        ]
    out.sections += [("lens", words), ("depth unit", [f"{opened.units:g} a metre ({opened.units_by})"])]
    if len(both) < len(opened.pairs):
        out.odd.append(f"{len(opened.pairs) - len(both)} colour pictures have no depth")
    (out.notes if len(both) == len(opened.pairs) else out.odd).extend(opened.notes)
    out.figures |= {
        "frames": len(opened.pairs),
        "calibration": camera.source,
        "focal_px": round(float(camera.colour.camera.K[0, 0]), 2),
        "depth_units_per_metre": opened.units,
    }


def _by_pictures(out: Look, opened: Opened, box: list[float] | None) -> None:
    registering = opened.registering
    middle, nearest = middle_depth(opened, registering, box)
    shifts, shares = [], []
    for k in opened.sample():
        z, colour = opened.depth(k, registering, edges=True), registering.colour(opened.colour(k))
        shares.append(float(np.isfinite(z).mean()))
        shifts += [s] if (s := judge_registration.best_shift(colour, z)) is not None else []
    out.pictures_read = len(shares)
    where = "inside the box" if box else "in the middle of the pictures"
    share = 100 * np.mean(shares)
    out.sections.append(
        ("distances", [f"{middle:.3f} m {where}, {nearest:.3f} m the nearest; {share:.0f} % of pixels have depth"])
    )
    out.odd += [
        w for w in (distance_words(middle, opened.units), judge_registration.words(shifts, opened.size[0])) if w
    ]
    out.figures["distance_m"] = round(middle, 3)
    if words := _turntable(opened):
        out.odd.append(words)


def _turntable(opened: Opened) -> str:
    """Whether the capture is one for the route of that name."""
    if len(opened.pairs) > judge_turntable.FEW:
        return ""
    try:
        return judge_turntable.words([opened.colour(k) for k in range(len(opened.pairs))])
    except CaptureError:
        return ""  # the run names the broken picture


def _lens(lens: Lens) -> str:
    K, D = lens.camera.K, lens.camera.distortion
    bent = " ".join(f"{v:.4g}" for v in D) if D.size else "none"
    return f"f {K[0, 0]:.1f} x {K[1, 1]:.1f} px, centre {K[0, 2]:.1f}, {K[1, 2]:.1f} px; distortion {bent}"


def _object(prompt: dict, masks: bool) -> str:
    if masks:
        return "by the masks that came with the capture"
    if "text" in prompt:
        return f"{prompt['text']!r}: a detector looks for it on frame {prompt['frame']}"
    kinds = [k for k in ("box_xyxy", "points", "mask") if k in prompt]
    return (
        f"{' and '.join(kinds)} on frame {prompt['frame']}"
        if kinds
        else "no prompt: the object will be looked for (give --box)"
    )
