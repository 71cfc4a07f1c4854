"""What a picture's name says: which frame it is, in which order names come, and which names of two cameras belong together.

left000012.jpg                    frame 12: the last number
1305031102.175304.png             a time in seconds with a fraction: one number, not a fraction that starts again every second
IMG_20240501_101505 (1).jpg       the second picture of that number, after the one without " (1)"
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from stages.core.errors import CaptureError

Number = tuple[Fraction, int]
"""a frame's number, and which copy of it"""
TIME_DIGITS = 9
"""seconds since 1970 have that many at least; shorter numbers with a point are two numbers"""
LEAST_COUNTED, MOST_GAPS = 8, 0.2
"""pictures, and the share of the steps between their numbers: more steps of another size are a choice, not a gap"""
NEAR = Fraction(1, 4)
"""of the usual time between frames: two stamps within it are of one moment"""
_HEX = re.compile(r"[0-9a-f]{1,32}|[0-9A-F]{1,32}")
_COPY = re.compile(r"[ _]?\((\d+)\)$")
_TIME = re.compile(rf"(\d{{{TIME_DIGITS},}}\.\d+)$")
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_WORDS = re.compile(rf"(\d{{{TIME_DIGITS},}}\.\d+|\d+)")
Pairs = list[tuple[Path | None, Path | None]]


def frame_number(path: Path) -> Number | None:
    """The number in a file's name without its suffix, None where it has none."""
    stem, copy = _without_copy(path.stem)
    found = _TIME.search(stem) or _LAST_NUMBER.search(stem)
    return (Fraction(found[1]), copy) if found else None


def natural(path: Path) -> list[tuple[int, Fraction, str]]:
    """Sort key of the whole name: numbers by their value, and a copy behind what it copies."""
    stem, copy = _without_copy(path.stem)
    words = [(0, Fraction(w), "") if w[0].isdigit() else (1, Fraction(0), w) for w in _WORDS.split(stem) if w]
    return [*words, (-1, Fraction(copy), path.suffix)]


def in_order(files: Sequence[Path]) -> list[Path]:
    """By the whole names in natural order; names that count in hexadecimal digits by those."""
    return sorted(files, key=(lambda p: p.stem) if _hexadecimal(files) else natural)


def _hexadecimal(files: Sequence[Path]) -> bool:
    """Whether names of one length differ in digits from 0 to f only, and some of these are letters: 09, 0a, .. 0f, 10."""
    stems = [p.stem for p in files]
    if len(stems) < 2 or len({len(s) for s in stems}) > 1:
        return False
    places = [k for k, column in enumerate(zip(*stems, strict=True)) if len(set(column)) > 1]
    if not places:
        return False
    varying = [s[places[0] : places[-1] + 1] for s in stems]
    letters = set("".join(varying)) & set("abcdefABCDEF")
    return bool(letters) and all(_HEX.fullmatch(v) for v in varying)


