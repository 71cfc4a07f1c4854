"""The size of a picture is known from its header, and a header that claims too much ends the reading before memory is taken."""

import os
import socket
import struct

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.images import read_disparity, read_gray, read_mask, read_rgb
from stages.core.picture_size import picture_size
from stages.rectify.raw_pairs import decode


def _encoded(suffix, *flags):
    image = np.random.default_rng(0).integers(0, 255, (30, 47, 3), np.uint8)
    return cv2.imencode(suffix, image.astype(np.float32) if suffix == ".pfm" else image, list(flags))[1].tobytes()


FORMATS = {
    ".png": (),
    ".jpg": (),
    ".jpeg": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    ".bmp": (),
    ".tiff": (),
    ".webp": (),
    ".ppm": (),
    ".pfm": (),
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_size_is_what_the_decoder_finds(suffix):
    data = _encoded(suffix, *FORMATS[suffix])
    assert picture_size(data) == (47, 30)
    assert picture_size(data[:4]) is None and picture_size(b"GIF89a" + data) is None


def test_lossless_and_extended_webp_and_exr():
    assert picture_size(_encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)) == (47, 30)
    extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (46).to_bytes(3, "little") + (29).to_bytes(3, "little")
    assert picture_size(extended) == (47, 30)
    exr = b"v/1\x01\x02\0\0\0dataWindow\0box2i\0\x10\0\0\0" + struct.pack("<iiii", 0, 0, 46, 29)
    assert picture_size(exr) == (47, 30)


def _bomb(suffix):
    """A small picture whose header claims 60000 x 50000 px."""
    data = bytearray(_encoded(suffix, cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if suffix == ".jpg" else _encoded(suffix))
    if suffix == ".png":
        struct.pack_into(">II", data, 16, 60000, 50000)
    else:
        struct.pack_into(">HH", data, data.find(b"\xff\xc2") + 5, 50000, 60000)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_bombs_are_refused_by_their_header(tmp_path, suffix):
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(_bomb(suffix))
    for read in (read_rgb, read_gray, read_mask, read_disparity, decode):
        with pytest.raises(CaptureError, match=r"claims 60000x50000 px, 3,000 megapixels; expected at most 100"):
            read(path)


def test_the_limit_is_a_setting(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(_encoded(".png"))
    assert decode(path, 0.00142).shape == (30, 47, 3)
    with pytest.raises(CaptureError, match=r"rectify\.max_megapixels"):
        decode(path, 0.0014)


def test_what_only_looks_like_a_picture(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "text.png").write_text("GIF89a no picture of ours")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket.png")
    words = {
        "pipe": "a named pipe",
        "folder": "a folder",
        "link": "a link to nothing",
        "device": "a device",
        "socket": "a socket",
        "text": "not a readable picture",
    }
    for name, what in words.items():
        for read in (read_rgb, decode):
            with pytest.raises(CaptureError, match=rf"{name}\.png is {what}"):
                read(tmp_path / f"{name}.png")
