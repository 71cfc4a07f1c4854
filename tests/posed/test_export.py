"""What `twin export` writes for other programs, read back by the readers of this program (BOP: by its JSON)."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.errors import StoreError
from stages.core.export import bop, colmap, nerf, nerfstudio
from stages.core.export.twin_views import TwinViews, twin_views
from stages.core.images import read_rgb, write_disparity, write_mask
from stages.core.meshes import SurfaceMesh, write_ply
from stages.core.store import Store
from stages.posed.formats import read
from tests.posed.made_sets import COUNT, HEIGHT, WIDTH, ring, write_pictures


@pytest.fixture
def views(tmp_path):
    """A twin of five frames with masks, disparity and a mesh."""
    twin = tmp_path / "twin"
    write_pictures(twin / "pictures")
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:30, 20:50] = True
    cameras = []
    for k, c in enumerate(ring()):
        write_mask(twin / "masks" / f"{k:06d}.png", mask)
        write_disparity(twin / "disparity" / f"{k:06d}.png", np.where(mask, 4.0, np.nan))
        cameras.append(
            replace(
                c, name=f"{k:06d}", picture=twin / "pictures" / f"{k:03d}.png", mask=twin / "masks" / f"{k:06d}.png"
            )
        )
    points = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.2]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    write_ply(twin / "mesh.ply", SurfaceMesh(points, faces, np.full((4, 3), 200, np.uint8), np.ones(4, np.float32)))
    K = cameras[0].K
    rig = Rig(WIDTH, HEIGHT, K[0, 0], K[1, 1], K[0, 2], K[1, 2], 0.1)
    return TwinViews(twin, twin / "disparity", rig, tuple(cameras), tuple(range(COUNT)))


@pytest.mark.parametrize("writer", [colmap, nerfstudio])
def test_cameras_come_back(writer, views, tmp_path):
    writer.write(views, tmp_path / "out")
    found = read(tmp_path / "out")
    for i, (a, b) in enumerate(zip(found.cameras, views.cameras, strict=True)):
        assert np.abs(a.K - b.K).max() < 1e-9 and np.abs(a.world_from_camera - b.world_from_camera).max() < 1e-9
        assert np.array_equal(read_rgb(a.picture), views.rgb(i)) and a.mask is not None
    if writer is nerfstudio:
        depth = cv2.imread(str(found.cameras[0].depth), cv2.IMREAD_UNCHANGED) * found.depth_unit
        assert depth[20, 30] == pytest.approx(80.25 * 0.1 / 4, abs=1e-3) and depth[0, 0] == 0


def test_colmap_itself_reads_it(views, tmp_path):
    import pycolmap

    colmap.write(views, tmp_path / "out")
    model = pycolmap.Reconstruction(str(tmp_path / "out/sparse/0"))
    assert len(model.images) == COUNT and len(model.points3D) == 4


def test_nerf_pictures_fit_their_centred_lens(views, tmp_path):
    nerf.write(views, tmp_path / "out")
    found = read(tmp_path / "out")
    assert found.format == "blender"
    for i, (a, b) in enumerate(zip(found.cameras, views.cameras, strict=True)):
        assert np.abs(a.world_from_camera - b.world_from_camera).max() < 1e-9
        rgba = cv2.imread(str(a.picture), cv2.IMREAD_UNCHANGED)
        there = np.argwhere(rgba[..., 3] > 127).mean(0)[::-1]
        here = np.argwhere(views.mask(i)).mean(0)[::-1]

        def along(K, uv):
            return np.linalg.solve(K, [*uv, 1])[:2]

        assert (
            np.abs(along(a.K, there) - along(b.K, here)).max() < 0.5 / a.K[0, 0]
        )  # the mask's middle lies on the same ray
        assert (rgba[rgba[..., 3] == 0, :3] == 255).all()


def test_bop_scene(views, tmp_path):
    bop.write(views, tmp_path / "out")
    scene = tmp_path / "out/000001"
    cameras, truth = (json.loads((scene / f"{n}.json").read_text()) for n in ("scene_camera", "scene_gt"))
    for k, c in enumerate(views.cameras):
        pose = c.camera_from_world
        assert np.abs(np.array(truth[str(k)][0]["cam_R_m2c"]).reshape(3, 3) - pose[:3, :3]).max() < 1e-9
        assert np.abs(np.array(truth[str(k)][0]["cam_t_m2c"]) / 1000 - pose[:3, 3]).max() < 1e-9
        depth = cv2.imread(str(scene / "depth" / f"{k:06d}.png"), cv2.IMREAD_UNCHANGED) * cameras[str(k)]["depth_scale"]
        assert depth[20, 30] == pytest.approx(1000 * 80.25 * 0.1 / 4, abs=0.1)
    info = json.loads((tmp_path / "out/models/models_info.json").read_text())["1"]
    assert info["diameter"] == pytest.approx(1000 * np.hypot(0.1, 0.2), rel=1e-6) and info["size_z"] == pytest.approx(
        200
    )


def test_a_folder_that_is_no_twin_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"run\.json"):
        twin_views(tmp_path, Store(tmp_path / "store"))
