"""The twin as a compact block for the viewer in the page: 16 bytes a vertex, one JPEG, the cameras.

Positions are 16-bit steps of the bounding box (a 300 mm object: 5 um), normals and the expected error's level 8-bit, uv 16-bit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import read_poses
from stages.core.glb import read_glb
from stages.core.gltf_mesh import GltfMesh
from stages.core.meshes import read_ply
from stages.core.verdict.error import error_level
from stages.core.verdict.shape import rim_of

_MOST_TEXELS = 4096
_JPEG_QUALITY = 88
_MOST_CAMERAS = 400
_MOST_RIM_EDGES = 20000
_WORTH_ANOTHER_VIEW = 0.1
"""share of directions that nobody looked from"""


def viewer_block(twin_dir: Path, facts: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Plain data for viewer.js, or None when the folder has no twin.glb. Twin frame (glTF axes), metres. `facts`: of the verdict."""
    if not (twin_dir / "twin.glb").exists():
        return None
    mesh, cameras = read_glb(twin_dir / "twin.glb"), camera_lines(twin_dir)
    more = {"rim": _rim(twin_dir, facts or {}), "next": _next_camera(mesh, cameras, facts or {})}
    return {**mesh_block(mesh), "cameras": cameras, **more}


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
        "normal": _text(
            np.concatenate(
                [np.rint(mesh.normal * 127), np.rint(error_level(mesh.confidence)[:, None] * 127)], 1
            ).astype("i1")
        ),
        "index": _text(mesh.triangles.astype("<u4" if wide else "<u2")),
        "wide": wide,
        "texture": "data:image/jpeg;base64," + base64.b64encode(_picture(mesh.image)).decode(),
    }


def camera_lines(twin_dir: Path) -> list[dict[str, Any]]:
    """Per posed frame (evenly thinned to 400) its number, centre and four picture corners at depth 1, twin frame."""
    if not (twin_dir / "poses.json").exists():
        return []
    rig = (
        Rig.load(twin_dir / "rig.json")
        if (twin_dir / "rig.json").exists()
        else Rig(4, 3, 4, 4, cx=1.5, cy=1, baseline_m=0.1)
    )
    corners = rig.rays(np.array([[0, 0], [rig.width - 1, 0], [rig.width - 1, rig.height - 1], [0, rig.height - 1]]))
    found = [p for p in read_poses(twin_dir / "poses.json") if p.object_from_left is not None]
    out = []
    for p in found[:: max(1, -(-len(found) // _MOST_CAMERAS))]:
        rays = corners @ p.object_from_left[:3, :3].T
        centre = p.object_from_left[:3, 3]
        out.append(
            {
                "frame": p.frame,
                "ok": p.status == "ok",
                "centre": np.round(centre, 5).tolist(),
                "corners": np.round(rays, 4).tolist(),
            }
        )
    return out


def _rim(twin_dir: Path, facts: Mapping[str, Any]) -> str:
    """float32 ends (2, 3) of each edge of the border of an open mesh."""
    if not facts.get("open_edges") or not (twin_dir / "mesh.ply").exists():
        return ""
    mesh = read_ply(twin_dir / "mesh.ply")
    return _text(rim_of(mesh.vertices, mesh.faces).segments[:_MOST_RIM_EDGES].astype("<f4"))


def _next_camera(mesh: GltfMesh, cameras: list[dict[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where a camera would see most of what none has seen: as far away as the others, looking at the middle."""
    towards = facts.get("unseen_direction")
    if towards is None or not cameras or facts.get("directions_unseen_share", 0) < _WORTH_ANOTHER_VIEW:
        return None
    middle = (mesh.position.min(0) + mesh.position.max(0)) / 2.0
    distance = float(np.median([np.linalg.norm(np.array(c["centre"]) - middle) for c in cameras]))
    back = np.array(towards)
    right = np.cross([0.0, 1.0, 0.0] if abs(back[1]) < 0.9 else [0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    corners = [x * right + y * up - back for x, y in ((-0.5, 0.35), (0.5, 0.35), (0.5, -0.35), (-0.5, -0.35))]
    return {"centre": np.round(middle + distance * back, 5).tolist(), "corners": np.round(corners, 4).tolist()}


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
