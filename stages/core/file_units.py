"""Lengths of a twin whose scale nobody gave: posed pictures without posed.metres_per_unit. One unit of the file stands as one metre inside;
what is shown says "units" and never a length that was not measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Manifests = Mapping[str, Mapping[str, Any]]
UNKNOWN = "unknown: lengths in units of the file"
"""the metric `unit` of the posed stage"""


def scale_is_unknown(manifests: Manifests) -> bool:
    """Whether the lengths are in units of the camera file."""
    return manifests.get("posed", {}).get("report", {}).get("metrics", {}).get("unit") == UNKNOWN


def in_file_units(manifests: Manifests) -> Manifests:
    """The manifests with every figure in millimetres (`x_mm`) as `x_units`, where the scale is unknown; else as they are."""
    if not scale_is_unknown(manifests):
        return manifests
    out = {}
    for name, m in manifests.items():
        report = dict(m.get("report", {}))
        report["metrics"] = dict(_converted(k, v) for k, v in report.get("metrics", {}).items())
        out[name] = {**m, "report": report}
    return out


def _converted(key: str, value: Any) -> tuple[str, Any]:
    if not key.endswith("_mm"):
        return key, value
    return key.removesuffix("_mm") + "_units", in_units(value)


def in_units(value: Any) -> Any:
    """A number of millimetres, or several as "a x b", in units."""
    if isinstance(value, str):
        return " x ".join(f"{float(part) / 1000:.4g}" for part in value.split(" x "))
    return None if value is None else float(f"{value / 1000:.6g}")
