"""Pictures of the finished twin: textured and shaded, from around and above, and a strip of a full turn."""

from __future__ import annotations

from functools import partial

import numpy as np

from stages.core.camera import Rig
from stages.core.meshes import TexturedMesh
from stages.core.parallel import ordered_map
from stages.core.render import Caster, shade_view, turntable_rig
from stages.core.render_textured import mip_levels, render_textured

SIDES = ("front", "right", "back", "left")
_STRIP_VIEWS = 8


def previews(mesh: TexturedMesh, size_px: int, workers: int = 1) -> dict[str, np.ndarray]:
    """{name: (h, w, 3) uint8}: textured_<side>, shaded_<side>, textured_top, turntable (a strip of eight). Each rendered at twice its
    size and averaged, for smooth outlines."""
    caster, mips = Caster(mesh.vertices, mesh.faces), mip_levels(mesh.texture)
    rig, poses = turntable_rig(mesh.vertices, 2 * size_px)
    small_rig, small_poses = turntable_rig(mesh.vertices, size_px // 2 * 2)
    top = turntable_rig(mesh.vertices, 2 * size_px, elevation_deg=60.0)[1][0]
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2

    def textured(pose, at=rig):
        return _halved(render_textured(mesh, pose, at, caster, mips=mips)[0])

    jobs = {f"textured_{side}": partial(textured, pose) for side, pose in zip(SIDES, poses, strict=True)}
    jobs |= {f"shaded_{side}": partial(_shaded, caster, pose, rig) for side, pose in zip(SIDES, poses, strict=True)}
    jobs |= {"textured_top": partial(textured, top)}
    jobs |= {f"turn_{k}": partial(textured, _turned(small_poses[0], centre, k), small_rig) for k in range(_STRIP_VIEWS)}
    done = dict(zip(jobs, ordered_map(lambda job: job(), jobs.values(), workers), strict=True))
    done["turntable"] = np.hstack([done.pop(f"turn_{k}") for k in range(_STRIP_VIEWS)])
    return done


def _shaded(caster: Caster, pose: np.ndarray, rig: Rig) -> np.ndarray:
    return _halved(shade_view(caster, pose, rig))


def _turned(object_from_left: np.ndarray, centre: np.ndarray, step: int) -> np.ndarray:
    """The camera carried round the up axis (-y) through `centre` by `step` eighths of a turn."""
    angle = 2 * np.pi * step / _STRIP_VIEWS
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    return turn @ object_from_left


def _halved(image: np.ndarray) -> np.ndarray:
    import cv2

    small = cv2.resize(np.asarray(image, np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
