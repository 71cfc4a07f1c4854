"""A twin folder as an object; nothing is read before it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.camera import Rig
from stages.core.errors import StoreError
from stages.core.frames import FramePose, posed, read_poses
from stages.core.images import read_disparity, read_mask
from stages.core.meshes import SurfaceMesh, read_ply


@dataclass(frozen=True)
class TwinVerdict:
    """word: "usable", "partial" or "do not use"; why: the reasons; the errors in mm are None where nothing is known."""

    word: str
    line: str
    why: tuple[str, ...]
    expected_error_median_mm: float | None
    expected_error_p95_mm: float | None
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        return self.line


@dataclass(frozen=True)
class Twin:
    """What `reconstruct` left in `folder`. Metres, y up; poses in the frame of the mesh (docs/artifacts.md)."""

    folder: Path

    @staticmethod
    def open(folder: str | Path) -> Twin:
        """Raises StoreError where there is no twin."""
        path = Path(folder)
        if not (path / "run.json").is_file():
            raise StoreError(
                f"{path} is no twin folder: it has no run.json", "name a folder that `twin reconstruct` wrote"
            )
        return Twin(path)

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json: versions, settings, figures and warnings of each stage."""
        return json.loads((self.folder / "run.json").read_text())

    @cached_property
    def verdict(self) -> TwinVerdict | None:
        """None for a twin of a version that gave none."""
        found = self.record.get("verdict")
        if found is None:
            return None
        facts = found["facts"]
        return TwinVerdict(
            found["word"],
            found["line"],
            tuple(found["why"]),
            facts["error_median_mm"],
            expected_error_p95_mm=facts["error_p95_mm"],
            facts=facts,
        )

    @cached_property
    def mesh(self) -> SurfaceMesh:
        """vertices (V, 3) metres, faces (F, 3), colour (V, 3) uint8, confidence (V,) 0 to 1."""
        return read_ply(self.folder / "mesh.ply")

    @cached_property
    def frames(self) -> list[FramePose]:
        """Every frame of the capture with its status, also those without a pose."""
        return read_poses(self.folder / "poses.json")

    @cached_property
    def poses(self) -> dict[int, np.ndarray]:
        """{frame: object_from_left (4, 4)} of the frames that have one."""
        return posed(self.frames)

    @cached_property
    def rig(self) -> Rig:
        """The rectified stereo camera."""
        return Rig.load(self.folder / "rig.json")

    def mask(self, frame: int) -> np.ndarray:
        """(H, W) bool, rectified left picture."""
        return read_mask(self._map("masks", frame))

    def disparity_px(self, frame: int) -> np.ndarray:
        """(H, W) float32, NaN = none."""
        return read_disparity(self._map("disparity", frame))

    def _map(self, kind: str, frame: int) -> Path:
        if not (folder := self.folder / kind).is_dir():
            raise StoreError(
                f"{self.folder} has no {kind} of its frames, as previews have none",
                "make it with the setting package.maps=true, or with another profile",
            )
        return folder / f"{frame:06d}.png"

    @property
    def glb(self) -> Path:
        """The textured twin for viewers."""
        return self.folder / "twin.glb"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.folder / "report.html"
