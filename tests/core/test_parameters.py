"""No function takes more than 7 parameters and no call of ours passes more than 4 by position: who reads a call sees what it passes.

Kernels (numba, Triton) are left out: they take arrays and numbers one by one. So are flows, whose parameters are the fields of a form,
calls of other libraries, and calls that unpack a row with a star, which cannot name what follows it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("stereotwin", "flows", "stages", "tools")
PARAMETERS, BY_POSITION = 7, 4
LONG_NOT_YET = (
    "stages/bundle",
    "stages/core/adjust",
    "stages/core/geometry",
    "stages/masks",
    "stages/track",
)
"""rooms in which functions still take more; a room goes from here with the last of them"""
CALLS_NOT_YET = ("stages/bundle", "stages/core/dense", "stages/masks", "stages/track")
"""rooms in which calls still pass more by position"""
OF_TENSORS = {"view"}
"""methods of torch that have a name of ours"""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Found:
    """Place and name of each function that takes too many, of each call that passes too many."""

    functions: list[str]
    calls: list[str]


def is_kernel(node: Function) -> bool:
    """Compiled for itself."""
    return any("jit" in ast.unparse(d) for d in node.decorator_list)


def is_form(node: Function) -> bool:
    """A flow: its parameters are what a person fills in, one by one."""
    return any(ast.unparse(d).startswith("flow(") for d in node.decorator_list)


def parameters(node: Function) -> list[str]:
    """Names, without self and cls."""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def outside_kernels(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that is not part of a kernel."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, Function) and is_kernel(child)):
            yield child
            yield from outside_kernels(child)


def own_names(trees: list[ast.AST]) -> set[str]:
    """Names of functions and classes of ours that do not take any number of arguments."""
    nodes = [n for tree in trees for n in ast.walk(tree)]
    words = {n.name for n in nodes if isinstance(n, Function) and n.args.vararg}
    return {n.name for n in nodes if isinstance(n, Function | ast.ClassDef)} - words - OF_TENSORS


def measured(text: str, own: set[str], place: str = "") -> Found:
    """The findings of one file."""
    tree = ast.parse(text)
    foreign = {
        alias.asname or alias.name.split(".")[0]
        for n in ast.walk(tree)
        if isinstance(n, ast.Import)
        for alias in n.names
        if alias.name.split(".")[0] not in OURS
    }
    functions, calls = [], []
    for n in outside_kernels(tree):
        if isinstance(n, Function) and len(parameters(n)) > PARAMETERS and not is_form(n):
            functions.append(f"{place}:{n.lineno} {n.name} takes {len(parameters(n))}")
        elif (
            isinstance(n, ast.Call)
            and len(n.args) > BY_POSITION
            and not any(isinstance(a, ast.Starred) for a in n.args)
        ):
            whole = ast.unparse(n.func)
            if (
                whole.split(".")[-1] in own
                and whole.split(".")[0] not in foreign
                and isinstance(n.func, ast.Name | ast.Attribute)
            ):
                calls.append(f"{place}:{n.lineno} {whole} is given {len(n.args)}")
    return Found(functions, calls)


def room(path: str) -> str:
    """stages/texture, stages/core/texels, flows: where a file lies."""
    parts = path.split("/")[:-1]
    return "/".join(parts[: 1 if parts[0] != "stages" else 3 if parts[1:2] == ["core"] else 2])


@pytest.fixture(scope="module")
def found() -> dict[str, Found]:
    """By room."""
    texts = {str(p.relative_to(ROOT)): p.read_text() for name in OURS for p in sorted((ROOT / name).rglob("*.py"))}
    own = own_names([ast.parse(text) for text in texts.values()])
    out: dict[str, Found] = {}
    for path, text in texts.items():
        here, new = out.setdefault(room(path), Found([], [])), measured(text, own, path)
        here.functions.extend(new.functions)
        here.calls.extend(new.calls)
    return out


def test_functions_take_few_parameters(found):
    assert [f for name, here in found.items() if name not in LONG_NOT_YET for f in here.functions] == []


def test_calls_name_what_they_pass(found):
    assert [c for name, here in found.items() if name not in CALLS_NOT_YET for c in here.calls] == []


def test_the_rooms_still_to_do_have_something_to_do(found):
    assert [name for name in LONG_NOT_YET if not found[name].functions] == []
    assert [name for name in CALLS_NOT_YET if not found[name].calls] == []


def test_what_is_too_much_is_found():
    text = """
import cv2
def many(a, b, c, d, e, f, g, h): cv2.putText(a, b, c, d, e); few(a, b, c, d, e); few(a, b, c, d, e=e)
def few(a, b, c, d, e): few(a, *b, c, d, e)
@njit(cache=True)
def kernel(a, b, c, d, e, f, g, h): few(a, b, c, d, e)
@flow(name="x")
def form(a, b, c, d, e, f, g, h): ...
class Thing:
    def method(self, a, b, c, d, e, f, g): self.few(a, b, c, d, *e)
"""
    here = measured(text, own_names([ast.parse(text)]), "x.py")
    assert here == Found(["x.py:3 many takes 8"], ["x.py:3 few is given 5"])
