"""How the form of reconstruct-capture is drawn in the Prefect UI.

Pydantic's schema is right but reads badly there: a name has to be typed although the captures are known, and each value that may be left
out becomes a pair of tabs of which one says `Property is type "None"`. The server checks parameters against what is made here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.captures.markers import DEEPEST, MARKER, subfolders
from flows.records.places import PICK_URL, captures_root
from stages.core.capture import VIDEOS
from stages.core.rgbd_files import looks_rgbd
from stages.core.routes import looks_posed

MOST_OFFERED = 1000
"""names in the dropdown; with more captures, the newest. The others can be given by path"""


def draw_form(schema: dict[str, Any]) -> None:
    """Change the schema of reconstruct-capture in place: captures by name, plain titles, values that may simply be left empty."""
    form = schema["properties"]
    _offer(form["capture"], offered_captures(captures_root()))
    _may_be_empty(form["start_from"], "start from")
    _may_be_empty(form["time_limit_min"], "time limit, minutes")
    _may_be_empty(form["box"], "box")
    form["box"]["description"] += f" To draw it with mouse or finger: {os.environ.get(PICK_URL) or 'twin pick CAPTURE'}"
    for edge, field in schema["definitions"][form["box"]["$ref"].rsplit("/", 1)[1]]["properties"].items():
        _may_be_empty(field, edge.capitalize())


def _offer(field: dict[str, Any], names: list[str]) -> None:
    """A dropdown, and beside it a path: a new capture may arrive at any moment, and others lie elsewhere. The only one is chosen."""
    if names:
        by_path = {
            "title": "by path",
            "type": "string",
            "minLength": field.pop("minLength"),
            "maxLength": field.pop("maxLength"),
        }
        del field["type"]
        field["anyOf"] = [{"title": "by name", "type": "string", "enum": names}, by_path]
    if len(names) == 1:
        field["default"] = names[0]


def _may_be_empty(field: dict[str, Any], title: str) -> None:
    """Left empty, the field is not sent, and the flow's own default holds. A default of null would be sent, and be refused."""
    value = next(kind for kind in field.pop("anyOf") if kind.get("type") != "null")
    del field["default"]
    field |= {**value, "title": title}


def offered_captures(root: Path) -> list[str]:
    """Names below `root` of the folders that look like captures, READY or not, in order; the newest of them if they are too many."""
    found = list(_captures(root, DEEPEST))
    if len(found) > MOST_OFFERED:
        found = sorted(found, key=_age, reverse=True)[:MOST_OFFERED]
    return sorted(p.relative_to(root).as_posix() for p in found)


def _captures(folder: Path, levels: int) -> Iterator[Path]:
    for path in subfolders(folder):
        if (
            (path / "left").is_dir()
            or (path / MARKER).is_file()
            or _has_video(path)
            or looks_posed(path)
            or looks_rgbd(path)
        ):
            yield path
        elif levels > 1:
            yield from _captures(path, levels - 1)


def _age(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # taken away at this moment
        return 0.0


def _has_video(folder: Path) -> bool:
    return any((folder / f"{view}{kind}").is_file() for view in ("left", "stereo") for kind in VIDEOS)
