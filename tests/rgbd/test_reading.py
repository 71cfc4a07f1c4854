"""What a folder of colour and depth may hold, read right or refused by name; `twin check` of the route."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.cli import main as cli
from stages.core.errors import CaptureError
from stages.core.rgbd_files import find_rgbd, looks_rgbd
from stages.rgbd.camera_file import read_camera
from stages.rgbd.config import RgbdConfig
from stages.rgbd.depth_reading import read_raw_depth
from stages.rgbd.look import look_at
from stages.rgbd.pairing import pair
from stages.rgbd.reading import open_capture

K = [400.0, 0, 159.5, 0, 400.0, 119.5, 0, 0, 1]


def _capture(
    root: Path, colour: list[str], depth: list[str], camera: dict | None = None, dtype=np.uint16, value=500
) -> Path:
    rng = np.random.default_rng(0)
    for names, make in (
        (colour, lambda: rng.integers(0, 255, (240, 320, 3)).astype(np.uint8)),
        (depth, lambda: np.full((240, 320), value, dtype)),
    ):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".npy"):
                np.save(root / name, make())
            else:
                cv2.imwrite(str(root / name), make())
    if camera is not None:
        (root / "camera.json").write_text(json.dumps(camera))
    return root


def _pairs(root: Path) -> list[tuple[str, str | None]]:
    return [(c.name, d and d.name) for c, d in pair(find_rgbd(root), 0.02)[0]]


def test_pairs_of_every_layout(tmp_path):
    flat = _capture(tmp_path / "flat", ["rgb_0.png", "rgb_1.png"], ["depth_0.png", "depth_1.png"])
    assert looks_rgbd(flat) and _pairs(flat) == [("rgb_0.png", "depth_0.png"), ("rgb_1.png", "depth_1.png")]
    lost = _capture(tmp_path / "lost", ["colour/a1.jpg", "colour/a2.jpg"], ["depth/d2.png", "depth/d7.png"])
    assert _pairs(lost) == [("a1.jpg", None), ("a2.jpg", "d2.png")]
    times = [f"rgb/{t}.png" for t in ("1305031102.175304", "1305031102.211214", "1305031102.275326")]
    tum = _capture(
        tmp_path / "tum",
        times,
        [f"depth/{t}.png" for t in ("1305031102.160407", "1305031102.226738", "1305031102.295279")],
    )
    assert [d for _, d in _pairs(tum)] == ["1305031102.160407.png", "1305031102.226738.png", "1305031102.295279.png"]
    (tum / "associations.txt").write_text(
        "# t rgb t depth\n1 rgb/1305031102.175304.png 2 depth/1305031102.226738.png\n"
    )
    assert _pairs(tum) == [("1305031102.175304.png", "1305031102.226738.png")]
    opened = open_capture(find_rgbd(tum), RgbdConfig(intrinsics=(400, 400, 159.5, 119.5)))
    assert opened.units == 5000 and np.nanmedian(opened.depth(0, opened.registering)) == pytest.approx(0.1)
    (tum / "associations.txt").write_text("1 rgb/1305031102.175304.png 2 depth/none.png\n")
    with pytest.raises(CaptureError, match="line 1 names no colour and depth picture"):
        _pairs(tum)


def test_kinds_of_depth_and_their_units(tmp_path):
    for name, dtype, value, metres in (
        ("depth/0.png", np.uint16, 500, 0.5),
        ("depth/0.tif", np.float32, 0.5, 0.5),
        ("depth/0.npy", np.float64, 0.5, 0.5),
        ("depth/0.npy", np.uint16, 500, 0.5),
    ):
        root = _capture(tmp_path / f"{name[-3:]}{np.dtype(dtype).name}", ["rgb/0.png"], [name], {"K": K}, dtype, value)
        opened = open_capture(find_rgbd(root), RgbdConfig())
        assert np.nanmedian(opened.depth(0, opened.registering)) == pytest.approx(metres, abs=1e-6)
    scaled = _capture(tmp_path / "scaled", ["rgb/0.png"], ["depth/0.png"], {"color": {"K": K}, "depth_scale": 4000})
    assert open_capture(find_rgbd(scaled), RgbdConfig()).units == 4000
    (scaled / "depth/depth.json").write_text('{"kind": "depth", "per_unit": 2000}')
    assert open_capture(find_rgbd(scaled), RgbdConfig()).units == 2000
    assert open_capture(find_rgbd(scaled), RgbdConfig(depth_scale=1000)).units == 1000


def test_lenses_of_every_file(tmp_path):
    columns = np.reshape(K, (3, 3)).T.ravel().tolist()
    files = {
        "cam_K.txt": "400 0 159.5\n0 400 119.5\n0 0 1\n",
        "camera_intrinsic.json": json.dumps({"width": 320, "height": 240, "intrinsic_matrix": columns}),
        "camera.json": json.dumps({"color": {"fx": 400, "fy": 400, "ppx": 159.5, "ppy": 119.5, "coeffs": [0] * 5}}),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        assert np.allclose(read_camera(tmp_path / name, None).colour.camera.K.ravel(), K)


@pytest.mark.parametrize(("camera", "words"), [
    ({"color": {"K": K}, "depth": {"K": K}}, "does not say where it stands"),
    ({"color": {"K": K}, "registered": False}, "its lens is not given"),
    ({"color": {"K": K}, "registered": True, "depth": {"K": K}}, "a lens of its own"),
    ({"color": {"K": K}, "depth_scale": 0.001}, "metres per unit"),
    ({"color": {"K": K, "model": "kannala_brandt4"}}, "not supported"),
    ({"color": {"K": K, "focal": 3}}, "unknown entry 'focal'"),
    ({"color": {"K": K}, "depth": {"K": K}, "color_from_depth": {"R": [1, 0, 0, 0, 1, 0, 0, 0, 1], "t_m": [15, 0, 0]}}, "15 m apart"),
    ({"K": np.reshape(K, (3, 3)).T.ravel().tolist()}, "stored transposed"),
    ({"K": K, "width": 640, "height": 480}, "the lens is for 640x480 px"),
])  # fmt: skip
def test_wrong_lenses_are_refused(tmp_path, camera, words):
    root = _capture(tmp_path, ["rgb/0.png"], ["depth/0.png"], camera)
    with pytest.raises(CaptureError, match=words):
        open_capture(find_rgbd(root), RgbdConfig())


def test_what_is_no_depth_is_refused(tmp_path):
    root = _capture(tmp_path, ["rgb/0.png"], ["depth/0.png"], {"K": K}, np.uint8, 90)
    with pytest.raises(CaptureError, match="8 bits: 256 steps are no depth"):
        open_capture(find_rgbd(root), RgbdConfig())
    cv2.imwrite(str(root / "depth/0.png"), np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(CaptureError, match="a picture for the eye"):
        open_capture(find_rgbd(root), RgbdConfig())
    cv2.imwrite(str(root / "depth/0.png"), np.full((120, 160), 500, np.uint16))
    with pytest.raises(CaptureError, match="depth has 160x120 px, colour 320x240 px, and nothing says how"):
        open_capture(find_rgbd(root), RgbdConfig())
    np.save(root / "depth/0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(CaptureError, match="no array of numbers"):
        read_raw_depth(root / "depth/0.npy")


def test_check_knows_the_route(tmp_path, capsys):
    root = _capture(tmp_path / "a", ["rgb/0.png", "rgb/1.png"], ["depth/0.png", "depth/1.png"], {"K": K})
    assert cli.main(["check", str(root)]) == 0
    said = capsys.readouterr().out
    assert (
        "2 pairs of colour and depth, 320x240 px" in said
        and "1000 a metre (whole numbers count as millimetres)" in said
    )
    assert (
        look_at(root, RgbdConfig(depth_scale=50))
        .odd[0]
        .startswith("with 50 units a metre the middle of the pictures is 10.0 m away")
    )
    assert cli.main(["check", str(_capture(tmp_path / "b", ["rgb/0.png"], ["depth/0.png"]))]) == 3
    assert "says nothing of its lens" in capsys.readouterr().out


def test_depth_beside_its_colour_is_told(tmp_path):
    """A box whose depth lies 20 px further right than its picture, as that of a sensor that is not registered does."""
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(60, 90, (480, 640, 3)).astype(np.uint8), (0, 0), 2)
    depth = np.full((480, 640), 900, np.uint16)
    cv2.rectangle(picture, (220, 140), (400, 330), (220, 210, 200), -1)
    odd = []
    for shift in (0, 20):
        z = depth.copy()
        z[140:331, 220 + shift : 401 + shift] = 500
        root = tmp_path / str(shift)
        for k in range(2):
            for folder, image in (("rgb", picture), ("depth", z)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / folder / f"{k}.png"), image)
        (root / "camera.json").write_text(json.dumps({"K": [600, 0, 319.5, 0, 600, 239.5, 0, 0, 1]}))
        odd.append(look_at(root, RgbdConfig()).odd)
    assert not odd[0] and len(odd[1]) == 1 and "moved by -20, 0 px" in odd[1][0]
