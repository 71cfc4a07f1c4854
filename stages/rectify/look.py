"""A look at a capture before any work: what is there, how it is understood, what is odd. `twin check` shows it.

Without pictures only names, headers and small files are read (a fraction of a second). With them up to some 24 pairs are: sizes,
blur, exposure, rows of matches, pairs of different moments, the focal length the pictures ask for, distances, masks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from stages.core import text_prompt
from stages.core.capture import CaptureFiles, find_files
from stages.core.capture_names import unread
from stages.core.errors import CaptureError
from stages.core.frame_names import by_frame
from stages.core.look import Look
from stages.core.object_prompt import read_prompt
from stages.rectify.capture_input import open_reader, read_rig
from stages.rectify.config import RectifyConfig
from stages.rectify.given import DepthEncoding
from stages.rectify.look_words import calibration_words, file_words, pair_words, prompt_words


def look_at(capture: Path, config: RectifyConfig, pictures: bool = True, workers: int = 2) -> Look:
    """Everything that is known. What would end a run is in `refused`; nothing is raised for a capture that cannot be used."""
    start, out = time.monotonic(), Look(str(capture))
    try:
        _by_files(out, Path(capture), config)
        if pictures and not out.refused:
            from stages.rectify.look_pictures import PictureLook

            PictureLook(out, find_files(Path(capture)), config, workers).take()
    except CaptureError as e:
        out.refused = out.refused or (e.message, e.advice)
    out.odd = list(dict.fromkeys(out.odd))
    out.seconds = round(time.monotonic() - start, 2)
    return out


def _by_files(out: Look, capture: Path, config: RectifyConfig) -> None:
    files = find_files(capture)
    out.sections.append(("there", file_words(files)))
    out.odd += unread(capture)
    _try(out, lambda: _pairs(out, files, config))
    _try(out, lambda: _calibration(out, files, config))
    _try(out, lambda: _prompt(out, files, config))


def _try(out: Look, step: Callable[[], None]) -> None:
    """The first refusal counts; the others of the same folder are odd all the same."""
    try:
        step()
    except CaptureError as e:
        if out.refused is None:
            out.refused = (e.message, e.advice)
        else:
            out.odd.append(f"{e.message} ({e.advice})" if e.advice else e.message)


def _pairs(out: Look, files: CaptureFiles, config: RectifyConfig) -> None:
    reader = open_reader(files, config.max_megapixels)
    out.odd += reader.notes
    words, odd = pair_words(reader)
    out.odd += odd
    out.sections.append(("pictures", words))
    out.figures["frames"] = reader.count
    given = [(kind, found) for kind in ("masks", "hidden", "depth") if (found := getattr(files, kind))]
    for kind, found in given:
        frame_of, notes = by_frame(found, reader.numbers(), reader.count, kind)
        out.odd += notes
        out.sections.append((kind, [f"for {len(frame_of)} of {reader.count} frames"]))
    if files.depth:
        encoding = DepthEncoding.read(files.depth_notes)
        out.sections.append(
            (
                "depth unit",
                [f"{encoding.kind}, {encoding.per_unit:g} per {'metre' if encoding.kind == 'depth' else 'px'}"],
            )
        )


def _calibration(out: Look, files: CaptureFiles, config: RectifyConfig) -> None:
    rig = read_rig(files, config.calibration_unit)
    out.sections.append(("calibration", calibration_words(rig)))
    out.odd += [rig.note] * bool(rig.note)
    out.figures |= {
        "calibration": rig.source,
        "baseline_mm": round(1e3 * rig.baseline_m, 3),
        "focal_px": round(float(rig.left.K[0, 0]), 2),
    }


def _prompt(out: Look, files: CaptureFiles, config: RectifyConfig) -> None:
    prompt = read_prompt(files.prompt, config.box, config.box_frame, files.prompt_masks, text=config.text)
    out.refused = out.refused or text_prompt.refusal(prompt)
    out.sections.append(("object", prompt_words(prompt, bool(files.masks))))
