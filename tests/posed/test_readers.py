"""Every format of posed pictures: cameras come back to 1e-9, and what cannot be right is refused by file and frame."""

from __future__ import annotations

import json
import random

import cv2
import numpy as np
import pytest

from stages.core.camera_service import canonical_views, write_transforms
from stages.core.errors import CaptureError, TwinError
from stages.core.posed_cameras import from_opengl
from stages.posed.formats import read
from tests.posed import made_sets
from tests.posed.made_sets import CENTRED, MAKERS, ring
from tests.rectify.fuzz_damage import damaged


def _same(found, wanted, tolerance=1e-9):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.K, b.K, atol=tolerance, rtol=tolerance)
        np.testing.assert_allclose(a.world_from_camera, b.world_from_camera, atol=tolerance)


@pytest.mark.parametrize("kind", MAKERS)
def test_cameras_come_back(kind, tmp_path):
    found = read(MAKERS[kind](tmp_path))
    _same(found.cameras, ring(centred=kind in CENTRED))
    assert [c.picture.name for c in found.cameras] == [f"{k:03d}.png" for k in range(made_sets.COUNT)]


def test_blender_file_of_the_camera_service_comes_back(tmp_path):
    views = canonical_views(64, 64)
    for v in views:
        cv2.imwrite(str(tmp_path / f"{v.name}.png"), np.zeros((64, 64, 3), np.uint8))
    _same(read(tmp_path).cameras, views)  # as a folder of canonical views
    write_transforms(tmp_path / "transforms_train.json", views, [v.name for v in views])
    found = read(tmp_path)
    _same(found.cameras, views)
    assert found.format == "blender" and "posed.format" in found.notes[-1]


def test_canonical_views_are_those_of_the_shoe(shared_dir):
    theirs = read(shared_dir / "multiview/shoe_nvdiffrec").cameras
    ours = canonical_views(1024, 1024, 3.0, theirs[0].K[0, 0], [c.name.removeprefix("train/") for c in theirs])
    _same(theirs, ours)


def test_reprojection_of_dtu(shared_dir):
    root = shared_dir / "posed/dtu_scan65"
    found, arrays = read(root), np.load(root / "cameras_sphere.npz", allow_pickle=False)
    centre, radius = found.sphere
    points = centre + radius * np.random.default_rng(0).uniform(-0.6, 0.6, (200, 3))
    for i, camera in enumerate(found.cameras):
        x = np.c_[points, np.ones(200)] @ arrays[f"world_mat_{i}"][:3].astype(float).T
        assert np.abs(x[:, :2] / x[:, 2:] - camera.project(points)).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("posed/nerf_lego_400", "blender", 100),
        ("posed/llff_beer", "llff", 71),
        ("posed/nerd_gold", "llff", 30),
        ("multiview/templeSparseRing", "middlebury", 16),
    ],
)
def test_real_sets_are_read(name, kind, count, shared_dir):
    found = read(shared_dir / name)
    assert (found.format, len(found.cameras)) == (kind, count)


def test_distortion_and_size_of_nerfstudio(tmp_path):
    found = read(made_sets.nerfstudio(tmp_path, camera_model="OPENCV", k1=-0.1, k2=0.02, p1=1e-3, p2=0.0, w=128, h=96))
    assert found.cameras[0].lens == "opencv" and found.cameras[0].distortion[:3] == (-0.1, 0.02, 1e-3)
    assert found.cameras[0].K[0, 0] == pytest.approx(80.25 / 2)  # the file's numbers hold for pictures twice as large


def _edit(root, change):
    path = root / "transforms.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _mirror(data):
    m = np.array(data["frames"][2]["transform_matrix"])
    data["frames"][2]["transform_matrix"] = (m @ np.diag([-1, 1, 1, 1])).tolist()


def _scaled(data):
    m = np.array(data["frames"][2]["transform_matrix"])
    m[:3, :3] *= 1.2
    data["frames"][2]["transform_matrix"] = m.tolist()


