"""Names of figures as people read them: `row_offset_px` = 0.76 becomes "row offset", "0.76 px"."""

from __future__ import annotations

from typing import Any

_UNITS = {
    "px": "px", "mm": "mm", "um": "µm", "m": "m", "deg": "°", "s": "s", "ms": "ms", "db": "dB", "mb": "MB", "gb": "GB", "percent": "%",
    "levels": "grey levels of 255", "hz": "Hz", "mpx": "megapixels", "rad": "rad", "units": "units", "kg": "kg", "cm3": "cm³", "cm2": "cm²",
}  # fmt: skip


def label(key: str) -> tuple[str, str]:
    """(name, unit) of a figure's key; the unit is what follows the last underscore, "" when that is none."""
    stem, _, last = key.rpartition("_")
    if stem and last in _UNITS:
        return stem.replace("_", " "), _UNITS[last]
    return key.replace("_", " "), ""


def value_text(value: Any, unit: str = "") -> str:
    """A figure with four significant digits and its unit; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        value = f"{value:.0f}" if abs(value) >= 10000 else f"{value:.4g}"
    elif isinstance(value, int):
        value = f"{value:,}"
    return f"{value}{'' if unit in ('', '°', '%') else ' '}{unit}"


def seconds_text(seconds: float | None) -> str:
    """4.2 s, 3 min 05 s, 1 h 02 min."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
