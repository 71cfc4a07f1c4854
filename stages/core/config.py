"""Settings: default values live in each stage's frozen dataclass; YAML files and key=value pairs only override.

Order: dataclass defaults < configs/default.yaml < configs/profile/NAME.yaml < the capture's twin.yaml < command line. A key that does
not exist, or that has no effect with the chosen method, is an error that names the nearest valid key.

What a value means is decided by its field's type: `off` is the choice of that name for a field that has one, and false for a switch.
Foreign captures bring twin.yaml, so nothing in it is looked up anywhere: `${...}` is refused.

A field is tied to a method with `setting(default, only_for=("sgm",))`: setting it while `method` is something else is an error, unless a
profile sets it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from stages.core.errors import ConfigError
from stages.core.plain_files import read_text
from stages.core.plain_yaml import Node, native, parse, parse_map

PROFILES = ("preview", "standard", "quality")
Licence = typing.Literal["any", "commercial"]
TOP_LEVEL = ("seed", "licence", "start")
"""`start` says when runs begin by themselves, and is read by who starts them (flows/captures/start_wish.py)"""
_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_LARGEST = 2**53
"""an integer setting beyond it is a slip, and the form's JSON could not carry it"""


def setting(default: Any, *, only_for: tuple[str, ...] = ()) -> Any:
    """A dataclass field; `only_for` lists the values of the sibling field `method` it has an effect with (`auto` always passes)."""
    return dataclasses.field(default=default, metadata={"only_for": only_for} if only_for else {})


@dataclasses.dataclass(frozen=True)
class Settings:
    """The resolved settings of a run: one config object per stage, by stage name."""

    profile: str
    seed: int
    stages: dict[str, Any]
    licence: str = "any"
    """with "commercial" a run refuses weights and libraries that may not be used commercially (stages/core/licences.py)"""


def resolve(
    configs: Mapping[str, type],
    profile: str = "standard",
    capture_file: Path | None = None,
    overrides: typing.Sequence[str] = (),
    seed: int = 0,
    packaged: bool = True,
) -> Settings:
    """Merge all sources over the stage config classes `{stage name: dataclass}`. Raises ConfigError.

    packaged: read configs/, which is written for the real stages; False for others, as in tests.
    """
    if profile not in PROFILES:
        raise ConfigError(f"unknown profile {profile!r}", f"choose one of {', '.join(PROFILES)}")
    ours, theirs = [], []
    if packaged:
        ours = [_packaged("default.yaml"), _packaged(f"profile/{profile}.yaml")]
    if capture_file is not None and os.path.lexists(capture_file):
        theirs.append(parse_map(read_text(capture_file, ConfigError), str(capture_file)).value)
    theirs.append(_from_pairs(overrides))
    values: dict[str, dict[str, Node]] = {name: {} for name in configs}
    asked: dict[str, dict[str, Node]] = {name: {} for name in configs}
    licence = "any"
    for layer in ours + theirs:
        layer.pop("start", None)
        seed = _convert("seed", layer.pop("seed"), int) if "seed" in layer else seed
        licence = _convert("licence", layer.pop("licence"), Licence) if "licence" in layer else licence
        _merge(values, layer, configs)
    for layer in theirs:
        _merge(asked, layer, configs)
    return Settings(
        profile,
        seed,
        {name: _build(name, cls, values[name], set(asked[name])) for name, cls in configs.items()},
        licence,
    )


def _merge(values: dict[str, dict[str, Node]], layer: Mapping[str, Node], configs: Mapping[str, type]) -> None:
    for stage, keys in layer.items():
        if stage not in configs:
            raise _unknown(stage, [*configs, *TOP_LEVEL], keys.where)
        if not isinstance(keys.value, dict):
            raise ConfigError(
                f"{keys.where}: {stage} needs keys below it, found {keys.shown()}", f"write {stage}.KEY=VALUE"
            )
        fields = {f.name: f for f in dataclasses.fields(configs[stage])}
        for key, value in keys.value.items():
            if key not in fields:
                raise _unknown(f"{stage}.{key}", [f"{stage}.{k}" for k in fields], value.where)
            values[stage][key] = value


