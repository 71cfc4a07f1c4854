"""A mesh as glTF stores it, before it is packed into a file and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GltfMesh:
    """One mesh as glTF stores it: position, normal (N, 3), uv (N, 2) origin top-left, confidence (N,) 0-1, triangles (F, 3), all in glTF
    axes; image: the bytes of a JPEG or PNG file. tangent (N, 4) in glTF axes and normal_image (PNG) where there is a normal map;
    surface_image (PNG): green roughness, blue metalness, in place of one roughness."""

    position: np.ndarray
    normal: np.ndarray
    uv: np.ndarray
    confidence: np.ndarray
    triangles: np.ndarray
    image: bytes
    tangent: np.ndarray | None = None
    normal_image: bytes = b""
    surface_image: bytes = b""
