"""Writes a drawn capture: left/, right/, calibration.json, prompt.json and gt/, with drawn.json that says what it is.

gt/masks shows what is seen of the object, gt/whole what would be seen if nothing stood before it, gt/hand what is seen of the hand.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.geometry.rigid import inverse
from stages.core.images import write_mask, write_rgb
from stages.core.synthetic.capture import write_prompt, write_static, write_truth
from tools.robustness.camera import develop, through_a_video
from tools.robustness.draw import GENERATOR
from tools.robustness.drawn import Drawn
from tools.robustness.paths import Motion
from tools.robustness.renderer import World
from tools.robustness.things import build

_RAYS = ((-0.28, -0.16), (0.28, -0.16), (0.0, 0.32))
"""places in a pixel, in px, that are averaged"""
_BLURRED_RAYS = 6
_ROWS_AT_ONE_TIME = 8
_SEEN_PX = 60
"""fewer pixels of the object in the first frame make no prompt"""


def render(seed: int, captures: Path, drawn: Drawn) -> Path:
    """The folder of the capture below `captures`; made anew where what lies there was drawn otherwise."""
    folder = captures / f"{seed:04d}"
    note = {"generator": GENERATOR, **json.loads(json.dumps(asdict(drawn))), "properties": drawn.properties}
    path = folder / "gt" / "drawn.json"
    if path.exists() and json.loads(path.read_text()) == note:
        return folder
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    write_capture(partial, drawn)
    write_json(partial / "gt" / "drawn.json", note)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def write_capture(folder: Path, drawn: Drawn) -> None:
    """Render `drawn` into `folder`. Raises ValueError when hardly any of the object is in view in the first frame."""
    world, motion = build(drawn)
    times = [k / drawn.frames for k in range(drawn.frames)]
    poses = [inverse(motion.world_from_object(t)) @ motion.world_from_left(t) for t in times]
    write_static(folder, drawn.rig, world.bodies[0].vertices, world.bodies[0].faces, poses=poses)
    for k, t in enumerate(times):
        mask = _write_truth(folder, drawn, world, motion, k=k, t=t)
        if k == 0:
            if mask.sum() < _SEEN_PX * (drawn.width / 640) ** 2:
                raise ValueError(f"seed {drawn.seed}: hardly any of the object is in view in the first frame")
            write_prompt(folder, mask)
    for side, left_from_eye in (("left", np.eye(4)), ("right", inverse(drawn.rig.right_from_left))):
        pictures = [
            _picture(drawn, world, motion, k, t=t, side=side, left_from_eye=left_from_eye) for k, t in enumerate(times)
        ]
        if drawn.codec == "mpeg4":
            pictures = through_a_video(pictures, folder / f"{side}.mp4")
        (folder / side).mkdir(parents=True)
        for k, picture in enumerate(pictures):
            write_rgb(
                folder / side / f"{side}{k:06d}.jpg", picture, drawn.jpeg_quality if drawn.codec == "jpeg" else 95
            )


def _write_truth(folder: Path, drawn: Drawn, world: World, motion: Motion, k: int, t: float) -> np.ndarray:
    seen = world.truth(drawn.rig, motion.world_from_left, _row_times(drawn, t))
    names = np.array([b.name for b in world.bodies] + [""])[seen.body]
    write_truth(folder, drawn.rig, k, seen.depth_m, mask=names == "object")
    write_mask(folder / "gt/whole" / f"{k:06d}.png", seen.whole)
    if drawn.hand != "none":
        write_mask(folder / "gt/hand" / f"{k:06d}.png", names == "hand")
    return names == "object"


def _picture(
    drawn: Drawn, world: World, motion: Motion, k: int, t: float, side: str, left_from_eye: np.ndarray
) -> np.ndarray:
    """(H, W, 3) uint8."""
    rays = [_RAYS[j % len(_RAYS)] for j in range(_BLURRED_RAYS if drawn.blur else len(_RAYS))]

    def eye(time):
        return motion.world_from_left(time) @ left_from_eye

    linear = np.zeros((drawn.height, drawn.width, 3))
    for j, offset in enumerate(rays):
        during = drawn.blur / drawn.frames * ((j + 0.5) / len(rays) - 0.5)
        linear += world.colours(drawn.rig, eye, _row_times(drawn, t + during), offset, sway=2 * j / len(rays) - 1)
    return develop(drawn, linear / len(rays), k, side)


def _row_times(drawn: Drawn, t: float) -> np.ndarray:
    """(B,) times of the bands of rows; `t` is that of the middle row."""
    if not drawn.rolling or drawn.height % _ROWS_AT_ONE_TIME:
        return np.array([t])
    bands = drawn.height // _ROWS_AT_ONE_TIME
    return t + drawn.rolling / drawn.frames * ((np.arange(bands) + 0.5) / bands - 0.5)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".partial-{os.getpid()}")
    partial.write_text(json.dumps(data, indent=1))
    partial.replace(path)