def _build(stage: str, cls: type, values: Mapping[str, Node], asked: set[str]) -> Any:
    hints = typing.get_type_hints(cls)
    checked = {k: _convert(f"{stage}.{k}", v, hints[k]) for k, v in values.items()}
    method = checked.get("method", getattr(cls, "method", "auto"))
    for f in dataclasses.fields(cls):
        only_for = f.metadata.get("only_for", ())
        if f.name in checked and only_for and method != "auto" and method not in only_for:
            if f.name in asked and checked[f.name] != f.default:
                raise ConfigError(
                    f"{values[f.name].where}: {stage}.{f.name} has no effect with {stage}.method={method}",
                    f"remove it, or use {stage}.method={' or '.join(only_for)}",
                )
            del checked[f.name]  # a profile's, which is written for every method
    try:
        return cls(**checked)
    except ValueError as e:
        origins = sorted({values[k].where for k in checked if k in asked})
        raise ConfigError(f"{', '.join(origins) or 'configs/'}: {stage}: {e}", "correct the value") from e


def _convert(name: str, node: Node, hint: Any) -> Any:
    """The node's text as the annotated type; int, float, bool, str, Literal, X | None and tuple[X, ...]. Raises ConfigError."""
    origin = typing.get_origin(hint)
    if isinstance(node.value, str) and "${" in node.value:
        raise ConfigError(
            f"{node.where}: {name} is {node.shown()}: nothing is looked up in settings", "write the value itself"
        )
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return None if native(node) is None else _convert(name, node, inner[0])
    if origin is typing.Literal:
        choices = {str(c): c for c in typing.get_args(hint)}
        if not isinstance(node.value, str) or node.value not in choices:
            raise ConfigError(f"{node.where}: {name} is {node.shown()}", f"choose one of {', '.join(choices)}")
        return choices[node.value]
    if origin is tuple:
        args = typing.get_args(hint)
        if not isinstance(node.value, list) or (args[-1] is not Ellipsis and len(node.value) != len(args)):
            raise ConfigError(f"{node.where}: {name} is {node.shown()}", "give a list such as [1, 2]")
        return tuple(_convert(name, n, args[0]) for n in node.value)
    return _plain(name, node, hint)


def _plain(name: str, node: Node, hint: type) -> Any:
    """int, float, bool or str."""
    value = native(node)
    if hint is str and isinstance(node.value, str) and value is not None:
        return node.value
    if hint is bool and not node.quoted and isinstance(node.value, str) and node.value.lower() in _SWITCH:
        return _SWITCH[node.value.lower()]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and (not math.isfinite(value) or (hint is int and abs(value) > _LARGEST)):
        raise ConfigError(
            f"{node.where}: {name} is {node.shown()}", "give a number that is finite and of a sensible size"
        )
    if number and (hint is float or type(value) is hint):
        return hint(value)
    kind = "text" if isinstance(value, str) else type(value).__name__
    raise ConfigError(
        f"{node.where}: {name} is {node.shown()} ({kind})", f"give a value of type {getattr(hint, '__name__', hint)}"
    )


def _unknown(key: str, known: list[str], where: str) -> ConfigError:
    near = difflib.get_close_matches(key, known, 1, 0.4)
    return ConfigError(
        f"{where}: unknown setting {key[:80]}",
        f"did you mean {near[0]}?" if near else f"valid: {', '.join(sorted(known))}",
    )


def _from_pairs(pairs: typing.Sequence[str]) -> dict[str, Node]:
    where = "the command line"
    out: dict[str, Node] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        stage, dot, name = key.strip().partition(".")
        if not (equals and stage and text.strip() and bool(name) == bool(dot)):
            raise ConfigError(f"{pair[:80]!r} is not a setting", "write STAGE.KEY=VALUE, for example depth.method=sgm")
        if not name:
            out[stage] = _value(text, where)
            continue
        out.setdefault(stage, Node({}, where))
        if not isinstance(out[stage].value, dict):
            raise ConfigError(f"{pair[:80]!r}: {stage} has no keys", f"write {stage}=VALUE")
        out[stage].value[name] = _value(text, where)
    return out


def _value(text: str, where: str) -> Node:
    """A list, a quoted text, or else the text as it stands: what comes from a shell has lost its quotes already."""
    text = text.strip()
    if text[0] not in "[{'\"":
        return Node(text, where)
    node = parse(text, where)
    return Node(text, where) if node is None else _placed(node, where)


def _placed(node: Node, where: str) -> Node:
    """With `where` for all of it: lines of a command line mean nothing."""
    value = node.value
    if isinstance(value, list):
        value = [_placed(n, where) for n in value]
    elif isinstance(value, dict):
        value = {k: _placed(n, where) for k, n in value.items()}
    return dataclasses.replace(node, value=value, where=where)


def _packaged(name: str) -> dict[str, Node]:
    path = resources.files("configs").joinpath(name)
    return parse_map(path.read_text(), f"configs/{name}").value
