"""Which pixels of every frame show the object, and how far each mask can be trusted."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import Resources, Stage, StageContext, StageError, StageReport
from stages.core.camera import Rig
from stages.core.frames import FrameReader, write_table
from stages.core.images import read_mask, write_mask
from stages.core.store import ArtifactRef
from stages.core.weights import identity
from stages.masks.config import MasksConfig

log = logging.getLogger(__name__)


def _stereo_method(config: MasksConfig) -> Any:
    from stages.masks.stereo_method import StereoMethod

    return StereoMethod()


def _sam2_method(config: MasksConfig) -> Any:
    from stages.masks.sam2.method import Sam2Method

    return Sam2Method(config.sam2_weights, size_px=config.sam2_size_px, by_depth=config.sam2_by_depth)


METHODS = {"stereo": _stereo_method, "sam2": _sam2_method}
"""name -> maker of a `job.Method`; the heavy imports happen in the maker. `auto` takes the first, which needs no weights."""


class MasksStage(Stage):
    """Object masks over the video from a box, points or nothing; given masks are taken as they are."""

    name = "masks"
    version = 23
    needs = Resources(memory_gb=1.5, lower=("max_pixels", "sam2_size_px"))
    Config = MasksConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "disparity", "prompt.json", "given")
    outputs = ("masks", "masks.parquet")

    def needs_weights(self, config: MasksConfig) -> tuple[str, ...]:
        """Names in weights/registry.yaml."""
        return (config.sam2_weights,) if config.method == "sam2" else ()

    def weights_used(self, config: MasksConfig) -> dict[str, str]:
        """Digests of the weights and of how they are built. Raises WeightsError when they are not there."""
        return {k: v for name in self.needs_weights(config) for k, v in identity(name).items()}

    def check(self, inputs: Mapping[str, ArtifactRef], config: MasksConfig) -> None:
        """A usable frame, a prompt inside the picture, and the weights."""
        from stages.masks.frame.prompt import read_prompt

        if config.method == "sam2" and not _given(inputs):
            from stages.masks.sam2.method import fitting_size

            fitting_size(config.sam2_weights, config.sam2_size_px, config.memory)

        frames = FrameReader.of(inputs).ids
        if not frames:
            raise StageError("no frame of the capture can be used", "see the reasons in rectify's report")
        if not _given(inputs):
            rig = Rig.load(inputs["rig.json"].path)
            read_prompt(inputs["prompt.json"].path, frames, rig.width, rig.height, inputs["given"].path)

    def auto_choice(self, config: MasksConfig) -> tuple[str, str]:
        """The method that will run, and why."""
        if config.method != "auto":
            return config.method, "set by masks.method"
        return next(iter(METHODS)), "needs no weights"

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: MasksConfig, out: Path, context: StageContext
    ) -> StageReport:
        """See the module docstring; every usable frame gets a mask file (all zero when lost) and a row."""
        reader = FrameReader.of(inputs)
        (out / "masks").mkdir(parents=True, exist_ok=True)
        if _given(inputs):
            return _take_given(reader, inputs["given"].path, out, context)
        return _segment(reader, inputs, config, out, context)


STAGE = MasksStage()


def _given(inputs: Mapping[str, ArtifactRef]) -> bool:
    path = inputs["given"].path / "given.json"
    return path.exists() and bool(json.loads(path.read_text()).get("masks"))


def _take_given(reader: FrameReader, given: Path, out: Path, context: StageContext) -> StageReport:
    """Copy the capture's own masks; a frame without one is lost."""
    from stages.masks import pictures

    rows, rig_size = [], reader.gray(reader.ids[0]).shape
    sheet = pictures.Sheet(reader.ids)
    for i, frame in enumerate(reader.ids):
        source, target = given / "masks" / f"{frame:06d}.png", out / "masks" / f"{frame:06d}.png"
        if source.exists():
            mask, hidden = read_mask(source), _write_hidden(given, out, frame)
            if hidden is None:
                shutil.copyfile(source, target)
            else:
                mask = mask & ~hidden
                write_mask(target, mask)
            empty = not mask.any()
            rows.append(
                _row(
                    frame,
                    "lost" if empty else "given",
                    0.0 if empty else 1.0,
                    int(mask.sum()),
                    "the given mask is empty" if empty else "",
                )
            )
            sheet.add(frame, lambda frame=frame: reader.rgb(frame), mask, rows[-1]["status"])
        else:
            write_mask(target, np.zeros(rig_size, bool))
            rows.append(_row(frame, "lost", 0.0, 0, "the capture has masks, but none for this frame"))
        context.progress(i + 1, len(reader.ids), "taking the given masks")
    return _finish(rows, StageReport(method="given", reason="the capture came with masks"), sheet, out)


def _write_hidden(given: Path, out: Path, frame: int) -> np.ndarray | None:
    """(H, W) bool as the capture says it: something stands before the object there. None, and no file, where it does not say."""
    source = given / "hidden" / f"{frame:06d}.png"
    if not source.exists():
        return None
    hidden = read_mask(source)
    write_mask(out / "masks" / "hidden" / source.name, hidden)
    return hidden


