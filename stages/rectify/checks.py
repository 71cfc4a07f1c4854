"""What the figures of the survey mean: warnings in plain words, figures for the report, and the findings that stop a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from stages.core.errors import CaptureError
from stages.core.frame_names import listed
from stages.rectify.figures import FrameFigures
from stages.rectify.fitting_rows import LEAST_EACH, fitting
from stages.rectify.row_offset import MIN_MATCHES, RowOffset

EXPOSURE_WARNING = 0.1
"""relative brightness difference between the eyes above which matching by intensity suffers"""
DARK = 40
CLIPPED = 0.25
COMBED = 1.15
"""difference of pixels one apart over that of pixels two apart; pictures have 0.4 to 0.8, noise alone 1.0"""
BAR_SHARE = 0.03
TINT, EXCHANGED = 1.25, 0.15
"""channel gain over another's, and how close to 1 the product of red's and blue's is where the two are exchanged (logarithms)"""
ROWS_MEET = 0.3
"""share of the matches of a pair whose rows agree; below it the eyes are not only swapped"""
SAME_PX, SAME_SHARE = 0.6, 0.9
STRANGE_SHARE, HOPELESS_SHARE = 0.45, 0.25
STILL = 0.0005
"""share of the picture width; frames that move less than this from the one before add nothing new"""
CUT_FRAMES = 2
"""a header may be off by so many frames"""
FEW_FRAMES = 8
MANY_FRAMES = 150
SLOW = 0.01
"""share of the width; the same frames again would be taken from a video"""
ROW_SPREAD_WARNING_PX = 1.0
"""of the corrected rows; matching noise alone is 0.1 to 0.4 px"""
ROW_CHANGE_WARNING_PX = 0.5
"""between frames; rows of a rigid, synchronised rig miss each other by the same amount in all of them"""
_LEFT_OUT = {
    "missing_pair": "one picture of the pair is missing",
    "broken": "a picture cannot be read",
    "size": "pictures of another size",
    "blurred": "too blurred to use",
    "duplicate": "a repeat of the frame before",
}


def counts(rows: Sequence[FrameFigures]) -> dict[str, int]:
    """Frames by status."""
    return dict(Counter(r.status for r in rows))


def frame_metrics(rows: Sequence[FrameFigures]) -> dict[str, float | int | None]:
    """Figures of the per-frame checks."""
    seen = [r for r in rows if np.isfinite(r.sharpness)]
    status = Counter(r.status for r in rows)
    exposure = [r.exposure_ratio for r in seen]
    out: dict[str, float | int | None] = {
        "frames": len(rows),
        "frames_used": status["ok"],
        "pairs_missing": status["missing_pair"],
        "frames_broken": status["broken"],
        "frames_of_other_size": status["size"],
        "frames_blurred": status["blurred"],
        "frames_repeated": status["duplicate"],
        "frames_still": sum(r.motion < STILL for r in rows),
        "sharpness_lowest_ratio": _least([r.sharpness_ratio for r in seen]),
        "exposure_right_over_left": _median(exposure),
        "exposure_drift_ratio": _drift(exposure),
    }
    for i, name in enumerate(("red", "green", "blue")):
        if values := [r.gains[i] for r in seen if r.gains]:
            out[f"exposure_right_over_left_{name}"] = _median(values)
    return out


def frame_warnings(rows: Sequence[FrameFigures], blur_below: float) -> list[str]:
    """In plain words, with the frames named."""
    out = []
    for status, text in _LEFT_OUT.items():
        if frames := [r.frame for r in rows if r.status == status]:
            out.append(f"{len(frames)} of {len(rows)} frames left out, {text}: frames {listed(frames)}")
    out += soft_frames(rows, blur_below) + light_warnings(rows)
    ratio = _median([r.exposure_ratio for r in rows if r.ok])
    if ratio and abs(np.log(ratio)) > EXPOSURE_WARNING:
        how = "brighter" if ratio > 1 else "darker"
        out.append(
            f"the right view is {abs(ratio - 1):.0%} {how} than the left one: lock the exposure of both cameras together"
        )
    return out + _tint([r.gains for r in rows if r.ok and r.gains])


def _tint(gains: Sequence[tuple[float, ...]]) -> list[str]:
    """Colours of the two eyes that differ by more than brightness does."""
    if not gains:
        return []
    red, green, blue = np.log(np.median(gains, axis=0))
    if max(red, green, blue) - min(red, green, blue) < np.log(TINT):
        return []
    if red * blue < 0 and abs(red + blue - 2 * green) < EXCHANGED:
        return ["red and blue look exchanged in one of the eyes: save both as RGB"]
    parts = ", ".join(f"{name} {np.exp(v):.2f}" for name, v in (("red", red), ("green", green), ("blue", blue)))
    return [
        f"colours differ between the eyes ({parts} times as bright in the right view): lock the white balance of both cameras together"
    ]


