"""The settings file of NVIDIA's 3D object reconstruction workflow, read as a request of ours.

Every key of the file ends up in one of two lists: what it does here, or why it has no equivalent. Nothing is dropped silently. What a
downscale means follows that workflow: a picture is never made smaller than `min_resolution` on its shorter side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.core.errors import ConfigError
from stages.core.plain_yaml import load_yaml

STEPS_THERE, GEOMETRY_STEPS, COLOUR_STEPS = 3000, 300, 150
"""its default number of training steps, and ours: a step there is not one here, so they are scaled"""
LEAST_PX = 300
"""default of its `min_resolution` and `onnx_input_min`"""
SEARCH_PX = 1600
"""width at which points are searched by default: more did not gain accuracy"""
CAMERA = ("camera_config.intrinsic", "foundation_stereo.intrinsic")
BASELINE = ("foundation_stereo.baseline", "camera_config.baseline")
NO_EQUIVALENT = {
    "": "not a key of that workflow that this program knows",
    "base_path": "--data-path and --output-path say it",
    "bundletrack": "poses are found in another way: `twin settings track` and `bundle`",
    "bundletrack.depth_processing": "depth carries its own standard deviation instead of being cut and filtered",
    "bundletrack.erode_mask": "the nearest setting is surface.mask_margin_px",
    "bundletrack.keyframe": "the nearest setting is track.keyframe_step_deg",
    "camera_config.step": "that workflow does not read it either",
    "downscale": "that workflow does not read it either",
    "foundation_stereo": "depth needs no network here; depth.method=onnx uses one (docs/weights.md)",
    "nerf": "the surface is found in another way: `twin settings surface`",
    "nerf.far": "the mask bounds the object, no range has to be given",
    "nerf.mesh_resolution": "the nearest setting is surface.voxel_px, in sizes of a pixel on the object",
    "nerf.near": "the mask bounds the object, no range has to be given",
    "roma": "points need no network here; track.method=roma uses RoMa where it is installed",
    "sam2": "masks need no network here; masks.method=sam2 uses SAM 2 where its weights are (docs/weights.md)",
    "texture_bake": "the texture is made in another way: `twin settings texture`",
    "texture_bake.downscale": "colours are taken from the pictures at full size; texture.size bounds the texture",
}
"""by the longest beginning of a key"""
_Size = tuple[int, int]


@dataclass
class NvidiaRequest:
    """What a settings file asks for: K row by row, baseline in metres, box in px or None, settings of ours; and for each of its keys what
    it does (`acts`) or why it does nothing (`without`)."""

    K: list[float]
    baseline_m: float
    box: tuple[float, float, float, float] | None
    settings: list[str] = field(default_factory=list)
    acts: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)


def read_config(text: str, source: str) -> dict[str, Any]:
    """{dotted key: value} of the file's text. Raises ConfigError."""
    return dict(_leaves(load_yaml(text, source)))


def translate(keys: Mapping[str, Any], source: str, size: _Size) -> NvidiaRequest:
    """For pictures of (width, height) px. Raises ConfigError that names file and key."""
    values = _Values(keys, source)
    K, baseline = values.agreed(CAMERA, 9), values.agreed(BASELINE, 1)
    out = NvidiaRequest(K, baseline[0], values.box())
    out.acts |= {k: "camera matrix" for k in CAMERA if k in keys} | {
        k: "baseline, metres" for k in BASELINE if k in keys
    }
    if out.box is not None:
        out.acts["sam2.bbox"] = "box of the object in the first left picture"
    for rule in _RULES:
        rule(values, size, out)
    out.without = {k: _why_not(k) for k in keys if k not in out.acts}
    return out


@dataclass(frozen=True)
class _Values:
    """The file's values, checked where they are used."""

    keys: Mapping[str, Any]
    source: str

    def numbers(self, key: str, count: int) -> list[float] | None:
        value = self.keys.get(key)
        if value is None:
            return None
        found = value if isinstance(value, list) else [value]
        found = [x for row in found for x in (row if isinstance(row, list) else [row])]
        if len(found) != count or not all(_is_number(x) for x in found):
            raise ConfigError(
                f"{self.source}: {key} is {str(value)[:80]}; expected {count} number{'s' * (count > 1)}",
                "correct the file",
            )
        return [float(x) for x in found]

    def number(self, key: str, low: float, high: float = math.inf) -> float | None:
        found = self.numbers(key, 1)
        if found is not None and not low <= found[0] <= high:
            bounds = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
            raise ConfigError(f"{self.source}: {key} is {found[0]:g}; expected {bounds}", "correct the file")
        return found[0] if found else None

    def agreed(self, keys: tuple[str, ...], count: int) -> list[float]:
        """What stands under these keys, the same wherever it does."""
        found = {k: v for k in keys if (v := self.numbers(k, count)) is not None}
        if not found:
            raise ConfigError(
                f"{self.source} has no {keys[0]}", f"write it there: {count} number{'s, row by row' * (count > 1)}"
            )
        if len({tuple(v) for v in found.values()}) > 1:
            raise ConfigError(
                f"{self.source}: {' and '.join(found)} differ",
                "the pictures are rectified, so there is one: mend the file",
            )
        return next(iter(found.values()))

    def box(self) -> tuple[float, float, float, float] | None:
        found = self.numbers("sam2.bbox", 4)
        return None if found is None else (found[0], found[1], found[2], found[3])

    def scale(self, section: str, size: _Size) -> float | None:
        """The share of the pictures' size that a section's `downscale` asks for; None without one."""
        asked = self.number(f"{section}.downscale", 0.001, 1.0)
        least = self.number(f"{section}.min_resolution", 1) or LEAST_PX
        return None if asked is None else bounded_scale(asked, size, least)


