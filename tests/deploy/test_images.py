"""The Dockerfiles, their CUDA kits and the scripts of deploy/. No container is built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.deploy_files import DEPLOY, ROOT


@pytest.mark.parametrize("kind", ("cpu", "cuda"))
def test_dockerfiles_copy_what_exists_and_is_not_ignored(kind):
    text = (DEPLOY / f"Dockerfile.{kind}").read_text()
    kept = {x[1:] for x in (DEPLOY / f"Dockerfile.{kind}.dockerignore").read_text().split() if x.startswith("!")}
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists() and source in kept, source
    assert (
        re.search(r"^USER twin$", text, re.MULTILINE) and "--require-hashes --no-deps -r constraints-hashes.txt" in text
    )
    assert "extra-index-url" not in text + (ROOT / "tools" / "setup.sh").read_text()
    assert set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)) == {
        "configs",
        "weights",
        "stages",
        "flows",
        "stereotwin",
    }


def test_cuda_kits_are_pinned_and_off():
    text = (DEPLOY / "Dockerfile.cuda").read_text()
    assert "ARG WITH_TINY_CUDA_NN=0" in text and "ARG WITH_NVDIFFRAST=0" in text
    pins = re.findall(r"^ARG (\w+)_COMMIT=([0-9a-f]{40})$", text, re.MULTILINE)
    script = (DEPLOY / "build_cuda_kits.sh").read_text()
    assert len(pins) == 2 and all(
        f"{name.lower()}_commit=${{{k}:-{pin}}}" in script for k, (name, pin) in enumerate(pins, 1)
    )
    assert re.search(r"^ARG CUDA_IMAGE=nvidia/cuda:13\.\d+\.\d+-devel-", text, re.MULTILINE), (
        "torch 2.13 is built for CUDA 13"
    )
    assert all(x in script for x in ("--no-build-isolation", 'NVCC_APPEND_FLAGS="-std=$std"', "stubs", "pkg_resources"))
    assert all(x in text for x in ("MAX_JOBS=$MAX_JOBS", "TCNN_CUDA_ARCHITECTURES=", "TORCH_CUDA_ARCH_LIST="))


@pytest.mark.parametrize("path", ("build_cuda_kits.sh", "nginx/users.sh", "pin_images.sh"))
def test_scripts_parse(path):
    subprocess.run(["bash", "-n", str(DEPLOY / path)], check=True)


def test_kits_are_built_as_torchs_headers_need_it(tmp_path):
    """torch 2.13's headers do not compile as C++17, which tiny-cuda-nn's setup.py asks for."""
    (tmp_path / "setup.py").write_text("if True:\n    cpp_standard = 17\n")
    (tmp_path / "pip").write_text('#!/bin/sh\necho "$CXXFLAGS $NVCC_APPEND_FLAGS $*"\n')
    (tmp_path / "pip").chmod(0o755)
    script = (DEPLOY / "build_cuda_kits.sh").read_text()
    parts = "\n".join(
        re.search(rf"^{name}\(\) {{.*?^}}", script, re.MULTILINE | re.DOTALL).group()
        for name in ("standard", "install")
    )
    env = os.environ | {"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", f"{parts}\ninstall {tmp_path}"], capture_output=True, text=True, check=True, env=env
    )
    standard = re.search(r"-std=c\+\+(\d+) -std=c\+\+\1 install .*--no-build-isolation", done.stdout)
    assert standard and f"cpp_standard = {standard.group(1)}" in (tmp_path / "setup.py").read_text()


def test_no_kit_is_built_unasked():
    done = subprocess.run(
        ["bash", str(DEPLOY / "build_cuda_kits.sh"), "0000000", "0000000"], capture_output=True, text=True, check=True
    )
    assert "no CUDA kit was asked for" in done.stdout
