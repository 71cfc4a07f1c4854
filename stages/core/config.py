"""Settings: default values live in each stage's frozen dataclass; YAML files and key=value pairs only override.

Order: dataclass defaults < configs/default.yaml < configs/profile/NAME.yaml < the capture's twin.yaml < command line. A key that does
not exist, or that has no effect with the chosen method, is an error that names the nearest valid key.

A field is tied to a method with `setting(default, only_for=("sgm",))`: setting it while `method` is something else is an error, unless a
profile sets it.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from stages.core.errors import ConfigError

PROFILES = ("preview", "standard", "quality")
Licence = typing.Literal["any", "commercial"]
TOP_LEVEL = ("seed", "licence")


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
        ours = [("configs/default.yaml", _packaged("default.yaml")), (f"profile {profile}", _packaged(f"profile/{profile}.yaml"))]
    if capture_file is not None and capture_file.exists():
        theirs.append((str(capture_file), load_yaml(capture_file.read_text(), str(capture_file))))
    theirs.append(("the command line", _from_pairs(overrides)))
    values: dict[str, dict[str, Any]] = {name: {} for name in configs}
    asked: dict[str, dict[str, Any]] = {name: {} for name in configs}
    licence = "any"
    for origin, layer in ours + theirs:
        seed = int(layer.pop("seed", seed))
        licence = _convert("licence", layer.pop("licence", licence), Licence)
        _merge(values, layer, configs, origin)
    for origin, layer in theirs:
        _merge(asked, layer, configs, origin)
    return Settings(profile, seed, {name: _build(name, cls, values[name], set(asked[name])) for name, cls in configs.items()}, licence)


def _merge(values: dict, layer: Mapping, configs: Mapping[str, type], origin: str) -> None:
    for stage, keys in layer.items():
        if stage not in configs:
            raise _unknown(stage, [*configs, *TOP_LEVEL], origin)
        if not isinstance(keys, Mapping):
            raise ConfigError(f"{origin}: {stage} needs keys below it, found {keys!r}", f"write {stage}.KEY=VALUE")
        fields = {f.name: f for f in dataclasses.fields(configs[stage])}
        for key, value in keys.items():
            if key not in fields:
                raise _unknown(f"{stage}.{key}", [f"{stage}.{k}" for k in fields], origin)
            values[stage][key] = value


def _build(stage: str, cls: type, values: Mapping[str, Any], asked: set[str]) -> Any:
    hints = typing.get_type_hints(cls)
    checked = {k: _convert(f"{stage}.{k}", v, hints[k]) for k, v in values.items()}
    method = checked.get("method", getattr(cls, "method", "auto"))
    for f in dataclasses.fields(cls):
        only_for = f.metadata.get("only_for", ())
        if f.name in checked and only_for and method != "auto" and method not in only_for:
            if f.name in asked and checked[f.name] != f.default:
                raise ConfigError(
                    f"{stage}.{f.name} has no effect with {stage}.method={method}",
                    f"remove it, or use {stage}.method={' or '.join(only_for)}",
                )
            del checked[f.name]  # a profile's, which is written for every method
    try:
        return cls(**checked)
    except ValueError as e:
        raise ConfigError(f"{stage}: {e}", "correct the value") from e


def _convert(name: str, value: Any, hint: Any) -> Any:
    """`value` as the annotated type; int, float, bool, str, Literal, X | None and tuple[X, ...]. Raises ConfigError."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return None if value is None else _convert(name, value, inner[0])
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise ConfigError(f"{name} is {value!r}", f"choose one of {', '.join(map(str, choices))}")
        return value
    if origin is tuple:
        args = typing.get_args(hint)
        if not isinstance(value, (list, tuple)) or (args[-1] is not Ellipsis and len(value) != len(args)):
            raise ConfigError(f"{name} is {value!r}", "give a list such as [1, 2]")
        return tuple(_convert(name, v, args[0]) for v in value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    raise ConfigError(f"{name} is {value!r} ({type(value).__name__})", f"give a value of type {getattr(hint, '__name__', hint)}")


def _unknown(key: str, known: list[str], origin: str) -> ConfigError:
    near = difflib.get_close_matches(key, known, 1, 0.4)
    return ConfigError(f"{origin}: unknown setting {key}", f"did you mean {near[0]}?" if near else f"valid: {', '.join(sorted(known))}")


def _from_pairs(pairs: typing.Sequence[str]) -> dict:
    from omegaconf import OmegaConf

    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"{pair!r} is not a setting", "write STAGE.KEY=VALUE, for example depth.method=sgm")
    return _plain(OmegaConf.from_dotlist(list(pairs)), "the command line")


def _packaged(name: str) -> dict:
    path = resources.files("configs").joinpath(name)
    return load_yaml(path.read_text(), f"configs/{name}")


def load_yaml(text: str, origin: str) -> dict[str, Any]:
    """The mapping in a YAML text. Raises ConfigError that names `origin`."""
    from omegaconf import OmegaConf

    return _plain(OmegaConf.create(text or "{}"), origin)


def _plain(config: Any, origin: str) -> dict:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        out = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as e:
        raise ConfigError(f"{origin}: {e}", "correct the YAML") from e
    if not isinstance(out, dict):
        raise ConfigError(f"{origin}: expected settings by stage, found a {type(out).__name__}", "see configs/default.yaml")
    return {str(k): v for k, v in out.items()}
