"""The settings file and folders of NVIDIA's workflow, as its document shows them."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.cli import main as cli
from flows.cli import nvidia as cli_nvidia
from flows.foreign.nvidia_config import NO_EQUIVALENT, read_config, translate
from stages.core.config import resolve
from stages.core.errors import ConfigError
from stages.core.store import Store
from stages.graph import stages
from tests.flows import tiny

CONFIG = """
data_path: /workspace/3d-object-reconstruction/data/samples/retail_item/
workdir: /workspace/3d-object-reconstruction/data/output/retail_item/
downscale: 1.0
camera_config:
  step: 4
  intrinsic: [3079.6, 0, 2000.0, 0, 3075.1, 1500.01, 0, 0, 1]
bundletrack:
  SPDLOG: 1
  downscale: 0.25
  min_resolution: 300
  erode_mask: 3
  depth_processing: {zfar: 1.0, erode: {radius: 1, diff: 0.001}}
  theseus: {num_iter_outter: 3, use_cpu: false}
foundation_stereo:
  vit_size: vitl
  scale: 0.3
  z_far: 10
  intrinsic:
  - 3079.6
  - 0
  - 2000.0
  - 0
  - 3075.1
  - 1500.01
  - 0
  - 0
  - 1
  baseline: 0.0657696127
sam2:
  checkpoint_path: /workspace/sam2.1_hiera_large.pt
  bbox: [1144, 627, 2227, 2232]
nerf:
  downscale: 0.2
  n_step: 2000
  save_dir: ???
  far: 1.0
  bounding_box:
  - - -1
    - -1
    - -1
  - - 1
    - 1
    - 1
  mesh_smoothing: {enabled: true, lambda_: 0.5}
texture_bake:
  downscale: 1.0
  texture_res: 2048
  color_fusion: {choose_top_n: 5, max_angle: 60, frame_color_remap: true}
roma:
  upsample_res: [864, 864]
  weights: /workspace/roma_outdoor.pth
base_path:
  base_folder: /workspace/samples/
"""
SIZE = (4000, 3000)


def asked(text: str = CONFIG, size: tuple[int, int] = SIZE):
    return translate(read_config(text, "base.yaml"), "base.yaml", size)


def test_what_acts_and_every_other_key_is_listed_with_a_reason():
    found, keys = asked(), read_config(CONFIG, "base.yaml")
    assert found.K[0] == 3079.6 and found.baseline_m == 0.0657696127 and found.box == (1144, 627, 2227, 2232)
    settings = resolve(
        {s.name: s.Config for s in stages()}, overrides=found.settings
    ).stages  # all are settings of ours
    assert settings["depth"].work_megapixels == pytest.approx(0.3**2 * 12) and settings["depth"].max_depth_m == 10
    assert settings["track"].max_width_px == 1000 and settings["surface"].max_pixels == 800 * 600
    assert (settings["surface"].geometry_steps, settings["surface"].colour_steps) == (200, 100)
    assert settings["texture"].size == 2048 and settings["texture"].candidates == 5
    assert settings["texture"].min_facing == pytest.approx(0.5)
    assert found.acts.keys() | found.without.keys() == keys.keys() and not found.acts.keys() & found.without.keys()
    assert {"nerf.n_step", "sam2.bbox", "foundation_stereo.z_far", "texture_bake.downscale"} <= found.acts.keys()
    assert {
        "nerf.bounding_box",
        "bundletrack.theseus.use_cpu",
        "roma.weights",
        "camera_config.step",
    } <= found.without.keys()
    assert found.without["bundletrack.depth_processing.erode.diff"] == NO_EQUIVALENT["bundletrack.depth_processing"]
    assert "not a key" in asked(CONFIG + "nerv: {n_step: 1}\n").without["nerv.n_step"]
    told = "\n".join(cli_nvidia.told(found, ["poses"]))
    assert all(key in told for key in keys) and "not read in the data folder: poses" in told


def test_downscales_stop_at_the_least_resolution():
    small = asked(size=(800, 600))
    assert "surface.max_pixels=120000" in small.settings  # 0.2 would leave 120 px: 300 stay, as in that workflow
    assert "track.max_width_px=400" in small.settings
    assert "track.max_width_px=240" in asked(size=(240, 180)).settings


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bbox: [1144, 627, 2227, 2232]", "bbox: [1144, 627, 2227]", "sam2.bbox"),
        ("scale: 0.3", "scale: none", "foundation_stereo.scale"),
        ("texture_res: 2048", "texture_res: 64", "texture_bake.texture_res is 64; expected 128 to 16384"),
        ("  - 3079.6\n", "  - 3000\n", "differ"),
        ("  baseline: 0.0657696127\n", "", "no foundation_stereo.baseline"),
    ],
)
def test_wrong_values_name_file_and_key(old, new, words):
    assert old in CONFIG
    with pytest.raises(ConfigError, match=r"base\.yaml") as refused:
        asked(CONFIG.replace(old, new))
    assert words in str(refused.value)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A tiny capture laid out as their document has it, beside a settings file of its camera."""
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    made = tiny.write_tiny(tiny.render_base(tmp_path / "base"), tmp_path / "made", seed=1)
    for side in ("left", "right"):
        (tmp_path / "data" / side).mkdir(parents=True)
        for k, path in enumerate(sorted((made / side).iterdir())):
            cv2.imwrite(str(tmp_path / "data" / side / f"{side}{k:06d}.png"), cv2.imread(str(path)))
    calibration, prompt = (json.loads((made / f).read_text()) for f in ("calibration.json", "prompt.json"))
    text = CONFIG.replace("0.0657696127", str(calibration["baseline_m"])).replace(
        "texture_res: 2048", "texture_res: 256"
    )
    text = text.replace("n_step: 2000", "n_step: 300").replace("[1144, 627, 2227, 2232]", str(prompt["box_xyxy"]))
    text = text.replace(
        "[3079.6, 0, 2000.0, 0, 3075.1, 1500.01, 0, 0, 1]", str(list(map(float, np.ravel(calibration["K"]))))
    )
    head, _, tail = text.partition("  intrinsic:\n")
    (tmp_path / "camera.yaml").write_text(head + tail.partition("  - 1\n")[2])
    return tmp_path / "data"


