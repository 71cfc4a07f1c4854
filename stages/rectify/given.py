"""Masks and depth that came with the capture, brought to the rectified left picture.

masks/: any picture, 0 = background, in px of the raw left picture. hidden/: the same, not 0 where something stands before the object.
depth/: uint16 PNG in px of the raw left picture, 0 = none; what a value means stands in depth/depth.json: {"kind": "depth",
"per_unit": 1000} (units per metre along the raw optical axis; millimetres when the file is absent) or {"kind": "disparity", "per_unit": 64}
(units per px; rectified captures only). Files go with frames by the number in their names, or by order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.capture import last_number
from stages.core.errors import CaptureError
from stages.core.images import write_disparity, write_mask
from stages.rectify.checks import listed
from stages.rectify.geometry import Geometry
from stages.rectify.write_pairs import Warp

DEPTH_ADVICE = 'write {"kind": "depth", "per_unit": 1000} (per metre) or {"kind": "disparity", "per_unit": 64} (per px)'


@dataclass(frozen=True)
class DepthEncoding:
    """What a value of depth/*.png means."""

    kind: str = "depth"
    per_unit: float = 1000.0

    @staticmethod
    def read(path: Path | None) -> DepthEncoding:
        """Of depth.json; millimetres without one. Raises CaptureError."""
        if path is None:
            return DepthEncoding()
        try:
            data = json.loads(path.read_text())
            out = DepthEncoding(str(data["kind"]), float(data["per_unit"]))
        except (ValueError, TypeError, KeyError) as e:
            raise CaptureError(f"depth/{path.name} cannot be understood: {e!r}", DEPTH_ADVICE) from e
        if out.kind not in ("depth", "disparity") or not out.per_unit > 0:
            raise CaptureError(f"depth/{path.name}: {data}", DEPTH_ADVICE)
        return out


def by_frame(files: tuple[Path, ...], numbers: list[int] | None, frames: int, what: str) -> dict[int, Path]:
    """{frame: file}. Raises CaptureError where no file belongs to a frame."""
    if not files:
        return {}
    found = [last_number(p) for p in files]
    if numbers is not None and None not in found and len(set(found)) == len(found):
        frame_of = {n: k for k, n in enumerate(numbers)}
        out = {frame_of[n]: p for n, p in zip(found, files, strict=True) if n in frame_of}
    else:
        out = dict(enumerate(files)) if len(files) == frames else {}
    if not out:
        raise CaptureError(f"none of the {len(files)} files of {what}/ belongs to one of the {frames} frames",
                           f"number {what}/ as the left pictures are, for example {what}/000012.png for left/left000012.jpg")
    return out


@dataclass(frozen=True)
class GivenMaps:
    """Writes given/masks, given/hidden, given/disparity and given.json for a geometry and the rig that is written."""

    geometry: Geometry
    rig: Rig
    encoding: DepthEncoding

    def write(
        self, folder: Path, frames: list[int], masks: dict[int, Path], depth: dict[int, Path], hidden: dict[int, Path]
    ) -> list[str]:
        """One frame at a time; returns warnings. Raises CaptureError for a broken file, or for disparities of a raw capture."""
        folder.mkdir(exist_ok=True)
        found = {"masks": bool(masks), "depth": bool(depth), **({"hidden": True} if hidden else {})}
        (folder / "given.json").write_text(json.dumps(found))
        if not any(found.values()):
            return []
        if depth and self.encoding.kind == "disparity" and not self.geometry.keep_left:
            raise CaptureError("depth/ holds disparities, but the capture is not rectified",
                               "give depth in millimetres, or a rectified capture")
        g = self.geometry
        warp = Warp.of(g.left, g.rig, g.size, (self.rig.width, self.rig.height), g.keep_left)
        for k in frames:
            name = f"{k:06d}.png"
            for kind, files in (("masks", masks), ("hidden", hidden)):
                if k in files:
                    write_mask(folder / kind / name, rectified_mask(read_given(files[k], g.size, cv2.IMREAD_GRAYSCALE), warp))
            if k in depth:
                raw = read_given(depth[k], g.size, cv2.IMREAD_UNCHANGED)
                write_disparity(folder / "disparity" / name, rectified_disparity(raw, self.encoding, g, warp, self.rig))
        missing = {kind: [k for k in frames if k not in found] for kind, found in (("masks", masks), ("depth", depth)) if found}
        return [f"{kind}/ has nothing for frames {listed(absent)}" for kind, absent in missing.items() if absent]


def rectified_mask(raw: np.ndarray, warp: Warp) -> np.ndarray:
    """(h, w) any grey -> (H, W) bool."""
    return warp(np.where(raw > 0, np.uint8(255), np.uint8(0)), cv2.INTER_LINEAR) > 127


def rectified_disparity(raw: np.ndarray, encoding: DepthEncoding, geometry: Geometry, warp: Warp, rig: Rig) -> np.ndarray:
    """(h, w) uint16 -> (H, W) float64 disparity in px of the rectified pair at the size written, NaN = none; nearest sample."""
    value = warp(raw, cv2.INTER_NEAREST).astype(np.float64) / encoding.per_unit
    value[value == 0] = np.nan
    if encoding.kind == "disparity":
        return (value + disparity_at_infinity(geometry)) * rig.fx / geometry.rig.fx
    if not warp.copies:
        value *= warp(axis_ratio(geometry).astype(np.float32), cv2.INTER_NEAREST)
    return rig.disparity_from_depth(value)


def disparity_at_infinity(geometry: Geometry) -> float:
    """What shifting the right picture adds to a disparity measured between the raw ones (Middlebury's doffs), px."""
    return float(geometry.right.camera.K[0, 2] - geometry.left.camera.K[0, 2])


def axis_ratio(geometry: Geometry) -> np.ndarray:
    """(h, w) depth along the rectified axis over depth along the raw axis, for each raw left pixel."""
    w, h = geometry.size
    u, v = np.meshgrid(np.arange(0, w, 8.0), np.arange(0, h, 8.0))
    rays = geometry.left.points(np.stack([u.ravel(), v.ravel()], 1), np.eye(3))
    # a rectified ray (x, y, 1) has the raw direction R^T (x, y, 1); its raw z per rectified z is the third component
    raw_z = np.c_[rays, np.ones(len(rays))] @ geometry.left.rectified_from_raw[:, 2]
    coarse = (1.0 / raw_z).reshape(u.shape)
    x, y = np.meshgrid(np.arange(w, dtype=np.float32) / 8, np.arange(h, dtype=np.float32) / 8)
    return cv2.remap(coarse.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def read_given(path: Path, raw_size: tuple[int, int], flags: int) -> np.ndarray:
    """A mask or depth picture; raises CaptureError if it is broken or not of the raw picture's size."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags) if path.stat().st_size else None
    if image is None:
        raise CaptureError(f"{path.parent.name}/{path.name} is not a readable picture", "copy the file again or remove it")
    height, width = image.shape[:2]
    if (width, height) != raw_size:
        raise CaptureError(f"{path.parent.name}/{path.name} is {width}x{height} px; the left pictures are {raw_size[0]}x{raw_size[1]} px",
                           "give masks and depth in pixels of the left picture as captured")
    return image
