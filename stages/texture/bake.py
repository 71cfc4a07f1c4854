"""The whole method in order: unwrap, survey the views, agree on exposure and poses, collect, blend, fill.

Only arrays and callables that read one picture or mask at a time come in, so it runs the same on files and on pictures in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.core.camera import Rig
from stages.core.meshes import TexturedMesh
from stages.core.render import Caster
from stages.core.texels.agreement import agree, survey_all
from stages.core.texels.atlas import Texels, texels
from stages.core.texels.exposure import gain_tables
from stages.core.texels.fill import fill_background, fill_unseen
from stages.core.texels.survey import Pictures, Source, reduction
from stages.core.texels.unwrap import Unwrapped, unwrap
from stages.core.texels.views import View, spread
from stages.core.work import Work
from stages.texture.config import TextureConfig
from stages.texture.lighten import lighten, vertex_normals
from stages.texture.paint import blend_all, collect

_OVERSAMPLING = 2.0
"""texels per picture pixel, along a line, that show all a picture holds even where it meets the texel grid at an angle"""


@dataclass(frozen=True)
class Shape:
    """The mesh made ready to be coloured."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    unwrapped: Unwrapped
    size: int
    deviation_m: float


@dataclass
class Baked:
    """The textured mesh, views used per texel (S, S) uint8, and what was found on the way."""

    mesh: TexturedMesh
    provenance: np.ndarray
    views: list[View]
    gains: np.ndarray
    figures: dict[str, float | int | None] = field(default_factory=dict)


def prepare_shape(vertices: np.ndarray, faces: np.ndarray, footprint_m: float, config: TextureConfig) -> Shape:
    """Simplify and unwrap. footprint_m: size of a picture pixel on the surface, which limits the texture size that makes sense."""
    v, f, deviation = lighten(vertices, faces, config.face_budget, config.simplify_tolerance_mm / 1000)
    size = config.size if config.size_fixed else min(config.size, sensible_size(v, f, footprint_m))
    return Shape(v, f, vertex_normals(v, f), unwrap(v, f, size, config.padding_px), size=size, deviation_m=deviation)


def sensible_size(vertices: np.ndarray, faces: np.ndarray, footprint_m: float) -> int:
    """The smallest power of two (at least 256) whose texels are `_OVERSAMPLING` times finer than a picture pixel."""
    c = vertices[faces]
    area = np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1).sum() / 2
    texels_needed = area / 0.68 * (_OVERSAMPLING / max(footprint_m, 1e-9)) ** 2
    return max(256, int(2 ** np.ceil(np.log2(np.sqrt(texels_needed)) - 0.1)))


def median_footprint(views: list[View], rig: Rig, centre: np.ndarray) -> float:
    """Size of a picture pixel at the object's centre, median over the views, metres."""
    return float(np.median([np.linalg.norm(v.centre - centre) for v in views])) / rig.fx


def bake(
    shape: Shape,
    views: list[View],
    rig: Rig,
    pictures: Pictures,
    config: TextureConfig,
    work: Work,
) -> Baked:
    """Colour the mesh from the views. Raises ValueError when no view shows any of it."""
    t = texels(
        shape.vertices,
        shape.faces,
        shape.normals,
        shape.unwrapped.uv,
        faces_uv=shape.unwrapped.faces_uv,
        size=shape.size,
    )
    caster = Caster(shape.vertices, shape.faces)
    views = spread(views, config.max_views)
    limits = np.array([config.min_facing, config.border_px, config.border_ramp_px])
    source, total, progress = Source(rig, pictures, limits, work.workers), 2 * len(views) + 4, work.progress

    def looking(k):
        return progress(k, total, "looking at the pictures")

    surveyed = survey_all(t, views, source, caster, seed=work.seed, progress=looking)
    if not surveyed:
        raise ValueError("no picture shows any part of the mesh inside its mask")
    gains, figures = agree(
        surveyed,
        t,
        rig,
        config.exposure,
        align_views=config.align_views,
        seed=work.seed,
        progress=lambda note: progress(len(views), total, note),
    )
    texel_m = np.sqrt(_texel_area(shape, t))
    reduce = reduction(1.2 * texel_m / median_footprint([s.view for s in surveyed], rig, shape.vertices.mean(0)))
    best = collect(
        t,
        surveyed,
        [gain_tables(g) for g in gains],
        source,
        count=config.candidates,
        reduce=reduce,
        progress=lambda k: progress(len(views) + k, total, "colouring"),
    )
    colour, used = blend_all(best, config.sharp_power, config.outlier_scale, config.noise_floor, workers=work.workers)
    del best
    progress(total - 2, total, "filling what no picture saw")
    fill_unseen(colour, used > 0, t.face, t.weight, vertices=shape.vertices, faces=shape.faces)
    texture, provenance = _to_pictures(t, colour, used)
    figures |= {
        "texture_size_px": shape.size,
        "texel_mm": round(1000 * float(texel_m), 4),
        "picture_reduction": reduce,
        "views": len(surveyed),
        "unseen_texels_percent": round(100 * float((used[t.inside] == 0).mean()), 2),
        "views_per_texel_mean": round(float(used[t.inside].mean()), 2),
    }
    mesh = TexturedMesh(
        shape.vertices,
        shape.faces,
        shape.unwrapped.uv,
        shape.unwrapped.faces_uv,
        normals=shape.normals,
        texture=texture,
    )
    return Baked(mesh, provenance, [s.view for s in surveyed], gains, figures=figures)


def _texel_area(shape: Shape, t: Texels) -> float:
    c = shape.vertices[shape.faces]
    return float(
        np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1).sum() / 2 / max(int(t.inside.sum()), 1)
    )


def _to_pictures(t: Texels, colour: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    texture, painted = np.zeros((t.size**2, 3), np.uint8), np.zeros(t.size**2, bool)
    texture[t.index], painted[t.index] = np.clip(np.rint(colour), 0, 255).astype(np.uint8), True
    provenance = np.zeros(t.size**2, np.uint8)
    provenance[t.index] = used
    shape = (t.size, t.size)
    return fill_background(texture.reshape(*shape, 3), painted.reshape(shape)), provenance.reshape(shape)
