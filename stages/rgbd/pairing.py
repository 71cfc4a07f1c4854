"""Which depth picture belongs to which colour picture: by a list, by times, by numbers, or by order."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.frame_names import TIME_DIGITS, distinct_numbers, frame_number, in_order
from stages.core.plain_files import read_text
from stages.core.rgbd_files import RgbdFiles

Pair = tuple[Path, Path | None]
"""colour, depth"""


def pair(files: RgbdFiles, max_apart_s: float) -> tuple[list[Pair], list[str]]:
    """One pair for each colour picture, in capture order, and warnings. Raises CaptureError where it cannot be known."""
    if files.association is not None:
        return _by_list(files, files.association)
    colour, depth = distinct_numbers(files.colour), distinct_numbers(files.depth)
    if colour is None or depth is None:
        if len(files.colour) != len(files.depth):
            raise CaptureError(
                f"{files.root} has {len(files.colour)} colour and {len(files.depth)} depth pictures, and their names "
                "carry no distinct numbers",
                "number them alike, or add associations.txt",
            )
        return list(zip(in_order(files.colour), in_order(files.depth), strict=True)), []
    if all(n >= 10 ** (TIME_DIGITS - 1) for side in (colour, depth) for n, _ in side):
        return _by_time(files, max_apart_s)
    by_number = dict(zip(depth, files.depth, strict=True))
    found: list[Pair] = [(p, by_number.get(n)) for n, p in sorted(zip(colour, files.colour, strict=True))]
    alone = len(set(by_number) - set(colour))
    if not any(d for _, d in found):
        raise CaptureError(
            f"no number occurs in the names of both colour and depth ({files.colour[0].name} .., {files.depth[0].name} ..)",
            "pictures of one moment carry the same number, or stand in associations.txt",
        )
    return found, _alone(alone)


def _by_list(files: RgbdFiles, path: Path) -> tuple[list[Pair], list[str]]:
    """Lines with a time and a name for both, in either order; # begins a remark."""
    colour, depth = ({p.relative_to(files.root).as_posix(): p for p in side} for side in (files.colour, files.depth))
    found: list[Pair] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        names = [w.removeprefix("./") for w in words]
        a, b = ([n for n in names if n in side] for side in (colour, depth))
        if len(a) != 1 or len(b) != 1:
            raise CaptureError(
                f"{path.name}, line {number} names no colour and depth picture of this folder: {line.strip()[:80]!r}",
                "write: time rgb/FILE time depth/FILE",
            )
        found.append((colour[a[0]], depth[b[0]]))
    if not found:
        raise CaptureError(f"{path.name} lists nothing", "write: time rgb/FILE time depth/FILE, or remove the file")
    seen = [a for a, _ in found]
    if len(set(seen)) < len(seen):
        raise CaptureError(
            f"{path.name} lists {next(p for p in seen if seen.count(p) > 1).name} twice",
            "keep one line for each picture",
        )
    return found, []


def _by_time(files: RgbdFiles, max_apart_s: float) -> tuple[list[Pair], list[str]]:
    """Each colour picture with the nearest depth, each depth once. Names are seconds with a fraction, or milli-, micro-, nanoseconds."""
    colour, depth = (
        sorted((_seconds(p, unit), p) for p in side)
        for unit in [_unit(files.colour)]
        for side in (files.colour, files.depth)
    )
    times = np.array([t for t, _ in depth])
    best: dict[int, tuple[float, int]] = {}
    for k, (t, _) in enumerate(colour):
        j = int(np.abs(times - t).argmin())
        apart = abs(times[j] - t)
        if apart <= max_apart_s and (j not in best or apart < best[j][0]):
            best[j] = apart, k
    partner = {k: depth[j][1] for j, (_, k) in best.items()}
    if not partner:
        nearest = min(abs(times - t).min() for t, _ in colour)
        raise CaptureError(
            f"the times of colour and depth are never closer than {nearest:.3f} s",
            f"they must be of one clock; {max_apart_s:g} s are allowed (rgbd.max_apart_s)",
        )
    notes = [
        f"the names are times: paired by the nearest, at most {1000 * max(a for a, _ in best.values()):.1f} ms apart"
    ]
    return [(p, partner.get(k)) for k, (_, p) in enumerate(colour)], notes + _alone(len(depth) - len(partner))


def _unit(files: Sequence[Path]) -> Fraction:
    """Seconds of one unit of the names' numbers: seconds since 1970 have 10 digits."""
    first = frame_number(files[0])
    assert first is not None
    return Fraction(1, 10 ** (3 * max(0, (len(str(int(first[0]))) - 10 + 2) // 3)))


def _seconds(path: Path, unit: Fraction) -> float:
    number = frame_number(path)
    assert number is not None
    return float(number[0] * unit)


def _alone(count: int) -> list[str]:
    return [f"{count} depth pictures have no colour picture"] * bool(count)
