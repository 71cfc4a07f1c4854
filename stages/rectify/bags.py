"""Recordings of robots (ROS 1 and ROS 2 bags, MCAP) unpacked into a capture folder. The only file that imports rosbags (extra `bags`).

Two image topics and the camera_info of each; pictures of both eyes pair by the stamps in their headers, within a tolerance. A picture's
name is the left stamp in nanoseconds, for both eyes, so that order and pairing can be read from the names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CaptureError, MachineError
from stages.core.stereo_calibration import StereoCalibration, check_calibration, parallel
from stages.rectify import calibration_ros
from stages.rectify.bag_pictures import NotAPicture, encoded

IMAGE, COMPRESSED, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
EYES = (
    ("left", "right"),
    ("infra1", "infra2"),
    ("cam0", "cam1"),
    ("camera0", "camera1"),
    ("cam_0", "cam_1"),
    ("camera1", "camera2"),
    ("camera_1", "camera_2"),
)
"""how topics of the two eyes are told apart"""
INSTALL = "install it with: pip install 'stereotwin[bags]'"
LEAST_PAIRS = 1
_DAMAGED = (
    ValueError,
    KeyError,
    IndexError,
    AssertionError,
    OSError,
    EOFError,
    struct.error,
    UnicodeError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
    MemoryError,
)
"""what rosbags raises on damaged recordings beside its own errors; a damaged size asks for 4 GB of a small file"""


@dataclass
class BagReport:
    """What was unpacked."""

    left: str
    right: str
    pairs: int = 0
    alone: dict[str, int] = field(default_factory=dict)
    """pictures of each eye without a partner"""
    apart_ms: float = 0.0
    """largest difference of the stamps of a pair"""
    rate_hz: float | None = None
    calibration: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wish:
    """What the user says of a recording: topics, and how far the stamps of a pair may lie apart."""

    left: str | None = None
    right: str | None = None
    tolerance_s: float = 0.005


def unpack(
    recording: Path, out: Path, wish: Wish = Wish(), progress: Callable[[int, int], None] = lambda done, total: None
) -> BagReport:
    """Write left/, right/, calibration.json and recording.json into the new or empty folder `out`.

    Raises CaptureError for what is no recording, damaged, or holds no stereo pair; MachineError without rosbags.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CaptureError(f"{out} is there already and not empty", "name a new folder with --out")
    with _opened(recording) as reader, _damage(recording):
        topics = {c.topic: c.msgtype for c in reader.connections}
        left, right = _image_topics(topics, wish)
        report = BagReport(left, right)
        infos = [_info(reader, topic, topics) for topic in (left, right)]
        pairs = _synchronised(_stamps(reader, left), _stamps(reader, right), wish.tolerance_s, report)
        calibration = _calibration(infos, left, right)
        check_calibration(calibration)
        _write(reader, report, pairs, out, progress=progress)
    calibration.save(out / "calibration.json", {"note": f"from {recording.name}: {calibration.kind}"})
    report.calibration = calibration.kind
    (out / "recording.json").write_text(json.dumps(dataclasses.asdict(report), indent=1))
    return report