def bounded_scale(asked: float, size: _Size, least_px: float) -> float:
    """`asked`, or what leaves `least_px` on the shorter side; 1 for pictures that are smaller already."""
    return 1.0 if min(size) < least_px else max(asked, least_px / min(size))


def _depth(v: _Values, size: _Size, out: NvidiaRequest) -> None:
    section = "foundation_stereo"
    if (asked := v.number(f"{section}.scale", 0.001, 1.0)) is not None:
        scale = bounded_scale(asked, size, v.number(f"{section}.onnx_input_min", 1) or LEAST_PX)
        if (most := v.number(f"{section}.onnx_input_max", 32)) is not None:
            scale = min(scale, most / max(size))
        megapixels = size[0] * size[1] * scale**2 / 1e6
        settings = [f"depth.work_megapixels={megapixels:.4g}"] + [f"depth.matching_megapixels={megapixels:.4g}"] * (
            megapixels < 0.5
        )
        _act(out, [f"{section}.scale", f"{section}.onnx_input_min", f"{section}.onnx_input_max"], v, settings)
    if (far := v.number(f"{section}.z_far", 0.01)) is not None:
        _act(out, [f"{section}.z_far"], v, [f"depth.max_depth_m={far:g}"])


def _track(v: _Values, size: _Size, out: NvidiaRequest) -> None:
    if (scale := v.scale("bundletrack", size)) is not None:
        width = min(SEARCH_PX, round(size[0] * scale))
        _act(out, ["bundletrack.downscale", "bundletrack.min_resolution"], v, [f"track.max_width_px={width}"])


def _surface(v: _Values, size: _Size, out: NvidiaRequest) -> None:
    if (scale := v.scale("nerf", size)) is not None:
        pixels = max(1000, round(size[0] * size[1] * scale**2))
        _act(out, ["nerf.downscale", "nerf.min_resolution"], v, [f"surface.max_pixels={pixels}"])
    if (steps := v.number("nerf.n_step", 1)) is not None:
        share = steps / STEPS_THERE
        _act(
            out,
            ["nerf.n_step"],
            v,
            [
                f"surface.geometry_steps={max(1, round(GEOMETRY_STEPS * share))}",
                f"surface.colour_steps={max(1, round(COLOUR_STEPS * share))}",
            ],
        )


def _texture(v: _Values, size: _Size, out: NvidiaRequest) -> None:
    section, fusion = "texture_bake", "texture_bake.color_fusion"
    if (texels := v.number(f"{section}.texture_res", 128, 16384)) is not None:
        _act(out, [f"{section}.texture_res"], v, [f"texture.size={round(texels)}"])
    if (views := v.number(f"{fusion}.choose_top_n", 1, 32)) is not None:
        _act(out, [f"{fusion}.choose_top_n"], v, [f"texture.candidates={round(views)}"])
    if (angle := v.number(f"{fusion}.max_angle", 1, 89)) is not None:
        _act(out, [f"{fusion}.max_angle"], v, [f"texture.min_facing={math.cos(math.radians(angle)):.4g}"])
    if (remap := v.keys.get(f"{fusion}.frame_color_remap")) is not None:
        _act(out, [f"{fusion}.frame_color_remap"], v, [f"texture.exposure={str(bool(remap)).lower()}"])
    if v.scale(section, size) == 1.0:
        out.acts |= {
            k: "colours come from the pictures at full size"
            for k in (f"{section}.downscale", f"{section}.min_resolution")
            if k in v.keys
        }


_RULES: tuple[Callable[[_Values, _Size, NvidiaRequest], None], ...] = (_depth, _track, _surface, _texture)


def _act(out: NvidiaRequest, keys: list[str], v: _Values, settings: list[str]) -> None:
    out.settings += settings
    out.acts |= {k: " ".join(settings) for k in keys if k in v.keys}


def _why_not(key: str) -> str:
    parts = key.split(".")
    known = (".".join(parts[:n]) for n in range(len(parts), -1, -1))
    return next(NO_EQUIVALENT[k] for k in known if k in NO_EQUIVALENT)


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
