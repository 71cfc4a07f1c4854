"""YAML as plain data: scalars, lists, maps. No tags that build objects, no interpolation, and bounds on size, depth and number of nodes.

Scalars keep their text: what `on`, `1e3` or `007` means is decided by who reads the value, because YAML 1.1 takes the choice `off` for
false. `native` gives values by the rules of YAML 1.2: true and false are the only booleans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from stages.core.errors import ConfigError, TwinError

MOST_CHARACTERS = 1 << 18
MOST_NODES = 20_000
"""with aliases counted as what they stand for: nested aliases would double with every line"""
DEEPEST = 32
_TAGS = frozenset(("", "str", "int", "float", "bool", "null", "seq", "map"))
_INT = re.compile(r"[-+]?[0-9]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    ".nan": float("nan"),
    ".NaN": float("nan"),
    ".NAN": float("nan"),
    ".Nan": float("nan"),
    ".inf": float("inf"),
    ".Inf": float("inf"),
    ".INF": float("inf"),
    "-.inf": float("-inf"),
    "-.Inf": float("-inf"),
    "-.INF": float("-inf"),
}


@dataclass(frozen=True)
class Node:
    """A value with the place it stands at. `value` is a str, a list of nodes, or a dict of nodes."""

    value: Any
    where: str
    """for messages: "FILE, line N" or "the command line" """
    quoted: bool = False
    tag: str = ""
    size: int = 1
    """nodes in it, itself counted"""

    def __str__(self) -> str:
        return self.value if isinstance(self.value, str) else repr(native(self))

    def shown(self, most: int = 60) -> str:
        """Short, for messages."""
        text = repr(self.value if isinstance(self.value, str) else native(self))
        return text if len(text) <= most else f"{text[:most]}.."


def native(node: Node) -> Any:
    """As Python values. Quoted scalars are strings."""
    if isinstance(node.value, list):
        return [native(n) for n in node.value]
    if isinstance(node.value, dict):
        return {k: native(n) for k, n in node.value.items()}
    return node.value if node.quoted else scalar(node.value)


def scalar(text: str) -> Any:
    """None, bool, int, float or the text itself, by the rules of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 400:  # longer than any number, and Python refuses to read integers of some thousand digits
        return text
    if _INT.match(text):
        return int(text)
    if _HEX.match(text):
        return int(text, 16)
    return float(text) if _FLOAT.match(text) else text


def load_yaml(text: str, origin: str, error: type[TwinError] = ConfigError) -> dict[str, Any]:
    """The mapping in a YAML text as Python values. Raises `error` that names `origin`."""
    return native(parse_map(text, origin, error))


def parse_map(text: str, origin: str, error: type[TwinError] = ConfigError) -> Node:
    """The mapping in a YAML text, an empty one for an empty text. Raises `error` with `origin`, the line and what to do."""
    node = parse(text, origin, error)
    if node is None or (node.value == "" and not node.quoted):
        return Node({}, origin)
    if not isinstance(node.value, dict):
        raise error(f"{node.where}: expected keys with values, found {node.shown()}", "write KEY: VALUE, one per line")
    return node


def parse(
    text: str, origin: str, error: type[TwinError] = ConfigError, tags: frozenset[str] = frozenset()
) -> Node | None:
    """The one document of a YAML text; None where there is none. `tags`: those allowed beside YAML's own for plain values."""
    if len(text) > MOST_CHARACTERS:
        raise error(
            f"{origin} has {len(text):,} characters; expected at most {MOST_CHARACTERS:,}",
            "check that it is the right file",
        )
    try:
        return _Builder(origin, error, _TAGS | tags).document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{origin}, line {mark.line + 1}" if mark else origin
        raise error(f"{where}: no valid YAML: {e.problem or e.context}", _advice(str(e.problem))) from e
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        raise error(f"{origin}, line {line}: the character {e.character!r} is not allowed in YAML", "remove it") from e
    except ValueError as e:  # PyYAML on escapes of no character, such as "\UFFFFFFFF"
        raise error(f"{origin}: no valid YAML: {e}", "correct the file") from e


def _advice(problem: str) -> str:
    return "indent with spaces, YAML allows no tabs" if "\\t" in problem else "correct this line"


class _Builder:
    """Nodes from PyYAML's events, which come without recursion and one by one, so that a bound ends the work at once."""

    def __init__(self, origin: str, error: type[TwinError], tags: frozenset[str]) -> None:
        self.origin, self.error, self.tags, self.count = origin, error, tags, 0
        self.anchors: dict[str, Node] = {}

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        root = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self.error(f"{self._where(event)}: a second document", "keep one document in the file")
                root = self._node(next(events), events, 0)
        return root

    def _where(self, event: yaml.Event) -> str:
        return f"{self.origin}, line {event.start_mark.line + 1}"

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        where = self._where(event)
        if depth > DEEPEST:
            raise self.error(f"{where}: nested more than {DEEPEST} levels deep", "correct the file")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, where)
        self._add(1, where)
        if isinstance(event, yaml.ScalarEvent):
            tag = self._tag(event, where)
            node = Node(event.value, where, tag == "str" or event.style in ("'", '"', "|", ">"), tag)
        elif isinstance(event, yaml.SequenceStartEvent):
            items = self._items(events, yaml.SequenceEndEvent, depth)
            node = Node(items, where, tag=self._tag(event, where), size=1 + sum(n.size for n in items))
        else:
            node = self._map(event, events, depth, where)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _add(self, count: int, where: str) -> None:
        self.count += count
        if self.count > MOST_NODES:
            raise self.error(
                f"{where}: more than {MOST_NODES:,} values (aliases count as what they stand for)", "write it shorter"
            )

    def _alias(self, event: yaml.AliasEvent, where: str) -> Node:
        if event.anchor not in self.anchors:
            raise self.error(
                f"{where}: *{event.anchor} stands for nothing", f"mark what it means with &{event.anchor} further up"
            )
        node = self.anchors[event.anchor]
        self._add(node.size, where)
        return node

    def _tag(self, event: yaml.NodeEvent, where: str) -> str:
        full = getattr(event, "tag", None) or ""
        tag = full.removeprefix("tag:yaml.org,2002:").lstrip("!")
        if tag not in self.tags:
            raise self.error(f"{where}: the tag {full[:80]} is not known here", "write plain values without tags")
        return tag

    def _items(self, events: Iterator[yaml.Event], end: type[yaml.Event], depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(events), end):
            items.append(self._node(event, events, depth + 1))
        return items

    def _map(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int, where: str) -> Node:
        items = self._items(events, yaml.MappingEndEvent, depth)
        out: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key.value, str):
                raise self.error(f"{key.where}: the key {key.shown()} is no plain word", "write KEY: VALUE")
            if key.value == "<<" and not key.quoted:
                if not isinstance(value.value, dict):
                    raise self.error(f"{key.where}: << needs keys to take over", "write <<: *NAME")
                merged = {**merged, **value.value}
            elif key.value in out:
                raise self.error(f"{key.where}: the key {key.value} is there twice", "keep one of them")
            else:
                out[key.value] = value
        return Node({**merged, **out}, where, tag=self._tag(event, where), size=1 + sum(n.size for n in items))
