"""Settings of the package stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PackageConfig:
    """Which files the twin comes in."""

    glb_image: Literal["jpeg", "png"] = "jpeg"
    """picture inside the GLB: jpeg is a fifth of the size and differs by about one grey level; png is exact"""
    mesh_compression: Literal["none", "draco", "meshopt"] = "none"
    """of the mesh in twin.glb and lod/*.glb, positions stay within 0.01 mm: draco (extra draco) makes it a fifth as large; meshopt (extra
    meshopt) 0.3 times, unpacked faster, for pages that load three.js' or Babylon.js' decoder; Blender does not open it"""
    jpeg_quality: int = 95
    """1 to 100, colour at full resolution"""
    roughness: float = 0.9
    """of the material; the light of the capture is part of the texture, so the surface should add little gloss of its own"""
    usd: Literal["auto", "on", "off"] = "auto"
    """write twin.usdz: auto = where the package usd-core is installed, on = required"""
    textured_mesh: bool = False
    """write the OBJ a second time as textured_mesh.obj with material.mtl and material_0.png: the names of NVIDIA's workflow"""
    maps: bool = True
    """copy masks/ and disparity/ of every frame into the twin; off = they stay in the store (preview, whose pictures are small)"""
    preview_px: int = 640
    """side of the preview pictures"""

    def __post_init__(self) -> None:
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}, expected 1 to 100")
        if not 0 <= self.roughness <= 1:
            raise ValueError(f"roughness is {self.roughness}, expected 0 to 1")
        if not 64 <= self.preview_px <= 4096:
            raise ValueError(f"preview_px is {self.preview_px}, expected 64 to 4096")
