"""nvdiffrec's settings file as it is: what each key does here, or the reason why nothing answers it.

Its iterations, batches and learning rates are of a gradient descent on a GPU, over shape, materials and light at once. Here the shape is
learned first, and colours and materials are solved on it, so those keys name how much work is put in and have no counterpart one by one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.errors import ConfigError
from stages.core.plain_files import read_json

QUICK_ITERATIONS, LONG_ITERATIONS = 1000, 10_000
"""iter up to which the profile is preview, and from which it is quality"""
LAPLACE_AS_OURS, SMOOTH = 3000.0, 1000.0
"""laplace_scale of its own examples for turned objects, and surface.smooth, which that stands for here"""
KEYS = (
    "ref_mesh",
    "iter",
    "save_interval",
    "texture_res",
    "train_res",
    "batch",
    "learning_rate",
    "ks_min",
    "dmtet_grid",
    "mesh_scale",
    "laplace_scale",
    "display",
    "background",
    "random_textures",
    "out_dir",
)
SHOWN = {
    "latlong": "the environment light stands in the report (material) and in probe.hdr",
    "kd": "base colour from four sides stands in the report (material)",
    "ks": "roughness stands in the report (material); metalness is 0",
    "normal": "the shaded surface from four sides stands in the report (surface), and the viewer's look `shape`",
    "relight": "the viewer lights base colour and roughness by the light it has",
}
OF_MATERIALS = {"latlong", "kd", "ks", "relight"}
"""what cannot be shown of colours that hold the light of the capture"""
PLAIN_PANELS = ("kd", "normal")
"""of progress pictures where display is not there"""
ITERATIONS = 5000
"""where iter is not there"""
MATERIALS = "material.method=solved"
LEAST_ROUGHNESS, PLAIN_ROUGHNESS = 0.08, 0.9
"""of solved materials, and of a twin without them"""


@dataclass
class NvdiffrecRequest:
    """`acts` and `without`: {key: what it does here, or why nothing}."""

    data: str
    out: str
    profile: str = "standard"
    settings: list[str] = field(default_factory=list)
    panels: tuple[str, ...] = PLAIN_PANELS
    """of a progress picture, from top to bottom"""
    saved_share: float | None = None
    """of all steps, between two progress pictures; None = there are none"""
    acts: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)

    def told(self) -> list[str]:
        """In lines."""
        return [
            *(f"  {k}: {what}" for k, what in self.acts.items()),
            *(f"  {k}: no effect; {why}" for k, why in self.without.items()),
        ]

    def set(self, key: str, setting: str, value: Any) -> None:
        """A key that becomes a setting."""
        self.settings.append(f"{setting}={value}")
        self.acts[key] = f"{setting}={value}"


def read_nvdiffrec(path: Path) -> NvdiffrecRequest:
    """Raises ConfigError for a key that is unknown or of the wrong type, by file and key."""
    data = read_json(path, ConfigError)
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path.name} holds {type(data).__name__}; expected keys and values", 'as {"ref_mesh": "data/shoe", ..}'
        )
    for key in data:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1, 0.5)
            advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(KEYS)}"
            raise ConfigError(f"{path.name}: unknown key {str(key)[:60]}", advice)
    read = _Reader(path.name, data)
    out = NvdiffrecRequest(read.text("ref_mesh", ""), read.text("out_dir", "out"))
    if not out.data:
        raise ConfigError(
            f"{path.name} has no ref_mesh", "name the folder with pictures and transforms_train.json there"
        )
    out.acts["ref_mesh"] = "the folder with pictures and cameras"
    if "out_dir" in data:
        out.acts["out_dir"] = "the twin's folder"
    _work(read, out)
    _shape(read, out)
    _look(read, out)
    _materials(read, out)
    return out


def _work(read: _Reader, out: NvdiffrecRequest) -> None:
    if "iter" in read.data:
        n = read.number("iter", 1)
        out.profile = "preview" if n <= QUICK_ITERATIONS else "quality" if n >= LONG_ITERATIONS else "standard"
        out.acts["iter"] = (
            f"profile {out.profile} (preview up to {QUICK_ITERATIONS:,}, quality from {LONG_ITERATIONS:,})"
        )
    for key, why in (
        ("batch", "every round reads all pictures"),
        ("learning_rate", "rounds end where the evidence lies, there is no step size"),
    ):
        if key in read.data:
            read.numbers(key)
            out.without[key] = why
    if "save_interval" in read.data:
        n, of = read.number("save_interval", 1), read.number("iter", 1) if "iter" in read.data else ITERATIONS
        out.saved_share = n / of
        out.acts["save_interval"] = (
            f"pictures in progress/ of the twin's folder: each {n / of:.3g} of the steps in which the shape is "
            "learned, but no more than one in 50 steps, and after surface, texture and material"
        )
    if "train_res" in read.data:
        out.set("train_res", "posed.max_width", read.size("train_res")[1])


def _shape(read: _Reader, out: NvdiffrecRequest) -> None:
    if "dmtet_grid" in read.data:
        out.set("dmtet_grid", "surface.coarse_cells", int(read.number("dmtet_grid", 16)))
    if "laplace_scale" in read.data:
        out.set("laplace_scale", "surface.smooth", f"{SMOOTH * read.number('laplace_scale', 1e-6) / LAPLACE_AS_OURS:g}")
    if "mesh_scale" in read.data:
        read.number("mesh_scale", 1e-9)
        out.without["mesh_scale"] = "the box of the object is found from its silhouettes, whatever its size"


def _look(read: _Reader, out: NvdiffrecRequest) -> None:
    if "texture_res" in read.data:
        out.set("texture_res", "texture.size", max(read.size("texture_res")))
    if "background" in read.data:
        read.text("background", "")
        out.without["background"] = "what alpha marks as background takes part in nothing"
    if "random_textures" in read.data:
        if not isinstance(read.data["random_textures"], bool):
            raise ConfigError(f"{read.name}: random_textures is {read.data['random_textures']!r}", "true or false")
        out.without["random_textures"] = "the texture is blended from the pictures, there is none to begin with"


def _materials(read: _Reader, out: NvdiffrecRequest) -> None:
    if "display" in read.data:
        names = _shown(read)
        out.panels = tuple(dict.fromkeys(names)) or PLAIN_PANELS
        out.acts["display"] = "; ".join(f"{n}: {SHOWN[n]}" for n in names)
        if OF_MATERIALS & set(names):
            out.settings.append(MATERIALS)
            out.acts["display"] = f"{MATERIALS}; {out.acts['display']}"
    if "ks_min" in read.data:
        least = read.numbers("ks_min")
        if len(least) != 3 or not 0 <= least[1] <= 1:
            raise ConfigError(
                f"{read.name}: ks_min is {least}", "three numbers: occlusion, roughness, metalness, each 0 to 1"
            )
        lowest = LEAST_ROUGHNESS if MATERIALS in out.settings else PLAIN_ROUGHNESS
        told = out.acts if least[1] <= lowest else out.without
        told["ks_min"] = f"roughness is {lowest:g} or more; {least[1]:g} asked for; metalness is 0"


def _shown(read: _Reader) -> list[str]:
    entries = read.data["display"]
    if not isinstance(entries, list) or not all(isinstance(e, dict) and len(e) == 1 for e in entries):
        raise ConfigError(
            f"{read.name}: display is {str(entries)[:80]}", 'a list as [{"latlong": true}, {"bsdf": "kd"}]'
        )
    names = [str(value) if kind == "bsdf" else str(kind) for e in entries for kind, value in e.items()]
    if unknown := [n for n in names if n not in SHOWN]:
        raise ConfigError(f"{read.name}: display asks for {unknown[0][:40]}", f"known: {', '.join(SHOWN)}")
    return names


class _Reader:
    """Values of the file, checked."""

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        self.name, self.data = name, data

    def text(self, key: str, default: str) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or len(value) > 1000 or "\0" in value:
            raise ConfigError(f"{self.name}: {key} is {str(value)[:60]!r}", "give a text")
        return value

    def numbers(self, key: str) -> list[float]:
        value = self.data[key]
        found = value if isinstance(value, list) else [value]
        if not found or any(
            isinstance(x, bool) or not isinstance(x, (int, float)) or not math.isfinite(x) for x in found
        ):
            raise ConfigError(f"{self.name}: {key} is {str(value)[:60]}", "give a number, or a list of numbers")
        return [float(x) for x in found]

    def number(self, key: str, least: float) -> float:
        found = self.numbers(key)
        if len(found) != 1 or found[0] < least:
            raise ConfigError(f"{self.name}: {key} is {self.data[key]}", f"give one number of at least {least:g}")
        return found[0]

    def size(self, key: str) -> list[int]:
        """Height and width, px."""
        found = self.numbers(key)
        if len(found) != 2 or any(x < 64 or x > 16384 or x != int(x) for x in found):
            raise ConfigError(f"{self.name}: {key} is {self.data[key]}", "two whole numbers of pixels, 64 to 16384")
        return [int(x) for x in found]