def light_warnings(rows: Sequence[FrameFigures]) -> list[str]:
    """Pictures that are nearly black, or white over much of them."""
    bright, clipped = _median([r.bright for r in rows if r.ok]), _median([r.clipped for r in rows if r.ok])
    out = []
    if bright is not None and bright < DARK:
        out.append(
            f"the pictures are nearly black (99 % of them below {bright:.0f} of 255): scale 10, 12 or 14 bits to the full 16 "
            "when saving them, or light the scene"
        )
    if clipped is not None and clipped > CLIPPED:
        out.append(
            f"{clipped:.0%} of the picture is white: nothing can be matched there; expose less, unless the ground is white"
        )
    dark = [r.frame for r in rows if r.ok and r.bright < DARK]
    if dark and not out:
        out.append(f"{len(dark)} frames are nearly black: frames {listed(dark)}")
    return out + scan_warnings(rows) + bar_warnings(rows)


def bar_warnings(rows: Sequence[FrameFigures]) -> list[str]:
    """Black bars of one width on both sides: pictures of another shape, fitted in."""
    seen = [r for r in rows if r.ok and r.bars and r.left_size]
    if not seen:
        return []
    bars, (width, height) = np.median([r.bars for r in seen], axis=0), seen[0].left_size or (0, 0)
    for where, (a, b), length in (("above and below", bars[:2], height), ("left and right", bars[2:], width)):
        if min(a, b) > BAR_SHARE * length and abs(a - b) <= 2:
            return [
                f"black bars of {min(a, b):.0f} px lie {where}: pictures of another shape were fitted in, and may have been scaled. Is "
                "the calibration of these, bars and all? Else focal length or centre are wrong"
            ]
    return []


def scan_warnings(rows: Sequence[FrameFigures]) -> list[str]:
    """Pictures whose neighbouring pixels differ more than those two apart: mosaics of a colour filter, fields of two moments."""
    across, down = (_median([r.comb[k] for r in rows if r.ok and r.comb]) for k in (0, 1))
    if across is None or down is None or down < COMBED:
        return []
    if across > COMBED:
        return [
            "pixels differ more from their neighbours than from those two apart, in both directions: the pictures look like a raw "
            "mosaic of a colour filter (Bayer); turn them into colour first, or the texture is a pattern"
        ]
    return [
        "lines differ more from their neighbours than from those two apart: the pictures look interlaced, each of two moments; take "
        "every second line (or a deinterlacer) for both eyes"
    ]


def soft_frames(rows: Sequence[FrameFigures], blur_below: float) -> list[str]:
    """A warning that names them."""
    soft = [r.frame for r in rows if r.ok and r.sharpness_ratio < blur_below]
    return [f"{len(soft)} frames are clearly less sharp than their neighbours: frames {listed(soft)}"] if soft else []


def count_warnings(rows: Sequence[FrameFigures]) -> list[str]:
    """Too few frames, or many that show the same."""
    usable = sum(r.ok for r in rows)
    motion = _median([r.motion for r in rows if r.ok])
    if usable > MANY_FRAMES and motion is not None and motion < SLOW:
        return [
            f"{usable} frames that move by {motion:.1%} of the width each: rectify.select=motion keeps those that add something"
        ]
    if usable == 1:
        return ["only 1 frame: the twin can show one side only, and no camera path exists"]
    if usable < FEW_FRAMES:
        return [
            f"only {usable} frames: expect a partial twin (15 to 30 degrees between views work best, 24 or more round the object)"
        ]
    return []


def cut_short(stated: int, found: int) -> list[str]:
    """A warning where a video ends clearly before the number of frames in its header."""
    missing = stated - found
    if missing <= max(CUT_FRAMES, 0.01 * stated):
        return []
    return [
        f"the video's header speaks of {stated} frames, {found} could be read: {missing} are missing, the recording was cut"
    ]


def rows_meet(pair: np.ndarray, rows_px: np.ndarray) -> bool:
    """Whether in most pairs some third of the matches agree in their rows."""
    shares = [
        fitting(rows_px[pair == f]) / n for f in np.unique(pair) if (n := np.count_nonzero(pair == f)) >= LEAST_EACH
    ]
    return not shares or float(np.median(shares)) > ROWS_MEET


