"""The mesh of a GLB in Google's Draco (KHR_draco_mesh_compression), and back. The package DracoPy (Apache-2.0, extra `draco`) does it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.core.backends import version_of
from stages.core.errors import MachineError
from stages.core.gltf_mesh import GltfMesh

EXTENSION = "KHR_draco_mesh_compression"
INSTALL = "pip install 'stereotwin[draco]'"
STEP_M = 1e-5
"""positions are rounded to this at the most"""
FEWEST_BITS, MOST_BITS = 11, 24
UV_BITS, NORMAL_BITS, LEVEL = 16, 12, 7
"""a sixteenth of a texel of 4096; 0.05 degrees; of 0 (fast) to 10 (small)"""
_CONFIDENCE, _TANGENT = 0, 1
"""ids that we choose; Draco chooses those of position, normal and uv"""
_KINDS = {0: "POSITION", 1: "NORMAL", 3: "TEXCOORD_0"}
"""Draco's kinds of attribute"""


@dataclass(frozen=True)
class Packed:
    """data: Draco's bytes; ids: {attribute of glTF: id in them}; mesh: what they give back, whose vertices are in another order."""

    data: bytes
    ids: dict[str, int]
    mesh: GltfMesh


def draco_version() -> str:
    """Of DracoPy, "" where it is not installed."""
    return version_of("DracoPy", "DracoPy")


def packed(mesh: GltfMesh) -> Packed:
    """Compressed, and read back: a file has to say how many vertices Draco leaves. Raises MachineError without DracoPy."""
    draco = _library()
    # whole floats: DracoPy rounds no attributes beside Draco's own, and Blender refuses bytes that stand for 0 to 1
    more = {_CONFIDENCE: np.ascontiguousarray(mesh.confidence[:, None], np.float32)}
    if mesh.tangent is not None:
        more[_TANGENT] = np.ascontiguousarray(mesh.tangent, np.float32)
    extent = float(np.ptp(mesh.position, axis=0).max())
    bits = int(np.clip(np.ceil(np.log2(max(extent / STEP_M, 2.0))), FEWEST_BITS, MOST_BITS))
    data = draco.encode(
        np.ascontiguousarray(mesh.position, np.float32),
        np.ascontiguousarray(mesh.triangles, np.uint32),
        bits,
        LEVEL,
        tex_coord=np.ascontiguousarray(mesh.uv, np.float64),
        normals=np.ascontiguousarray(mesh.normal, np.float64),
        generic_attributes=more,
        tex_coord_quantization_bits=UV_BITS,
        normal_quantization_bits=NORMAL_BITS,
    )
    found = draco.decode(data)
    ids = {_KINDS[a["attribute_type"]]: a["unique_id"] for a in found.attributes if a["attribute_type"] in _KINDS}
    ids |= {"_CONFIDENCE": _CONFIDENCE, **({} if mesh.tangent is None else {"TANGENT": _TANGENT})}
    arrays, triangles = _arrays(found, ids)
    back = replace(
        mesh,
        position=arrays["POSITION"],
        normal=arrays["NORMAL"],
        uv=arrays["TEXCOORD_0"],
        confidence=arrays["_CONFIDENCE"][:, 0],
        tangent=arrays.get("TANGENT"),
        triangles=triangles,
    )
    return Packed(data, ids, back)


def unpacked(data: bytes, ids: dict[str, int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """{attribute of glTF: (N, K)} and triangles (F, 3). Raises MachineError without DracoPy."""
    return _arrays(_library().decode(data), ids)


def _arrays(found: Any, ids: dict[str, int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    by_id = {a["unique_id"]: a["data"] for a in found.attributes}
    return {name: by_id[k] for name, k in ids.items()}, np.asarray(found.faces, np.int64).reshape(-1, 3)


def _library() -> Any:
    if not draco_version():
        raise MachineError("the GLB is compressed with Draco, and the package DracoPy is not installed", INSTALL)
    import DracoPy

    return DracoPy
