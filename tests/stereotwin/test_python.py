"""`import stereotwin` as a user of Python does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import stereotwin
from stages.core.images import read_disparity, read_mask
from tests.flows import tiny

HEAVY = ("numpy", "cv2", "torch", "prefect", "pydantic")
ROOT = Path(__file__).resolve().parents[2]


def test_import_is_cheap_and_every_name_is_there():
    code = f"import sys, stereotwin; print([m for m in {HEAVY} if m in sys.modules]); [getattr(stereotwin, n) for n in dir(stereotwin)]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="reconstrukt"):
        _ = stereotwin.reconstrukt


@pytest.mark.slow
def test_a_capture_to_its_twin(tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    absent = 'raise ModuleNotFoundError("No module named \'torch\'", name="torch")'
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent/torch.py").write_text(absent)  # the default needs none, in the stages' processes neither
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path / "absent"), os.environ.get("PYTHONPATH")]))
    )
    capture, heard = tiny.write_tiny(tiny.render_base(tmp_path / "base"), tmp_path / "cup", seed=1), []
    settings = {
        "surface.rounds": 1,
        "surface.geometry_steps": 30,
        "texture.size": 256,
        "physics.colliders": "hull",
        "package.preview_px": 128,
        "package.maps": True,
    }

    def tell(stage, done, total, note):
        return heard.append(stage)

    twin = stereotwin.reconstruct(capture, tmp_path / "twin", profile="preview", settings=settings, progress=tell)
    assert twin.mesh.vertices.shape[1] == 3 and len(twin.mesh.confidence) == len(twin.mesh.vertices)
    assert len(twin.poses) >= 8 and twin.poses[0].shape == (4, 4) and {f.status for f in twin.frames} >= {"ok"}
    assert twin.verdict is not None and twin.verdict.word in ("partial", "do not use"), "an arc of 80 degrees"
    assert twin.verdict.expected_error_median_mm > 0 and str(twin.verdict) == twin.verdict.line
    assert twin.mask(0).any() and np.isfinite(twin.disparity_px(0)[twin.mask(0)]).mean() > 0.9
    assert twin.glb.is_file() and twin.report.is_file() and twin.rig.width == 240
    assert {"depth", "surface", "texture"} <= set(heard)
    outputs = stereotwin.run_until("masks", capture, profile="preview", settings=settings)
    assert outputs["disparity"].is_dir() and outputs["masks.parquet"].is_file() and "mesh.ply" not in outputs


def test_a_preview_without_maps_says_how_to_have_them(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    twin = stereotwin.Twin.open(tmp_path)
    for ask in (twin.mask, twin.disparity_px):
        with pytest.raises(stereotwin.StoreError, match=r"has no (masks|disparity)") as error:
            ask(0)
        assert "package.maps=true" in error.value.advice


def test_disparity_of_arrays_is_right(synthetic_capture):
    left, right = next(iter(stereotwin.read_capture(synthetic_capture)))
    found = stereotwin.disparity(left, right, method="sgm")
    true = read_disparity(synthetic_capture / "gt/disparity/000000.png")
    inside = read_mask(synthetic_capture / "gt/masks/000000.png")
    error = np.abs(found.disparity_px - true)[inside & np.isfinite(found.disparity_px)]
    assert np.median(error) < 0.2 and len(error) > 0.5 * inside.sum()
    assert found.sigma_px.shape == left.shape[:2]
    with pytest.raises(stereotwin.CaptureError, match="right_rgb is uint8"):
        stereotwin.disparity(left, right[:, :-1])


def test_captures_are_written_and_read(tmp_path):
    rig = stereotwin.Rig(32, 24, 40.0, 40.0, 15.5, 11.5, 0.06)
    pairs = [(np.full((24, 32, 3), k, np.uint8), np.full((24, 32, 3), 100 + k, np.uint8)) for k in range(3)]
    masks = [np.eye(24, 32, dtype=bool)] * 3
    folder = stereotwin.write_capture(tmp_path / "c", iter(pairs), rig, box=(1, 2, 30, 20), masks=masks)
    again = stereotwin.read_capture(folder)
    assert len(again) == 3 and all(
        np.array_equal(a, b) for x, y in zip(again, pairs, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert (
        stereotwin.Rig.load(folder / "calibration.json") == rig and len(again.files.masks) == 3 and again.files.prompt
    )
    with pytest.raises(stereotwin.CaptureError, match="not empty"):
        stereotwin.write_capture(folder, pairs, rig)
    with pytest.raises(stereotwin.CaptureError, match="the rig is 32 x 24"):
        stereotwin.write_capture(tmp_path / "d", [(pairs[0][0][:-1], pairs[0][1])], rig)
    with pytest.raises(stereotwin.CaptureError, match="no pairs"):
        stereotwin.write_capture(tmp_path / "e", [], rig)


def test_errors_are_the_same_as_of_the_command_line(tmp_path):
    with pytest.raises(stereotwin.CaptureError, match="is not a folder") as caught:
        stereotwin.reconstruct(tmp_path / "nowhere", tmp_path / "out")
    assert isinstance(caught.value, stereotwin.TwinError) and caught.value.advice
    with pytest.raises(stereotwin.StoreError, match="no twin folder"):
        stereotwin.Twin.open(tmp_path)


def test_the_wheel_ships_types_and_the_package(tmp_path):
    source = tmp_path / "source"  # building leaves folders behind
    for name in ("stereotwin", "flows", "stages", "configs", "weights"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copyfile(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("stereotwin-*.whl"))).namelist()
    assert {"stereotwin/__init__.py", "stereotwin/py.typed", "stages/py.typed", "flows/py.typed"} <= set(names)
    assert "stages/core/report/viewer.js" in names
