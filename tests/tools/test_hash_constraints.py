"""constraints-hashes.txt: complete, of the same versions as constraints.txt, and pip keeps to it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import hash_constraints
from tools.hash_constraints import RESULT, SOURCE, TARGETS, WITHOUT, missing_requirements, pinned, rendered


def test_every_pinned_version_has_its_hashes_and_nothing_else_has():
    """After a change of constraints.txt: python -m tools.hash_constraints"""
    found = re.findall(r"^(\S.*?)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", RESULT.read_text(), re.MULTILINE)
    assert [line for line, _ in found] == pinned(SOURCE.read_text())
    assert f"# for {TARGETS[0]}\n" in RESULT.read_text() and not any(
        line.startswith(f"{name}==") for line, _ in found for name in WITHOUT
    )


def _file(name: str, version: str, requires: list[str], digest: str = "0" * 64) -> dict:
    return {
        "metadata": {"name": name, "version": version, "requires_dist": requires},
        "download_info": {"archive_info": {"hashes": {"sha256": digest}}},
    }


def test_what_a_package_needs_on_one_python_only_is_missed():
    requires = [
        'b>=1; python_version < "3.12"',
        'c; python_full_version < "3.11.3"',
        'd; extra == "more"',
        'e; sys_platform == "win32"',
        "torch",
    ]
    files = [_file("a", "1", requires)]
    assert missing_requirements(files, TARGETS[0]) == ["b", "c"] and missing_requirements(files, TARGETS[1]) == []
    assert missing_requirements([*files, _file("B", "1", []), _file("c", "1", [])], TARGETS[0]) == []


def test_pip_installs_what_is_listed_and_refuses_another_file(tmp_path):
    """With a package made here, so that no index is asked."""
    wheel = tmp_path / "tiny_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("tiny_thing.py", "")
        z.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        z.writestr("tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    for digest, code in ((hashlib.sha256(wheel.read_bytes()).hexdigest(), 0), ("0" * 64, 1)):
        listed = tmp_path / f"hashes-{code}.txt"
        listed.write_text(rendered(["tiny-thing==1.0"], {TARGETS[0]: [_file("tiny_thing", "1.0", [], digest)]}))
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-index",
            "--find-links",
            str(tmp_path),
            "--target",
            str(tmp_path / "out"),
            "--require-hashes",
            "--no-deps",
            "-r",
            str(listed),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code and ("DO NOT MATCH THE HASHES" in done.stderr) == bool(code), done.stderr


def test_a_list_that_lacks_something_is_not_written(monkeypatch, tmp_path):
    monkeypatch.setattr(hash_constraints, "RESULT", tmp_path / "hashes.txt")
    monkeypatch.setattr(hash_constraints, "chosen_files", lambda wanted, target: [_file("a", "1", ["b"])])
    with pytest.raises(SystemExit, match=r"lacks what its packages need on linux x86_64 3.11: b"):
        hash_constraints.main()
    assert not Path(tmp_path / "hashes.txt").exists()
