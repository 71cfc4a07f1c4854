"""What a run's settings left out, in plain words: a preview must not look as if it were all there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Manifest = Mapping[str, Any]


def left_out(manifests: Mapping[str, Manifest]) -> list[str]:
    """One line for each thing, in pipeline order; empty for a run that leaves nothing out."""
    said = (line(manifests[stage]) for stage, line in _LINES if stage in manifests)
    return [s for s in said if s]


def _frames(rectify: Manifest) -> str:
    counts = rectify.get("report", {}).get("frames", {})
    if not (dropped := counts.get("not_selected", 0)):
        return ""
    return f"{dropped} of {sum(counts.values())} frames (rectify.select, rectify.max_frames): they have no pose, mask or disparity"


def _width(rectify: Manifest) -> str:
    most, width = (
        rectify.get("settings", {}).get("max_width"),
        rectify.get("report", {}).get("metrics", {}).get("width_px"),
    )
    if most is None or most != width:
        return ""
    return f"detail finer than a pixel of pictures {width} px wide (rectify.max_width): rig.json is of that size too"


def _setting(key: str, value: Any, line: str) -> Callable[[Manifest], str]:
    return lambda manifest: line if manifest.get("settings", {}).get(key) == value else ""


def _field(surface: Manifest) -> str:
    lean = surface.get("settings", {}).get("field") == "lean" and surface.get("report", {}).get("method") == "fusion"
    return "the neural field: the mesh is that of the grid (surface.field)" if lean else ""


_LINES: tuple[tuple[str, Callable[[Manifest], str]], ...] = (
    ("rectify", _frames),
    ("rectify", _width),
    ("bundle", _setting("self_check", False, "the check of the focal length (bundle.self_check)")),
    ("surface", _field),
    (
        "surface",
        _setting(
            "use_right", False, "the right pictures where colours of several views are compared (surface.use_right)"
        ),
    ),
    (
        "surface",
        _setting(
            "complete_disparity",
            False,
            "disparity of the finished surface: it is as each pair gave it (surface.complete_disparity)",
        ),
    ),
    ("texture", _setting("align_views", False, "the alignment of the pictures on the surface (texture.align_views)")),
    ("texture", _setting("sides", "left", "the right pictures in the texture (texture.sides)")),
    ("physics", _setting("files", False, "files for simulators and levels of detail (physics.files)")),
    ("package", _setting("maps", False, "masks/ and disparity/ of every frame (package.maps)")),
    ("package", _setting("usd", "off", "twin.usdz (package.usd)")),
)
