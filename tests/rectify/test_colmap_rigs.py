"""The rig of a COLMAP model as calibration: written by COLMAP's own code, read as the rig it was made from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from flows.records.request import Reconstruction
from flows.run.capture_look import look
from stages.core.capture import find_files
from stages.core.errors import CaptureError
from stages.core.stereo_calibration import rigid
from stages.rectify.calibration_file import read_calibration

SIZE = (640, 480)
R, T = cv2.Rodrigues(np.array([0.004, -0.012, 0.002]))[0], np.array([-0.12, 0.0004, -0.0007])
LENS = {"PINHOLE": [700.0, 702, 320.5, 240.5], "SIMPLE_RADIAL": [700.0, 320.5, 240.5, -0.1],
        "OPENCV": [700.0, 702, 320.5, 240.5, -0.1, 0.02, 0.001, -0.002],
        "OPENCV_FISHEYE": [400.0, 402, 320.5, 240.5, 0.01, 0.002, -0.001, 0.0005]}  # fmt: skip


def write_model(
    folder: Path,
    end: str,
    model: str = "OPENCV",
    names: tuple[str, str] = ("left/", "right/"),
    first: int = 0,
    more: int = 0,
) -> None:
    """Cameras 1 and 2 in one rig, `first` says which of (left, right) is the rig's own frame; pictures by folder; `more` lone cameras."""
    left, right = (1, 2) if first == 0 else (2, 1)
    made, rig = pycolmap.Reconstruction(), pycolmap.Rig(rig_id=1)
    for number in range(1, 3 + more):
        made.add_camera(
            pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], camera_id=number, params=LENS[model])
        )
    between = rigid(R, T) if first == 0 else np.linalg.inv(rigid(R, T))
    rig.add_ref_sensor(made.cameras[1].sensor_id)
    rig.add_sensor(made.cameras[2].sensor_id, pycolmap.Rigid3d(between[:3]))
    made.add_rig(rig)
    for k in range(more):
        lone = pycolmap.Rig(rig_id=2 + k)
        lone.add_ref_sensor(made.cameras[3 + k].sensor_id)
        made.add_rig(lone)
    for k in range(2):
        frame = pycolmap.Frame(frame_id=k + 1, rig_id=1)
        frame.rig_from_world = pycolmap.Rigid3d(np.eye(4)[:3])
        pictures = [pycolmap.Image(name=f"{folder_of}{k}.jpg", image_id=2 * k + n + 1, camera_id=c, frame_id=k + 1)
                    for n, (folder_of, c) in enumerate(zip(names, (left, right), strict=True))]  # fmt: skip
        for p in pictures:
            frame.add_data_id(p.data_id)
        made.add_frame(frame)
        for p in pictures:
            made.add_image(p)
        made.register_frame(k + 1)
    folder.mkdir(parents=True, exist_ok=True)
    (made.write_binary if end == ".bin" else made.write_text)(str(folder))


