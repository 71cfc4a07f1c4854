"""Damaged inputs for every reader of foreign files, in a process of its own: python -m tests.rectify.fuzz GROUP COUNT FOLDER

Each input must be read or end in a TwinError, within 10 s and with 1 GB more memory than the process has after its imports. The number
of the input that is being read stands in FOLDER/now, so that a death by signal can be repeated.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from stages.core import weights
from stages.core.camera import Rig
from stages.core.capture import find_files
from stages.core.config import resolve
from stages.core.errors import TwinError
from stages.core.frames import read_poses
from stages.core.images import read_disparity, read_mask, read_rgb
from stages.core.mask_reading import read_given
from stages.core.mask_reading import read_mask as read_given_mask
from stages.core.meta_pictures import pictures_named
from stages.core.object_prompt import check_prompt, map_prompt, read_prompt
from stages.core.stereo_calibration import check_calibration
from stages.graph import stages
from stages.rectify.bags import unpack
from stages.rectify.calibration_file import read_calibration
from stages.rectify.geometry import rectifying
from stages.rectify.given import DepthEncoding
from stages.rectify.raw_pairs import decode
from stages.rectify.read_stereo_video import StereoVideoReader
from tests.rectify import maker_files
from tests.rectify.fuzz_damage import damaged, damaged_header
from tests.rectify.fuzz_inputs import (
    KALIBR,
    MIDDLEBURY,
    NVIDIA,
    POSES,
    PROMPT,
    REGISTRY,
    SETTINGS,
    opencv_storage,
    picture,
    raw_json,
    rectified_json,
    videos,
)
from tests.rgbd import fuzz_readers as rgbd_files

SECONDS = 10
GIGABYTE = 1 << 30


def _read_calibration(path: Path) -> None:
    c = read_calibration((path,), size=lambda: (1280, 720)).sized((640, 480))
    check_calibration(c)
    geometry = rectifying(c)
    geometry.left.maps(geometry.rig)


def _read_picture(path: Path) -> None:
    decode(path, 20)
    read_rgb(path)
    read_mask(path)


def _read_prompt(path: Path) -> None:
    prompt = read_prompt(path, None, 0, (Path("six.png"),))
    check_prompt(prompt, (400, 300), 8)
    map_prompt(prompt, lambda uv: uv * 0.9, (360, 270))


def _read_settings(path: Path) -> None:
    resolve({s.name: s.Config for s in stages()}, capture_file=path)


def _read_video(path: Path) -> None:
    for pair in StereoVideoReader(path, 20).stream(lambda k: k < 5):
        assert pair.left is not None
        if pair.frame > 20:
            break


def _listing(rng: random.Random, root: Path) -> None:
    """A capture folder with whatever can have a name, then `find_files`."""
    names = (
        "left",
        "right",
        "left/1.png",
        "right/1.png",
        "left/2.jpg",
        "right/2.jpg",
        "calibration.json",
        "calibration.yml",
        "prompt.json",
        "masks/1.png",
        "stereo.mp4",
        "left.mp4",
        "right.avi",
        "depth/1.png",
        "depth/depth.json",
        "prompt/a.png",
        "calib.txt",
        "twin.yaml",
    )
    for name in rng.sample(names, rng.randint(0, len(names))):
        path = root / name
        if not path.parent.is_dir() or path.is_symlink() or path.exists():
            continue
        kind = rng.choice(
            ("file", "file", "file", "folder", "folder", "pipe", "socket", "nowhere", "loop", "device", "up")
        )
        _make(kind, path, root)
    if rng.random() < 0.3:
        bad = bytes(root / "left").replace(b"\\", b"/") + bytes((rng.choice((0xFF, 0x0A, 0x20)),)) + b"\xfe7.png"
        Path(bad.decode(errors="surrogateescape")).write_bytes(b"x")
    find_files(root)
    read_calibration(find_files(root).calibration)


def _make(kind: str, path: Path, root: Path) -> None:
    if kind == "file":
        path.write_bytes(b"x")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            os.chdir(path.parent)  # a socket's address must be short
            s.bind(path.name)
    else:
        path.symlink_to({"nowhere": "nothing", "loop": path.name, "device": "/dev/zero", "up": root}[kind])


Once = Callable[[random.Random, Path], None]
"""writes one damaged input into a folder, and reads it"""


def _file_reader(name: str, whole: bytes, read: Callable[[Path], object], damage: Callable = damaged) -> Once:
    def once(rng: random.Random, folder: Path) -> None:
        path = folder / name
        path.write_bytes(damage(rng, whole))
        read(path)

    return once


def _ros(side: str) -> Once:
    """One of the pair damaged."""

    def once(rng: random.Random, folder: Path) -> None:
        for name, whole in (("left", maker_files.ROS_LEFT), ("right", maker_files.ROS_RIGHT)):
            (folder / f"{name}.yaml").write_bytes(damaged(rng, whole) if name == side else whole)
        c = read_calibration((folder / "left.yaml", folder / "right.yaml"))
        check_calibration(c)
        rectifying(c)

    return once


def readers(folder: Path, group: str) -> dict[str, Once]:
    """All of them, by name; recordings, which take a library to write, only where they are the group."""
    found: dict[str, Once] = {"listing": _listing}
    for kind in ("png", "jpg", "progressive", "bmp", "tiff", "webp", "ppm", "pfm"):
        whole = picture(kind, np.float32 if kind == "pfm" else np.uint8)
        found[f"picture {kind}"] = _file_reader("x.png", whole, _read_picture, damaged_header)
    calibrations = {
        "rectified.json": rectified_json(folder),
        "raw.json": raw_json(folder),
        "kalibr.yaml": KALIBR,
        "nvidia.yaml": NVIDIA,
        "calib.txt": MIDDLEBURY,
        **{f"opencv.{s}": opencv_storage(s, folder) for s in ("yml", "xml", "json")},
    }
    found |= {f"calibration {n}": _file_reader(n, whole, _read_calibration) for n, whole in calibrations.items()}
    found |= {f"maker {n}": _file_reader(n, whole, _read_calibration) for n, whole in maker_files.FILES.items()}
    found["maker pictures"] = _file_reader("frames_meta.json", maker_files.PICTURES_META, pictures_named)
    found |= {f"maker ros {side}": _ros(side) for side in ("left", "right")}
    found |= {f"rgbd {n}": _file_reader(*what) for n, what in rgbd_files.FILES.items()}
    depth = picture("png", np.uint16)
    found["map mask"] = _file_reader("m.png", picture("png"), lambda p: read_given_mask(p, (64, 48)), damaged_header)
    found["map depth"] = _file_reader(
        "d.png", depth, lambda p: read_given(p, (64, 48), cv2.IMREAD_UNCHANGED), damaged_header
    )
    found["map disparity"] = _file_reader("d.png", depth, read_disparity, damaged_header)
    found["text depth.json"] = _file_reader("depth.json", b'{"kind": "depth", "per_unit": 1000}', DepthEncoding.read)
    found["text prompt.json"] = _file_reader("prompt.json", PROMPT, _read_prompt)
    found["text poses.json"] = _file_reader("poses.json", POSES, read_poses)
    found["text rig.json"] = _file_reader("rig.json", rectified_json(folder), Rig.load)
    found["text twin.yaml"] = _file_reader("twin.yaml", SETTINGS, _read_settings)
    found["text registry.yaml"] = _file_reader("registry.yaml", REGISTRY, lambda p: weights.registry())
    found |= _bags(folder) if group == "bag" else {}
    found |= {
        f"video {n}": _file_reader("stereo.mp4", whole, _read_video, damaged_header)
        for n, whole in videos(folder).items()
    }
    return found


def _bags(folder: Path) -> dict[str, Once]:
    """A recording of two small pictures of each eye, in the three forms; without the library none."""
    try:
        from tests.rectify.test_bags import record
    except ImportError:
        return {}
    capture = folder / "small"
    for side in ("left", "right"):
        (capture / side).mkdir(parents=True)
        for k in range(2):
            (capture / side / f"{side}{k:06d}.jpg").write_bytes(picture("jpg"))
    Rig(64, 48, 90, 90, 32.5, 23.25, 0.06).save(capture / "calibration.json")
    made = {
        form: record(folder / name, capture, form, "compressed", frames=2)
        for form, name in (("ros1", "whole.bag"), ("ros2", "ros2"), ("mcap", "mcap"))
    }
    return {f"bag {form}": _bag_reader(path) for form, path in made.items()}


def _bag_reader(whole: Path) -> Once:
    """The recording with one of its files damaged: that of a ROS 2 bag's messages, or the word that goes with it."""

    def once(rng: random.Random, folder: Path) -> None:
        bag = folder / whole.name
        if whole.is_file():
            bag.write_bytes(damaged(rng, whole.read_bytes()))
        else:
            shutil.copytree(whole, bag)
            victim = rng.choice(sorted(bag.iterdir()))
            victim.write_bytes(damaged(rng, victim.read_bytes()))
        unpack(bag, folder / "out")

    return once


def main(group: str, count: int, folder: Path) -> None:
    """Prints, per reader whose name begins with `group`, how many inputs were read and how many refused; any other end is a failure."""
    chosen = {name: once for name, once in readers(folder, group).items() if name.startswith(group)}
    signal.signal(signal.SIGALRM, _too_slow)
    with Path("/proc/self/statm").open() as f:
        now = int(f.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + GIGABYTE, resource.RLIM_INFINITY))
    print(json.dumps({name: _try(name, once, count, folder) for name, once in chosen.items()}))


def _try(name: str, once: Callable[[random.Random, Path], None], count: int, folder: Path) -> dict[str, int]:
    ends = {"read": 0, "refused": 0}
    for k in range(count):
        (folder / "now").write_text(f"{name} {k}")
        work = folder / name / f"{k}"
        work.mkdir(parents=True)
        os.environ["TWIN_WEIGHTS"] = str(work)
        signal.alarm(SECONDS)
        try:
            once(random.Random(k), work)
            ends["read"] += 1
        except TwinError as e:
            assert e.message and len(str(e)) < 3000, f"{name} {k}: a message of {len(str(e))} characters"
            ends["refused"] += 1
        finally:
            signal.alarm(0)
    return ends


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"an input took more than {SECONDS} s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
