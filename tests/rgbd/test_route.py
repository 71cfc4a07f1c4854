"""The third route: colour and depth of a depth camera become the kinds that a stereo capture gives, and a twin against a known truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from flows.records.request import Reconstruction
from flows.run.walk import reconstruct_directly
from stages.base import run_stage
from stages.core.camera import Rig
from stages.core.capture import capture_ref
from stages.core.config import resolve
from stages.core.errors import CaptureError, ConfigError
from stages.core.frames import FrameReader, posed, read_poses
from stages.core.geometry.rigid import inverse, rotation_angle
from stages.core.images import read_disparity
from stages.core.meshes import read_ply
from stages.core.routes import route_of
from stages.core.store import Store
from stages.graph import every_stage, rgbd_stages
from tests.rgbd.depth_capture import write_rgbd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(synthetic_capture: Path, tmp_path_factory) -> Path:
    """The left pictures of the built-in capture, with its true depth as a sensor with 0.5 to 0.7 mm of noise would give it."""
    return write_rgbd(synthetic_capture, tmp_path_factory.mktemp("rgbd") / "thing")


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """(outputs by kind, reports by stage) of the route up to the mesh."""
    store = Store(tmp_path_factory.mktemp("store"))
    chosen = ("rgbd.noise_floor_mm=0.5", "rgbd.noise_at_1m_mm=2", "surface.method=fusion", "surface.rounds=1")
    configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=chosen).stages
    refs, reports = {"capture": capture_ref(folder)}, {}
    for stage in rgbd_stages():
        if stage.name in ("texture", "physics", "package"):
            continue
        result = run_stage(stage, refs, configs[stage.name], store)
        refs |= result.refs
        reports[stage.name] = result.manifest["report"]
    return refs, reports


def test_the_stages_of_the_route():
    names = [s.name for s in rgbd_stages()]
    assert names[:5] == ["rgbd", "masks", "track", "bundle", "surface"] and not {"rectify", "depth", "posed"} & set(
        names
    )


def test_depth_comes_as_disparity_with_the_sensors_noise(made, folder, synthetic_capture):
    refs, reports = made
    reader, rig, true_rig = (
        FrameReader.of(refs),
        Rig.load(refs["rig.json"].path),
        Rig.load(synthetic_capture / "calibration.json"),
    )
    assert not reader.has_right and reader.ids == list(range(16)) and abs(rig.fx - true_rig.fx) < 1e-9
    for k in (0, 7):
        assert (refs["pairs"].path / f"left/{k:06d}.jpg").read_bytes() == (folder / f"rgb/{k:03d}.jpg").read_bytes()
        z = rig.depth_from_disparity(reader.disparity_px(k))
        true = true_rig.depth_from_disparity(read_disparity(synthetic_capture / "gt/disparity" / f"{k:06d}.png"))
        sigma = rig.depth_from_disparity(reader.disparity_px(k) - reader.sigma_px(k)) - z
        mask = cv2.imread(str(synthetic_capture / "gt/masks" / f"{k:06d}.png"), 0) > 127
        error = ((z - true) / sigma)[mask & np.isfinite(z)]
        assert 0.5 < np.median(np.abs(error)) / 0.6745 < 1.3 and np.isfinite(z[mask]).mean() > 0.85
    metrics = reports["rgbd"]["metrics"]
    assert (
        metrics["depth_units_per_metre"] == 1000
        and 0.5 < metrics["noise_measured_mm"] / metrics["noise_expected_mm"] < 1.5
    )
    assert len(reports["rgbd"]["pictures"]) == 1 and not reports["rgbd"]["warnings"]


def test_poses_and_surface_are_true(made, synthetic_capture):
    refs, _ = made
    found, truth = (
        posed(read_poses(refs["poses_refined.json"].path)),
        posed(read_poses(synthetic_capture / "gt/poses.json")),
    )
    assert len(found) == 16
    true_from_found = truth[0] @ inverse(found[0])
    for k, pose in found.items():
        off = inverse(truth[k]) @ true_from_found @ pose
        assert np.degrees(rotation_angle(off)) < 0.6 and np.linalg.norm(off[:3, 3]) < 0.004
    mesh = read_ply(refs["mesh.ply"].path)
    seen = mesh.vertices[mesh.confidence > 0] @ true_from_found[:3, :3].T + true_from_found[:3, 3]
    shape = trimesh.load(synthetic_capture / "gt/mesh.ply", process=False)
    off = np.abs(trimesh.proximity.ProximityQuery(shape).signed_distance(seen[:: max(1, len(seen) // 400)]))
    assert np.median(off) < 0.001 and np.percentile(off, 90) < 0.003


def test_the_route_is_found_and_others_settings_are_refused(folder, synthetic_capture, tmp_path):
    assert (route_of(folder), route_of(synthetic_capture)) == ("rgbd", "stereo")
    ask = Reconstruction(capture=str(folder), out=str(tmp_path / "twin"), until="rgbd", box=(10, 20, 300, 200))
    assert ask.overrides() == ("rgbd.box=[10,20,300,200]",)
    with pytest.raises(ConfigError, match="a depth camera's capture, and depth is no stage"):
        reconstruct_directly(ask.model_copy(update={"settings": ("depth.steps=2",)}))
    with pytest.raises(CaptureError, match="holds no colour pictures"):
        reconstruct_directly(Reconstruction(capture=str(synthetic_capture), out=str(tmp_path / "twin"), route="rgbd"))


def test_depth_that_stands_beside_colour_lands_on_it(synthetic_capture, folder, tmp_path):
    """A depth sensor 30 mm beside the colour lens, with fewer pixels and another focal length: the same depth, but for its edges."""
    other = write_rgbd(synthetic_capture, tmp_path / "beside", frames=3, beside_m=0.03)
    store = Store(tmp_path / "store")
    maps = []
    for root in (folder, other):
        configs = resolve({s.name: s.Config for s in every_stage()}, "preview").stages
        result = run_stage(rgbd_stages()[0], {"capture": capture_ref(root)}, configs["rgbd"], store)
        rig = Rig.load(result.refs["rig.json"].path)
        maps.append(rig.depth_from_disparity(read_disparity(result.refs["disparity"].path / "000001.png")))
    both = np.isfinite(maps[0]) & np.isfinite(maps[1])
    off = np.abs(maps[0] - maps[1])[both]
    assert both.mean() > 0.7 and np.median(off) < 0.002 and np.percentile(off, 95) < 0.01


def test_masks_and_prompt_of_a_bent_lens_are_straightened(synthetic_capture, folder, tmp_path):
    root = shutil.copytree(folder, tmp_path / "bent")
    camera = json.loads((root / "camera.json").read_text())
    (root / "camera.json").write_text(json.dumps({"color": camera | {"distortion": [-0.15, 0.02, 0, 0]}}))
    shutil.copytree(synthetic_capture / "gt/masks", root / "masks")
    configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=("rgbd.max_width=200",)).stages
    result = run_stage(rgbd_stages()[0], {"capture": capture_ref(root)}, configs["rgbd"], Store(tmp_path / "store"))
    rig = Rig.load(result.refs["rig.json"].path)
    assert (rig.width, rig.height) == (200, 150)
    given = result.refs["given"].path
    assert json.loads((given / "given.json").read_text()) == {"masks": True, "depth": False}
    mask = cv2.imread(str(given / "masks/000000.png"), 0) > 127
    raw = cv2.imread(str(root / "masks/000000.png"), 0) > 127
    picture = cv2.imread(str(result.refs["pairs"].path / "left/000000.png"))
    assert picture.shape[1::-1] == (200, 150) and mask.shape == (150, 200)
    assert 1.0 < 4 * mask.sum() / raw.sum() < 1.15  # undoing barrel distortion spreads what is off the centre
    x0, y0, x1, y1 = json.loads(result.refs["prompt.json"].path.read_text())["box_xyxy"]
    v, u = np.nonzero(mask)
    assert abs(u.min() - x0) < 8 and abs(v.max() - y1) < 8 and x1 > u.max() - 2 and y0 < v.min() + 2
