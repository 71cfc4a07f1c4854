"""Reads the three forms of OpenCV's FileStorage (YAML, XML, JSON) without OpenCV, whose parser ends the process on deep nesting.

{name: array} of what stands at the top level and is made of numbers: opencv-matrix, number, or list of numbers at any depth
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from stages.core.errors import CaptureError
from stages.core.plain_files import read_json, read_text
from stages.core.plain_yaml import Node, native, parse, scalar

TAGS = frozenset(("opencv-matrix", "opencv-nd-matrix"))
DEEPEST = 32
_HEADERS = "a YAML file must begin with %YAML:1.0, an XML file with <opencv_storage>"


def read_storage(path: Path) -> dict[str, np.ndarray]:
    """{name as written: float64 array}. Raises CaptureError with the line of what cannot be read."""
    kind = path.suffix.lower()
    if kind == ".json":
        return numeric(read_json(path), path.name)
    if kind == ".xml":
        return numeric(_xml(path), path.name)
    return numeric(native(yaml_root(path)), path.name)


def yaml_root(path: Path) -> Node:
    """A YAML file of OpenCV's or any other's, as nodes. Raises CaptureError."""
    text = read_text(path)
    if text.startswith("%YAML:"):  # no valid YAML directive, but how OpenCV begins its files
        text = "\n" + text.partition("\n")[2]
    node = parse(text, path.name, CaptureError, TAGS)
    if node is None or not isinstance(node.value, dict):
        raise CaptureError(f"{path.name} is not a readable calibration: it holds no names with values", _HEADERS)
    return node


def numeric(data: Any, source: str) -> dict[str, np.ndarray]:
    """The entries of a map that are made of numbers. Raises CaptureError for a matrix whose size and data disagree."""
    if not isinstance(data, dict):
        raise CaptureError(f"{source} is not a readable calibration: it holds no names with values", _HEADERS)
    found = {str(k): _values(v, f"{source}: {k}") for k, v in data.items()}
    return {k: v for k, v in found.items() if v is not None}


def _values(value: Any, what: str) -> np.ndarray | None:
    if isinstance(value, dict):
        return _matrix(value, what) if "data" in value else None
    flat = _flat(value)
    return None if flat is None else np.array(flat, np.float64)


def _matrix(value: dict[str, Any], what: str) -> np.ndarray:
    flat = _flat(value["data"])
    if flat is None:
        raise CaptureError(f"{what} holds data that are not numbers", "save it again")
    shape = [value[k] for k in ("rows", "cols") if isinstance(value.get(k), int)]
    count = str(value.get("dt", "d")).strip('"')[:-1]  # "3d" is three doubles per element
    channels = int(count) if count.isdigit() and len(count) < 4 else 1
    if len(shape) == 2 and shape[0] * shape[1] * channels != len(flat):
        raise CaptureError(
            f"{what} says {shape[0]}x{shape[1]} and holds {len(flat)} numbers", "the file is damaged: save it again"
        )
    array = np.array(flat, np.float64)
    return array.reshape(shape) if len(shape) == 2 and channels == 1 else array


def _flat(value: Any) -> list[float] | None:
    """All numbers of nested lists, None where there is anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, list)):
        return None
    if not isinstance(value, list):
        return [float(value)] if abs(value) < 1e300 or value != value or isinstance(value, float) else None
    parts = [_flat(v) for v in value]
    return None if any(p is None for p in parts) else [x for p in parts for x in p or ()]


def _xml(path: Path) -> Any:
    """The content of <opencv_storage>."""
    reader = _Elements(path.name)
    try:
        reader.parser.Parse(read_text(path).encode(), True)
    except expat.ExpatError as e:
        raise CaptureError(f"{path.name}, line {e.lineno}: no valid XML: {expat.ErrorString(e.code)}", _HEADERS) from e
    if reader.root_name != "opencv_storage":
        raise CaptureError(f"{path.name} is not a readable OpenCV file: it begins with <{reader.root_name}>", _HEADERS)
    return reader.root


class _Elements:
    """Collects elements as maps, lists (of <_>) and numbers. Declarations of entities are refused: they expand without bound."""

    def __init__(self, source: str) -> None:
        self.source, self.root, self.root_name = source, None, ""
        self.open: list[tuple[str, list[tuple[str, Any]], list[str]]] = []
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = lambda text: self.open and self.open[-1][2].append(text)
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _refuse(self, *_: Any) -> None:
        raise CaptureError(
            f"{self.source}, line {self.parser.CurrentLineNumber}: a DOCTYPE has no place in a calibration", "remove it"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.open) > DEEPEST:
            raise CaptureError(
                f"{self.source}, line {self.parser.CurrentLineNumber}: nested more than {DEEPEST} levels deep", _HEADERS
            )
        self.open.append((name, [], []))

    def _end(self, name: str) -> None:
        _, children, text = self.open.pop()
        if not children:
            value: Any = [scalar(w) for w in "".join(text).split()]
            value = value[0] if len(value) == 1 and name != "data" else value
        elif all(k == "_" for k, _ in children):
            value = [v for _, v in children]
        else:
            value = dict(children)
        if self.open:
            self.open[-1][1].append((name, value))
        else:
            self.root, self.root_name = value, name
