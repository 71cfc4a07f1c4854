"""What a run of `twin nvdiffrec` will hold at its peak, by its settings, and which of them are lowered where the machine has less.

Each stage is a process of its own, so the largest stage counts. The figures are counted from the arrays that the stages hold, beside
which measured peaks stand in docs/posed.md. They are on the safe side: how large the object is, nobody knows before its masks are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.run.admission import FLOW_GB
from stages.core.errors import MachineError
from stages.core.memory import LEFT_ALONE

PROCESS_GB = {"posed": 0.15, "surface": 0.45, "texture": 0.4, "material": 0.4}
"""{stage: of its process before it reads anything}: libraries, compiled kernels, the mesh"""
PICTURE_BYTES = 90
"""a pixel of a picture that is read, its mask, and both resampled, by each worker"""
VIEW_BYTES = 60
"""a pixel of a view of the surface: colour, outline, depth, and the pictures of the rounds"""
CELL_BYTES = 80
OBJECT_BOX = 0.3
"""cells of the object's box in those of a cube that is as wide as the picture"""
TEXEL_BYTES, CANDIDATE_BYTES, MATERIAL_BYTES = 150, 10, 520
"""a texel: place, normal and weights; each picture kept for it; of solved materials, its neighbours and their colours"""
PAINTED = 0.7
"""of a texture's texels"""
TEXELS_A_PIXEL = 12
"""texels that show all that a pixel holds, over an object that fills half of the picture, as stages/texture/bake.py has it"""
MATERIAL_PIXELS = 1_500_000
LEAST_TEXTURE, LEAST_GRID, LEAST_WIDTH, LEAST_RAYS = 256, 32, 128, 64
ADVICE = "a machine with more memory, fewer or smaller pictures in the folder, or close other programs"


@dataclass(frozen=True)
class Pictures:
    """Of the folder, as they lie there; px."""

    count: int
    width: int
    height: int


@dataclass(frozen=True)
class Sizes:
    """What is lowered, as it stands in the run's settings; `width` px of the pictures as used, `rays` a step of the field."""

    texture: int
    width: int
    grid: int
    rays: int


NAMES = {
    "texture": ("texture_res", "texture.size"),
    "width": ("width of train_res", "posed.max_width"),
    "grid": ("dmtet_grid", "surface.coarse_cells"),
    "rays": ("rays of a step on the card", "surface.picture_rays"),
}
"""{of Sizes: (how nvdiffrec's users call it, our setting)}"""


@dataclass(frozen=True)
class Fit:
    """Settings to put behind the others, and what is said."""

    settings: tuple[str, ...]
    lines: tuple[str, ...]


def sizes_of(configs: Mapping[str, Any], pictures: Pictures) -> Sizes:
    """By the run's settings."""
    most = configs["posed"].max_width
    width = min(most, pictures.width) if most else pictures.width
    return Sizes(configs["texture"].size, width, configs["surface"].coarse_cells, configs["surface"].picture_rays)


def needed(configs: Mapping[str, Any], pictures: Pictures, sizes: Sizes, workers: int) -> dict[str, float]:
    """{stage: GB at its peak}."""
    surface, texture, material = configs["surface"], configs["texture"], configs["material"]
    pixels = sizes.width**2 * pictures.height / pictures.width
    views = min(pictures.count, surface.max_views) * min(pixels, surface.max_pixels)
    texels = PAINTED * painted_size(sizes.texture, pixels, texture.size_fixed) ** 2
    seen = min(pictures.count, texture.max_views) * min(pixels, MATERIAL_PIXELS)
    out = {
        "posed": workers * PICTURE_BYTES * pictures.width * pictures.height,
        "surface": VIEW_BYTES * views + CELL_BYTES * max(_cells(sizes.grid), _finest(surface, sizes, pictures)),
        "texture": texels * (TEXEL_BYTES + CANDIDATE_BYTES * texture.candidates) + 8 * seen,
    }
    if material.method != "off":
        out["material"] = texels * MATERIAL_BYTES + 8 * seen
    return {stage: PROCESS_GB[stage] + b / 1e9 for stage, b in out.items()}


def _cells(along: int) -> float:
    """Of a cube with so many along its diagonal."""
    return (along / math.sqrt(3)) ** 3


def _finest(surface: Any, sizes: Sizes, pictures: Pictures) -> float:
    """Cells of the last grid, whose voxels are `voxel_px` pixels on the object."""
    across = sizes.width * max(1.0, pictures.height / pictures.width) / surface.voxel_px
    return min(surface.max_cells, OBJECT_BOX * across**3)


