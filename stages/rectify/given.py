"""Masks and depth that came with the capture, brought to the rectified left picture.

masks/: any picture, 0 = background (mask_reading.py), in px of the raw left picture. hidden/: the same, not 0 where something stands before
the object. depth/: uint16 PNG in px of the raw left picture, 0 = none; what a value means stands in depth/depth.json: {"kind": "depth",
"per_unit": 1000} (units per metre along the raw optical axis; millimetres when the file is absent) or {"kind": "disparity", "per_unit": 64}
(units per px; rectified captures only). Files go with frames by the number in their names, or by order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.frame_names import listed
from stages.core.images import write_disparity, write_mask
from stages.core.mask_reading import read_given, read_labels, read_mask, refuse_inverted, rim_share
from stages.core.object_prompt import FOLDER as PROMPT_FOLDER
from stages.core.object_prompt import Prompt, entries
from stages.core.plain_files import read_json
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
        data = read_json(path)
        if (
            not isinstance(data, dict)
            or data.keys() != {"kind", "per_unit"}
            or data["kind"] not in ("depth", "disparity")
        ):
            raise CaptureError(f"depth/{path.name} cannot be understood: {str(data)[:120]}", DEPTH_ADVICE)
        unit = data["per_unit"]
        if isinstance(unit, bool) or not isinstance(unit, (int, float)) or not 1e-6 < unit < 1e9:
            raise CaptureError(f"depth/{path.name}: per_unit is {str(unit)[:60]}", DEPTH_ADVICE)
        return DepthEncoding(data["kind"], float(unit))


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
            raise CaptureError(
                "depth/ holds disparities, but the capture is not rectified",
                "give depth in millimetres, or a rectified capture",
            )
        g = self.geometry
        warp = Warp.of(g.left, g.rig, g.size, (self.rig.width, self.rig.height), keep=g.keep_left)
        rims: list[float] = []
        shares: list[float] = []
        labels: dict[int, list[int]] = {}
        for k in frames:
            name = f"{k:06d}.png"
            if k in hidden:
                write_mask(folder / "hidden" / name, rectified_mask(read_mask(hidden[k], g.size), warp))
            if k in masks:
                mask, count = read_labels(masks[k], g.size)
                labels[count] = [*labels.get(count, []), k]
                rims.append(rim_share(mask))
                shares.append(float(mask.mean()))
                write_mask(folder / "masks" / name, rectified_mask(mask, warp))
            if k in depth:
                raw = read_given(depth[k], g.size, cv2.IMREAD_UNCHANGED)
                write_disparity(
                    folder / "disparity" / name, rectified_disparity(raw, self.encoding, g, warp, rig=self.rig)
                )
        refuse_inverted(rims, shares, "masks")
        missing = {
            kind: [k for k in frames if k not in found] for kind, found in (("masks", masks), ("depth", depth)) if found
        }
        several = sorted(k for n, frames in labels.items() if n > 1 for k in frames)
        said = (
            [
                f"masks/ distinguishes up to {max(labels)} labels (frames {listed(several)}): all of them are taken as the object; "
                "if others are meant (a hand, say), keep one label"
            ]
            if several
            else []
        )
        return said + [f"{kind}/ has nothing for frames {listed(absent)}" for kind, absent in missing.items() if absent]


def rectified_mask(raw: np.ndarray, warp: Warp) -> np.ndarray:
    """(h, w) bool -> (H, W) bool."""
    return warp(np.where(raw, np.uint8(255), np.uint8(0)), cv2.INTER_LINEAR) > 127


def rectified_disparity(
    raw: np.ndarray, encoding: DepthEncoding, geometry: Geometry, warp: Warp, rig: Rig
) -> np.ndarray:
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


def write_prompt_masks(
    prompt: Prompt, masks: Sequence[Path], warp: Warp, raw_size: tuple[int, int], given: Path
) -> None:
    """The masks that the prompt (in raw px) names, rectified, below `given`. Raises CaptureError for one that is broken or empty."""
    files = {p.name: p for p in masks}
    for entry in entries(prompt):
        if "mask" in entry:
            mask = rectified_mask(read_mask(files[entry["mask"]], raw_size), warp)
            if not mask.any():
                raise CaptureError(
                    f"the prompt's mask {entry['mask']} shows no object", "paint the object white on black"
                )
            write_mask(given / PROMPT_FOLDER / f"{entry['frame']:06d}.png", mask)
