"""Small folders of posed pictures in every format, from one ring of cameras; K and poses are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera_service import orbit
from stages.core.posed_cameras import PosedCamera, from_opengl, pinhole

WIDTH, HEIGHT, COUNT = 64, 48, 5


def ring(centred: bool = False) -> list[PosedCamera]:
    """Five cameras round (0.1, 0.2, 0.3), 3 units away."""
    K = pinhole(80, 80, (WIDTH - 1) / 2, (HEIGHT - 1) / 2) if centred else pinhole(80.25, 81.5, 30.3, 22.9)
    poses = orbit(np.array([0.1, 0.2, 0.3]), 3.0, COUNT, np.array([0, 1.0, 0]))
    return [PosedCamera(f"{k:03d}", None, K, pose, WIDTH, HEIGHT) for k, pose in enumerate(poses)]


def write_pictures(folder: Path, suffix: str = ".png", channels: int = 3) -> None:
    """COUNT pictures NNN.png."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for k in range(COUNT):
        cv2.imwrite(str(folder / f"{k:03d}{suffix}"), rng.integers(0, 255, (HEIGHT, WIDTH, channels), np.uint8))


def nerfstudio(root: Path, **more) -> Path:
    """transforms.json with intrinsics in px; `more` are further keys."""
    write_pictures(root / "images")
    cameras = ring()
    K = cameras[0].K
    frames = [
        {"file_path": f"images/{c.name}.png", "transform_matrix": from_opengl(c.world_from_camera).tolist()}
        for c in cameras
    ]
    data = {
        "w": WIDTH,
        "h": HEIGHT,
        "fl_x": K[0, 0],
        "fl_y": K[1, 1],
        "cx": K[0, 2] + 0.5,
        "cy": K[1, 2] + 0.5,
        "frames": frames,
        **more,
    }
    (root / "transforms.json").write_text(json.dumps(data))
    return root


def llff(root: Path) -> Path:
    """poses_bounds.npy; its lens is centred."""
    write_pictures(root / "images")
    rows = []
    for c in ring(centred=True):
        right, down, ahead, t = c.world_from_camera[:3].T
        rows.append([*np.column_stack([down, right, -ahead, t, [HEIGHT, WIDTH, c.K[0, 0]]]).ravel(), 1.0, 6.0])
    np.save(root / "poses_bounds.npy", np.array(rows))
    return root


def neus(root: Path) -> Path:
    """cameras.npz with a sphere of radius 1.5."""
    write_pictures(root / "image")
    S = np.diag([1.5, 1.5, 1.5, 1.0])
    S[:3, 3] = 0.1, 0.2, 0.3
    arrays = {}
    for k, c in enumerate(ring()):
        world = np.vstack([c.projection, [0, 0, 0, 1]])
        arrays |= {f"world_mat_{k}": world, f"scale_mat_{k}": S}
    np.savez(root / "cameras.npz", **arrays)
    return root


def middlebury(root: Path) -> Path:
    """ring_par.txt."""
    write_pictures(root)
    lines = [str(COUNT)]
    for c in ring():
        pose = c.camera_from_world
        numbers = [*c.K.ravel(), *pose[:3, :3].ravel(), *pose[:3, 3]]
        lines.append(" ".join([f"{c.name}.png", *(repr(float(x)) for x in numbers)]))
    (root / "ring_par.txt").write_text("\n".join(lines) + "\n")
    return root


def colmap_text(root: Path, model: str = "PINHOLE", extra: str = "") -> Path:
    """sparse/0 as text."""
    from stages.core.geometry.rigid import quaternion_of

    write_pictures(root / "images")
    folder = root / "sparse/0"
    folder.mkdir(parents=True)
    cameras = ring()
    K = cameras[0].K
    (folder / "cameras.txt").write_text(
        f"# a comment\n7 {model} {WIDTH} {HEIGHT} {K[0, 0]!r} {K[1, 1]!r} {K[0, 2] + 0.5!r} {K[1, 2] + 0.5!r}{extra}\n".replace(
            "np.float64(", ""
        ).replace(")", "")
    )
    lines = []
    for k, c in enumerate(cameras):
        pose = c.camera_from_world
        qt = [*quaternion_of(pose[:3, :3]), *pose[:3, 3]]
        lines += [f"{k + 1} {' '.join(repr(float(x)) for x in qt)} 7 {c.name}.png", "1.0 2.0 1" if k < 2 else ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text("1 0.1 0.2 0.3 255 0 0 0.5 1 0 2 0\n")
    return root


def colmap_binary(root: Path) -> Path:
    """The same model, written as binary by COLMAP's own library."""
    import pycolmap

    colmap_text(root)
    folder = root / "sparse/0"
    pycolmap.Reconstruction(str(folder)).write_binary(str(folder))
    for name in ("cameras", "images", "points3D"):
        (folder / f"{name}.txt").unlink()
    return root


MAKERS = {
    "nerfstudio": nerfstudio,
    "llff": llff,
    "neus": neus,
    "middlebury": middlebury,
    "colmap_text": colmap_text,
    "colmap_binary": colmap_binary,
}
CENTRED = ("llff",)
