"""What the options of several commands share. Nothing heavy is imported here, nor in the files beside this one: what a command does
is imported when it is used."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable

PROFILES = ("preview", "standard", "quality")


def command(commands, name: str, target: str, help_text: str) -> argparse.ArgumentParser:
    """A new command among `commands` (of `add_subparsers`). target: MODULE:FUNCTION below flows.cli, called with what was parsed."""
    p = commands.add_parser(name, help=help_text, description=help_text)
    p.set_defaults(run=_lazily(target))
    return p


def _lazily(target: str) -> Callable[[argparse.Namespace], int | None]:
    module, function = target.split(":")
    return lambda args: getattr(importlib.import_module(f"flows.cli.{module}"), function)(args)


def output_options(p: argparse.ArgumentParser) -> None:
    """How what came out is told."""
    p.add_argument("--quiet", action="store_true", help="no progress, only what came out")
    p.add_argument("--json", action="store_true", help="what came out, for machines")


def prefect_option(p: argparse.ArgumentParser) -> None:
    """For commands that start a flow."""
    p.add_argument(
        "--no-prefect", action="store_true", help="without Prefect's server: starts faster, no history in its UI"
    )


def box(text: str) -> tuple[float, ...]:
    """Type of `--box`: four numbers."""
    numbers = tuple(float(x) for x in text.split(","))
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError("give four numbers: x0,y0,x1,y1")
    return numbers
