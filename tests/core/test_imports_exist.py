"""Every module of ours that is imported anywhere, also inside a function that no test happens to call, is there and has the name; and no
module imports itself by way of others."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("stereotwin", "flows", "stages", "tests", "tools")
FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> list[tuple[int, str, list[str]]]:
    """(line, module, names asked of it) of each absolute import, and of each `importlib.import_module("...")`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.lineno, node.module, [a.name for a in node.names]))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, a.name, []) for a in node.names]
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
            and isinstance(node.args[0], ast.Constant)
        ):
            found.append((node.lineno, node.args[0].value, []))
    return [f for f in found if f[1].split(".")[0] in OURS]


@cache
def imports_of(path: Path) -> list[tuple[int, str, list[str]]]:
    """Those of a file, read once."""
    return imports(ast.parse(path.read_text()))


@cache
def source(module: str) -> Path | None:
    """The file of a module; None where there is none."""
    path = ROOT.joinpath(*module.split("."))
    return next(
        (p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), path if path.is_dir() else None
    )


def has(module: str, name: str) -> bool:
    """Whether `from module import name` finds it: a module in the folder, or a word in its text."""
    path = source(module)
    return source(f"{module}.{name}") is not None or (path is not None and path.is_file() and name in path.read_text())


@pytest.mark.parametrize("package", OURS)
def test_what_is_imported_is_there(package):
    missing = [
        f"{path.relative_to(ROOT)}:{line}: {module} {name}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] == package
        for line, module, names in imports_of(path)
        for name in names or [""]
        if source(module) is None or (name not in ("", "*") and not has(module, name))
    ]
    assert not missing, missing


def test_an_import_of_nothing_is_found():
    found = imports(
        ast.parse(
            'def f():\n    from stages.surface.nowhere import thing\n    importlib.import_module("flows.nothing")'
        )
    )
    assert [f[0] for f in found] == [2, 3]
    assert all(source(module) is None for _, module, _ in found)
    assert importlib.util.find_spec("stages.surface.stage") is not None and source("stages.surface.stage") is not None


def module_of(path: Path) -> str:
    """As it is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def circle(known: dict[str, list[tuple[int, str, list[str]]]]) -> list[str]:
    """Modules that import one another in a ring, by any import anywhere in them; empty where there is none. known: module -> `imports`."""
    graph = {
        module: {
            target
            for _, asked, names in asks
            for target in (*(f"{asked}.{name}" for name in names), asked)
            # `from package import module` asks for the module; the package itself holds nothing then
            if target in known
            and target != module
            and not (target == asked and any(f"{asked}.{n}" in known for n in names))
        }
        for module, asks in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        return e.args[1]
    return []


def test_there_is_no_import_circle():
    assert not (ring := circle({module_of(p): imports_of(p) for p in FILES})), " <- ".join(ring)


def test_an_import_circle_is_found_inside_functions_and_for_types():
    known = {
        "stages.a": "def f():\n    from stages.b import B",
        "stages.b": "from stages import c",
        "stages.c": "if TYPE_CHECKING:\n    from stages.a import A",
        "stages.d": "from stages.a import A",
    }
    assert set(circle({name: imports(ast.parse(text)) for name, text in known.items()})) == {
        "stages.a",
        "stages.b",
        "stages.c",
    }
    known["stages.c"] = ""
    assert circle({name: imports(ast.parse(text)) for name, text in known.items()}) == []
