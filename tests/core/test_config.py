"""A typo in a setting must never pass in silence."""

import typing
from dataclasses import dataclass
from typing import Literal

import pytest

from stages.core.config import resolve, setting
from stages.core.errors import ConfigError
from stages.graph import stages


@dataclass(frozen=True)
class Depth:
    """Toy settings."""

    method: Literal["auto", "sgm", "net"] = "auto"
    window_px: int = setting(7, only_for=("sgm",))
    scale: float = 1.0
    box: tuple[float, ...] | None = None

    def __post_init__(self):
        if self.scale <= 0:
            raise ValueError("scale must be positive")


def resolved(*pairs, file=None):
    return resolve({"depth": Depth}, overrides=pairs, capture_file=file).stages["depth"]


def test_command_line_wins_over_the_captures_file(tmp_path):
    (tmp_path / "twin.yaml").write_text("depth: {window_px: 9, scale: 2}\n")
    got = resolved("depth.scale=0.5", "depth.box=[1,2,3,4]", file=tmp_path / "twin.yaml")
    assert got == Depth(window_px=9, scale=0.5, box=(1.0, 2.0, 3.0, 4.0))


@pytest.mark.parametrize(
    ("pair", "hint"),
    [
        ("depth.windw_px=9", "did you mean depth.window_px"),
        ("dept.scale=1", "did you mean depth"),
        ("depth.scale=tiny", "type float"),
        ("depth.method=sgn", "auto, sgm, net"),
        ("depth.scale=-1", "must be positive"),
        ("scale", "STAGE.KEY=VALUE"),
    ],
)
def test_wrong_settings_name_what_is_right(pair, hint):
    with pytest.raises(ConfigError, match=hint.replace(".", r"\.")):
        resolved(pair)


def test_setting_without_effect_is_an_error():
    with pytest.raises(ConfigError, match=r"no effect with depth\.method=net"):
        resolved("depth.method=net", "depth.window_px=9")


def test_every_profile_goes_with_every_method():
    """A profile sets more than a method reads; only what a user sets in vain is an error."""
    configs = {s.name: s.Config for s in stages()}
    for profile in ("preview", "standard", "quality"):
        for name, config in configs.items():
            for method in typing.get_args(typing.get_type_hints(config).get("method")):
                assert resolve(configs, profile, overrides=[f"{name}.method={method}"]).stages[name].method == method


def test_unknown_profile():
    with pytest.raises(ConfigError, match="preview, standard, quality"):
        resolve({}, profile="best")