def gaps(numbers: Sequence[Number]) -> list[int]:
    """Numbers that a count which otherwise goes on evenly leaves out; none where it does so often, or where times are the names."""
    whole = [int(n) for n, copy in sorted(numbers) if n.denominator == 1 and not copy and n < 10 ** (TIME_DIGITS - 1)]
    if len(whole) != len(numbers) or len(whole) < LEAST_COUNTED:
        return []
    steps = [b - a for a, b in itertools.pairwise(whole)]
    usual = sorted(steps)[len(steps) // 2]
    odd = [(a, s) for a, s in zip(whole, steps, strict=False) if s != usual]
    if len(odd) > MOST_GAPS * len(steps) or any(s % usual or s // usual > len(whole) for _, s in odd):
        return []
    return [a + usual * k for a, s in odd for k in range(1, s // usual)]


def distinct_numbers(files: Sequence[Path]) -> list[Number] | None:
    """Each file's number, where all have one, no two the same, and in the order of the whole names; else None."""
    found = [frame_number(p) for p in files]
    numbers = [n for n in found if n is not None]
    if len(set(numbers)) != len(found):
        return None
    if _hexadecimal(files):
        return None
    by_name = [n for _, n in sorted(zip((natural(p) for p in files), numbers, strict=True))]
    return numbers if by_name == sorted(numbers) else None


def pair_files(left: Sequence[Path], right: Sequence[Path]) -> tuple[Pairs, list[str]]:
    """Pairs in capture order, and warnings. Raises CaptureError where it cannot be known what belongs together."""
    for side in (left, right):
        _refuse_twice(side)
    numbers = [distinct_numbers(side) for side in (left, right)]
    if numbers[0] is not None and numbers[1] is not None:
        return _by_number(dict(zip(numbers[0], left, strict=True)), dict(zip(numbers[1], right, strict=True)))
    if len(left) != len(right):
        raise CaptureError(
            f"left/ has {len(left)} pictures and right/ has {len(right)}, and their names carry no distinct numbers: "
            "it cannot be known which one is missing",
            "number the pictures, the same number for both cameras",
        )
    return list(zip(in_order(left), in_order(right), strict=True)), []


def by_frame(
    files: tuple[Path, ...], numbers: list[Number] | None, frames: int, what: str
) -> tuple[dict[int, Path], list[str]]:
    """{frame: file} and warnings. Raises CaptureError where no file belongs to a frame.

    As many files as frames whose numbers are all off by the same amount were numbered from another start: they go by order.
    """
    if not files:
        return {}, []
    found, notes = distinct_numbers(files), []
    if numbers is not None and found is not None:
        frame_of = {n: k for k, n in enumerate(numbers)}
        out = {frame_of[n]: p for n, p in zip(found, files, strict=True) if n in frame_of}
        shift = {a[0] - b[0] for a, b in zip(sorted(found), numbers, strict=False)}
        if len(out) < len(files) == frames == len(numbers) and len(shift) == 1:
            out = dict(enumerate(in_order(files)))
            notes = [
                f"{what}/ is numbered from {float(min(found)[0]):g}, the frames from {float(numbers[0][0]):g}: taken by order"
            ]
        elif lost := [p.name for p, n in zip(files, found, strict=True) if n not in frame_of]:
            notes = [
                f"{what}/ has {len(lost)} files that belong to no frame: {', '.join(lost[:3])}{' ..' if len(lost) > 3 else ''}"
            ]
    else:
        out = dict(enumerate(in_order(files))) if len(files) == frames else {}
    if not out:
        raise CaptureError(
            f"none of the {len(files)} files of {what}/ belongs to one of the {frames} frames",
            f"number {what}/ as the left pictures are, for example {what}/000012.png for left/left000012.jpg",
        )
    return out, notes


def listed(frames: Sequence[int], most: int = 12) -> str:
    """ "3, 7-9, 12": runs joined, cut after `most` runs."""
    runs: list[list[int]] = []
    for f in sorted(frames):
        if runs and f == runs[-1][1] + 1:
            runs[-1][1] = f
        else:
            runs.append([f, f])
    parts = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    return ", ".join(parts[:most]) + (f" and {len(parts) - most} more" if len(parts) > most else "")


def _by_number(left: dict[Number, Path], right: dict[Number, Path]) -> tuple[Pairs, list[str]]:
    common = left.keys() & right.keys()
    if len(common) < min(len(left), len(right)) and all(
        n >= 10 ** (TIME_DIGITS - 1) for side in (left, right) for n, _ in side
    ):
        near = _by_time(sorted(left), sorted(right))
        if sum(a is not None and b is not None for a, b in near) > len(common):
            apart = max(abs(a[0] - b[0]) for a, b in near if a is not None and b is not None)
            pairs: Pairs = [(a and left[a], b and right[b]) for a, b in near]
            return pairs, [
                f"the names are times that differ between the eyes: paired by the nearest, at most {float(apart):.4g} apart"
            ]
    if not common:
        raise CaptureError(
            f"no number occurs in the names of both left/ and right/ ({_first(left)} .., {_first(right)} ..)",
            "pictures taken together must carry the same number, as left/left000012.jpg and right/right000012.jpg",
        )
    return [(left.get(n), right.get(n)) for n in sorted(left.keys() | right.keys())], []


def _by_time(left: list[Number], right: list[Number]) -> list[tuple[Number | None, Number | None]]:
    """Each left stamp with the nearest right one within `NEAR` of the usual step; what is left over stays alone."""
    steps = sorted(b[0] - a[0] for side in (left, right) for a, b in itertools.pairwise(side))
    reach = NEAR * steps[len(steps) // 2] if steps else Fraction(0)
    out: list[tuple[Number | None, Number | None]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = left[i], right[j]
        together = abs(a[0] - b[0]) <= reach
        out.append((a, b) if together else (a, None) if a < b else (None, b))
        i, j = i + (together or a < b), j + (together or a > b)
    return out + [(a, None) for a in left[i:]] + [(None, b) for b in right[j:]]


def _refuse_twice(side: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in side:
        if path.stem in seen:
            raise CaptureError(f"{path.parent.name}/ holds {seen[path.stem].name} and {path.name}", "keep one of them")
        seen[path.stem] = path


def _without_copy(stem: str) -> tuple[str, int]:
    found = _COPY.search(stem)
    return (stem[: found.start()], int(found[1][:9])) if found and found.start() else (stem, 0)


def _first(side: dict[Number, Path]) -> str:
    return side[min(side)].name