def painted_size(asked: int, pixels: float, fixed: bool) -> int:
    """Texels along a side: no more than pictures of so many pixels can fill, unless that is asked for."""
    return asked if fixed else min(asked, 2 ** math.ceil(math.log2(math.sqrt(TEXELS_A_PIXEL * pixels)) - 0.1))


def fit(
    configs: Mapping[str, Any],
    pictures: Pictures,
    free_gb: float,
    workers: int,
    card: tuple[Callable[[int], float], float] | None = None,
) -> Fit:
    """As asked, or lowered as little as it takes. `card`: (GB that so many rays a step take on it, GB free there), where one is used.
    Raises MachineError where the lowest does not fit."""
    asked = sizes_of(configs, pictures)

    def need(s):
        return needed(configs, pictures, s, workers)

    sizes, room = asked, (1 - LEFT_ALONE) * free_gb - FLOW_GB
    while (found := need(sizes))[largest := max(found, key=lambda k: found[k])] > room:
        if (lower := _lowered(largest, sizes, configs, pictures)) is None:
            raise MachineError(
                f"this run needs about {_peak(need(asked)):.1f} GB of memory ({_by_stage(need(asked))}), and at the lowest "
                f"settings {_peak(found):.1f} GB ({largest}); {free_gb:.1f} GB are free",
                ADVICE,
            )
        sizes = lower
    lines = [
        f"memory: about {_peak(need(asked)):.1f} GB at the peak ({_by_stage(need(asked))}); {free_gb:.1f} GB are free"
    ]
    if sizes != asked:
        lines.append(f"  lowered to fit: {_changes(asked, sizes)}; then about {_peak(need(sizes)):.1f} GB")
    if card is not None:
        sizes, told = _on_card(sizes, *card)
        lines += told
    return Fit(tuple(f"{NAMES[k][1]}={new}" for k, _, new in _differences(asked, sizes)), tuple(lines))


def _peak(found: Mapping[str, float]) -> float:
    return max(found.values()) + FLOW_GB


def _by_stage(found: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {gb:.1f}" for stage, gb in sorted(found.items(), key=lambda item: -item[1]))


def _lowered(stage: str, sizes: Sizes, configs: Mapping[str, Any], pictures: Pictures) -> Sizes | None:
    """One step less of what this stage needs most; None where nothing is left to lower."""
    pixels = sizes.width**2 * pictures.height / pictures.width
    if stage in ("texture", "material"):
        now = painted_size(sizes.texture, pixels, configs["texture"].size_fixed)
        return replace(sizes, texture=now // 2) if now // 2 >= LEAST_TEXTURE else _narrower(sizes)
    if (
        stage == "surface"
        and _cells(sizes.grid) > _finest(configs["surface"], sizes, pictures)
        and sizes.grid // 2 >= LEAST_GRID
    ):
        return replace(sizes, grid=sizes.grid // 2)
    return _narrower(sizes) if stage == "surface" else None


def _narrower(sizes: Sizes) -> Sizes | None:
    """Pictures of half the pixels."""
    width = round(sizes.width / math.sqrt(2))
    return replace(sizes, width=width) if width >= LEAST_WIDTH else None


def _on_card(sizes: Sizes, gb: Callable[[int], float], free: float) -> tuple[Sizes, Sequence[str]]:
    """The same for the memory of the card on which the field learns."""
    rays, room = sizes.rays, (1 - LEFT_ALONE) * free
    while gb(rays) > room:
        if rays // 2 < LEAST_RAYS:
            raise MachineError(
                f"the field needs about {gb(sizes.rays):.2f} GB of the card's memory, and with {rays} rays a step "
                f"{gb(rays):.2f} GB; {free:.2f} GB are free",
                "surface.backend=numba learns without the card",
            )
        rays //= 2
    line = f"memory of the card: about {gb(sizes.rays):.2f} GB; {free:.2f} GB are free"
    if rays == sizes.rays:
        return sizes, [line]
    lowered = replace(sizes, rays=rays)
    return lowered, [line, f"  lowered to fit: {_changes(sizes, lowered)}; then about {gb(rays):.2f} GB"]


def _differences(before: Sizes, after: Sizes) -> list[tuple[str, int, int]]:
    return [(k, old, new) for k in NAMES if (old := getattr(before, k)) != (new := getattr(after, k))]


def _changes(before: Sizes, after: Sizes) -> str:
    return ", ".join(
        f"{NAMES[k][0]} from {old} to {new} ({NAMES[k][1]}={new})" for k, old, new in _differences(before, after)
    )