def refuse_swapped(share_negative: float, turned: str = "", meet: bool = True) -> None:
    """Raise CaptureError when most matches have a negative disparity. `turned`: what is to be said of EXIF orientation; `meet`: whether
    rows agree, as they do where nothing but the sides is wrong."""
    if share_negative > 0.5 and not turned and not meet:
        raise CaptureError(
            f"{share_negative:.0%} of the matches lie further right in the right picture, and their rows do not agree: one "
            "eye's pictures may be mirrored or turned, or the pictures of a pair do not belong together",
            "save both eyes upright and not mirrored, as the calibration saw them; `twin check` shows how they pair",
        )
    if share_negative > 0.5 and turned:
        raise CaptureError(
            f"{share_negative:.0%} of the matches lie further right in the right picture; expected about 0 %",
            f"{turned}. Calibrate with the pictures as stored, or save pictures turned and without EXIF data",
        )
    if share_negative > 0.5:
        raise CaptureError(
            f"left and right look swapped: {share_negative:.0%} of the matches lie further right in the right picture; "
            "expected about 0 %",
            "swap the folders (or videos), and check that the calibration names the same camera left; but if an eye is "
            "mirrored (a selfie camera, a mirror before the lens), mirror it back: swapped, the twin would be mirrored",
        )


def refuse_one_eye_twice(raw: np.ndarray) -> None:
    """Raise CaptureError where nearly all matches `raw` (M, 4 px) lie at the same place in both pictures."""
    if len(raw) < MIN_MATCHES:
        return
    apart = np.abs(raw[:, :2] - raw[:, 2:4]).max(axis=1)
    if (same := float(np.mean(apart < SAME_PX))) > SAME_SHARE:
        raise CaptureError(
            f"both eyes show the same picture: {same:.0%} of the matches lie at the same place in both",
            "put the other camera's pictures into right/ (a mono recording cannot be used as a pair)",
        )


def strange_pairs(pair: np.ndarray, rows_px: np.ndarray) -> list[str]:
    """A warning where in most pairs the rows of most matches disagree. Raises CaptureError where they hardly ever agree."""
    shares = [
        fitting(rows_px[pair == f]) / n for f in np.unique(pair) if (n := np.count_nonzero(pair == f)) >= LEAST_EACH
    ]
    if len(shares) < 3 or np.median(shares) > STRANGE_SHARE:
        return []
    found = f"in most pairs only {np.median(shares):.0%} of the matches agree in their rows (60 to 95 % do in pairs that belong together)"
    if np.median(shares) < HOPELESS_SHARE:
        raise CaptureError(
            f"{found}: the pictures of a pair are not of one moment, or not of this calibration",
            "check with `twin check` how they pair, and number pictures taken together alike",
        )
    return [f"{found}: pictures of other moments, a wrong calibration, or hardly any texture"]


def refuse_row_offset(offset: RowOffset, most_px: float) -> None:
    """Raise CaptureError when rows miss each other by more than a correction may hide."""
    if abs(offset.median_px) > most_px:
        raise CaptureError(
            f"the rows of the two views miss each other by {offset.median_px:+.1f} px (spread {offset.spread_px:.1f} px, "
            f"{offset.matches} matches); at most {most_px:g} px can be corrected",
            "calibrate again (a camera was moved, or the pictures are not rectified), or raise rectify.row_offset_max_px",
        )


def row_warnings(spread_px: float, per_frame_px: Sequence[float]) -> list[str]:
    """What a correction cannot mend: rows that still scatter, or an offset that changes from frame to frame."""
    out = []
    if spread_px > ROW_SPREAD_WARNING_PX:
        out.append(
            f"the rows of the two views still scatter by {spread_px:.1f} px: the calibration does not fit these pictures well"
        )
    change = float(np.ptp(per_frame_px)) if len(per_frame_px) else 0.0
    if change > ROW_CHANGE_WARNING_PX:
        out.append(
            f"the row offset changes by {change:.1f} px between frames: the cameras are not synchronised, or one is loose"
        )
    return out


def _median(values: Sequence[float]) -> float | None:
    v = [x for x in values if np.isfinite(x)]
    return round(float(np.median(v)), 4) if v else None


def _least(values: Sequence[float]) -> float | None:
    v = [x for x in values if np.isfinite(x)]
    return round(float(min(v)), 4) if v else None


def _drift(values: Sequence[float]) -> float | None:
    v = [x for x in values if np.isfinite(x)]
    return round(float(max(v) / min(v)), 4) if v else None