def _segment(
    reader: FrameReader, inputs: Mapping[str, ArtifactRef], config: MasksConfig, out: Path, context: StageContext
) -> StageReport:
    from stages.masks import pictures
    from stages.masks.cut.full_size import to_full_size
    from stages.masks.cut.outline import CutSettings
    from stages.masks.follow.job import Job
    from stages.masks.frame.prompt import read_prompt
    from stages.masks.frame.working_frame import FrameCache, load, working_scale
    from stages.masks.trust.audit import Look
    from stages.masks.trust.mask_doubt import none_if_most, opinions, unlike_the_rest, with_doubt

    name = STAGE.auto_choice(config)[0]
    config, lowered = _fitting(config) if name == "sam2" else (config, "")
    rig = Rig.load(inputs["rig.json"].path)
    scale = working_scale(rig.width, rig.height, config.max_pixels)
    small = rig.scaled(scale)
    given = read_prompt(inputs["prompt.json"].path, reader.ids, rig.width, rig.height, inputs["given"].path)
    prompt = given.scaled(small.width / rig.width, small.height / rig.height)
    cut = CutSettings(config.outline_length, config.band_px, config.local_radius_px, network=config.network)
    job = Job(
        reader.ids,
        FrameCache(lambda frame: load(reader, frame, scale)),
        small,
        prompt,
        cut,
        config.kind,
        config.uncertain_below,
        context.workers,
        np.random.default_rng(context.seed),
        context.progress,
    )
    outcome = METHODS[name](config).segment(job)
    sheet, rows = pictures.Sheet(reader.ids), []
    first = None if outcome.seed_mask is None else Look.at(job.load(outcome.seed_frame), outcome.seed_mask)
    thought, as_a_whole = {}, {}
    for result, opinion in opinions(outcome.results, first, context.workers):
        frame = result.view.frame
        as_a_whole[frame] = result.as_a_whole
        if opinion is not None:
            thought[frame] = opinion
        mask = result.mask if scale >= 1 else to_full_size(result.mask, reader.rgb(frame), cut)
        if (hidden := _write_hidden(inputs["given"].path, out, frame)) is not None:
            mask = mask & ~hidden
        write_mask(out / "masks" / f"{frame:06d}.png", mask)
        rows.append(_row(frame, result.status, result.trust, int(mask.sum()), result.reason))
        sheet.add(frame, lambda result=result: result.view.rgb, result.mask, result.status)
    why = f"{outcome.metrics.get('kind')}; no weights needed" if config.method == "auto" else "set by masks.method"
    report = StageReport(
        method=name, reason=why, metrics=dict(outcome.metrics), warnings=[*filter(None, [lowered]), *outcome.warnings]
    )
    if outcome.seed_mask is not None:
        sheet.seed(job.load(outcome.seed_frame).rgb, outcome.seed_mask, prompt.box)
    rows = none_if_most(unlike_the_rest(with_doubt(rows, thought), as_a_whole, thought))
    if outcome.camera_still:
        rows = [r | {"camera_still": True} for r in rows]
    if outcome.rest:
        rows = [r | {"rest": outcome.rest.get(r["frame"], -1)} for r in rows]
    return _finish(rows, report, sheet, out)


def _fitting(config: MasksConfig) -> tuple[MasksConfig, str]:
    """The settings that fit into memory, and a warning where they are not the ones asked for."""
    from stages.masks.sam2.method import fitting_size

    size_px, warning = fitting_size(config.sam2_weights, config.sam2_size_px, config.memory)
    return (replace(config, sam2_size_px=size_px) if warning else config), warning


def _finish(rows: list[dict[str, Any]], report: StageReport, sheet: Any, out: Path) -> StageReport:
    """Write the table and pictures, fill in the figures, and refuse a capture in which the object was never seen."""
    write_table(out / "masks.parquet", rows)
    seen = [r for r in rows if r["area_px"] > 0]
    if not seen:
        raise StageError(
            "the object was found in no frame", "give a box round it on another frame, or masks of your own in masks/"
        )
    report.frames = dict(Counter(r["status"] for r in rows))
    report.metrics |= {
        "trust_median": float(np.median([r["trust"] for r in seen])),
        "trust_min": float(min(r["trust"] for r in seen)),
        "area_median_px": int(np.median([r["area_px"] for r in seen])),
    }
    for status, words in (("lost", "show no object"), ("uncertain", "have a doubtful mask")):
        if which := [r for r in rows if r["status"] == status]:
            report.warnings.append(
                f"{len(which)} of {len(rows)} frames {words}: {_ranges([r['frame'] for r in which])} ({which[0]['reason']})"
            )
    report.pictures = sheet.write(out)
    return report


def _row(frame: int, status: str, trust: float, area_px: int, reason: str) -> dict[str, Any]:
    return {"frame": int(frame), "status": status, "trust": float(trust), "area_px": int(area_px), "reason": reason}


def _ranges(frames: list[int]) -> str:
    """[3, 4, 5, 9] -> "3-5, 9"."""

    def parts() -> Iterator[str]:
        start = last = frames[0]
        for f in [*frames[1:], None]:
            if f is None or f != last + 1:
                yield str(start) if start == last else f"{start}-{last}"
                start = f
            last = f

    return ", ".join(parts())
