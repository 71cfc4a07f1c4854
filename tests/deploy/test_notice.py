"""NOTICE names what the installed wheels bring along: another version, or another bundled library, has to be looked at by a person."""

from __future__ import annotations

import re
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTICE = (ROOT / "NOTICE").read_text()
BUNDLED = {
    "libavcodec": "FFmpeg",
    "libssl": "OpenSSL 1.1.1k",
    "libembree4": "Embree 4",
    "libtbb": "oneTBB",
    "libscipy_openblas": "OpenBLAS",
    "libopenblasp": "OpenBLAS",
    "libgfortran": "libgfortran",
    "libquadmath": "libquadmath",
    "libgomp": "libgomp",
    "libvpx": "libvpx",
    "libspatialindex": "libspatialindex",
    "libusd": "OpenUSD",
}
"""how a library's file begins: how NOTICE names it"""


def _folders() -> list[Path]:
    """The *.libs beside the packages of constraints.txt that are installed here."""
    return [p for p in Path(sysconfig.get_paths()["purelib"]).glob("*.libs") if p.is_dir()]


@pytest.mark.skipif(not _folders(), reason="no wheel here carries libraries in a *.libs folder: Linux does")
def test_every_wheel_that_carries_libraries_is_named_with_them():
    for folder in _folders():
        package = folder.name.removesuffix(".libs").replace("_", "-")
        assert re.search(rf"^(.*, )?{package}\b", NOTICE, re.MULTILINE), package
        for library in folder.iterdir():
            assert all(name in NOTICE for start, name in BUNDLED.items() if library.name.startswith(start)), library


@pytest.mark.parametrize("package", ("opencv-python-headless", "pycolmap"))
def test_it_speaks_of_the_versions_that_are_installed(package):
    version = metadata.version(package)
    assert f"{package} {version}" in NOTICE and f"{package}=={version}" in (ROOT / "constraints.txt").read_text()


def test_parts_under_the_mozilla_licence_are_named():
    texts = {
        d.metadata[
            "Name"
        ]: f"{d.metadata.get('License')} {d.metadata.get('License-Expression')} {d.metadata.get_all('Classifier')}"
        for d in metadata.distributions()
    }
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    ours = {name: text for name, text in texts.items() if name.lower().replace("_", "-") in pinned}
    mozilla = [name for name, text in ours.items() if re.search(r"\bMPL\b|Mozilla Public", text)]
    assert mozilla and all(name in NOTICE for name in mozilla), mozilla
