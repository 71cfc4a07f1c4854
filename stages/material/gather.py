"""What the pictures show of the texels of a textured mesh, in linear light and twin axes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stages.core.camera import Rig
from stages.core.meshes import TexturedMesh
from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.core.texels.agreement import agree, survey_all
from stages.core.texels.atlas import Texels, texels
from stages.core.texels.exposure import linear_from_srgb
from stages.core.texels.gather import camera_vector, observe
from stages.core.texels.survey import Pictures, Source, Surveyed, reduction
from stages.core.texels.views import View, Window, picture_window, spread
from stages.core.twin_frame import TWIN_FROM_OBJECT, turned
from stages.core.work import Work
from stages.material.config import MaterialConfig
from stages.material.fit import Samples

LIMITS = np.array([0.25, 1.5, 4.0])
"""least cosine to the view, pixels of a mask's border that are not used, and over which the weight grows"""
MOST_PIXELS = 1_500_000
"""of the part of a picture that shows the object: all pictures are in memory at once"""


@dataclass(frozen=True)
class Seen:
    """The texels and all views of them: picture (h, w, 3) uint8 with its window, gains (V, 3) on linear light."""

    mesh: TexturedMesh
    texels: Texels
    views: list[Surveyed]
    pictures: list[tuple[np.ndarray, Window]]
    gains: np.ndarray
    rig: Rig

    def samples(self, pick: np.ndarray) -> Samples:
        """Of the texels `pick` (P,)."""
        points, normals = self.texels.position[pick], self.texels.normal[pick]
        shape = (len(pick), len(self.views), 3)
        to_view, radiance, weight = np.empty(shape), np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
        for k, (s, (picture, window)) in enumerate(zip(self.views, self.pictures, strict=True)):
            colour, own = np.zeros(points.shape, np.float32), np.zeros(len(points), np.float32)
            cam = camera_vector(s.view, self.rig, s.sight, window, low=window)
            observe(
                points,
                normals,
                cam,
                s.sight.depth,
                border=s.sight.border,
                limits=LIMITS,
                image=picture,
                colour=colour,
                weight=own,
            )
            radiance[:, k], weight[:, k] = linear_from_srgb(colour) * self.gains[k], own
            away = s.view.centre - points
            to_view[:, k] = turned(away / np.linalg.norm(away, axis=1, keepdims=True), TWIN_FROM_OBJECT)
        if (weight > 0).any():
            weight = np.minimum(weight / np.median(weight[weight > 0]), 1).astype(np.float32)
        w = self.texels.weight[pick]
        # a texel of a gutter lies outside its triangle
        share = np.clip(np.column_stack([1 - w.sum(1), w]), 0, 1)
        share = (share / share.sum(1, keepdims=True)).astype(np.float32)
        corner = self.mesh.faces[self.texels.face[pick]].astype(np.int32)
        return Samples(
            corner, share, turned(normals, TWIN_FROM_OBJECT).astype(float), to_view, radiance=radiance, weight=weight
        )


def look(
    mesh: TexturedMesh, views: list[View], rig: Rig, pictures: Pictures, config: MaterialConfig, work: Work
) -> tuple[Seen, dict]:
    """All views of the mesh, agreed in exposure and pose as for a texture, and figures. Raises ValueError when no view shows it."""
    t = texels(mesh.vertices, mesh.faces, mesh.normals, mesh.uv, faces_uv=mesh.faces_uv, size=mesh.texture.shape[0])
    caster, views = Caster(mesh.vertices, mesh.faces), spread(views, config.max_views)

    def note(k):
        return work.progress(k, len(views), "looking at the pictures")

    source = Source(rig, pictures, LIMITS, work.workers)
    surveyed = survey_all(t, views, source, caster, seed=work.seed, progress=note)
    if len(surveyed) < 3:
        raise ValueError(
            f"{len(surveyed)} pictures show the mesh inside their masks, and gloss shows only between views"
        )
    gains, figures = agree(
        surveyed,
        t,
        rig,
        config.exposure,
        align_views=config.align_views,
        seed=work.seed,
        progress=lambda what: work.progress(0, 1, what),
    )
    cuts = list(ordered_map(lambda s: _cut(s, pictures), surveyed, work.workers))
    return Seen(mesh, t, surveyed, cuts, gains=gains, rig=rig), figures


def _cut(s: Surveyed, pictures: Pictures) -> tuple[np.ndarray, Window]:
    seen = s.sight.window
    reduce = reduction(np.sqrt(seen.width * seen.height / MOST_PIXELS) * 1.4)
    window = picture_window(replace(seen, scale=1.0), reduce)
    return window.cut(pictures.rgb(s.view.frame, s.view.side, reduce)), window
