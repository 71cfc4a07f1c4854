"""`twin settings`: every setting of every stage, as its config file documents it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
import typing
from typing import Any

from flows.run.stage_child import load_stages
from flows.ui.field_docs import field_docs
from stages.core.errors import ConfigError
from stages.core.fingerprint import plain


def settings(args: argparse.Namespace) -> int:
    """Name, default, choices and the reason, per stage."""
    stages = {s.name: s for s in load_stages()}
    if args.stage and args.stage not in stages:
        raise ConfigError(f"there is no stage {args.stage}", f"choose one of {', '.join(stages)}")
    if args.json:
        wanted = {name: _plain(stage.Config) for name, stage in stages.items() if args.stage in (None, name)}
        print(json.dumps(wanted, indent=1))
        return 0
    for name, stage in stages.items():
        if args.stage in (None, name):
            print(name)
            for line in describe(name, stage.Config):
                print(line)
    return 0


def describe(stage: str, cls: type) -> list[str]:
    """Two lines or more per field: how to set it, and what it means."""
    hints, texts, lines = typing.get_type_hints(cls), field_docs(cls), []
    for f in dataclasses.fields(cls):
        only = f.metadata.get("only_for", ())
        suffix = f"   only for method {' or '.join(only)}" if only else ""
        lines.append(f"  {stage}.{f.name}={_value(f.default)}   ({_kind(hints[f.name])}){suffix}")
        lines += textwrap.wrap(texts.get(f.name, ""), 110, initial_indent="      ", subsequent_indent="      ")
    return lines


def _plain(cls: type) -> dict[str, dict[str, Any]]:
    """{key: default, type, choices, meaning, only_for} for machines."""
    hints, texts = typing.get_type_hints(cls), field_docs(cls)

    def choices(hint):
        return list(typing.get_args(hint)) if typing.get_origin(hint) is typing.Literal else None

    return {
        f.name: {
            "default": plain(f.default),
            "type": _kind(hints[f.name]),
            "choices": choices(hints[f.name]),
            "meaning": texts.get(f.name, ""),
            "only_for": list(f.metadata.get("only_for", ())),
        }
        for f in dataclasses.fields(cls)
    }


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    return getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint)


def _value(default: Any) -> str:
    if isinstance(default, tuple):
        return "[" + ",".join(map(str, default)) + "]"
    return "null" if default is None else str(default)
