"""nvdiffrec's settings file: every key acts, or is told with the reason; what cannot be right is refused by its key. What does not fit
into the machine is lowered or refused, and pictures are left while the run goes on."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from flows.cli import main as cli
from flows.foreign.nvdiffrec_config import KEYS, read_nvdiffrec
from flows.foreign.nvdiffrec_memory import Pictures, fit, needed, sizes_of
from stages.core.camera_service import orbit
from stages.core.config import resolve
from stages.core.errors import ConfigError, MachineError
from stages.core.images import read_rgb
from stages.core.posed_cameras import from_opengl
from stages.graph import every_stage

SHOE = {"ref_mesh": "data/shoe", "random_textures": True, "iter": 5000, "save_interval": 100, "texture_res": [1024, 1024],
        "train_res": [512, 768], "batch": 2, "learning_rate": [0.03, 0.01], "ks_min": [0, 0.08, 0.0], "dmtet_grid": 128, "mesh_scale": 2.1,
        "laplace_scale": 3000, "display": [{"latlong": True}, {"bsdf": "kd"}, {"bsdf": "ks"}, {"bsdf": "normal"}], "background": "white",
        "out_dir": "shoe_out"}  # fmt: skip


def _file(tmp_path, **changes):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SHOE, **changes}))
    return path


def test_every_key_acts_or_is_told(tmp_path):
    asked = read_nvdiffrec(_file(tmp_path))
    assert set(asked.acts) | set(asked.without) == set(KEYS) and not set(asked.acts) & set(asked.without)
    assert (asked.data, asked.out, asked.profile) == ("data/shoe", "shoe_out", "standard")
    configs = resolve({s.name: s.Config for s in every_stage()}, asked.profile, overrides=asked.settings).stages
    assert configs["texture"].size == 1024 and configs["posed"].max_width == 768
    assert configs["surface"].coarse_cells == 128 and configs["surface"].smooth == 1000
    assert configs["material"].method == "solved" and "0.08 or more" in asked.acts["ks_min"]
    assert len(asked.told()) == len(KEYS)


def test_materials_are_solved_where_they_are_to_be_shown(tmp_path):
    asked = read_nvdiffrec(_file(tmp_path, display=[{"bsdf": "normal"}], ks_min=[0, 0.95, 0]))
    assert "material.method=solved" not in asked.settings and "0.9 or more; 0.95 asked for" in asked.without["ks_min"]
    assert "material.method=solved" in read_nvdiffrec(_file(tmp_path, display=[{"relight": True}])).settings


def test_more_iterations_are_more_work(tmp_path):
    assert [read_nvdiffrec(_file(tmp_path, iter=n)).profile for n in (500, 5000, 20000)] == [
        "preview",
        "standard",
        "quality",
    ]


@pytest.mark.parametrize(("changes", "words"), [
    ({"itre": 3}, "itre"), ({"iter": "many"}, "iter"), ({"iter": -1}, "iter"), ({"texture_res": [1024]}, "texture_res"),
    ({"ks_min": [0, 2, 0]}, "ks_min"), ({"display": [{"bsdf": "glow"}]}, "glow"), ({"ref_mesh": ""}, "ref_mesh"),
    ({"random_textures": "yes"}, "random_textures"), ({"learning_rate": [0.1, None]}, "learning_rate"),
])  # fmt: skip
def test_what_cannot_be_right_is_refused_by_its_key(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        read_nvdiffrec(_file(tmp_path, **changes))


def test_the_command_tells_before_it_works(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    assert (
        cli.main(["nvdiffrec", "--config", str(_file(tmp_path)), "--out", str(tmp_path / "out"), "--no-prefect"]) == 2
    )
    assert "ref_mesh" in capsys.readouterr().err
    (tmp_path / "data/shoe").mkdir(parents=True)
    (tmp_path / "data/shoe/transforms_train.json").write_text('{"camera_angle_x": 0.8, "frames": []}')
    assert (
        cli.main(["nvdiffrec", "--config", str(_file(tmp_path)), "--out", str(tmp_path / "out"), "--no-prefect"]) == 3
    )
    said = capsys.readouterr().err
    assert "posed.max_width=768" in said and "batch: no effect" in said and "0 frames" in said
    assert "save_interval: pictures in progress/" in said and "each 0.02 of the steps" in said


@pytest.mark.parametrize(("base", "link"), [
    ("http://machine:8000/", "http://machine:8000/shoe%20out/report.html"),
    ("https://viewer.example/?model=http://m/{name}/twin.glb", "https://viewer.example/?model=http://m/shoe%20out/twin.glb"),
])  # fmt: skip
def test_a_link_to_a_viewer(toy, base, link, capsys):
    data = toy.capture.with_name("data")
    data.mkdir()
    (data / "transforms_train.json").write_text('{"camera_angle_x": 0.8, "frames": []}')
    (data / "text").write_text("pictures ")
    config = data / "config.json"
    config.write_text(json.dumps({"ref_mesh": str(data), "iter": 5000}))
    words = [
        "nvdiffrec",
        "--config",
        str(config),
        "--out",
        str(data.with_name("shoe out")),
        "--no-prefect",
        "--quiet",
        "--viewer",
        base,
    ]
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["viewer"] == link
    assert cli.main(words) == 0
    assert f"viewer  {link}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "base", ["machine:8000", "file:///etc", "http://", "http://a b/", "javascript:alert(1)", "http://m:99999/"]
)
def test_an_address_that_no_browser_opens_is_refused_before_work(tmp_path, base, capsys):
    assert cli.main(["nvdiffrec", "--config", str(_file(tmp_path)), "--viewer", base]) == 2
    assert "--viewer" in capsys.readouterr().err


def _configs(*settings):
    return resolve(
        {s.name: s.Config for s in every_stage()}, "standard", overrides=("material.method=solved", *settings)
    ).stages


def test_more_of_anything_takes_more_memory():
    small, pictures = _configs("texture.size=512", "surface.coarse_cells=64"), Pictures(20, 800, 600)
    least = needed(small, pictures, sizes_of(small, pictures), 2)
    for setting, stage in (
        ("texture.size=1024", "material"),
        ("texture.size=1024", "texture"),
        ("surface.coarse_cells=512", "surface"),
        ("surface.max_pixels=480000", "surface"),
        ("texture.candidates=16", "texture"),
    ):
        more = _configs("texture.size=512", "surface.coarse_cells=64", setting)
        assert needed(more, pictures, sizes_of(more, pictures), 2)[stage] > least[stage], setting
    for more in (Pictures(40, 800, 600), Pictures(20, 1600, 1200)):
        found = needed(small, more, sizes_of(small, more), 2)
        assert found["surface"] > least["surface"] and found["material"] > least["material"]
    assert needed(small, Pictures(20, 1600, 1200), sizes_of(small, pictures), 2)["posed"] > least["posed"]
    assert set(needed(_configs("material.method=off"), pictures, sizes_of(small, pictures), 2)) == {
        "posed",
        "surface",
        "texture",
    }


def test_what_fits_stays_as_it_is():
    found = fit(_configs("texture.size=1024"), Pictures(20, 800, 600), 16.0, 2)
    assert found.settings == () and len(found.lines) == 1
    assert "16.0 GB are free" in found.lines[0] and "material" in found.lines[0] and "GB at the peak" in found.lines[0]


def test_what_does_not_fit_is_lowered_as_little_as_it_takes():
    asked, pictures = _configs("texture.size=8192", "surface.coarse_cells=1024"), Pictures(100, 4000, 3000)
    before = 1e9
    for free in (40.0, 8.0, 3.0):
        found = fit(asked, pictures, free, 2)
        lowered = _configs("texture.size=8192", "surface.coarse_cells=1024", *found.settings)
        peak = max(needed(lowered, pictures, sizes_of(lowered, pictures), 2).values())
        assert peak < free and peak <= before, "the lowered settings are the run's, and fit"
        before = peak
    assert lowered["texture"].size < 8192 and lowered["surface"].coarse_cells < 1024
    words = found.lines[1]
    assert f"texture_res from 8192 to {lowered['texture'].size} (texture.size={lowered['texture'].size})" in words
    assert f"dmtet_grid from 1024 to {lowered['surface'].coarse_cells}" in words and "then about" in words


def test_where_the_lowest_does_not_fit_it_is_refused_with_advice():
    with pytest.raises(MachineError, match=r"at the lowest settings .* GB \(.*\); 0.6 GB are free") as refused:
        fit(_configs(), Pictures(20, 800, 600), 0.6, 2)
    assert "smaller pictures" in refused.value.advice


def test_rays_are_fewer_on_a_small_card():
    def gb(rays):
        return 0.1 + rays / 1024

    found = fit(_configs(), Pictures(20, 800, 600), 64.0, 2, (gb, 0.7))
    assert found.settings == ("surface.picture_rays=512",) and "from 1024 to 512" in found.lines[-1]
    assert fit(_configs(), Pictures(20, 800, 600), 64.0, 2, (gb, 2.0)).settings == ()
    with pytest.raises(MachineError, match="card's memory"):
        fit(_configs(), Pictures(20, 800, 600), 64.0, 2, (gb, 0.1))


def _ball(folder, count=12, px=96, seen=True):
    """Pictures of a painted ball with alpha, as nvdiffrec has them; not `seen`: nothing but background."""
    (folder / "train").mkdir(parents=True)
    focal, frames = 1.9 * px, []
    v, u = np.mgrid[:px, :px]
    own = np.stack([(u - (px - 1) / 2) / focal, (v - (px - 1) / 2) / focal, np.ones((px, px))], -1)
    for k, pose in enumerate(orbit(np.zeros(3), 2.0, count, np.array([0, 1.0, 0]), 0.2, turns=2, climb_rad=0.7)):
        rays, eye = own @ pose[:3, :3].T, pose[:3, 3]
        a, b, c = (rays**2).sum(-1), rays @ eye, eye @ eye - 0.16
        inside = b * b > a * c
        t = (-b - np.sqrt(np.where(inside, b * b - a * c, 0))) / a
        x = eye + t[..., None] * rays
        colour = 127 + 70 * np.sin(x * [9.0, 8.0, 7.0]) + 40 * np.sin(31 * x[..., [1, 2, 0]])
        alpha = 255.0 * (inside & seen)
        cv2.imwrite(
            str(folder / f"train/r_{k}.png"),
            np.dstack([colour * inside[..., None], alpha]).clip(0, 255).astype(np.uint8),
        )
        frames.append({"file_path": f"./train/r_{k}", "transform_matrix": from_opengl(pose).tolist()})
    angle = 2 * np.arctan(px / 2 / focal)
    (folder / "transforms_train.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    return folder


def test_the_command_lowers_what_no_machine_has_before_it_works(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    config = _file(tmp_path, ref_mesh=str(_ball(tmp_path / "ball", seen=False)), dmtet_grid=16384)
    assert cli.main(["nvdiffrec", "--config", str(config), "--out", str(tmp_path / "out"), "--no-prefect"]) == 3
    said = capsys.readouterr().err
    assert "dmtet_grid from 16384 to" in said and "GB are free" in said and "12 of 12 masks are empty" in said
    (record,) = (tmp_path / "store/runs").glob("*.json")
    assert any(
        s.startswith("surface.coarse_cells=") for s in json.loads(record.read_text())["request"]["settings"][-1:]
    )


QUICK = (
    "surface.picture_steps=100",
    "surface.picture_rays=128",
    "surface.geometry_steps=40",
    "texture.size=256",
    "physics.files=off",
    "package.preview_px=128",
    "package.usd=off",
    "novel_views.score_every=0",
    "material.points=600",
    "material.rounds=2",
)


@pytest.mark.slow
def test_pictures_in_the_layout_of_display_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    data, out = _ball(tmp_path / "ball"), tmp_path / "out"
    config = _file(
        tmp_path,
        ref_mesh=str(data),
        iter=500,
        save_interval=250,
        texture_res=[256, 256],
        train_res=[96, 96],
        dmtet_grid=32,
    )
    words = ["nvdiffrec", "--config", str(config), "--out", str(out), "--no-prefect", "--quiet", *QUICK]
    assert cli.main(words) == 0
    names = [p.name for p in sorted((out / "progress").iterdir())]
    assert names == [
        "0001_surface_step_00051.jpg",
        "0002_surface_step_00100.jpg",
        "0003_surface.jpg",
        "0004_texture.jpg",
        "0005_material.jpg",
    ]
    first, last = (read_rgb(out / "progress" / name) for name in (names[0], names[-1]))
    assert first.shape == (64 + 320 + 64 + 320, 1280, 3), "latlong and ks are not known yet, kd and normal are"
    assert last.shape == (256 + 3 * 320, 1280, 3), "all four of display"
    kd = last[256 + 320 : 256 + 640].astype(int)
    for picture in (first[64 : 64 + 320].astype(int), last[256 : 256 + 320].astype(int)):
        assert (np.ptp(picture[130:190, 130:190], -1) > 60).any(), "the ball is painted"
    assert np.ptp(kd, -1).max() < 40 < np.ptp(kd.mean(-1)), "roughness is grey"
    settings = json.loads((out / "run.json").read_text())["stages"]["surface"]["settings"]
    assert not any("progress" in key for key in settings)
    assert cli.main(words) == 0
    assert [p.name for p in sorted((out / "progress").iterdir())] == [
        "0001_surface.jpg",
        "0002_texture.jpg",
        "0003_material.jpg",
    ], "from the store: what was learned before is not learned again"


def test_the_file_of_the_shoe(shared_dir):
    asked = read_nvdiffrec(shared_dir / "multiview/shoe_nvdiffrec/nvdiffrec_config.json")
    assert set(asked.acts) | set(asked.without) == set(KEYS)
