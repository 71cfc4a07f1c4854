"""The twin as a compact block for the viewer in the page: 16 bytes a vertex, one JPEG, the cameras.

Positions are 16-bit steps of the bounding box (a 300 mm object: 5 um), normals and confidence 8-bit, uv 16-bit.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import read_poses
from stages.core.glb import GltfMesh, read_glb

_MOST_TEXELS = 4096
_JPEG_QUALITY = 88
_MOST_CAMERAS = 400


def viewer_block(twin_dir: Path) -> dict[str, Any] | None:
    """Plain data for viewer.js, or None when the folder has no twin.glb. All in the twin frame (glTF axes), metres."""
    if not (twin_dir / "twin.glb").exists():
        return None
    return {**mesh_block(read_glb(twin_dir / "twin.glb")), "cameras": camera_lines(twin_dir)}


def mesh_block(mesh: GltfMesh) -> dict[str, Any]:
    """The mesh as base64 arrays."""
    low, high = mesh.position.min(0).astype(float), mesh.position.max(0).astype(float)
    span = np.maximum(high - low, 1e-9)
    wide = len(mesh.position) > 65535
    return {
        "vertices": len(mesh.position),
        "low": low.tolist(),
        "span": span.tolist(),
        "position": _text(np.rint((mesh.position - low) / span * 65535).astype("<u2")),
        "uv": _text(np.rint(np.clip(mesh.uv, 0, 1) * 65535).astype("<u2")),
        "normal": _text(np.concatenate([np.rint(mesh.normal * 127), np.rint(mesh.confidence[:, None] * 127)], 1).astype("i1")),
        "index": _text(mesh.triangles.astype("<u4" if wide else "<u2")),
        "wide": wide,
        "texture": "data:image/jpeg;base64," + base64.b64encode(_picture(mesh.image)).decode(),
    }


def camera_lines(twin_dir: Path) -> list[dict[str, Any]]:
    """Per posed frame (evenly thinned to 400) its number, centre and four picture corners at depth 1, twin frame."""
    if not (twin_dir / "poses.json").exists():
        return []
    rig = Rig.load(twin_dir / "rig.json") if (twin_dir / "rig.json").exists() else Rig(4, 3, 4, 4, 1.5, 1, 0.1)
    corners = rig.rays(np.array([[0, 0], [rig.width - 1, 0], [rig.width - 1, rig.height - 1], [0, rig.height - 1]]))
    found = [p for p in read_poses(twin_dir / "poses.json") if p.object_from_left is not None]
    out = []
    for p in found[:: max(1, -(-len(found) // _MOST_CAMERAS))]:
        rays = corners @ p.object_from_left[:3, :3].T
        centre = p.object_from_left[:3, 3]
        out.append(
            {"frame": p.frame, "ok": p.status == "ok", "centre": np.round(centre, 5).tolist(), "corners": np.round(rays, 4).tolist()}
        )
    return out


def script_json(data: Any) -> str:
    """JSON that may stand inside a <script> element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _picture(data: bytes) -> bytes:
    image = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    if max(image.shape[:2]) > _MOST_TEXELS:
        image = cv2.resize(image, (_MOST_TEXELS, _MOST_TEXELS), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
