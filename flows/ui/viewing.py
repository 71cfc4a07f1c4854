"""The scene of `twin view`, drawn by viser in a browser: cameras with their pictures and masks, points, mesh, twin; y up, metres.

A part is drawn when its file appears, and again when another takes its place. The only file that imports viser.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.ui.viewed import Viewed
from stages.core.camera import Rig
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import quaternion_of
from stages.core.glb import plain_glb
from stages.core.images import read_mask, read_rgb
from stages.core.meshes import read_ply
from stages.core.twin_frame import TWIN_FROM_OBJECT

if TYPE_CHECKING:
    import viser

PARTS = ("cameras", "points", "mesh", "twin")
THUMB_PX = 160
MOST_CAMERAS, MOST_POINTS = 150, 50_000
CAMERA_SHARE = 0.1
"""size of a camera, of its distance to the middle of all that they look at"""
POINT_SHARE = 0.002
FIRST_LOOK = (0.7, 0.7, 1.3)
"""where a browser that comes first looks from, in distances of the cameras; the object is in the middle"""


class Viewing:
    """Call `look` again and again; it asks what there is and draws what is new."""

    def __init__(self, server: viser.ViserServer, look: Callable[[], Viewed]) -> None:
        self._server, self._look = server, look
        self._drawn: dict[str, tuple[str, int]] = {}
        server.scene.set_up_direction("+y")
        server.gui.configure_theme(show_share_button=False)  # it would send the scene to somebody else's server
        self._said = server.gui.add_markdown("")
        self._wanted = {part: server.gui.add_checkbox(part, True) for part in PARTS}
        for part, box in self._wanted.items():
            box.on_update(lambda _, part=part: self._show(part))
        self._handles: dict[str, list[Any]] = {}
        self._hid_mesh = False

    @property
    def drawn(self) -> tuple[str, ...]:
        """Names of the parts that are in the scene."""
        return tuple(self._drawn)

    def look(self) -> bool:
        """Draw what is new; False once nothing more will come."""
        viewed = self._look()
        self._said.content = f"**{viewed.title}**"
        turn = TWIN_FROM_OBJECT if viewed.in_object_frame else np.eye(3)
        for part, file, draw in (
            ("cameras", "poses", self._cameras),
            ("points", "points", self._points),
            ("mesh", "mesh", self._mesh),
            ("twin", "twin", self._twin),
        ):
            if (path := viewed.files.get(file)) is None or self._drawn.get(part) == (
                state := (str(path), path.stat().st_mtime_ns)
            ):
                continue
            for handle in self._handles.get(part, ()):
                handle.remove()
            self._handles[part] = draw(viewed, path, turn)
            self._drawn[part] = state
            self._show(part)
        if "twin" in self._drawn and self._wanted["mesh"].value and not self._hid_mesh:
            self._hid_mesh, self._wanted["mesh"].value = True, False  # the twin lies in the same place
            self._show("mesh")
        return not viewed.ended

    def _show(self, part: str) -> None:
        for handle in self._handles.get(part, ()):
            handle.visible = self._wanted[part].value

    def _cameras(self, viewed: Viewed, path: Path, turn: np.ndarray) -> list[Any]:
        poses, rig = posed(read_poses(path)), Rig.load(viewed.files["rig"])
        frames = sorted(poses)[:: max(1, -(-len(poses) // MOST_CAMERAS))]
        distance = float(np.median([np.linalg.norm(poses[f][:3, 3]) for f in frames]))
        self._server.initial_camera.position = tuple(distance * np.array(FIRST_LOOK))
        size = CAMERA_SHARE * distance
        made = []
        for frame in frames:
            rotation, place = turn @ poses[frame][:3, :3], turn @ poses[frame][:3, 3]
            made.append(
                self._server.scene.add_camera_frustum(
                    f"/cameras/{frame}",
                    fov=float(2 * np.arctan(rig.height / 2 / rig.fy)),
                    aspect=rig.width / rig.height,
                    scale=size,
                    thickness=1.5,
                    thickness_units="screen",
                    color=(90, 100, 115),
                    image=_thumbnail(viewed, frame),
                    wxyz=quaternion_of(rotation),
                    position=place,
                )
            )
        return made

    def _points(self, viewed: Viewed, path: Path, turn: np.ndarray) -> list[Any]:
        points = np.load(path, allow_pickle=False)["xyz"][:MOST_POINTS] @ turn.T
        extent = float(np.linalg.norm(points.max(0) - points.min(0))) if len(points) else 1.0
        colours = np.full(points.shape, (60, 90, 200), np.uint8)
        return [
            self._server.scene.add_point_cloud(
                "/points", points.astype(np.float32), colours, point_size=POINT_SHARE * extent
            )
        ]

    def _mesh(self, viewed: Viewed, path: Path, turn: np.ndarray) -> list[Any]:
        import trimesh

        mesh = read_ply(path)
        shape = trimesh.Trimesh(mesh.vertices @ turn.T, mesh.faces, vertex_colors=mesh.colour, process=False)
        return [self._server.scene.add_mesh_trimesh("/mesh", shape)]

    def _twin(self, viewed: Viewed, path: Path, turn: np.ndarray) -> list[Any]:
        return [self._server.scene.add_glb("/twin", plain_glb(path))]  # y up, whoever asks


def _thumbnail(viewed: Viewed, frame: int) -> np.ndarray | None:
    """The left picture, what the mask leaves out darkened; the mask alone where there is no picture; None without either."""
    import cv2

    name = f"{frame:06d}"
    file = next((viewed.files["pairs"] / "left").glob(f"{name}.*"), None) if "pairs" in viewed.files else None
    mask = viewed.files["masks"] / f"{name}.png" if "masks" in viewed.files else None
    image = read_rgb(file) if file else None
    if mask is not None and mask.is_file():
        inside = read_mask(mask)[..., None]
        image = np.where(inside, image if image is not None else 255, (image // 3) if image is not None else 0).astype(
            np.uint8
        )
        image = np.broadcast_to(image, (*image.shape[:2], 3))
    if image is None:
        return None
    return cv2.resize(
        image, (THUMB_PX, round(THUMB_PX * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA
    )
