"""`twin view`: what it shows of a twin and of a run that goes on, and the page in a real browser."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from flows.cli import main as cli
from flows.records.run_record import RunRecords, StageRecord
from flows.ui.viewed import look_at
from stages.core.backends import KITS
from stages.core.camera import Rig
from stages.core.errors import StoreError
from stages.core.frames import FramePose, write_poses
from stages.core.images import write_mask
from stages.core.meshes import write_ply
from stages.core.store import Store
from stages.package.files import write_glb
from tests.package.model import boxed, surface

with_viser = pytest.mark.skipif(
    not KITS["viser"].version(), reason="viser is not installed (pip install 'stereotwin[view]')"
)
FINGERPRINT = 64 * "a"
RIG = Rig(64, 48, 80.0, 80.0, 31.5, 23.5, 0.05)


def _poses() -> list[FramePose]:
    pose = np.eye(4)
    pose[2, 3] = -0.3
    return [FramePose(k, pose, "ok", 210, 0.3) for k in range(3)]


@pytest.fixture
def twin(tmp_path):
    """A twin folder, as far as it is looked at."""
    folder = tmp_path / "cup"
    folder.mkdir()
    write_ply(folder / "mesh.ply", surface(boxed()))
    write_glb(folder / "twin.glb", boxed(), surface(boxed()))
    write_poses(folder / "poses.json", _poses())
    RIG.save(folder / "rig.json")
    for k in range(3):
        write_mask(folder / "masks" / f"{k:06d}.png", np.ones((48, 64), bool))
    (folder / "run.json").write_text(json.dumps({"verdict": {"word": "usable", "line": "usable: closed"}}))
    return folder


def _finish(store: Store, record, stage: str, **writers) -> None:
    """The stage is done, with these outputs."""
    with store.lock(FINGERPRINT), store.workspace(FINGERPRINT) as work:
        for kind, write in writers.items():
            write(work / kind.replace("_json", ".json").replace("_npz", ".npz"))
        store.publish(stage, FINGERPRINT, work, tuple(p.name for p in work.iterdir()), {"report": {"warnings": []}})
    record.stages[stage] = StageRecord(state="done", fingerprint=FINGERPRINT)


def _run_under_way(tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    store = Store()
    records = RunRecords(store)
    request = {"capture": str(tmp_path / "captures/jug"), "out": str(tmp_path / "x")}
    record = records.new(request, ["rectify", "track", "bundle"])
    record.state, record.stages["track"].state = "running", "running"
    return store, records, record


def test_of_a_run_as_it_goes_on(tmp_path, monkeypatch):
    store, records, record = _run_under_way(tmp_path, monkeypatch)
    with records.hold(record):
        records.save(record)
        look = look_at(record.id[:20], store)
        assert look().files == {} and look().title == "jug: track is under way" and not look().ended
        _finish(store, record, "rectify", rig_json=RIG.save)
        _finish(store, record, "track", poses_initial_json=lambda p: write_poses(p, _poses()))
        records.save(record)
        assert (
            look().files["poses"].name == "poses_initial.json"
            and set(look().files) == {"rig", "poses"}
            and look().in_object_frame
        )
        _finish(
            store,
            record,
            "bundle",
            poses_json=lambda p: write_poses(p, _poses()),
            points_npz=lambda p: np.savez(p, xyz=np.eye(3)),
        )
        record.state = "done"
        records.save(record)
        assert look().files["poses"].name == "poses.json" and "points" in look().files and look().ended


@with_viser
def test_the_scene_grows_with_the_run_and_is_turned_upright(tmp_path, monkeypatch):
    import viser

    from flows.ui.viewing import Viewing

    store, records, record = _run_under_way(tmp_path, monkeypatch)
    server = viser.ViserServer(host="127.0.0.1", port=18490, verbose=False)
    with records.hold(record):
        records.save(record)
        viewing = Viewing(server, look_at(record.id, store))
        assert viewing.look() and viewing.drawn == ()
        _finish(store, record, "rectify", rig_json=RIG.save)
        _finish(
            store,
            record,
            "bundle",
            poses_json=lambda p: write_poses(p, _poses()),
            points_npz=lambda p: np.savez(p, xyz=np.eye(3)),
        )
        records.save(record)
        assert viewing.look() and viewing.drawn == ("cameras", "points")
        camera = server.scene.get_handle_by_name("/cameras/0")
        assert np.allclose(camera.position, (0, 0, 0.3)) and np.allclose(np.abs(camera.wxyz), (0, 1, 0, 0))
    server.stop()


def test_of_a_twin(twin):
    viewed = look_at(str(twin), Store())()
    assert viewed.title == "cup: usable: closed" and set(viewed.files) == {"poses", "rig", "twin", "mesh", "masks"}
    with pytest.raises(StoreError, match="no twin folder"):
        look_at(str(twin.parent), Store())
    with pytest.raises(StoreError, match="no run is named"):
        look_at("nonsense", Store())


@with_viser
def test_the_scene_holds_what_there_is(twin):
    import viser

    from flows.ui.viewing import Viewing

    server = viser.ViserServer(host="127.0.0.1", port=18480, verbose=False)
    viewing = Viewing(server, look_at(str(twin), Store()))
    assert viewing.look() is False and set(viewing.drawn) == {"cameras", "mesh", "twin"}
    camera = server.scene.get_handle_by_name("/cameras/2")
    assert (
        np.allclose(camera.position, (0, 0, -0.3))
        and np.allclose(camera.wxyz, (1, 0, 0, 0))
        and camera.aspect == 64 / 48
    )
    assert not server.scene.get_handle_by_name("/mesh").visible and server.scene.get_handle_by_name("/twin").visible
    moved = _poses()
    moved[2].object_from_left[2, 3] = -0.5
    write_poses(twin / "poses.json", moved)
    viewing.look()
    assert np.allclose(
        server.scene.get_handle_by_name("/cameras/2").position, (0, 0, -0.5)
    )  # written again, drawn again
    server.stop()


@pytest.mark.skipif(bool(KITS["viser"].version()), reason="viser is installed: its absence is not tested")
def test_without_viser_it_says_how_to_get_it(twin, capsys):
    assert cli.main(["view", str(twin)]) == 5 and "pip install 'stereotwin[view]'" in capsys.readouterr().err


@with_viser
def test_the_page_in_a_browser(twin, browser):
    command = [sys.executable, "-m", "flows.cli", "view", str(twin)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    browser.open(process.stdout.readline().strip())
    browser.see("cup: usable: closed", "cameras", "points", "mesh", "twin")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
