"""The pictures a refinement learns from, and its result put back into what `bake` made."""

from __future__ import annotations

import importlib
from dataclasses import replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.devices import torch_device
from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.core.texels.exposure import gain_tables
from stages.core.texels.survey import Pictures, reduction
from stages.core.texels.views import View, object_window, picture_window, sight
from stages.core.work import Work
from stages.texture.bake import Baked
from stages.texture.config import TextureConfig
from stages.texture.refine import Refined, Shown, refine

MOST_PIXELS = 1_000_000
"""of a picture's crop: bounds memory at about 20 bytes a pixel and view"""
RENDERERS = {
    "raycast": ("stages.texture.raycast_renderer", "RaycastRenderer"),
    "nvdiffrast": ("stages.texture.nvdiffrast_renderer", "NvdiffrastRenderer"),
}


def refined(baked: Baked, rig: Rig, config: TextureConfig, pictures: Pictures, work: Work) -> Baked:
    """`baked` with the refined texture where it is better, and figures that say so. Raises StageError without the renderer's library."""
    caster = Caster(baked.mesh.vertices, baked.mesh.faces)
    reduce = _reduce(baked, rig)
    jobs = list(zip(baked.views, baked.gains, strict=True))

    def look(j):
        return shown(*j, rig, caster, border_px=config.border_px, reduce=reduce, pictures=pictures)

    def told(k):
        return work.progress(k, config.refine_steps, "fitting the texture to all pictures")

    found = ordered_map(look, jobs, work.workers)
    views = [v for v in found if v is not None]
    module, name = RENDERERS[config.refine]
    renderer = getattr(importlib.import_module(module), name)(baked.mesh, views, torch_device())
    texel_px = baked.figures["texel_mm"] / 1000 / _footprint(baked, rig) / reduce
    level = int(np.clip(round(np.log2(1 / max(texel_px, 1e-6))), 0, 3))
    result = refine(
        baked.mesh.texture,
        views,
        renderer,
        level,
        steps=config.refine_steps,
        seed=work.seed,
        progress=told,
    )
    return _with(baked, result)


def _with(baked: Baked, result: Refined) -> Baked:
    """The refined texture, if it was kept, and the figures."""
    baked.figures |= {
        "refine_error_before_levels": round(result.before_levels, 3),
        "refine_error_after_levels": round(result.after_levels, 3),
        "refine_kept": int(result.kept),
    }
    return replace(baked, mesh=replace(baked.mesh, texture=result.texture)) if result.kept else baked


def _footprint(baked: Baked, rig: Rig) -> float:
    """Metres that a picture pixel covers at the object, median over the views."""
    centre = baked.mesh.vertices.mean(0)
    return float(np.median([np.linalg.norm(v.centre - centre) for v in baked.views])) / rig.fx


def _reduce(baked: Baked, rig: Rig) -> int:
    """How far the pictures are reduced, as bake did, and further where a crop has too many pixels."""
    windows = [w for v in baked.views if (w := object_window(v, rig, baked.mesh.vertices)) is not None]
    largest = max(w.width * w.height for w in windows)
    return max(int(baked.figures["picture_reduction"]), reduction(1.9 * np.sqrt(largest / MOST_PIXELS)))


def shown(
    view: View,
    gain: np.ndarray,
    rig: Rig,
    caster: Caster,
    border_px: float,
    reduce: int,
    pictures: Pictures,
) -> Shown | None:
    """One picture: crop, exposure compensated, pixels near the mask's border or a depth edge left out. None if it shows nothing."""
    window = object_window(view, rig, caster.vertices)
    if window is None:
        return None
    hidden = pictures.hidden(view.frame, "right") if view.side == "right" else None
    seen = sight(view, rig, caster, window, left_mask=pictures.mask(view.frame), hidden_right=hidden)
    window = picture_window(window, reduce)
    picture = window.cut(pictures.rgb(view.frame, view.side, reduce))
    camera = replace(window.rig(rig), width=picture.shape[1], height=picture.shape[0])
    u, v = np.meshgrid(np.arange(camera.width, dtype=np.float32), np.arange(camera.height, dtype=np.float32))
    s, w = seen.window.scale, seen.window
    columns = ((u + 0.5) / window.scale - 0.5 + window.x0 - w.x0 + 0.5) * s - 0.5
    rows = ((v + 0.5) / window.scale - 0.5 + window.y0 - w.y0 + 0.5) * s - 0.5
    border = cv2.remap(
        seen.border,
        columns.astype(np.float32),
        rows.astype(np.float32),
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
    )
    usable = border > 8 * max(border_px, reduce)
    if not usable.any():
        return None
    tables = gain_tables(gain)
    levels = np.stack([tables[c][picture[..., c]] for c in range(3)], -1)
    return Shown(camera, view.camera_from_object, np.clip(np.rint(levels), 0, 255).astype(np.uint8), usable)