def _other_axes(data):
    m = np.array(data["frames"][2]["transform_matrix"])
    data["frames"][2]["transform_matrix"] = from_opengl(m).tolist()


@pytest.mark.parametrize(("change", "words"), [
    (_mirror, "frame 2 .*mirrors"), (_scaled, "frame 2 .*is not one"), (_other_axes, r"1 of 5 cameras look the other way.*002"),
    (lambda d: d["frames"][2].update(transform_matrix=[[1, 2], [3, 4]]), "frame 2 .*a matrix of"),
    (lambda d: d["frames"][2].update(transform_matrix=[[float("nan")] * 4] * 4), "frame 2 .*finite"),
    (lambda d: d["frames"][2].update(file_path="../secret.png"), "frame 2 .*out of the folder"),
    (lambda d: d["frames"][2].update(file_path="images/000.png"), "frames 0 and 2"),
    (lambda d: d["frames"][2].update(file_path="images/none.png"), "frame 2 .*no picture"),
    (lambda d: d["frames"][2].update(fl_x=-3), "frame 2 .*focal"), (lambda d: d.update(h=40), "frame 0 .*64x48"),
    (lambda d: d.update(camera_model="EQUIRECTANGULAR"), "camera_model"), (lambda d: d.update(frames={}), "no list of frames"),
])  # fmt: skip
def test_transforms_that_cannot_be_right(change, words, tmp_path):
    _edit(made_sets.nerfstudio(tmp_path), change)
    with pytest.raises(CaptureError, match=f"transforms.json.*{words}"):
        read(tmp_path)


def test_all_cameras_of_the_other_convention_are_told_how(tmp_path):
    made_sets.nerfstudio(tmp_path)
    _edit(
        tmp_path,
        lambda d: [f.update(transform_matrix=from_opengl(f["transform_matrix"]).tolist()) for f in d["frames"]],
    )
    with pytest.raises(CaptureError, match="axes=opencv"):
        read(tmp_path)
    _same(read(tmp_path, axes="opencv").cameras, ring())


def test_pickles_are_not_opened(tmp_path):
    made_sets.llff(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(CaptureError, match=r"poses_bounds.npy.*pickle"):
        read(tmp_path)


def test_inconsistent_files_are_refused(tmp_path):
    arrays = dict(np.load(made_sets.neus(tmp_path / "a") / "cameras.npz"))
    np.savez(tmp_path / "a/cameras.npz", **(arrays | {"scale_mat_3": 2 * arrays["scale_mat_3"]}))
    with pytest.raises(CaptureError, match="frame 3"):
        read(tmp_path / "a")
    (made_sets.colmap_text(tmp_path / "b") / "images/004.png").unlink()
    with pytest.raises(CaptureError, match=r"images.txt.*004.png"):
        read(tmp_path / "b")
    path = made_sets.middlebury(tmp_path / "c") / "ring_par.txt"
    path.write_text(path.read_text().replace("5\n", "6\n", 1))
    with pytest.raises(CaptureError, match="6 pictures and names 5"):
        read(tmp_path / "c")
    (made_sets.llff(tmp_path / "d") / "images/002.png").unlink()
    with pytest.raises(CaptureError, match="5 rows"):
        read(tmp_path / "d")


FILES = {
    "nerfstudio": "transforms.json",
    "llff": "poses_bounds.npy",
    "neus": "cameras.npz",
    "middlebury": "ring_par.txt",
    "colmap_text": "sparse/0/images.txt",
    "colmap_binary": "sparse/0/images.bin",
}


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    root = MAKERS[kind](tmp_path)
    path, rng, refused = root / FILES[kind], random.Random(kind), 0
    whole = path.read_bytes()
    for _ in range(100):
        path.write_bytes(damaged(rng, whole))
        try:
            read(root)
        except TwinError as e:
            refused += 1
            assert e.message and e.advice
    assert refused > 20
