"""The package stage, the twin folder it goes to, and the page that shows it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core import twin as twin_module
from stages.core.camera import Rig
from stages.core.errors import StageError, StoreError
from stages.core.frames import FramePose, posed, read_poses, write_poses, write_table
from stages.core.glb import read_glb
from stages.core.images import write_disparity, write_mask, write_sigma
from stages.core.meshes import SurfaceMesh, read_ply, write_ply, write_textured
from stages.core.report import write_report, write_run_json
from stages.core.report.labels import label, seconds_text, value_text
from stages.core.report.viewer_data import mesh_block, viewer_block
from stages.core.store import ArtifactRef, Store
from stages.core.twin import assemble_twin
from stages.package.config import PackageConfig
from stages.package.stage import STAGE
from tests.package.model import boxed, surface

CONFIG = PackageConfig(preview_px=96)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, ArtifactRef]:
    """Made-up outputs of the stages that end in the twin folder."""
    out = tmp_path_factory.mktemp("inputs")
    write_ply(out / "mesh.ply", surface(boxed()))
    write_textured(out / "textured", boxed(), np.full((96, 96), 3, np.uint8))
    Rig(64, 48, 80.0, 80.0, 31.5, 23.5, 0.05).save(out / "rig.json")
    pose = np.eye(4)
    pose[2, 3] = -0.3
    write_poses(
        out / "poses_refined.json",
        [FramePose(0, pose, "ok", 210, 0.3), FramePose(1, None, "lost", 4, None, "left the view <b>")],
    )
    rows = [{"frame": k, "status": "ok", "trust": 0.9, "area_px": 100, "reason": ""} for k in range(2)]
    write_table(out / "masks.parquet", rows)
    write_mask(out / "masks_final/000000.png", np.ones((48, 64), bool))
    write_disparity(out / "disparity/000000.png", np.full((48, 64), 20.0))
    write_sigma(out / "disparity/sigma/000000.png", np.full((48, 64), 0.1))
    (out / "physics").mkdir()
    (out / "physics/physics.json").write_text('{"files": false, "reason": "made up"}')
    return {p.name: ArtifactRef(p.name, p, f"digest of {p.name}") for p in out.iterdir()}


@pytest.fixture(scope="module")
def packed(inputs, tmp_path_factory):
    return run_stage(STAGE, inputs, CONFIG, Store(tmp_path_factory.mktemp("store")), StageContext())


@pytest.fixture
def run(inputs, packed):
    """(refs, manifests, extra) of a run whose masks stage gave a warning."""
    masks = {
        "stage": "masks",
        "version": 1,
        "seconds": 3.2,
        "peak_memory_mb": 300,
        "settings": {"method": "colour"},
        "outputs": {"masks.parquet": "x"},
        "report": {
            "method": "colour",
            "metrics": {"area_mean_px": 3072.0},
            "warnings": ["frame 1 <script>alert(1)</script>"],
        },
    }
    return (
        {**inputs, **packed.refs},
        {"masks": masks, "package": packed.manifest},
        {"capture": "box", "profile": "preview", "cached": ["masks"]},
    )


def test_stage_writes_every_format(packed):
    folder = packed.refs["twin"].path
    names = {p.name for p in folder.iterdir()}
    assert {
        "twin.glb",
        "twin.obj",
        "twin.mtl",
        "twin.png",
        "twin.ply",
        "mesh.ply",
        "provenance.png",
        "previews",
    } <= names
    assert len(list((folder / "previews").iterdir())) >= 8
    assert packed.manifest["report"]["metrics"]["size_mm"] == "40.0 x 60.0 x 80.0"


def test_usd_off_and_missing(inputs, tmp_path, monkeypatch):
    out = run_stage(STAGE, inputs, PackageConfig(usd="off", preview_px=64), Store(tmp_path), StageContext())
    assert not (out.refs["twin"].path / "twin.usdz").exists()
    monkeypatch.setattr("stages.package.stage.usd_version", lambda: "")
    out = run_stage(STAGE, inputs, PackageConfig(preview_px=64), Store(tmp_path), StageContext())
    assert "pip install" in out.manifest["report"]["warnings"][0]
    with pytest.raises(StageError, match="usd-core"):
        run_stage(STAGE, inputs, PackageConfig(usd="on"), Store(tmp_path), StageContext())


def test_twin_folder(run, tmp_path):
    out = assemble_twin(tmp_path / "out", *run)
    names = {p.name for p in out.iterdir()}
    assert {
        "mesh.ply",
        "twin.glb",
        "twin.obj",
        "poses.json",
        "rig.json",
        "masks",
        "disparity",
        "previews",
        "run.json",
        "report.html",
    } <= names
    assert [p.name for p in (out / "disparity").iterdir()] == ["000000.png"], "sigma stays in the store"
    record = json.loads((out / "run.json").read_text())
    assert record["stages"]["masks"]["cached"]
    assert record["stages"]["masks"]["seconds"] == 3.2
    assert record["versions"]["numpy"] == np.__version__
    (out / "mesh.ply").write_bytes(b"edited")
    assert run[0]["twin"].path.joinpath("mesh.ply").read_bytes() != b"edited", "the store keeps its own copy"


@pytest.mark.parametrize("packaged", [True, False])
def test_mesh_and_poses_of_a_twin_fit_each_other_and_are_y_up(run, inputs, tmp_path, packaged):
    """Also of a run that stopped before `package`. What a camera sees does not change; scorers read these two files."""
    refs = run[0] if packaged else {k: v for k, v in run[0].items() if k != "twin"}
    out = assemble_twin(tmp_path / "out", refs, *run[1:])

    def in_camera(poses, mesh):
        return (read_ply(mesh).vertices - posed(read_poses(poses))[0][:3, 3]) @ posed(read_poses(poses))[0][:3, :3]

    before = in_camera(inputs["poses_refined.json"].path, inputs["mesh.ply"].path)
    assert np.allclose(in_camera(out / "poses.json", out / "mesh.ply"), before, atol=1e-9)
    assert np.allclose(read_ply(out / "mesh.ply").vertices, surface(boxed()).vertices * [1, -1, -1], atol=1e-7), "y up"
    assert [p.status for p in read_poses(out / "poses.json")] == ["ok", "lost"]
    assert "y up" in json.loads((out / "poses.json").read_text())["convention"]
    assert json.loads((out / "run.json").read_text())["frames"]["files"]["mesh.ply"] == "twin"


def test_twin_folder_is_replaced_and_notes_stay(run, tmp_path):
    out = assemble_twin(tmp_path / "out", *run)
    (out / "notes.txt").write_text("mine")
    (out / "masks/000099.png").write_bytes(b"old")
    assemble_twin(out, *run)
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "masks/000099.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


def test_foreign_folder_is_refused(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="no twin"):
        assemble_twin(tmp_path, *run)
    assert (tmp_path / "thesis.tex").exists()


def test_failure_in_the_middle_keeps_the_old_twin(run, tmp_path, monkeypatch):
    out = assemble_twin(tmp_path / "out", *run)
    before = (out / "run.json").read_bytes()

    def killed(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(twin_module, "write_report", killed)
    with pytest.raises(StoreError, match="no space"):
        assemble_twin(out, *run)
    assert (out / "run.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_kill_between_the_two_renames_is_mended(run, tmp_path):
    out = assemble_twin(tmp_path / "out", *run)
    (out / "notes.txt").write_text("mine")
    out.rename(tmp_path / ".out.old-123")
    (tmp_path / ".out.partial-123").mkdir()
    assemble_twin(out, *run)
    assert (out / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_page_stands_alone_and_escapes(run, tmp_path):
    page = (assemble_twin(tmp_path / "out", *run) / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["']?(?!data:)[^"'>\s]*[./]""", page), "nothing is fetched"
    assert "http" not in re.sub(r"data:[^\"']*", "", page)
    assert "<script>alert(1)" not in page
    assert "frame 1 &lt;script&gt;" in page
    assert "left the view &lt;b&gt;" in page
    assert "1 of 2" in page
    assert "from the store" in page
    data = json.loads(re.search(r'<script type="application/json" id="twin-data">(.*?)</script>', page, re.S)[1])
    assert data["cameras"][0]["frame"] == 0
    assert data["vertices"] == len(read_glb(tmp_path / "out/twin.glb").position)


