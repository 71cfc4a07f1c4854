"""Recordings as robots make them (ROS 1, ROS 2, MCAP), written here by the library that robots' users have, become capture folders."""

import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from flows.cli.main import main
from stages.core.camera import Rig
from stages.core.errors import CaptureError, MachineError
from stages.core.images import read_rgb
from stages.rectify.bag_pictures import NotAPicture, pixels
from stages.rectify.bags import Wish, unpack

SECOND = 10**9
START = 1_700_000_000 * SECOND


def _messages(capture, store, kind, frames, late_ns, ros1):
    """(topic, message, stamp) of both eyes; the right camera's clock is `late_ns` behind."""
    types = store.types

    def header(ns):
        return types["std_msgs/msg/Header"](
            **({"seq": 0} if ros1 else {}),
            stamp=types["builtin_interfaces/msg/Time"](sec=ns // SECOND, nanosec=ns % SECOND),
            frame_id="eye",
        )

    rig = Rig.load(capture / "calibration.json")
    for side in ("left", "right"):
        P = np.c_[rig.K, [-rig.fx * rig.baseline_m * (side == "right"), 0, 0]]
        values = (np.zeros(5), rig.K.ravel(), np.eye(3).ravel(), P.ravel())
        arrays = dict(zip("DKRP" if ros1 else "dkrp", values, strict=True))
        for k in range(frames):
            ns = START + k * SECOND // 10 + late_ns * (side == "right")
            info = types["sensor_msgs/msg/CameraInfo"](
                header=header(ns),
                height=rig.height,
                width=rig.width,
                distortion_model="plumb_bob",
                **arrays,
                binning_x=0,
                binning_y=0,
                roi=types["sensor_msgs/msg/RegionOfInterest"](
                    x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
                ),
            )
            yield f"/stereo/{side}/camera_info", info, ns
            path = capture / side / f"{side}{k:06d}.jpg"
            if kind == "compressed":
                data = np.frombuffer(path.read_bytes(), np.uint8)
                image = types["sensor_msgs/msg/CompressedImage"](header=header(ns), format="jpeg", data=data)
                yield f"/stereo/{side}/image_raw/compressed", image, ns
            else:
                rgb = read_rgb(path)
                image = types["sensor_msgs/msg/Image"](
                    header=header(ns),
                    height=rig.height,
                    width=rig.width,
                    encoding="rgb8",
                    is_bigendian=0,
                    step=3 * rig.width,
                    data=rgb.ravel(),
                )
                yield f"/stereo/{side}/{kind}", image, ns


def record(path, capture, form, kind="image_rect_color", frames=4, late_ns=0, skip=()):
    """A recording of a capture's pictures. Raises ImportError without rosbags."""
    from rosbags.rosbag1 import Writer as Bag1
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.rosbag2 import Writer as Bag2
    from rosbags.typesys import Stores, get_typestore

    ros1 = form == "ros1"
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    plugin = StoragePlugin.MCAP if form == "mcap" else StoragePlugin.SQLITE3
    with Bag1(path) if ros1 else Bag2(path, version=9, storage_plugin=plugin) as bag:
        topics = {}
        for topic, message, ns in _messages(capture, store, kind, frames, late_ns, ros1):
            if (topic, (ns - START) // (SECOND // 10)) in skip:
                continue
            if topic not in topics:
                topics[topic] = bag.add_connection(topic, message.__msgtype__, typestore=store)
            raw = (
                store.serialize_ros1(message, message.__msgtype__)
                if ros1
                else store.serialize_cdr(message, message.__msgtype__)
            )
            bag.write(topics[topic], ns, raw)
    return path


@pytest.fixture
def rosbags():
    return pytest.importorskip("rosbags", reason="rosbags (extra `bags`) is not installed: recordings not tested")


@pytest.mark.parametrize("form", ["ros1", "ros2", "mcap"])
@pytest.mark.parametrize("kind", ["image_rect_color", "compressed"])
def test_recordings_become_captures(rosbags, capture, rectify, tmp_path, capsys, form, kind):
    bag = record(tmp_path / ("x.bag" if form == "ros1" else "x"), capture, form, kind, late_ns=2_000_000)
    out = tmp_path / "unpacked"
    assert main(["import", str(bag), "--out", str(out)]) == 0
    assert "4 pairs of /stereo/left/" in capsys.readouterr().out
    made, direct = rectify(out), rectify(capture)
    assert made.report.frames == {"ok": 4}
    for k in range(4):
        left = [read_rgb(m.out / "pairs" / m.rows[k]["left"]).astype(int) for m in (made, direct)]
        assert np.abs(left[0] - left[1]).max() == 0
    assert json.loads((made.out / "rig.json").read_text())["baseline_m"] == pytest.approx(0.063)
    assert json.loads((out / "recording.json").read_text())["apart_ms"] == pytest.approx(2.0)


def test_what_has_no_partner_is_counted_and_nothing_is_paired_beyond_the_tolerance(rosbags, capture, tmp_path):
    bag = record(tmp_path / "x", capture, "mcap", skip={("/stereo/right/image_rect_color", 1)})
    report = unpack(bag, tmp_path / "out")
    assert (
        report.pairs == 3
        and report.alone == {"left": 1, "right": 0}
        and "1 pictures of the left eye" in report.warnings[0]
    )
    assert report.rate_hz == pytest.approx(6.667, abs=0.01)
    late = record(tmp_path / "late", capture, "mcap", late_ns=30_000_000)
    with pytest.raises(CaptureError, match=r"within 5 ms \(nearest: 30\.0 ms\)"):
        unpack(late, tmp_path / "out2")
    assert unpack(late, tmp_path / "out3", Wish(tolerance_s=0.04)).pairs == 4


def test_topics_that_cannot_be_known_or_damage_are_refused_by_name(rosbags, capture, tmp_path):
    bag = record(tmp_path / "x", capture, "ros2")
    with pytest.raises(CaptureError, match="no image topic /stereo/lefd"):
        unpack(bag, tmp_path / "out", Wish("/stereo/lefd", "/stereo/right/image_rect_color"))
    with pytest.raises(CaptureError, match="is there already and not empty"):
        unpack(bag, capture)
    (tmp_path / "not.bag").write_bytes(b"#ROSBAG V2.0\nxx")
    with pytest.raises(CaptureError, match="cannot be opened as a recording"):
        unpack(tmp_path / "not.bag", tmp_path / "out")
    database = next((tmp_path / "x").glob("*.db3"))
    database.write_bytes(database.read_bytes()[:3000])
    with pytest.raises(CaptureError):
        unpack(bag, tmp_path / "out")


def test_without_the_library_the_word_is_clear(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(MachineError, match="rosbags, which is not installed") as caught:
        unpack(tmp_path / "x.bag", tmp_path / "out")
    assert "stereotwin[bags]" in caught.value.advice


def _image(encoding, data, width=8, height=6, step=None, big=0):
    return SimpleNamespace(
        encoding=encoding,
        width=width,
        height=height,
        step=step or data.shape[1] * data.itemsize,
        is_bigendian=big,
        data=data.view(np.uint8).ravel(),
    )


def test_encodings_of_images():
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (6, 8), np.uint8)
    assert (pixels(_image("mono8", gray)) == gray).all()
    padded = np.hstack([gray, np.zeros((6, 4), np.uint8)])
    assert (pixels(_image("8UC1", padded)) == gray).all()
    bgr = rng.integers(0, 255, (6, 8, 3), np.uint8)
    assert (pixels(_image("rgb8", bgr[..., ::-1].reshape(6, 24).copy())) == bgr).all()
    deep = rng.integers(0, 65535, (6, 8)).astype(">u2")
    assert (pixels(_image("mono16", deep, big=1)) == deep.astype(np.uint16)).all()
    # a red picture behind a colour filter: only the sites of red are bright
    red = np.zeros((6, 8), np.uint8)
    red[0::2, 0::2] = 200
    assert pixels(_image("bayer_rggb8", red))[2:4, 2:6].mean((0, 1)).argmax() == 2
    uyvy = np.tile(np.array([128, 90, 128, 90], np.uint8), (6, 4))
    assert (
        np.ptp(pixels(_image("yuv422", uyvy))) <= 2 and cv2.countNonZero(pixels(_image("yuv422", uyvy))[..., 0]) == 48
    )
    for bad in (_image("32FC1", gray), _image("mono8", gray, height=60), _image("bgr8", gray)):
        with pytest.raises(NotAPicture):
            pixels(bad)
