"""The second route: pictures with known cameras become the same kinds that stereo captures give, and a mesh."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from flows.cli import main as cli
from flows.records.request import Reconstruction
from flows.run.walk import reconstruct_directly
from stages.base import run_stage
from stages.core.camera import Rig
from stages.core.capture import capture_ref
from stages.core.config import resolve
from stages.core.errors import CaptureError, ConfigError, StoreError
from stages.core.export.write import export_twin
from stages.core.file_units import UNKNOWN
from stages.core.frames import FrameReader, posed, read_poses
from stages.core.images import read_disparity
from stages.core.meshes import read_ply
from stages.core.posed_cameras import from_opengl
from stages.core.routes import route_of
from stages.core.store import Store
from stages.core.twin import assemble_twin
from stages.core.twin_frame import TWIN_FROM_OBJECT
from stages.graph import every_stage, posed_stages
from stages.posed.formats import read

pytestmark = pytest.mark.slow


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
        frames.append(
            {
                "file_path": f"images/{k:03d}.jpg",
                "mask_path": f"masks/{k:03d}.png",
                "transform_matrix": from_opengl(world).tolist(),
            }
        )
    lens = {"fl_x": rig.fx, "fl_y": rig.fy, "cx": rig.cx + 0.5, "cy": rig.cy + 0.5, "w": rig.width, "h": rig.height}
    (out / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return out


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """(outputs of the whole route by kind, reports by stage, the twin folder, the store)."""
    store = Store(tmp_path_factory.mktemp("store"))
    chosen = (
        "posed.metres_per_unit=2",
        "surface.method=fusion",
        "surface.rounds=1",
        "physics.files=off",
        "texture.size=256",
        "package.preview_px=128",
    )
    configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=chosen).stages
    refs, manifests = {"capture": capture_ref(folder)}, {}
    for stage in posed_stages():
        result = run_stage(stage, refs, configs[stage.name], store)
        refs |= result.refs
        manifests[stage.name] = result.manifest
    twin = assemble_twin(tmp_path_factory.mktemp("out") / "twin", refs, manifests)
    return refs, {name: m["report"] for name, m in manifests.items()}, twin, store


def test_the_stages_of_the_route():
    names = [s.name for s in posed_stages()]
    assert names[:3] == ["posed", "surface", "texture"] and "package" in names and "rectify" not in names


def test_kinds_are_those_of_a_stereo_capture(made, folder, synthetic_capture):
    refs, reports, _, _ = made
    reader, rig = FrameReader.of(refs), Rig.load(refs["rig.json"].path)
    assert not reader.has_right and reader.ids == list(range(16)) and (rig.width, rig.height) == (400, 300)
    truth = posed(read_poses(synthetic_capture / "gt/poses.json"))
    turn = np.eye(4)
    turn[:3, :3] = TWIN_FROM_OBJECT
    for k, pose in posed(read_poses(refs["poses.json"].path)).items():
        assert np.abs(turn @ pose - truth[k]).max() < 1e-9  # the twin's frame is the file's world, in metres
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


def test_the_twin_says_what_it_is_worth(made):
    reports, twin = made[1], made[2]
    assert reports["novel_views"]["metrics"]["psnr_db"] > reports["novel_views"]["metrics"]["nearest_copied_db"] + 3
    record = json.loads((twin / "run.json").read_text())
    assert (
        record["verdict"]["facts"]["posed"] == 16 and record["stages"]["surface"]["metrics"]["pixel_on_object_mm"] > 0
    )
    assert (twin / "twin.glb").is_file() and (twin / "novel_views/scores.json").is_file()
    assert "silhouettes agree mean" in (twin / "report.html").read_text()


def test_a_twin_of_unknown_scale_has_no_millimetres(made, tmp_path):
    refs, _, _, store = made
    manifests = {s: store.manifest(s, fingerprint) for s, fingerprint, _ in store.results()}
    manifests["posed"]["report"]["metrics"]["unit"] = UNKNOWN
    twin = assemble_twin(tmp_path / "twin", refs, manifests)
    record, page = json.loads((twin / "run.json").read_text()), (twin / "report.html").read_text()
    assert " units" in record["verdict"]["line"] and " mm" not in record["verdict"]["line"]
    figures = record["stages"]["surface"]["metrics"]
    assert figures["pixel_on_object_units"] > 0 and not any(
        k.endswith("_mm") for s in record["stages"].values() for k in s["metrics"]
    )
    assert not re.search(r">[0-9.]+ mm<", page) and re.search(r">[0-9.]+ units<", page)


def test_the_twin_goes_out_to_colmap_and_comes_back(made, folder, tmp_path):
    _, _, twin, store = made
    assert export_twin(twin, "colmap", tmp_path / "out", store) == 16
    theirs, ours = read(tmp_path / "out"), read(folder)
    for a, b in zip(theirs.cameras, ours.cameras, strict=True):
        assert np.abs(a.K - b.K).max() < 1e-9 and a.picture.read_bytes() == b.picture.read_bytes()
        assert np.abs(a.world_from_camera[:3, 3] - 2 * b.world_from_camera[:3, 3]).max() < 1e-9
    exported = sorted((tmp_path / "out/masks").iterdir())
    assert not (twin / "masks").exists(), "a preview's stay in the store"
    for path in exported:
        mask = cv2.imread(str(path), 0) > 0
        assert (
            0.9
            < (mask & (cv2.imread(str(folder / "masks" / f"{int(path.name[:6]):03d}.png"), 0) > 127)).sum() / mask.sum()
            <= 1
        )
    with pytest.raises(StoreError, match="there already"):
        export_twin(twin, "colmap", tmp_path / "out", store)


def test_reconstruct_decides_by_what_lies_there(folder, synthetic_capture, tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    assert (route_of(folder), route_of(synthetic_capture)) == ("posed", "stereo")

    def ask(**more):
        return Reconstruction(capture=str(folder), out=str(tmp_path / "twin"), until="posed", **more)

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


def test_a_twin_and_a_store_inside_the_folder_change_nothing(made, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "thing")
    before = capture_ref(copy).fingerprint
    shutil.copytree(made[2], copy / "twin")
    shutil.copytree(made[3].root / "artifacts/posed", copy / "store/artifacts/posed")
    (copy / "store/locks").mkdir()
    assert capture_ref(copy).fingerprint == before
    (copy / "images/000.jpg").write_bytes((copy / "images/001.jpg").read_bytes())
    assert capture_ref(copy).fingerprint != before


def test_given_depth_becomes_disparity(folder, synthetic_capture, tmp_path):
    copy, rig = shutil.copytree(folder, tmp_path / "thing"), Rig.load(synthetic_capture / "calibration.json")
    data = json.loads((copy / "transforms.json").read_text())
    (copy / "depths").mkdir()
    truth = {}
    for k, frame in enumerate(data["frames"]):
        truth[k] = rig.depth_from_disparity(read_disparity(synthetic_capture / "gt/disparity" / f"{k:06d}.png"))
        levels = np.nan_to_num(truth[k] / 2 / 1e-4).round().astype(np.uint16)  # one unit is 2 m
        cv2.imwrite(str(copy / "depths" / f"{k:03d}.png"), levels)
        frame["depth_file_path"] = f"depths/{k:03d}.png"
    (copy / "transforms.json").write_text(json.dumps({**data, "depth_unit_scale_factor": 1e-4}))
    chosen = ("posed.metres_per_unit=2", "posed.check_silhouettes=false")
    configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=chosen).stages
    result = run_stage(posed_stages()[0], {"capture": capture_ref(copy)}, configs["posed"], Store(tmp_path / "store"))
    reader, own = FrameReader.of(result.refs), Rig.load(result.refs["rig.json"].path)
    for k in (0, 7):
        depth = own.depth_from_disparity(reader.disparity_px(k))
        assert (np.isfinite(depth) == np.isfinite(truth[k])).all() and np.nanmax(np.abs(depth - truth[k])) < 5e-4
    assert result.manifest["report"]["metrics"]["with_depth"] == 16


def test_a_picture_without_a_mask_is_refused_by_name(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "thing")
    data = json.loads((copy / "transforms.json").read_text())
    del data["frames"][3]["mask_path"]
    (copy / "transforms.json").write_text(json.dumps(data))
    configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=("posed.masks=given",)).stages
    with pytest.raises(CaptureError, match=r"images/003.jpg.*mask"):
        run_stage(posed_stages()[0], {"capture": capture_ref(copy)}, configs["posed"], Store(tmp_path / "store"))


def test_check_tells_before_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    assert cli.main(["check", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "16 of transforms.json, format nerfstudio" in said and "16 from given" in said and "nothing odd" in said
    copy = shutil.copytree(folder, tmp_path / "thing")
    picture, mask = copy / "images/004.jpg", copy / "masks/004.png"
    for path in (picture, mask):
        cv2.imwrite(str(path), cv2.imread(str(path))[::-1, ::-1])
    cli.main(["check", str(copy)])
    assert "images/004.jpg does not fit the others: turn by 180 degrees" in capsys.readouterr().out
    right = cv2.imread(str(folder / "masks/004.png"), 0) > 127
    for asked in (False, True):
        chosen = (f"posed.apply_repair={str(asked).lower()}",)
        configs = resolve({s.name: s.Config for s in every_stage()}, "preview", overrides=chosen).stages
        result = run_stage(
            posed_stages()[0], {"capture": capture_ref(copy)}, configs["posed"], Store(tmp_path / "store")
        )
        reader = FrameReader.of(result.refs)
        assert (reader.mask(4) == (right if asked else right[::-1, ::-1])).all()
        assert any(("as asked" in w) == asked and "images/004.jpg" in w for w in result.manifest["report"]["warnings"])
