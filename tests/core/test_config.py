"""A typo in a setting must never pass in silence."""

import os
import random
import typing
from dataclasses import dataclass
from typing import Literal

import pytest

from stages.core.config import resolve, setting
from stages.core.errors import ConfigError, TwinError
from stages.graph import stages


@dataclass(frozen=True)
class Depth:
    """Toy settings."""

    method: Literal["auto", "sgm", "net"] = "auto"
    window_px: int = setting(7, only_for=("sgm",))
    scale: float = 1.0
    box: tuple[float, ...] | None = None
    usd: Literal["auto", "on", "off", "yes", "no", "true", "false", "null", "1", "1e3"] = "auto"
    blend: bool = False
    steps: int | None = None
    weights: str = "small"

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


SECRET = "user:swordfish"


@pytest.mark.parametrize("choice", ["on", "off", "yes", "no", "true", "false", "null", "1", "1e3"])
def test_a_choice_may_be_named_as_a_switch_or_a_number(tmp_path, choice):
    file = tmp_path / "twin.yaml"
    file.write_text(f"depth:\n  usd: {choice}\n")
    assert resolved(f"depth.usd={choice}").usd == resolved(file=file).usd == choice
    file.write_text(f"depth: {{usd: '{choice}'}}\n")
    assert resolved(file=file).usd == choice


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("yes", True), ("True", True), ("off", False), ("no", False), ("false", False)]
)
def test_a_switch_knows_every_spelling(text, value):
    assert resolved(f"depth.blend={text}").blend is value


def test_every_choice_and_switch_of_every_stage_can_be_set_in_all_three_places(tmp_path):
    """The form gives its settings to the same reader as the command line does."""
    from flows.ui.form import Methods, request_of

    file, tried = tmp_path / "twin.yaml", 0
    for stage in stages():
        for field, hint in typing.get_type_hints(stage.Config).items():
            if stage.Config.__dataclass_fields__[field].metadata.get("only_for"):
                continue  # has an effect only beside another setting
            for choice in typing.get_args(hint) if typing.get_origin(hint) is Literal else ():
                pair = f"{stage.name}.{field}={choice}"
                file.write_text(f"{stage.name}: {{{field}: {choice}}}")
                form = request_of(str(tmp_path), Methods(), None, [pair], None, profile="standard").overrides()
                for sources in ({"overrides": [pair]}, {"capture_file": file}, {"overrides": form}):
                    got = resolve({stage.name: stage.Config}, packaged=False, **sources)
                    assert getattr(got.stages[stage.name], field) == choice
                    tried += 1
    assert tried > 60


@pytest.mark.parametrize("text", ["${oc.env:TWIN_AUTH}", "${TWIN_AUTH}", "a${oc.env:TWIN_AUTH}b", "${depth.method}"])
@pytest.mark.parametrize("key", ["method", "weights", "scale", "steps"])
def test_nothing_is_looked_up(tmp_path, monkeypatch, text, key):
    monkeypatch.setenv("TWIN_AUTH", SECRET)
    file = tmp_path / "twin.yaml"
    file.write_text(f'depth: {{{key}: "{text}"}}')
    for attempt in (lambda: resolved(file=file), lambda: resolved(f"depth.{key}={text}")):
        with pytest.raises(ConfigError, match="nothing is looked up") as caught:
            attempt()
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999", "1" + "0" * 400])
@pytest.mark.parametrize("key", ["scale", "window_px", "box"])
def test_numbers_are_finite(tmp_path, value, key):
    file = tmp_path / "twin.yaml"
    text = f"[{value}, 1]" if key == "box" else value
    file.write_text(f"depth: {{{key}: {text}}}")
    with pytest.raises(ConfigError, match=r"twin\.yaml, line 1: depth"):
        resolved(file=file)
    with pytest.raises(ConfigError, match="the command line: depth"):
        resolved(f"depth.{key}={text}")


_BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + k, 98 + k, b", ".join([b"*%c" % (97 + k)] * 9)) for k in range(12)
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"depth:\n  scale: [1\n", "no valid YAML"),
        (b"depth:\n\tscale: 1\n", r"line 2.*\n.*no tabs"),
        (b"depth: 3\n", "line 1: depth needs keys"),
        (b"- 1\n- 2\n", "expected keys with values"),
        (b"depth: {scale: {a: 1}}", "line 1: depth.scale is"),
        (b"[" * 5000, "levels deep"),
        (b"a: " * 300, "no valid YAML"),
        (b"{a: " * 400, "levels deep"),
        (b"- " * 4000, "levels deep"),
        (_BOMB, r"more than 20,000 values"),
        (b"x" * 2_000_000, "expected at most"),
        (b"a: 1\n" * 30_000, "more than 20,000 values"),
        (b"depth: {scale: 1, scale: 2}", "is there twice"),
        (b"\x7fELF\0\0\1", "line 1: a NUL byte"),
        (b"depth:\n  scale: \xff\xfe", "line 2: byte 0xff is no UTF-8"),
        ("depth: {}".encode("utf-16"), "UTF-16"),
        (b"depth: !!python/object/apply:os.system ['true']", "tag .* is not known"),
        (b"depth: *none", "stands for nothing"),
        (b"a: &a [*a]", "stands for nothing"),
        (b"a: 1\n---\nb: 2\n", "a second document"),
        (b"? [a, b]\n: 1\n", "no plain word"),
        (b"depth: \x01", "not allowed"),
        (b"depth:\n  windw_px: 3\n", r"line 2: unknown setting depth\.windw_px\n.*did you mean"),
    ],
)
def test_malformed_files_name_file_line_and_remedy(tmp_path, data, words):
    file = tmp_path / "twin.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=f"(?s){words}") as caught:
        resolved(file=file)
    assert (
        str(file) in caught.value.message and caught.value.advice and len(caught.value.message) < 400 + len(str(file))
    )


def test_byte_order_mark_and_windows_lines(tmp_path):
    file = tmp_path / "twin.yaml"
    file.write_bytes(b"\xef\xbb\xbfdepth:\r\n  scale: 2\r\n")
    assert resolved(file=file).scale == 2


def test_what_is_no_file_is_refused_by_name(tmp_path):
    for name, make in (
        ("folder", lambda p: p.mkdir()),
        ("pipe", os.mkfifo),
        ("link", lambda p: p.symlink_to("nowhere")),
    ):
        make(tmp_path / name)
        with pytest.raises(ConfigError, match=rf"{name} is a"):
            resolved(file=tmp_path / name)


def test_mutated_files_end_in_settings_or_in_a_word(tmp_path):
    """Some hundred damaged files: each is read or refused, none ends in a traceback."""
    rng = random.Random(0)
    whole = (
        b"# settings\nseed: 3\nlicence: any\ndepth:\n  method: sgm\n  window_px: 9\n  scale: 0.5\n  box: [1, 2, 3, 4]\n"
        b'  usd: "off"\n  steps: null\n'
    )
    pieces = [
        b"${oc.env:HOME}",
        b"&a ",
        b"*a",
        b"!!set ",
        b"\t",
        b"\0",
        b"\xc3",
        b"- ",
        b"{",
        b"[",
        b"]",
        b": ",
        b"|\n",
        b'"',
        b"'",
        b"? ",
        b"%YAML",
        b"<<: ",
        b"1e999",
        b"0x",
        b"---\n",
        b"...\n",
        b"\\UFFFFFFFF",
        b"2001-13-45",
        b"12:30:45",
        b"=",
        b"@",
        b"`",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
    ]
    good, file = 0, tmp_path / "twin.yaml"
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 0, 1, 9))] = rng.choice(
                (rng.choice(pieces), bytes([rng.randrange(256)]), b"", data[at : at + 20])
            )
        file.write_bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)
        try:
            resolved(file=file)
            good += 1
        except TwinError as e:
            assert str(file) in e.message and e.advice
    assert 30 < good < 570
