"""The part of a look that reads pictures: a sample of the pairs, with the same checks that a run makes."""

from __future__ import annotations

import numpy as np

from stages.core import text_prompt
from stages.core.capture import CaptureFiles
from stages.core.frame_names import by_frame
from stages.core.look import Look
from stages.core.mask_reading import read_labels, refuse_inverted, rim_share
from stages.core.object_prompt import check_prompt, read_prompt
from stages.core.stereo_calibration import StereoCalibration, check_calibration
from stages.rectify import checks
from stages.rectify.align_rows import align_rows
from stages.rectify.capture_input import open_reader, read_rig
from stages.rectify.config import RectifyConfig
from stages.rectify.figures import FrameFigures
from stages.rectify.geometry import Geometry, rectifying
from stages.rectify.given import DepthEncoding
from stages.rectify.judge_calibration import judge_rotation, judge_size
from stages.rectify.judge_depth import judge_depth
from stages.rectify.judge_focal import focal_words, offset_words
from stages.rectify.judge_masks import judge_given
from stages.rectify.judge_order import order_words
from stages.rectify.moments import shift_between_eyes
from stages.rectify.raw_pairs import PairReader, RawPair, in_rgb
from stages.rectify.read_folders import FolderReader
from stages.rectify.read_videos import VideoPairReader
from stages.rectify.row_offset import RowMatches, plausible, swapped_share
from stages.rectify.sampled import Sample, evenly, sample_pairs, sampled_focal_fit
from stages.rectify.survey import expected_size, refuse_unusable, require_enough, survey

MOST_PAIRS = 24
MEGAPIXELS = 24.0
"""of the pairs read, about: larger pictures, fewer pairs"""
ROW_PAIRS = 6
MASKS = 8
FEW = 0.2
"""share of the frames that may be soft"""
SMALL_ROWS_PX = 2.0
"""rows that miss by less are corrected without a doubt in the calibration"""