def test_page_and_record_open_with_the_verdict(run, tmp_path):
    """Two frames, one of them lost: not to be used, and said before any figure."""
    out = assemble_twin(tmp_path / "out", *run)
    found = json.loads((out / "run.json").read_text())["verdict"]
    assert found["word"] == "do not use" and "1 of 2 frames" in found["line"] and found["facts"]["frames"] == 2
    page = (out / "report.html").read_text()
    banner = re.search(r'<div class="verdict (\w+)" role="status"><b>(.*?)</b> <span>(.*?)</span>', page)
    assert banner[1] == "refused" and banner[2] == "do not use" and "1 of 2 frames" in banner[3]
    assert page.index(banner[0]) < page.index('class="cards"')
    assert "size, at least" in page, "of a twin that is not whole"
    assert f"{100 * found['facts']['missing_share']:.0f} %</b><span>of its surface missing or never seen" in page, (
        "one figure for it"
    )


def test_page_draws_the_rim_of_an_open_mesh_and_the_next_view(run, inputs, tmp_path):
    refs = {k: v for k, v in run[0].items() if k != "twin"}
    (tmp_path / "in").mkdir()
    mesh = surface(boxed())
    write_ply(tmp_path / "in/mesh.ply", SurfaceMesh(mesh.vertices, mesh.faces[2:], mesh.colour, mesh.confidence))
    refs["mesh.ply"] = ArtifactRef("mesh.ply", tmp_path / "in/mesh.ply", "open")
    out = assemble_twin(tmp_path / "out", refs, *run[1:])
    facts = json.loads((out / "run.json").read_text())["verdict"]["facts"]
    (out / "twin.glb").write_bytes((run[0]["twin"].path / "twin.glb").read_bytes())
    block = viewer_block(out, facts)
    ends = np.frombuffer(base64.b64decode(block["rim"]), "<f4").reshape(-1, 2, 3)
    assert len(ends) == facts["open_edges"] > 0
    corners = read_ply(out / "mesh.ply").vertices
    assert np.linalg.norm(ends.reshape(-1, 1, 3) - corners, axis=2).min(1).max() < 1e-6
    eye, middle = np.array(block["next"]["centre"]), read_ply(out / "mesh.ply").vertices.mean(0)
    seen_from = posed(read_poses(out / "poses.json"))[0][:3, 3]
    assert (eye - middle) @ (seen_from - middle) < 0, "from the side that no camera saw"
    assert viewer_block(out)["rim"] == "" and viewer_block(out)["next"] is None