def capture(root: Path, end: str, where: str = "sparse/0", **model) -> Path:
    """A capture with two pictures a side and the model."""
    for side in ("left", "right"):
        (root / side).mkdir(parents=True)
        for k in range(2):
            cv2.imwrite(str(root / side / f"{k}.jpg"), np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    write_model(root / where, end, **model)
    return root


def found_in(root: Path, unit_m: float = 1.0):
    return read_calibration(find_files(root).calibration, unit_m)


@pytest.mark.parametrize("end", [".bin", ".txt"])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("where", ["", "sparse/0"])
def test_what_colmap_writes_is_read_as_the_rig_it_was(tmp_path, end, first, where):
    found = found_in(capture(tmp_path / "c", end, where, first=first))
    np.testing.assert_allclose(found.right_from_left, rigid(R, T), atol=1e-12)
    for eye in (found.left, found.right):
        np.testing.assert_allclose(eye.K, [[700, 0, 320], [0, 702, 240], [0, 0, 1]], atol=1e-9)
        np.testing.assert_allclose(eye.distortion, [-0.1, 0.02, 0.001, -0.002])
    assert (
        found.size == SIZE
        and found.kind == "COLMAP rig"
        and "one is taken as 1 m" in found.note
        and "120.0 mm" in found.note
    )


@pytest.mark.parametrize(("model", "distortion", "fisheye"), [("PINHOLE", [], False), ("SIMPLE_RADIAL", [-0.1, 0, 0, 0], False),
                                                              ("OPENCV_FISHEYE", [0.01, 0.002, -0.001, 0.0005], True)])  # fmt: skip
def test_lens_models(tmp_path, model, distortion, fisheye):
    found = found_in(capture(tmp_path / "c", ".bin", model=model))
    assert found.left.fisheye == fisheye and found.right.distortion.tolist() == distortion


def test_without_folders_the_geometry_says_which_is_left(tmp_path):
    found = found_in(capture(tmp_path / "c", ".txt", names=("a_", "b_"), first=1))
    np.testing.assert_allclose(found.right_from_left, rigid(R, T), atol=1e-12)


def test_the_unit_can_be_said(tmp_path):
    found = found_in(capture(tmp_path / "c", ".bin"), 1e-2)
    assert found.baseline_m == pytest.approx(np.linalg.norm(T) * 1e-2) and not found.note


def test_another_calibration_comes_first(tmp_path, synthetic_capture):
    folder = capture(tmp_path / "c", ".bin")
    shutil.copyfile(synthetic_capture / "calibration.json", folder / "calibration.json")
    assert [p.name for p in find_files(folder).calibration] == ["calibration.json"]


def test_check_says_that_the_unit_has_to_be_confirmed(tmp_path):
    found = look(Reconstruction(capture=str(capture(tmp_path / "c", ".bin")), out=str(tmp_path / "t")), pictures=False)
    assert found.refused is None and any("without a unit" in w for w in found.odd)
    assert any("cameras.bin + rigs.bin: COLMAP rig, raw, 640x480" in line for line in found.lines())


def test_what_is_no_pair_is_refused_by_name(tmp_path):
    three = capture(tmp_path / "three", ".txt", more=1)
    assert found_in(three).baseline_m > 0, "a lone camera beside the rig is no matter"
    text = (three / "sparse/0/rigs.txt").read_text()
    (three / "sparse/0/rigs.txt").write_text(text.replace("1 2 CAMERA 1", "1 2 CAMERA 3"))
    with pytest.raises(
        CaptureError, match=r"rigs.txt holds no rig of one left and one right camera .found rig 1: cameras \[2, 3\]"
    ):
        found_in(three)
    (three / "sparse/0/rigs.txt").write_text("1 2 CAMERA 1 CAMERA 2 0\n")
    with pytest.raises(CaptureError, match=r"without a place \[2\]"):
        found_in(three)
    (three / "sparse/0/rigs.txt").write_text("1 2 CAMERA 1 CAMERA 2 1 9 0 0 0 -0.1 0 0\n")
    with pytest.raises(CaptureError, match="rig 1, camera 2: its quaternion has the length 9"):
        found_in(three)


def rig_config(
    root: Path, model: str = "OPENCV", first: int = 0, names: tuple[str, str] = ("left/", "right/"), **entries
) -> Path:
    """A capture with rig_config.json of the rig that `write_model` makes; `entries` go into the second camera."""
    between = rigid(R, T) if first == 0 else np.linalg.inv(rigid(R, T))
    x, y, z, w = Rotation.from_matrix(between[:3, :3]).as_quat().tolist()
    lens = {"camera_model_name": model, "camera_params": LENS[model]}
    cameras = [
        {"image_prefix": names[first], "ref_sensor": True, **lens},
        {
            "image_prefix": names[1 - first],
            "cam_from_rig_rotation": [w, x, y, z],
            "cam_from_rig_translation": between[:3, 3].tolist(),
            **lens,
        }
        | entries,
    ]
    folder = capture(root, ".bin")
    shutil.rmtree(folder / "sparse")
    cameras[1] = {k: v for k, v in cameras[1].items() if v is not None}
    (folder / "rig_config.json").write_text(json.dumps([{"cameras": cameras}]))
    return folder


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("names", [("left/", "right/"), ("rig/left/", "rig/right/"), ("cam_a/", "cam_b/")])
def test_rig_config_is_read_as_colmap_reads_it(tmp_path, first, names):
    folder = rig_config(tmp_path / "c", first=first, names=names)
    found = found_in(folder)
    np.testing.assert_allclose(found.right_from_left, rigid(R, T), atol=1e-9)
    np.testing.assert_allclose(found.left.K, [[700, 0, 320], [0, 702, 240], [0, 0, 1]], atol=1e-9)
    assert (
        found.size is None
        and "120.0 mm" in found.note
        and found_in(folder, 1e-2).baseline_m == pytest.approx(0.01 * 0.12, rel=1e-3)
    )
    theirs = pycolmap.read_rig_config(str(folder / "rig_config.json"))[0].cameras
    placed = next(c for c in theirs if not c.ref_sensor).cam_from_rig.matrix()
    np.testing.assert_allclose(placed, (rigid(R, T) if first == 0 else np.linalg.inv(rigid(R, T)))[:3], atol=1e-9)


def test_a_fisheye_in_rig_config_and_a_model_comes_before_it(tmp_path):
    found = found_in(rig_config(tmp_path / "c", model="OPENCV_FISHEYE"))
    assert found.left.fisheye and found.right.distortion.tolist() == [0.01, 0.002, -0.001, 0.0005]
    folder = rig_config(tmp_path / "d")
    write_model(folder / "sparse/0", ".bin")
    assert [p.name for p in find_files(folder).calibration] == ["cameras.bin", "rigs.bin", "images.bin"]


@pytest.mark.parametrize(("entries", "said"), [
    ({"cam_from_rig_rotation": None}, "camera 'right/' has no cam_from_rig_rotation: COLMAP would find it"),
    ({"camera_params": None}, "camera 'right/' has no camera_model_name and camera_params"),
    ({"camera_params": [700.0, 702]}, "2 camera_params"),
    ({"camera_model_name": "THIN_PRISM_FISHEYE"}, "model 'THIN_PRISM_FISHEYE'"),
    ({"cam_from_rig_rotation": [0.5, 0, 0, 0.1]}, "its quaternion has the length 0.5"),
    ({"cam_from_rig_translation": [1, 2]}, "4 numbers of rotation and 2 of translation"),
    ({"ref_sensor": True}, "not exactly one of the cameras has ref_sensor"),
    ({"rolling_shutter": 3}, "unknown entry 'rolling_shutter'"),
    ({"image_prefix": "left/"}, "do not name one left and one right camera"),
])  # fmt: skip
def test_rig_config_that_is_no_calibration_is_refused_by_name(tmp_path, entries, said):
    with pytest.raises(CaptureError, match=said):
        found_in(rig_config(tmp_path / "c", **entries))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"ref_camera_id": 1, "cameras": []}', "as before COLMAP 3.12"),
        ('{"a": 1}', "no list of rigs"),
        ('[{"cameras": [{}]}]', r"1 rigs of \[1\] cameras"),
        ("[", "rig_config.json"),
    ],
)
def test_rig_config_of_other_kinds(tmp_path, content, said):
    folder = rig_config(tmp_path / "c")
    (folder / "rig_config.json").write_text(content)
    with pytest.raises(CaptureError, match=said):
        found_in(folder)


@pytest.mark.parametrize("end", [".bin", ".txt"])
def test_damaged_rigs_are_refused_never_read_wrong(tmp_path, end):
    folder = capture(tmp_path / "c", end)
    path, rng = folder / f"sparse/0/rigs{end}", np.random.default_rng(0)
    whole = path.read_bytes()
    for k in range(500):
        data = bytearray(whole)
        if k % 3 == 0:
            data = data[: int(rng.integers(len(data)))]
        else:
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            found = found_in(folder)
        except CaptureError:
            continue
        assert np.isfinite(found.right_from_left).all() and found.left.K[0, 0] == 700