class PictureLook:
    """Adds sections, warnings and figures to a look. Raises CaptureError for what ends a run."""

    def __init__(self, out: Look, files: CaptureFiles, config: RectifyConfig, workers: int) -> None:
        self.out, self.files, self.config, self.workers = out, files, config, workers

    def take(self) -> None:
        """All of it."""
        reader = open_reader(self.files, self.config.max_megapixels)
        calibration = read_rig(self.files, self.config.calibration_unit)
        rows = self._survey(reader)
        size, stated = expected_size(rows, calibration.size, calibration.source), calibration.size is not None
        refuse_unusable(rows, size, self.config.blurred_below, self.config.duplicate_below)
        self.out.sections.append(
            ("size", [f"{size[0]}x{size[1]} px, {'colour' if any(r.color for r in rows) else 'grey'}"])
        )
        self._frames(reader, rows)
        self.out.figures |= checks.frame_metrics(rows)
        require_enough(rows, self.config.min_usable)
        calibration = calibration.sized(size)
        check_calibration(calibration)
        self.out.odd += judge_size(calibration, size, stated)
        self._prompt_and_masks(reader, rows, size)
        self._matches(reader, rows, calibration)

    def _survey(self, reader: PairReader) -> list[FrameFigures]:
        """Of a sample of the frames, in runs of two, so that repeats show."""
        first = next(reader.stream(lambda k: k == 0), None)
        most = (
            MOST_PAIRS
            if first is None or first.left is None
            else int(np.clip(MEGAPIXELS / (2 * _megapixels(first)), 6, MOST_PAIRS))
        )
        chosen = set(range(reader.count))
        if reader.count > most:
            chosen = {k for a in evenly(range(reader.count - 1), most // 2) for k in (a, a + 1)}
        rows = survey(_Part(reader, chosen), self.workers, lambda steps, note: None)
        self.out.pictures_read = 2 * len(rows)
        if reader.sequential:
            self.out.odd += checks.cut_short(reader.count, rows[-1].frame + 1)
        return rows

    def _frames(self, reader: PairReader, rows: list[FrameFigures]) -> None:
        soft = checks.soft_frames(rows, self.config.blur_warning_below)
        few = sum(r.ok and r.sharpness_ratio < self.config.blur_warning_below for r in rows) < FEW * len(rows)
        (self.out.notes if few else self.out.odd).extend(soft)
        self.out.odd += [w for w in checks.frame_warnings(rows, self.config.blur_warning_below) if w not in soft]
        if len(rows) == reader.count:
            self.out.odd += checks.count_warnings(rows) + order_words(rows)

    def _prompt_and_masks(self, reader: PairReader, rows: list[FrameFigures], size: tuple[int, int]) -> None:
        prompt = read_prompt(
            self.files.prompt, self.config.box, self.config.box_frame, self.files.prompt_masks, text=self.config.text
        )
        check_prompt(prompt, size, reader.count)
        if "text" in prompt:
            self._by_words(reader, prompt)
        if not self.files.masks:
            return
        frame_of, _ = by_frame(self.files.masks, reader.numbers(), reader.count, "masks")
        masks = [read_labels(frame_of[k], size) for k in evenly(sorted(frame_of), MASKS)]
        shares = [float(m.mean()) for m, _ in masks]
        refuse_inverted([rim_share(m) for m, _ in masks], shares, "masks")
        self.out.sections.append(
            ("mask share", [f"{min(shares):.1%} to {max(shares):.1%} of the picture in {len(masks)} of them"])
        )
        self.out.odd += judge_given(reader, frame_of, [r.frame for r in rows if r.ok], size)
        if max(n for _, n in masks) > 1:
            self.out.odd.append("the masks distinguish several labels: all of them are taken as the object")

    def _by_words(self, reader: PairReader, prompt: dict) -> None:
        pair = next(p for p in reader.stream(lambda frame: frame == prompt["frame"]) if p.frame == prompt["frame"])
        if pair.left is None:
            return  # a run moves the prompt to a frame that is whole
        _, box, warning = text_prompt.with_box(prompt, in_rgb(pair.left.pixels()), text_prompt.load_detector())
        self.out.sections.append(("by words", [text_prompt.words_of(box, prompt)]))
        self.out.odd += [warning] * bool(warning)

    def _matches(self, reader: PairReader, rows: list[FrameFigures], calibration: StereoCalibration) -> None:
        plain, usable = rectifying(calibration), [r.frame for r in rows if r.ok]
        sample = sample_pairs(reader, evenly(usable, ROW_PAIRS), self.workers, lambda steps, note: None)
        found = sample.rows(plain)
        if (shift := shift_between_eyes(reader, plain, sample.pair, found.rows_px)).moves:
            self.out.odd.append(f"the pictures of a pair are not of one moment: {shift.words()}")
            if not isinstance(reader, (FolderReader, VideoPairReader)):
                return
            reader = reader.shifted(shift)
            usable = [k for k in usable if shift.partner(k) in range(reader.count)]
            sample = sample_pairs(_Complete(reader), evenly(usable, ROW_PAIRS), self.workers, lambda steps, note: None)
            found = sample.rows(plain)
        checks.refuse_one_eye_twice(sample.raw)
        self.out.odd += judge_rotation(calibration, sample.raw, plain)
        turned = reader.orientation_note() if isinstance(reader, FolderReader) else ""
        self.out.notes += [turned] * bool(turned)
        checks.refuse_swapped(swapped_share(found), turned, checks.rows_meet(found.pair, found.rows_px))
        self.out.odd += checks.strange_pairs(sample.pair, found.rows_px)
        self._rows(found, plain, sample, reader, usable=usable)
        if self.files.depth:
            depth, _ = by_frame(self.files.depth, reader.numbers(), reader.count, "depth")
            self.out.odd += judge_depth(sample, plain, depth, DepthEncoding.read(self.files.depth_notes))

    def _rows(self, found: RowMatches, plain: Geometry, sample: Sample, reader: PairReader, usable: list[int]) -> None:
        c, out = self.config, self.out
        aligned = align_rows(found, plain, c.row_model, c.row_offset_ignore_px, most_px=c.row_offset_max_px)
        small = abs(aligned.metrics.get("row_offset_before_px") or 0.0) < SMALL_ROWS_PX
        for text in aligned.warnings:
            (out.notes if small and "was corrected" in text else out.odd).append(text)
        out.figures |= aligned.metrics
        if aligned.before is None:
            return
        out.sections.append(
            (
                "rows",
                [
                    f"{aligned.metrics['row_offset_before_px']:+.2f} px off (spread "
                    f"{aligned.metrics['row_spread_before_px']:.2f}) over {aligned.metrics['row_matches']} matches of "
                    f"{len(sample.eyes)} pairs; correction: {aligned.metrics['row_correction']}"
                ],
            )
        )
        fit = sampled_focal_fit(reader, sample, usable, aligned.geometry)
        if fit is not None:
            out.figures["focal_asked_px"] = round(fit.best * plain.rig.fx, 1)
            out.sections.append(
                ("focal length", [f"the pictures ask for about {fit.best:.2g} times the given one ({fit.views} views)"])
            )
            out.odd += [w for w in [focal_words(fit, plain.rig.fx), offset_words(fit)] if w]
        near = plausible(found, plain.rig.height)
        d = near.disparity_px[near.disparity_px > 0.5]
        if len(d):
            far, mid, close = (plain.rig.fx * plain.rig.baseline_m / np.quantile(d, q) for q in (0.1, 0.5, 0.9))
            out.figures["distance_m"] = [round(float(v), 3) for v in (close, mid, far)]
            out.sections.append(
                (
                    "distance",
                    [
                        f"what was matched lies {close:.2f} to {far:.2f} m away, half of it nearer than {mid:.2f} m: "
                        "if that cannot be, the baseline or its unit is wrong"
                    ],
                )
            )


class _Part:
    """Some frames of a reader."""

    def __init__(self, reader: PairReader, chosen: set[int]) -> None:
        self._reader, self._chosen = reader, chosen
        self.sequential, self.count, self.notes, self.numbers = (
            reader.sequential,
            len(chosen),
            reader.notes,
            reader.numbers,
        )

    def stream(self, wanted=lambda frame: True):
        """See PairReader."""
        return self._reader.stream(lambda k: k in self._chosen and wanted(k))


class _Complete(_Part):
    """The frames of a reader that have both pictures."""

    def __init__(self, reader: PairReader) -> None:
        super().__init__(reader, set(range(reader.count)))

    def stream(self, wanted=lambda frame: True):
        """See PairReader."""
        return (p for p in super().stream(wanted) if p.left is not None and p.right is not None)


def _megapixels(pair: RawPair) -> float:
    picture = pair.left.pixels()
    return 1e-6 * picture.shape[0] * picture.shape[1]
