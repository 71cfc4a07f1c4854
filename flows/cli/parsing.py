"""The parser of `twin`: argparse with suggestions for what is mistyped, and `--version`. Imports nothing heavy."""

from __future__ import annotations

import argparse
import difflib
import re
from importlib import metadata
from typing import NoReturn

_INVALID = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)$")
_UNKNOWN = re.compile(r"unrecognized arguments?: (\S+)")


class Parser(argparse.ArgumentParser):
    """Names the nearest command, choice or option in its complaint."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the message with a suggestion; exit code 2."""
        super().error(message + self._suggestion(message))

    def _suggestion(self, message: str) -> str:
        if found := _INVALID.search(message):
            choices = [c.strip().strip("'") for c in found[2].split(",")]
        elif found := _UNKNOWN.search(message):
            choices = sorted({text for p in [self, *subparsers(self).values()] for text in options(p)})
        else:
            return ""
        near = difflib.get_close_matches(found[1].partition("=")[0], choices, 1)
        return f"\nDid you mean {near[0]}?" if near else ""


class Version(argparse.Action):
    """`--version`, read from the installed package when it is asked for."""

    def __init__(self, option_strings, dest, **more) -> None:
        super().__init__(option_strings, dest, nargs=0, help="version of this program", default=argparse.SUPPRESS)

    def __call__(self, parser, namespace, values, option_string=None) -> NoReturn:
        print(f"twin {metadata.version('stereotwin')}")
        parser.exit(0)


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """{command: its parser} one level down."""
    actions = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {name: p for a in actions for name, p in a.choices.items()}


def options(parser: argparse.ArgumentParser) -> list[str]:
    """All options of a parser, as they are written."""
    return [text for action in parser._actions for text in action.option_strings]
