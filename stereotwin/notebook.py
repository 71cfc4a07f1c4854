"""What the notebook shows: pictures with sliders, a box drawn with the mouse, scenes in 3-D. Needs the extra `notebook`.

`outputs` is what `stereotwin.run_until` returns. Everything is read from the store, nothing is written there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import posed, read_poses
from stages.core.images import read_disparity, read_mask, read_rgb, read_sigma
from stages.core.meshes import SurfaceMesh

Outputs = Mapping[str, Path]
SHOWN_WIDTH = 900
CAMERA_SHARE = 0.08
"""size of a drawn camera, of the distance to the object"""
MOST_POINTS = 20_000
MASK_COLOUR = np.array([30, 200, 120])


def picture(image: np.ndarray, width: int = SHOWN_WIDTH) -> Any:
    """(H, W, 3) uint8 RGB as a picture of the notebook, made smaller if it is wider."""
    from IPython.display import Image

    return Image(data=_png(image, width))


def frames_of(outputs: Outputs) -> list[int]:
    """Numbers of the frames that rectify kept."""
    return sorted(int(p.stem) for p in (outputs["pairs"] / "left").iterdir())


def pair_with_lines(outputs: Outputs, frame: int, lines: int = 12) -> np.ndarray:
    """(H, 2 W, 3): left and right with rows marked: what is on a line on the left is on it on the right."""
    both = np.hstack([_pair(outputs, frame, side) for side in ("left", "right")])
    for row in np.linspace(0, both.shape[0] - 1, lines + 2)[1:-1].astype(int):
        both[row] = (255, 80, 0)
    return both


def depth_picture(outputs: Outputs, frame: int, near_far_m: Sequence[float], most_sigma_px: float) -> np.ndarray:
    """(H, W, 3): depth from near (red) to far (blue); black where it is less certain than `most_sigma_px`, or outside the range."""
    rig, d = Rig.load(outputs["rig.json"]), read_disparity(outputs["disparity"] / f"{frame:06d}.png")
    depth, sigma = rig.depth_from_disparity(d), read_sigma(outputs["disparity"] / "sigma" / f"{frame:06d}.png")
    near, far = near_far_m
    shown = (depth >= near) & (depth <= far) & (sigma <= most_sigma_px)
    share = np.clip((depth - near) / max(far - near, 1e-9), 0, 1)
    colours = cv2.applyColorMap(np.uint8(255 * np.nan_to_num(1 - share)), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(shown[..., None], colours, 0).astype(np.uint8)


def depth_range_m(outputs: Outputs, frame: int) -> tuple[float, float]:
    """(nearest, farthest) depth of a frame without its outermost percent."""
    depth = Rig.load(outputs["rig.json"]).depth_from_disparity(
        read_disparity(outputs["disparity"] / f"{frame:06d}.png")
    )
    low, high = np.nanpercentile(depth, [1, 99])
    return float(low), float(high)


def mask_picture(outputs: Outputs, frame: int) -> np.ndarray:
    """(H, W, 3): the left picture, what is not the object darkened, its outline drawn."""
    image = _pair(outputs, frame, "left")
    mask = read_mask(outputs["masks"] / f"{frame:06d}.png")
    dark = np.where(mask[..., None], image, image // 3)
    edge = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return np.where(edge[..., None], MASK_COLOUR, dark).astype(np.uint8)


def by_frame(frames: Sequence[int], draw: Callable[..., np.ndarray], **sliders: Any) -> Any:
    """A slider over the frames, the given ones by name, and the picture that `draw(frame=..., **values)` makes of their values."""
    import ipywidgets

    every = {
        "frame": ipywidgets.SelectionSlider(options=list(frames), description="frame", continuous_update=False),
        **sliders,
    }
    shown = ipywidgets.Image(format="png")

    def update(_: Any = None) -> None:
        shown.value = _png(draw(**{name: slider.value for name, slider in every.items()}), SHOWN_WIDTH)

    for slider in every.values():
        slider.observe(update, "value")
    update()
    return ipywidgets.VBox([*every.values(), shown])


def cameras_scene(outputs: Outputs, poses: str = "poses.json") -> Any:
    """trimesh scene of the cameras and the bundle-adjusted points, object frame turned so that y is up."""
    import trimesh

    found = posed(read_poses(outputs[poses]))
    points = np.load(outputs["points.npz"], allow_pickle=False)["xyz"][:MOST_POINTS]
    size = CAMERA_SHARE * float(np.median([np.linalg.norm(p[:3, 3] - points.mean(0)) for p in found.values()]))
    scene = trimesh.Scene([trimesh.PointCloud(_up(points), colors=[70, 70, 200, 255])])
    for pose in found.values():
        corners = size * np.array([[0, 0, 0], [-0.6, -0.45, 1], [0.6, -0.45, 1], [0.6, 0.45, 1], [-0.6, 0.45, 1]])
        at = _up(corners @ pose[:3, :3].T + pose[:3, 3])
        scene.add_geometry(trimesh.load_path(at[[0, 1, 2, 0, 3, 4, 0, 2, 3, 0, 4, 1]]))
    return scene


def mesh_scene(mesh: SurfaceMesh, object_frame: bool = False) -> Any:
    """trimesh scene of a mesh with its colours; `object_frame`: of the surface stage, whose y is down."""
    import trimesh

    vertices = _up(mesh.vertices) if object_frame else mesh.vertices
    return trimesh.Scene([trimesh.Trimesh(vertices, mesh.faces, vertex_colors=mesh.colour, process=False)])


def shown(scene: Any, height: int = 480) -> Any:
    """A scene to turn with the mouse; works offline."""
    from trimesh.viewer.notebook import scene_to_notebook

    return scene_to_notebook(scene, height=height)


def box_picker(image: np.ndarray, box: Sequence[float] | None = None) -> Any:
    """The picture, on which the mouse draws a box; `.box` is [x0, y0, x1, y1] px of the picture, [] before one is drawn."""
    from stereotwin.box_widget import BoxPicker

    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return BoxPicker(picture=data, size=[image.shape[1], image.shape[0]], box=list(box or ()))


def _png(image: np.ndarray, width: int) -> bytes:
    if image.shape[1] > width:
        image = cv2.resize(image, (width, round(image.shape[0] * width / image.shape[1])), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def _pair(outputs: Outputs, frame: int, side: str) -> np.ndarray:
    return read_rgb(next((outputs["pairs"] / side).glob(f"{frame:06d}.*")))


def _up(points: np.ndarray) -> np.ndarray:
    """Half a turn about x, as the twin folder has it."""
    return points * (1.0, -1.0, -1.0)
