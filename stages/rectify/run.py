"""The steps of `rectify` in order; each method is one, and leaves its figures and warnings in the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stages.base import StageContext, StageReport
from stages.core import text_prompt
from stages.core.board_words import board_of
from stages.core.camera import Rig
from stages.core.capture import CaptureFiles
from stages.core.errors import CaptureError
from stages.core.frame_names import by_frame
from stages.core.frames import write_table
from stages.core.images import read_gray
from stages.core.object_prompt import check_prompt, entries, map_prompt, move_to_usable, read_prompt
from stages.core.parallel import ordered_map
from stages.core.stereo_calibration import check_calibration
from stages.rectify import checks, pictures
from stages.rectify.align_rows import align_rows
from stages.rectify.board_scale import ENOUGH, board_scale
from stages.rectify.capture_input import open_reader, read_rig
from stages.rectify.config import RectifyConfig
from stages.rectify.figures import FrameFigures
from stages.rectify.geometry import Geometry, rectifying
from stages.rectify.given import DepthEncoding, GivenMaps, write_prompt_masks
from stages.rectify.judge_calibration import judge_rotation, judge_size
from stages.rectify.judge_depth import judge_depth
from stages.rectify.judge_focal import focal_words, offset_words
from stages.rectify.judge_masks import judge_given
from stages.rectify.judge_order import order_words
from stages.rectify.moments import shift_between_eyes
from stages.rectify.pairing import Shift
from stages.rectify.raw_pairs import in_rgb
from stages.rectify.read_folders import FolderReader
from stages.rectify.read_videos import VideoPairReader
from stages.rectify.row_offset import RowMatches, swapped_share
from stages.rectify.sampled import Sample, evenly, sample_pairs, sampled_focal_fit
from stages.rectify.survey import Choice, expected_size, refuse_unusable, require_enough, select, survey
from stages.rectify.write_pairs import PairWriter, Warp


class Run:
    """One run of the stage; holds the figures of each frame, never pictures."""

    def __init__(self, files: CaptureFiles, config: RectifyConfig, out: Path, context: StageContext) -> None:
        self.files, self.config, self.out, self.context = files, config, out, context
        self.done = StageReport(method="copied")
        self.reader = open_reader(files, config.max_megapixels)
        self.done.warnings += self.reader.notes
        self.steps, self.frames = 0, self.reader.count

    def report(self) -> StageReport:
        """Do it all."""
        calibration = read_rig(self.files, self.config.calibration_unit)
        rows = survey(self.reader, self.context.workers, self._progress)
        size, stated = expected_size(rows, calibration.size, calibration.source), calibration.size is not None
        calibration = calibration.sized(size)
        check_calibration(calibration)
        self.done.warnings += [
            *filter(None, [calibration.note]),
            *judge_size(calibration, size, stated),
            *checks.cut_short(self.reader.count, len(rows)),
        ]
        plain, before = rectifying(calibration), (list(self.done.warnings), dict(self.done.metrics))
        prompt = self._choose(rows, size)
        sample = self._matches(rows)
        if (shift := shift_between_eyes(self.reader, plain, sample.pair, sample.rows(plain).rows_px)).moves:
            self.done.warnings, self.done.metrics = before
            rows = self._pair_again(shift)
            prompt = self._choose(rows, size)
            sample = self._matches(rows)
        checks.refuse_one_eye_twice(sample.raw)
        self.done.warnings += judge_rotation(calibration, sample.raw, plain)
        self.done.warnings += checks.strange_pairs(sample.pair, sample.rows(plain).rows_px)
        geometry = self._align_rows(rows, plain, sample.rows(plain))
        self._judge_focal(rows, geometry, sample)
        rig = self._write(rows, geometry)
        scale = np.array([rig.fx / geometry.rig.fx, rig.fy / geometry.rig.fy])

        def mapped(uv):
            return (geometry.left.points(uv, geometry.rig.K) + 0.5) * scale - 0.5

        (self.out / "prompt.json").write_text(json.dumps(map_prompt(prompt, mapped, (rig.width, rig.height))))
        self._write_given(rows, geometry, rig, prompt, sample=sample)
        self._finish(rows, calibration.source, rig, prompt)
        return self.done

    def _progress(self, steps: int, note: str) -> None:
        """`steps` done of the current pass; every frame counts once when checked and once when written."""
        total = 2 * max(self.frames, 1) + self.config.row_pairs
        self.context.progress(min(self.steps + steps, total), total, note)

    def _choose(self, rows: list[FrameFigures], size: tuple[int, int]) -> dict:
        """Frame statuses and the prompt, in raw pixels."""
        c = self.config
        self.steps = self.frames = len(rows)
        refuse_unusable(rows, size, c.blurred_below, c.duplicate_below)
        require_enough(rows, c.min_usable)
        prompt = read_prompt(self.files.prompt, c.box, c.box_frame, self.files.prompt_masks, text=c.text)
        check_prompt(prompt, size, len(rows))
        prompt, moved = move_to_usable(prompt, [r.frame for r in rows if r.ok])
        prompt = self._by_words(prompt)
        by = ("motion" if self.reader.sequential else "all") if c.select == "auto" else c.select
        select(
            rows, Choice(by, c.motion_step, c.least_frames, c.max_frames), {entry["frame"] for entry in entries(prompt)}
        )
        self.done.warnings += [
            w
            for w in [
                moved,
                *checks.frame_warnings(rows, c.blur_warning_below),
                *checks.count_warnings(rows),
                *order_words(rows),
            ]
            if w
        ]
        self.done.metrics |= checks.frame_metrics(rows)
        return prompt

    def _by_words(self, prompt: dict) -> dict:
        """Words become a box, found once and shown."""
        if "text" not in prompt:
            return prompt
        text_prompt.check(prompt)
        pair = next(p for p in self.reader.stream(lambda frame: frame == prompt["frame"]) if p.frame == prompt["frame"])
        picture = in_rgb(pair.left.pixels())
        found, box, warning = text_prompt.with_box(prompt, picture, text_prompt.load_detector())
        check_prompt(found, picture.shape[1::-1], self.frames)
        self.done.warnings += [warning] * bool(warning)
        self.done.metrics["object_by_words"] = text_prompt.words_of(box, prompt)
        self.done.pictures = [p for p in self.done.pictures if p[1] != text_prompt.PICTURE]
        self.done.pictures.append(text_prompt.draw(self.out, picture, box, prompt["text"], frame=prompt["frame"]))
        return found

    def _pair_again(self, shift: Shift) -> list[FrameFigures]:
        """Pictures of one moment together: the rows of a new survey. Raises CaptureError for one video, which cannot be shifted."""
        if not isinstance(self.reader, (FolderReader, VideoPairReader)):
            raise CaptureError(
                f"the pictures of a pair are not of one moment: {shift.words()}",
                "give left.mp4 and right.mp4, cut so that both begin with the same moment",
            )
        self.done.warnings.append(
            f"the pictures of a pair were not of one moment: {shift.words()}. Paired again; "
            "number both cameras alike, or cut both videos to begin together"
        )
        self.reader = self.reader.shifted(shift)
        self.steps, self.frames = 0, self.reader.count
        return survey(self.reader, self.context.workers, self._progress)

    def _align_rows(self, rows: list[FrameFigures], geometry: Geometry, found: RowMatches) -> Geometry:
        c = self.config
        turned = self.reader.orientation_note() if isinstance(self.reader, FolderReader) else ""
        self.done.warnings += [turned] * bool(turned)
        checks.refuse_swapped(swapped_share(found), turned, checks.rows_meet(found.pair, found.rows_px))
        aligned = align_rows(found, geometry, c.row_model, c.row_offset_ignore_px, most_px=c.row_offset_max_px)
        self.done.metrics |= aligned.metrics
        self.done.warnings += aligned.warnings
        for row in rows:
            row.row_offset_px = aligned.per_frame_px.get(row.frame, float("nan"))
        if aligned.before is not None and aligned.after is not None:
            pictures.row_errors(self.out, self.done, aligned.before, aligned.after, rig=geometry.rig)
        return aligned.geometry

    def _judge_focal(self, rows: list[FrameFigures], geometry: Geometry, sample: Sample) -> None:
        fit = sampled_focal_fit(self.reader, sample, [r.frame for r in rows if r.ok], geometry)
        self.done.metrics["focal_asked_px"] = round(fit.best * geometry.rig.fx, 1) if fit else None
        self.done.warnings += [w for w in [focal_words(fit, geometry.rig.fx), offset_words(fit)] if w]

    def _matches(self, rows: list[FrameFigures]) -> Sample:
        """Of some usable pairs."""
        chosen = evenly([r.frame for r in rows if r.ok], self.config.row_pairs)
        found = sample_pairs(self.reader, chosen, self.context.workers, self._progress)
        self.steps += self.config.row_pairs
        return found

    def _write(self, rows: list[FrameFigures], geometry: Geometry) -> Rig:
        """Pairs and rig.json; the rig of what was written."""
        full, chosen = geometry.rig, {r.frame for r in rows if r.ok}
        rig = full.scaled(min(1.0, self.config.max_width / full.width)) if self.config.max_width else full
        writer = PairWriter.of(geometry, (rig.width, rig.height), self.out / "pairs", self._suffix(rig, len(chosen)))
        names: dict[int, tuple[str, str]] = {}
        for frame, left, right in ordered_map(writer, self.reader.stream(chosen.__contains__), self.context.workers):
            names[frame] = (left, right)
            self._progress(len(names), f"writing frame {frame}")
        rig.save(self.out / "rig.json")
        self._table(rows, names)
        pictures.rectified_pair(
            self.out, self.done, self.out / "pairs", names[sorted(chosen)[len(chosen) // 2]], rig=rig
        )
        self._check_board(names, rig)
        pictures.contact_sheet(self.out, self.done, self.out / "pairs", [names[k][0] for k in sorted(names)])
        self.done.method = _method(geometry, rig)
        return rig

    def _check_board(self, names: dict[int, tuple[str, str]], rig: Rig) -> None:
        """Scale and baseline by a board that lies in view."""
        if not self.config.board:
            return
        board, folder = board_of(self.config.board), self.out / "pairs"
        chosen = evenly(sorted(names), 4 * ENOUGH)
        found = board_scale(
            board, ((read_gray(folder / names[k][0]), read_gray(folder / names[k][1])) for k in chosen), rig
        )
        self.done.metrics |= {
            "board_frames": len(found.ratios),
            "board_scale": round(found.ratio, 5) if found.ratios else None,
        }
        self.done.warnings += [w for w in [found.words(board)] if w]

    def _suffix(self, rig: Rig, count: int) -> str:
        if self.config.image_format == "auto":
            return ".png" if 2e-6 * rig.width * rig.height * count <= self.config.png_megapixels else ".jpg"
        return {"png": ".png", "jpeg": ".jpg"}[self.config.image_format]

    def _table(self, rows: list[FrameFigures], names: dict[int, tuple[str, str]]) -> None:
        table = []
        for r in rows:
            left, right = names.get(r.frame, ("", ""))
            table.append(
                {
                    "frame": r.frame,
                    "status": r.status,
                    "reason": r.reason,
                    "left": left,
                    "right": right,
                    "sharpness": r.sharpness,
                    "exposure_ratio": r.exposure_ratio,
                    "row_offset_px": r.row_offset_px,
                }
            )
        write_table(self.out / "frames.parquet", table)

    def _write_given(
        self, rows: list[FrameFigures], geometry: Geometry, rig: Rig, prompt: dict, sample: Sample
    ) -> None:
        frames, numbers = [r.frame for r in rows if r.ok], self.reader.numbers()
        named = ((self.files.masks, "masks"), (self.files.depth, "depth"), (self.files.hidden, "hidden"))
        found = [by_frame(f, numbers, len(rows), kind) for f, kind in named]
        masks, depth, hidden = (maps for maps, _ in found)
        self.done.warnings += [note for _, notes in found for note in notes]
        given = GivenMaps(geometry, rig, DepthEncoding.read(self.files.depth_notes))
        self.done.warnings += judge_depth(sample, geometry, depth, given.encoding) if depth else []
        self.done.warnings += judge_given(self.reader, masks, frames, geometry.size) if masks else []
        self.done.warnings += given.write(self.out / "given", frames, masks, depth, hidden=hidden)
        if self.files.prompt_masks:
            warp = Warp.of(geometry.left, geometry.rig, geometry.size, (rig.width, rig.height), keep=geometry.keep_left)
            write_prompt_masks(prompt, self.files.prompt_masks, warp, geometry.size, given=self.out / "given")

    def _finish(self, rows: list[FrameFigures], source: str, rig: Rig, prompt: dict) -> None:
        self.context.progress(1, 1, f"{len(rows)} frames checked, {sum(r.ok for r in rows)} rectified")
        self.done.frames = checks.counts(rows)
        self.done.metrics |= {
            "calibration": source,
            "baseline_mm": round(rig.baseline_m * 1e3, 3),
            "focal_px": round(rig.fx, 2),
            "width_px": rig.width,
            "height_px": rig.height,
        }
        if not prompt:
            self.done.warnings.append(
                "no prompt: the object will be looked for automatically (give --box or prompt.json to name it)"
            )


def _method(geometry: Geometry, rig: Rig) -> str:
    if geometry.keep_left and geometry.keep_right:
        return "copied" if (rig.width, rig.height) == geometry.size else "resized"
    return "right view resampled" if geometry.keep_left else "both views resampled"
