"""Every command of `twin` leads somewhere."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

from flows.cli import main as cli
from flows.cli.parsing import subparsers


def test_every_command_calls_a_function_that_is_there():
    asked = [
        (node.args[1].value, *node.args[2].value.split(":"))
        for path in (Path(cli.__file__).parent / "commands").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "command"
    ]
    there = {inner for name, p in subparsers(cli.parser()).items() for inner in subparsers(p) or [name]}
    assert {name for name, *_ in asked} == there
    for _, module, function in asked:
        assert callable(getattr(importlib.import_module(f"flows.cli.{module}"), function)), (module, function)
