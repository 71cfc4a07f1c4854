"""The whole method in order: unwrap, survey the views, agree on exposure and poses, collect, blend, fill.

Only arrays and callables that read one picture or mask at a time come in, so it runs the same on files and on pictures in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stages.core.camera import Rig
from stages.core.meshes import TexturedMesh
from stages.core.render import Caster
from stages.texture.alignment import align
from stages.texture.atlas import Texels, texels
from stages.texture.config import TextureConfig
from stages.texture.disagreement import disagreement_of_views
from stages.texture.exposure import gain_tables, solve_gains
from stages.texture.fill import fill_background, fill_unseen
from stages.texture.lighten import lighten, vertex_normals
from stages.texture.paint import blend_all, collect
from stages.texture.survey import ReadPicture, Surveyed, compensated_grey, reduction, survey
from stages.texture.unwrap import Unwrapped, unwrap
from stages.texture.views import ReadHidden, View, nothing_hidden, spread

SURVEY_POINTS = 16_000
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
    return Shape(v, f, vertex_normals(v, f), unwrap(v, f, size, config.padding_px), size, deviation)


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
    read_mask: Callable[[int], np.ndarray],
    read_picture: ReadPicture,
    config: TextureConfig,
    workers: int,
    seed: int,
    progress: Callable[[int, int, str], None],
    read_hidden: ReadHidden = nothing_hidden,
) -> Baked:
    """Colour the mesh from the views. Raises ValueError when no view shows any of it."""
    t = texels(shape.vertices, shape.faces, shape.normals, shape.unwrapped.uv, shape.unwrapped.faces_uv, shape.size)
    caster = Caster(shape.vertices, shape.faces)
    views = spread(views, config.max_views)
    limits = np.array([config.min_facing, config.border_px, config.border_ramp_px])
    total = 2 * len(views) + 4
    looking = lambda k: progress(k, total, "looking at the pictures")  # noqa: E731
    surveyed = _survey(t, views, rig, caster, limits, read_mask, read_picture, workers, seed, looking, read_hidden)
    if not surveyed:
        raise ValueError("no picture shows any part of the mesh inside its mask")
    gains, figures = _agree(surveyed, t, rig, config, seed, lambda note: progress(len(views), total, note))
    texel_m = np.sqrt(_texel_area(shape, t))
    reduce = reduction(1.2 * texel_m / median_footprint([s.view for s in surveyed], rig, shape.vertices.mean(0)))
    best = collect(
        t,
        surveyed,
        [gain_tables(g) for g in gains],
        rig,
        limits,
        config.candidates,
        reduce,
        read_picture,
        workers,
        lambda k: progress(len(views) + k, total, "colouring"),
    )
    colour, used = blend_all(best, config.sharp_power, config.outlier_scale, config.noise_floor, workers)
    del best
    progress(total - 2, total, "filling what no picture saw")
    fill_unseen(colour, used > 0, t.face, t.weight, shape.vertices, shape.faces)
    texture, provenance = _to_pictures(t, colour, used)
    figures |= {
        "texture_size_px": shape.size,
        "texel_mm": round(1000 * float(texel_m), 4),
        "picture_reduction": reduce,
        "views": len(surveyed),
        "unseen_texels_percent": round(100 * float((used[t.inside] == 0).mean()), 2),
        "views_per_texel_mean": round(float(used[t.inside].mean()), 2),
    }
    mesh = TexturedMesh(shape.vertices, shape.faces, shape.unwrapped.uv, shape.unwrapped.faces_uv, shape.normals, texture)
    return Baked(mesh, provenance, [s.view for s in surveyed], gains, figures)


def _survey(t: Texels, views, rig, caster, limits, read_mask, read_picture, workers, seed, progress, read_hidden) -> list[Surveyed]:
    pick, out = _survey_points(t, seed), []
    found = survey(views, rig, caster, t.position[pick], t.normal[pick], limits, read_mask, read_picture, workers, read_hidden)
    for k, s in enumerate(found):
        progress(k + 1)
        if s is not None:
            out.append(s)
    return out


def _survey_points(t: Texels, seed: int) -> np.ndarray:
    """Of all texels, those that stand for the surface in the survey."""
    inside = np.flatnonzero(t.inside)
    return np.sort(np.random.default_rng(seed).choice(inside, min(SURVEY_POINTS, len(inside)), replace=False))


def _agree(surveyed: list[Surveyed], t: Texels, rig: Rig, config: TextureConfig, seed: int, progress) -> tuple[np.ndarray, dict]:
    """Exposure gains (V, 3), and the views' poses corrected in place."""
    colours, weights = np.stack([s.colour for s in surveyed]), np.stack([s.weight for s in surveyed])
    progress("exposure of the pictures")
    gains = solve_gains(colours, weights) if config.exposure else np.ones((len(surveyed), 3))
    pick = _survey_points(t, seed)
    differ = disagreement_of_views([s.view for s in surveyed], colours, weights, gains, t.position[pick], t.normal[pick])
    figures: dict[str, float | int | None] = {
        "gain_min": round(float(gains.min()), 3),
        "gain_max": round(float(gains.max()), 3),
        "pair_disagreement_ratio": None if differ is None else round(differ, 3),
    }
    if config.align_views and len(surveyed) > 2:
        progress("agreement of the pictures")
        greys = [compensated_grey(s.picture, gain_tables(g)) for s, g in zip(surveyed, gains, strict=True)]
        result = align([s.view for s in surveyed], rig, greys, [s.window for s in surveyed], t.position[pick].astype(float), weights)
        for s, camera in zip(surveyed, result.camera_from_object, strict=True):
            s.view = View(s.view.frame, s.view.side, camera, s.view.sharpness)
        figures |= {
            "alignment_shift_median_px": round(float(np.median(result.shift_px)), 3),
            "alignment_shift_max_px": round(float(result.shift_px.max()), 3),
            "disagreement_before_levels": round(result.before, 3),
            "disagreement_after_levels": round(result.after, 3),
        }
    for s in surveyed:
        s.picture = s.colour = s.weight = np.zeros(0)  # the survey's arrays are not needed for painting
    return gains, figures


def _texel_area(shape: Shape, t: Texels) -> float:
    c = shape.vertices[shape.faces]
    return float(np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1).sum() / 2 / max(int(t.inside.sum()), 1))


def _to_pictures(t: Texels, colour: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    texture, painted = np.zeros((t.size**2, 3), np.uint8), np.zeros(t.size**2, bool)
    texture[t.index], painted[t.index] = np.clip(np.rint(colour), 0, 255).astype(np.uint8), True
    provenance = np.zeros(t.size**2, np.uint8)
    provenance[t.index] = used
    shape = (t.size, t.size)
    return fill_background(texture.reshape(*shape, 3), painted.reshape(shape)), provenance.reshape(shape)
