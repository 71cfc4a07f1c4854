"""The second route: pictures with known cameras become the same kinds that stereo captures give, and a mesh."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from flows.reconstruct import reconstruct_directly
from flows.request import Reconstruction
from stages.base import run_stage
from stages.core.camera import Rig
from stages.core.capture import capture_ref
from stages.core.config import resolve
from stages.core.errors import CaptureError, ConfigError
from stages.core.frames import FrameReader, posed, read_poses
from stages.core.meshes import read_ply
from stages.core.posed_cameras import from_opengl
from stages.core.routes import route_of
from stages.core.store import Store
from stages.core.twin_frame import TWIN_FROM_OBJECT
from stages.graph import every_stage, posed_stages


@pytest.fixture(scope="module")
def folder(synthetic_capture: Path, tmp_path_factory) -> Path:
    """The left pictures of the built-in capture with their true cameras and masks, as nerfstudio has them; one unit is 2 m."""
    out = tmp_path_factory.mktemp("posed") / "thing"
    rig = Rig.load(synthetic_capture / "calibration.json")
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True)
    frames = []
    for k, pose in posed(read_poses(synthetic_capture / "gt/poses.json")).items():
        shutil.copyfile(synthetic_capture / "left" / f"left{k:06d}.jpg", out / "images" / f"{k:03d}.jpg")
        shutil.copyfile(synthetic_capture / "gt/masks" / f"{k:06d}.png", out / "masks" / f"{k:03d}.png")
        world = pose.copy()
        world[:3, 3] /= 2
        frames.append({"file_path": f"images/{k:03d}.jpg", "mask_path": f"masks/{k:03d}.png",
                       "transform_matrix": from_opengl(world).tolist()})
    lens = {"fl_x": rig.fx, "fl_y": rig.fy, "cx": rig.cx + 0.5, "cy": rig.cy + 0.5, "w": rig.width, "h": rig.height}
    (out / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return out


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """(outputs of posed and surface by kind, their reports by stage)."""
    store = Store(tmp_path_factory.mktemp("store"))
    chosen = ("posed.metres_per_unit=2", "surface.method=fusion", "surface.rounds=2")
    configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=chosen).stages
    refs, reports = {"capture": capture_ref(folder)}, {}
    for stage in posed_stages()[:2]:
        result = run_stage(stage, refs, configs[stage.name], store)
        refs |= result.refs
        reports[stage.name] = result.manifest["report"]
    return refs, reports


def test_the_stages_of_the_route():
    names = [s.name for s in posed_stages()]
    assert names[:3] == ["posed", "surface", "texture"] and "package" in names and "rectify" not in names


def test_kinds_are_those_of_a_stereo_capture(made, folder, synthetic_capture):
    refs, reports = made
    reader, rig = FrameReader.of(refs), Rig.load(refs["rig.json"].path)
    assert not reader.has_right and reader.ids == list(range(16)) and (rig.width, rig.height) == (400, 300)
    truth = posed(read_poses(synthetic_capture / "gt/poses.json"))
    turn = np.eye(4)
    turn[:3, :3] = TWIN_FROM_OBJECT
    for k, pose in posed(read_poses(refs["poses.json"].path)).items():
        assert np.abs(turn @ pose - truth[k]).max() < 1e-9             # the twin's frame is the file's world, in metres
        assert (refs["pairs"].path / f"left/{k:06d}.jpg").read_bytes() == (folder / f"images/{k:03d}.jpg").read_bytes()
        assert (reader.mask(k) == (cv2.imread(str(folder / f"masks/{k:03d}.png"), 0) > 127)).all()
        assert not np.isfinite(reader.disparity_px(k)).any()
    metrics = reports["posed"]["metrics"]
    assert metrics["unit"] == "2 m" and metrics["silhouettes_agree_mean"] > 0.9 and metrics["proposed_repair"] == "none"
    assert [p for _, p in reports["posed"]["pictures"]] == ["pictures/cameras.jpg"]


def test_a_surface_without_depth(made, synthetic_capture):
    mesh = read_ply(made[0]["mesh.ply"].path)
    truth = trimesh.load(synthetic_capture / "gt/mesh.ply", process=False)
    seen = mesh.vertices[mesh.confidence > 0] @ TWIN_FROM_OBJECT.T
    off = np.abs(trimesh.proximity.ProximityQuery(truth).signed_distance(seen[:: max(1, len(seen) // 400)]))
    size = np.linalg.norm(np.ptp(truth.vertices, axis=0))
    assert np.median(off) < 0.01 * size and np.percentile(off, 90) < 0.04 * size


def test_reconstruct_decides_by_what_lies_there(folder, synthetic_capture, tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    assert (route_of(folder), route_of(synthetic_capture)) == ("posed", "stereo")
    ask = lambda **more: Reconstruction(capture=str(folder), out=str(tmp_path / "twin"), until="posed", **more)  # noqa: E731
    assert reconstruct_directly(ask()) is None
    assert [s for s, _, _ in Store().results()] == ["posed"]
    with pytest.raises(ConfigError, match="no stage of that route"):
        reconstruct_directly(ask(settings=("depth.steps=2",)))
    with pytest.raises(ConfigError, match="no stage of that route"):
        reconstruct_directly(ask(box=(0, 0, 9, 9)))
    with pytest.raises(CaptureError, match="no pictures"):
        reconstruct_directly(ask(route="stereo"))
    with pytest.raises(CaptureError, match="no cameras"):
        reconstruct_directly(Reconstruction(capture=str(synthetic_capture), out=str(tmp_path / "twin"), route="posed"))


def test_a_picture_without_a_mask_is_refused_by_name(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "thing")
    data = json.loads((copy / "transforms.json").read_text())
    del data["frames"][3]["mask_path"]
    (copy / "transforms.json").write_text(json.dumps(data))
    configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=("posed.masks=given",)).stages
    with pytest.raises(CaptureError, match=r"images/003.jpg.*mask"):
        run_stage(posed_stages()[0], {"capture": capture_ref(copy)}, configs["posed"], Store(tmp_path / "store"))