def test_page_of_a_run_that_stopped_early(tmp_path):
    manifests = {
        "depth": {"seconds": None, "report": {"pictures": [["gone", "pictures/none.jpg"]], "metrics": {"a_px": None}}}
    }
    page = write_report(tmp_path, manifests, {"depth": tmp_path}, tmp_path, {}).read_text()
    assert "ended before the package stage" in page
    assert "the picture is missing" in page
    assert json.loads(write_run_json(tmp_path, manifests, {}).read_text())["seconds_total"] == 0


def test_viewer_block_is_the_mesh(packed):
    mesh = read_glb(packed.refs["twin"].path / "twin.glb")
    block = mesh_block(mesh)
    position = (
        np.frombuffer(base64.b64decode(block["position"]), "<u2").reshape(-1, 3) / 65535 * block["span"] + block["low"]
    )
    assert np.abs(position - mesh.position).max() < 1e-6
    assert np.array_equal(np.frombuffer(base64.b64decode(block["index"]), "<u2").reshape(-1, 3), mesh.triangles)
    assert not block["wide"]


def test_labels():
    assert label("row_offset_px") == ("row offset", "px")
    assert label("faces") == ("faces", "")
    assert value_text(0.76234, "px") == "0.7623 px"
    assert value_text(None) == "–"
    assert value_text(12345) == "12,345"
    assert (seconds_text(4.24), seconds_text(185.0), seconds_text(3720.0)) == ("4.2 s", "3 min 05 s", "1 h 02 min")


@pytest.mark.parametrize("bad", [{"jpeg_quality": 0}, {"roughness": 1.5}, {"preview_px": 10}])
def test_settings_out_of_range(bad):
    with pytest.raises(ValueError):
        PackageConfig(**bad)


def test_viewer_is_plain_javascript():
    """No module, no library, no request: it must run from file://."""
    text = Path(twin_module.__file__).with_name("report").joinpath("viewer.js").read_text()
    assert not re.search(r"\b(import|require|fetch|XMLHttpRequest)\b", text)
