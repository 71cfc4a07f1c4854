"""The steps of `rgbd` in order; what they say goes into the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.base import StageContext, StageReport
from stages.core import text_prompt
from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.frame_names import by_frame, listed
from stages.core.frames import write_table
from stages.core.images import thumbnail_jpeg, write_disparity, write_mask, write_rgb, write_sigma
from stages.core.mask_reading import read_labels, read_mask, refuse_inverted, rim_share
from stages.core.object_prompt import FOLDER, check_prompt, entries, map_prompt, move_to_usable, read_prompt
from stages.core.parallel import ordered_map
from stages.core.rgbd_files import RgbdFiles
from stages.rgbd import judge_registration
from stages.rgbd.config import RgbdConfig
from stages.rgbd.noise import NoiseModel, measured_noise_m
from stages.rgbd.reading import distance_words, middle_depth, open_capture
from stages.rgbd.registering import Registering

COPIED = (".png", ".jpg", ".jpeg")
PNG_PIXELS = 400_000_000
"""pictures that had to be resampled are written without loss up to so many pixels in all"""
NOISY = 2.5
"""measured noise over the model's that is told"""
SHOWN = 6


class Run:
    """One run; holds no pictures but the few that are shown."""

    def __init__(self, files: RgbdFiles, config: RgbdConfig, out: Path, context: StageContext) -> None:
        self.files, self.config, self.out, self.context = files, config, out, context
        self.done = StageReport(method="registered")
        self.opened = open_capture(files, config)
        self.registering = self.opened.registering
        self.done.warnings += self.opened.notes
        if self.opened.camera.depth is not None:
            self.done.method = "depth brought to colour"
        self.noise = NoiseModel(1e-3 * config.noise_floor_mm, 1e-3 * config.noise_at_1m_mm, config.lateral_px)
        self.shown: list[np.ndarray] = []

    def report(self) -> StageReport:
        """Do it all."""
        prompt = read_prompt(
            self.files.prompt, self.config.box, self.config.box_frame, self.files.prompt_masks, text=self.config.text
        )
        check_prompt(prompt, self.opened.size, len(self.opened.pairs))
        prompt = self._by_words(prompt)
        rig = self._rig(prompt.get("box_xyxy"))
        for folder in ("pairs/left", "disparity/sigma", "given"):
            (self.out / folder).mkdir(parents=True, exist_ok=True)
        rows = self._frames(rig, {entry["frame"] for entry in entries(prompt)})
        prompt, moved = move_to_usable(prompt, [r["frame"] for r in rows if r["status"] == "ok"])
        self.done.warnings += [moved] * bool(moved)
        scale = np.array([rig.fx / self.registering.rig.fx, rig.fy / self.registering.rig.fy])

        def mapped(uv):
            return (self.registering.points(uv) + 0.5) * scale - 0.5

        (self.out / "prompt.json").write_text(json.dumps(map_prompt(prompt, mapped, (rig.width, rig.height))))
        self._write_given([r["frame"] for r in rows if r["status"] == "ok"], rig, prompt)
        self._finish(rows, rig, bool(prompt))
        return self.done

    def _by_words(self, prompt: dict) -> dict:
        """Words become a box, which is shown."""
        if "text" not in prompt:
            return prompt
        text_prompt.check(prompt)
        picture = self.opened.colour(prompt["frame"])
        found, box, warning = text_prompt.with_box(prompt, picture, text_prompt.load_detector())
        check_prompt(found, self.opened.size, len(self.opened.pairs))
        self.done.warnings += [warning] * bool(warning)
        self.done.metrics["object_by_words"] = text_prompt.words_of(box, prompt)
        self.done.pictures.append(text_prompt.draw(self.out, picture, box, prompt["text"], frame=prompt["frame"]))
        return found

    def _rig(self, box: list[float] | None) -> Rig:
        """Of what is written; its baseline makes disparities as noisy as the depth is."""
        middle, nearest = middle_depth(self.opened, self.registering, box)
        plain = self.registering.rig
        rig = Rig(
            *self.opened.size, plain.fx, plain.fy, plain.cx, plain.cy, self.noise.baseline_m(plain, middle, nearest)
        )
        if self.config.max_width and rig.width > self.config.max_width:
            rig = rig.scaled(self.config.max_width / rig.width)
        rig.save(self.out / "rig.json")
        self._judge(middle)
        return rig

    def _judge(self, middle: float) -> None:
        """Noise, registration and distance, on a few frames."""
        measured, shifts = [], []
        for k in self.opened.sample():
            try:
                z, colour = (
                    self.opened.depth(k, self.registering, edges=True),
                    self.registering.colour(self.opened.colour(k)),
                )
            except CaptureError:
                continue  # counted where the frames are written
            near = z[np.isfinite(z)]
            measured.append(measured_noise_m(np.where(np.abs(z - middle) < 0.3 * middle, z, np.nan)))
            shifts += [s] if len(near) and (s := judge_registration.best_shift(colour, z)) is not None else []
        noise, model = (
            float(np.nanmedian(measured)) if np.isfinite(measured).any() else float("nan"),
            float(self.noise.sigma_m(middle)),
        )
        words = [distance_words(middle, self.opened.units), judge_registration.words(shifts, self.opened.size[0])]
        if noise > NOISY * model:
            words.append(
                f"depth at {middle:.2f} m scatters by {1e3 * noise:.1f} mm between pixels, {1e3 * model:.1f} mm are expected: "
                "set rgbd.noise_floor_mm and rgbd.noise_at_1m_mm to what the sensor has"
            )
        self.done.warnings += [w for w in words if w]
        self.done.metrics |= {
            "distance_m": round(middle, 3),
            "noise_expected_mm": round(1e3 * model, 3),
            "noise_measured_mm": round(1e3 * noise, 3) if np.isfinite(noise) else None,
        }

    def _frames(self, rig: Rig, keep: set[int]) -> list[dict[str, Any]]:
        """Write every frame that is taken; one row for each of the capture."""
        count, most = len(self.opened.pairs), self.config.max_frames
        chosen = set(range(count))
        if count > most:
            chosen = (
                set(np.unique(np.linspace(0, count - 1, max(1, most - len(keep))).round().astype(int)).tolist()) | keep
            )
        suffix = ".png" if rig.width * rig.height * len(chosen) <= PNG_PIXELS else ".jpg"
        sheet = {sorted(chosen)[i] for i in np.unique(np.linspace(0, len(chosen) - 1, SHOWN).round().astype(int))}

        def one(k: int) -> dict[str, Any]:
            row = {
                "frame": k,
                "status": "not_selected",
                "reason": "thinned to rgbd.max_frames",
                "left": "",
                "right": "",
                "sharpness": 0.0,
                "exposure_ratio": 1.0,
                "row_offset_px": 0.0,
            }
            if k not in chosen:
                return row
            if self.opened.pairs[k][1] is None:
                return row | {"status": "missing_pair", "reason": f"{self.opened.pairs[k][0].name}: no depth picture"}
            try:
                name, sharpness = self._write(k, rig, suffix, k in sheet)
            except CaptureError as e:
                return row | {"status": "broken", "reason": e.message}
            return row | {"status": "ok", "reason": self.opened.pairs[k][0].name, "left": name, "sharpness": sharpness}

        rows = []
        for row in ordered_map(one, range(count), self.context.workers):
            rows.append(row)
            self.context.progress(len(rows), count, f"reading frame {row['frame']}")
        write_table(self.out / "frames.parquet", rows)
        return rows

    def _write(self, k: int, rig: Rig, suffix: str, show: bool) -> tuple[str, float]:
        """Colour, disparity and sigma of a frame; the picture's name and sharpness."""
        raw, z = self.opened.colour(k), self.opened.depth(k, self.registering)
        size, picture = (rig.width, rig.height), self.registering.colour(raw)
        file = self.opened.pairs[k][0]
        if picture.shape[1::-1] != size:
            picture, z = (
                cv2.resize(picture, size, interpolation=cv2.INTER_AREA),
                cv2.resize(z, size, interpolation=cv2.INTER_NEAREST_EXACT),
            )
        elif self.registering.maps is None and file.suffix.lower() in COPIED:
            suffix = file.suffix.lower()
        name, disparity = f"left/{k:06d}{suffix}", rig.disparity_from_depth(z)
        if picture is raw and suffix == file.suffix.lower():
            shutil.copyfile(file, self.out / "pairs" / name)
        else:
            write_rgb(self.out / "pairs" / name, picture, 97)
        write_disparity(self.out / "disparity" / f"{k:06d}.png", disparity)
        write_sigma(self.out / "disparity/sigma" / f"{k:06d}.png", self.noise.sigma_px(rig, disparity))
        if show:
            self.shown.append(_beside(picture, disparity))
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return name, float(cv2.Laplacian(gray, cv2.CV_32F).std() / (gray.mean() + 4))

    def _write_given(self, frames: list[int], rig: Rig, prompt: dict) -> None:
        numbers, count, given = self.opened.numbers(), len(self.opened.pairs), self.out / "given"
        masks, notes = by_frame(self.files.masks, numbers, count, "masks")
        hidden, more = by_frame(self.files.hidden, numbers, count, "hidden")
        self.done.warnings += [*notes, *more]
        (given / "given.json").write_text(
            json.dumps({"masks": bool(masks), "depth": False, **({"hidden": True} if hidden else {})})
        )
        rims, shares = [], []
        for k in frames:
            if k in masks:
                mask = read_labels(masks[k], self.opened.size)[0]
                rims.append(rim_share(mask))
                shares.append(float(mask.mean()))
                write_mask(given / "masks" / f"{k:06d}.png", _mask(mask, self.registering, rig))
            if k in hidden:
                write_mask(
                    given / "hidden" / f"{k:06d}.png",
                    _mask(read_mask(hidden[k], self.opened.size), self.registering, rig),
                )
        refuse_inverted(rims, shares, "masks")
        if masks and (absent := [k for k in frames if k not in masks]):
            self.done.warnings.append(f"masks/ has nothing for frames {listed(absent)}")
        files = {p.name: p for p in self.files.prompt_masks}
        for e in entries(prompt):
            if "mask" in e:
                mask = read_mask(files[e["mask"]], self.opened.size)
                write_mask(given / FOLDER / f"{e['frame']:06d}.png", _mask(mask, self.registering, rig))

    def _finish(self, rows: list[dict[str, Any]], rig: Rig, prompted: bool) -> None:
        good = [r for r in rows if r["status"] == "ok"]
        bad = [r for r in rows if r["status"] in ("broken", "missing_pair")]
        if not good or len(good) < self.config.min_usable * (len(good) + len(bad)):
            first = f"first: frame {bad[0]['frame']}, {bad[0]['reason']}"
            raise CaptureError(
                f"only {len(good)} of {len(good) + len(bad)} frames are usable; {first}",
                f"mend these files; at least {self.config.min_usable:.0%} must be usable (rgbd.min_usable)",
            )
        if bad:
            self.done.warnings.append(
                f"{len(bad)} frames cannot be used: {listed([r['frame'] for r in bad])} ({bad[0]['reason']})"
            )
        thinned = len(rows) - len(good) - len(bad)
        if thinned:
            self.done.warnings.append(f"{len(good)} of {len(rows)} frames are taken, evenly thinned (rgbd.max_frames)")
        if not prompted and not self.files.masks:
            self.done.warnings.append(
                "no prompt: the object will be looked for automatically (give --box or prompt.json to name it)"
            )
        self.done.frames = {s: sum(r["status"] == s for r in rows) for s in dict.fromkeys(r["status"] for r in rows)}
        self.done.metrics |= {
            "calibration": self.opened.camera.source,
            "depth_units_per_metre": self.opened.units,
            "depth_unit_by": self.opened.units_by,
            "frames": len(rows),
            "frames_used": len(good),
            "focal_px": round(rig.fx, 2),
            "width_px": rig.width,
            "height_px": rig.height,
            "baseline_that_stands_for_noise_mm": round(1e3 * rig.baseline_m, 2),
        }
        if self.shown:
            (self.out / "pictures").mkdir(exist_ok=True)
            thumbnail_jpeg(self.out / "pictures/frames.jpg", np.hstack(self.shown), 1280, 85)
            self.done.pictures.append(("Colour, and depth brought to it (near is bright)", "pictures/frames.jpg"))


def _mask(mask: np.ndarray, registering: Registering, rig: Rig) -> np.ndarray:
    """(h, w) bool as captured -> (H, W) bool as written."""
    flat = registering.colour(np.where(mask, np.uint8(255), np.uint8(0)), cv2.INTER_LINEAR)
    if flat.shape[::-1] != (rig.width, rig.height):
        flat = cv2.resize(flat, (rig.width, rig.height), interpolation=cv2.INTER_AREA)
    return flat > 127


def _beside(picture: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """Both, one above the other, small."""
    size = (240, round(240 * picture.shape[0] / picture.shape[1]))
    top = max(float(np.nanpercentile(disparity, 99)), 1e-6) if np.isfinite(disparity).any() else 1.0
    level = (255 * np.clip(np.nan_to_num(disparity) / top, 0, 1)).astype(np.uint8)
    depth = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.vstack([cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (picture, depth)])
