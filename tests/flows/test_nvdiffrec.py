"""nvdiffrec's settings file: every key acts, or is told with the reason; what cannot be right is refused by its key."""

from __future__ import annotations

import json

import pytest

from flows import cli
from flows.nvdiffrec_config import KEYS, read_nvdiffrec
from stages.core.config import resolve
from stages.core.errors import ConfigError
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
    assert [read_nvdiffrec(_file(tmp_path, iter=n)).profile for n in (500, 5000, 20000)] == ["preview", "standard", "quality"]


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
    assert cli.main(["nvdiffrec", "--config", str(_file(tmp_path)), "--out", str(tmp_path / "out"), "--no-prefect"]) == 2
    assert "ref_mesh" in capsys.readouterr().err
    (tmp_path / "data/shoe").mkdir(parents=True)
    (tmp_path / "data/shoe/transforms_train.json").write_text('{"camera_angle_x": 0.8, "frames": []}')
    assert cli.main(["nvdiffrec", "--config", str(_file(tmp_path)), "--out", str(tmp_path / "out"), "--no-prefect"]) == 3
    said = capsys.readouterr().err
    assert "posed.max_width=768" in said and "batch: no effect" in said and "0 frames" in said


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
    words = ["nvdiffrec", "--config", str(config), "--out", str(data.with_name("shoe out")), "--no-prefect", "--quiet", "--viewer", base]
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["viewer"] == link
    assert cli.main(words) == 0
    assert f"viewer  {link}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("base", ["machine:8000", "file:///etc", "http://", "http://a b/", "javascript:alert(1)", "http://m:99999/"])
def test_an_address_that_no_browser_opens_is_refused_before_work(tmp_path, base, capsys):
    assert cli.main(["nvdiffrec", "--config", str(_file(tmp_path)), "--viewer", base]) == 2
    assert "--viewer" in capsys.readouterr().err


def test_the_file_of_the_shoe(shared_dir):
    asked = read_nvdiffrec(shared_dir / "multiview/shoe_nvdiffrec/nvdiffrec_config.json")
    assert set(asked.acts) | set(asked.without) == set(KEYS)