@contextlib.contextmanager
def _opened(recording: Path) -> Iterator[Any]:
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as e:
        raise MachineError(f"{recording} is read by the library rosbags, which is not installed", INSTALL) from e
    if not recording.exists():
        raise CaptureError(f"{recording} is not there", "name a .bag or .mcap file, or the folder of a ROS 2 bag")
    try:
        reader = AnyReader([recording], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except _kinds_of_damage() as e:
        advice = "it must be a .bag or .mcap file, or a folder with metadata.yaml; was it closed properly (ros2 bag reindex)?"
        raise CaptureError(f"{recording} cannot be opened as a recording: {str(e)[:200]}", advice) from e
    try:
        yield reader
    finally:
        reader.close()


def _kinds_of_damage() -> tuple[type[BaseException], ...]:
    """With the errors of the library itself, and of the database that it reads ROS 2 bags with."""
    from rosbags.highlevel import AnyReaderError
    from rosbags.rosbag1 import ReaderError as Error1
    from rosbags.rosbag2 import ReaderError as Error2
    from rosbags.serde import SerdeError

    kinds = (AnyReaderError, Error1, Error2, SerdeError, sqlite3.Error, *_DAMAGED)
    try:
        import apsw
    except ImportError:  # older versions of rosbags read with sqlite3
        return kinds
    return (*kinds, apsw.Error)


@contextlib.contextmanager
def _damage(recording: Path) -> Iterator[None]:
    """Errors of the library on damaged messages as CaptureError."""
    try:
        yield
    except _kinds_of_damage() as e:
        raise CaptureError(
            f"{recording.name} is damaged: {type(e).__name__} {str(e)[:200]}", "copy it again, or repair it"
        ) from e


def _image_topics(topics: dict[str, str], wish: Wish) -> tuple[str, str]:
    images = sorted(t for t, kind in topics.items() if kind in (IMAGE, COMPRESSED) and "depth" not in t.lower())
    if wish.left and wish.right:
        for topic in (wish.left, wish.right):
            if topics.get(topic) not in (IMAGE, COMPRESSED):
                raise CaptureError(f"the recording has no image topic {topic}", f"it has {', '.join(images) or 'none'}")
        return wish.left, wish.right
    found = [(t, other) for t in images for a, b in EYES if (other := _other(t, a, b)) in images]
    best = [p for p in found if topics[p[0]] == topics[p[1]]]
    plain = [p for p in best if not p[0].endswith("/compressed")] or best
    if len(plain) != 1:
        what = (
            f"{len(plain)} pairs of image topics" if plain else "no pair of image topics that are called left and right"
        )
        raise CaptureError(
            f"the recording has {what}: {', '.join(images) or 'no images at all'}",
            "choose with --left TOPIC --right TOPIC",
        )
    return plain[0]


def _other(topic: str, left: str, right: str) -> str:
    """The topic of the other eye; empty where the name does not say left."""
    made = re.sub(rf"(?<![a-z0-9]){left}(?![a-z0-9])", right, topic)
    return made if made != topic else ""


def _info(reader: Any, topic: str, topics: dict[str, str]) -> dict[str, Any]:
    """The camera_info beside an image topic, in the words of ROS's calibration files."""
    parts = topic.split("/")
    names = ["/".join([*parts[:k], "camera_info"]) for k in range(len(parts) - 1, 0, -1)]
    name = next((n for n in names if topics.get(n) == INFO), "")
    if not name:
        raise CaptureError(
            f"the recording has no camera_info beside {topic} (looked for {', '.join(names[:2])})",
            "record camera_info too, or put the pictures into a capture folder with a calibration of your own",
        )
    for connection, _, raw in reader.messages([c for c in reader.connections if c.topic == name]):
        message = reader.deserialize(raw, connection.msgtype)
        D, K, R, P = (np.asarray(getattr(message, n, getattr(message, n.lower(), ()))).tolist() for n in "DKRP")
        return {
            "image_width": message.width,
            "image_height": message.height,
            "distortion_model": message.distortion_model,
            "distortion_coefficients": D,
            "camera_matrix": K,
            "rectification_matrix": R,
            "projection_matrix": P,
        }
    raise CaptureError(f"{name} holds no message", "record camera_info too")


def _calibration(infos: list[dict[str, Any]], left: str, right: str) -> StereoCalibration:
    """Of rectified pictures (image_rect) by P, else of raw ones."""
    source = f"camera_info of {left} and {right}"
    raw = calibration_ros.read(infos[0], infos[1], source, "camera_info of raw pictures")
    rectified = ["rect" in t.removesuffix("/compressed").rsplit("/", 1)[-1] for t in (left, right)]
    if rectified[0] != rectified[1]:
        raise CaptureError(
            f"{left} and {right}: one is rectified, the other is not", "choose two of one kind with --left and --right"
        )
    if not rectified[0]:
        return raw
    P = [np.array(i["projection_matrix"], float).reshape(3, 4) for i in infos]
    found = parallel(P[0][:, :3], P[1][:, :3], float(-P[1][0, 3] / P[1][0, 0]), raw.size, source=source)
    return dataclasses.replace(found, kind="camera_info of rectified pictures")


def _stamps(reader: Any, topic: str) -> list[int]:
    """Nanoseconds of each message in the order of the recording; the time of recording where headers hold none."""
    out = []
    for connection, recorded, raw in reader.messages([c for c in reader.connections if c.topic == topic]):
        out.append(_stamp(reader.deserialize(raw, connection.msgtype), recorded))
    if not out:
        raise CaptureError(f"{topic} holds no picture", "choose another topic with --left and --right")
    return out


def _stamp(message: Any, recorded: int) -> int:
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec or recorded


def _synchronised(left: list[int], right: list[int], tolerance_s: float, report: BagReport) -> list[tuple[int, int]]:
    """Stamps of pairs: each the nearest of the other eye, within the tolerance."""
    near = np.array(sorted(set(right)))
    pairs, taken = [], set()
    for a in sorted(set(left)):
        k = int(np.clip(np.searchsorted(near, a), 1, len(near) - 1)) if len(near) > 1 else 0
        b = int(min(near[max(0, k - 1) : k + 1], key=lambda v: abs(int(v) - a)))
        if abs(b - a) <= tolerance_s * 1e9 and b not in taken:
            pairs.append((a, b))
            taken.add(b)
    report.pairs = len(pairs)
    report.alone = {"left": len(left) - len(pairs), "right": len(right) - len(pairs)}
    if len(pairs) < LEAST_PAIRS:
        apart = min(abs(int(v) - a) for a in left for v in near[:2000]) * 1e-6
        limit = f"within {1e3 * tolerance_s:g} ms (nearest: {apart:.1f} ms)"
        raise CaptureError(
            f"no picture of {report.left} has one of {report.right} {limit}",
            "raise --tolerance if the cameras are triggered together; their clocks may differ",
        )
    report.apart_ms = max(abs(b - a) for a, b in pairs) * 1e-6
    if len(pairs) > 1:
        report.rate_hz = round(1e9 * (len(pairs) - 1) / (pairs[-1][0] - pairs[0][0]), 3)
    for side, count in report.alone.items():
        if count:
            report.warnings.append(
                f"{count} pictures of the {side} eye have no partner within {1e3 * tolerance_s:g} ms and are left out"
            )
    return pairs


def _write(
    reader: Any, report: BagReport, pairs: list[tuple[int, int]], out: Path, progress: Callable[[int, int], None]
) -> None:
    sides = {report.left: ("left", {a: a for a, _ in pairs}), report.right: ("right", {b: a for a, b in pairs})}
    done = 0
    for side, _ in sides.values():
        (out / side).mkdir(parents=True, exist_ok=True)
    for connection, recorded, raw in reader.messages([c for c in reader.connections if c.topic in sides]):
        side, wanted = sides[connection.topic]
        message = reader.deserialize(raw, connection.msgtype)
        name = wanted.pop(_stamp(message, recorded), None)
        if name is None:
            continue
        try:
            data, suffix = encoded(message)
        except NotAPicture as e:
            raise CaptureError(
                f"{connection.topic}: {e}", "record a usual encoding (mono8, bgr8, rgb8, bayer), or JPEG"
            ) from e
        (out / side / f"{name:019d}{suffix}").write_bytes(data)
        done += 1
        progress(done, 2 * len(pairs))
