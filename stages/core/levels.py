"""Levels of detail of a twin: fewer faces for the same picture, and a normal map that gives back the relief."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.images import read_rgb, write_rgb

NAMES = ("lod1", "lod2")
"""coarser and coarser; lod0 is the textured mesh itself"""


@dataclass(frozen=True)
class Level:
    """vertices (V, 3) metres, faces (F, 3), uv (T, 2) origin bottom-left, faces_uv (F, 3), normals (V, 3) unit, of the textured mesh, whose
    picture it shares.

    tangents (T, 4): along rising u, unit; the fourth is +1 where cross(normal, tangent) runs along rising v, else -1. normal_map (S, S, 3)
    uint8: the full mesh's normal as 127.5 (1 + n) in the axes tangent, bitangent, normal (+Y up: rows from the top)."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    faces_uv: np.ndarray
    normals: np.ndarray
    tangents: np.ndarray
    normal_map: np.ndarray


def write_levels(folder: Path, levels: list[Level]) -> None:
    """`folder`/lod1.npz and lod1.png, and so on."""
    folder.mkdir()
    for name, level in zip(NAMES, levels, strict=True):
        np.savez(
            folder / f"{name}.npz",
            vertices=level.vertices,
            faces=np.int32(level.faces),
            uv=np.float32(level.uv),
            faces_uv=np.int32(level.faces_uv),
            normals=np.float32(level.normals),
            tangents=np.float32(level.tangents),
        )
        write_rgb(folder / f"{name}.png", level.normal_map)


def read_levels(folder: Path) -> list[Level]:
    """What `write_levels` wrote; none where the folder is not there."""
    out = []
    for name in NAMES if folder.is_dir() else ():
        with np.load(folder / f"{name}.npz", allow_pickle=False) as z:
            arrays = {k: z[k] for k in ("vertices", "faces", "uv", "faces_uv", "normals", "tangents")}
        out.append(Level(**arrays, normal_map=read_rgb(folder / f"{name}.png")))
    return out