@pytest.mark.slow
def test_from_its_files_to_a_twin(data, capsys):
    (data / "depth_old").mkdir()
    out, before = data.parent / "out", sorted(p.name for p in data.rglob("*"))
    words = [
        "nvidia",
        "--config",
        str(data.parent / "camera.yaml"),
        "--data-path",
        str(data),
        "--output-path",
        str(out),
        "-v",
        "--profile",
        "preview",
        "--no-prefect",
        "surface.rounds=1",
        "package.preview_px=128",
    ]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "sam2.bbox: box of the object" in said.err and "not read in the data folder: depth_old" in said.err
    assert f"twin    {out}" in said.out
    assert cv2.imread(str(out / "material_0.png")).shape[0] <= 256
    obj = (out / "textured_mesh.obj").read_text()
    assert (
        "mtllib material.mtl" in obj
        and obj.count("\nv ") > 500
        and "map_Kd material_0.png" in (out / "material.mtl").read_text()
    )
    run = json.loads((out / "run.json").read_text())
    settings = {name: stage["settings"] for name, stage in run["stages"].items()}
    assert run["capture"] == "data" and settings["rectify"]["box"] and settings["surface"]["geometry_steps"] == 30
    assert sorted(p.name for p in data.rglob("*")) == before and not list((Store().root / "nvidia").iterdir())
    assert cli.main(words) == 0 and all(
        s["cached"] for s in json.loads((out / "run.json").read_text())["stages"].values()
    )


def test_what_is_missing_is_said_before_any_work(data, capsys):
    words = ["nvidia", "--config", str(data.parent / "camera.yaml"), "--output-path", str(data.parent / "out")]
    assert cli.main([*words, "--data-path", str(data / "left")]) == 3 and "holds no pictures" in capsys.readouterr().err
    assert cli.main([*words, "--data-path", str(data.parent / "nowhere")]) == 3
    assert cli.main(["nvidia", "--config", str(data / "no.yaml")]) == 2
    assert not (data.parent / "store").exists()


def test_after_a_failure_the_capture_stays_for_resume_until_it_is_old(data, capsys):
    config = data.parent / "camera.yaml"
    lines = [line for line in config.read_text().splitlines() if "bbox" not in line]
    config.write_text("\n".join(lines).replace("sam2:", "sam2:\n  bbox: [10, 10, 900, 900]"))
    words = [
        "--config",
        str(config),
        "--data-path",
        str(data),
        "--output-path",
        str(data.parent / "out"),
        "--no-prefect",
    ]
    assert cli.main(["nvidia", *words]) == 3 and "does not lie inside the 240x180 px picture" in capsys.readouterr().err
    kept = Store().root / "nvidia"
    assert len(list(kept.glob("*/data/left/*.png"))) == tiny.FRAMES_KEPT
    assert cli.main(["resume", "--no-prefect"]) == 3  # it is still there to go on with
    assert cli.main(["clean", "--older-than", "0"]) == 0 and not list(kept.iterdir())


def test_it_answers_to_the_other_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nvidia-3d-reconstruct", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli_nvidia.main()
    assert ended.value.code == 0 and "twin " in capsys.readouterr().out
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["nvidia-3d-reconstruct"] == "flows.cli.nvidia:main"


def test_far_pixels_have_no_depth():
    from stages.core.camera import Rig
    from stages.depth.stage import nearer_than
    from stages.depth.stereo import Estimate

    rig = Rig(fx=100.0, fy=100.0, cx=5.0, cy=5.0, baseline_m=0.1, width=2, height=1)
    found = nearer_than(lambda frame: Estimate(np.float32([[20, 4]]), np.float32([[0.1, 0.1]])), rig, 1.0)(0)
    assert found.disparity_px[0, 0] == 20 and np.isnan(found.disparity_px[0, 1]) and np.isnan(found.sigma_px[0, 1])
