"""Trained weights: which ones there are, where they lie, and whether a file is the right one. `weight_files` fetches and adds them.

`weights/registry.yaml` lists them; a registry.yaml in the weights folder adds to it. A file counts only if its sha256 is the pinned one:
the registry's, or, for a file that was converted or accepted unverified, the one noted beside it in FILE.origin.json when it came in.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from stages.core.errors import ConfigError, WeightsError
from stages.core.fingerprint import digest_file, digest_mapping
from stages.core.plain_files import read_text
from stages.core.plain_yaml import load_yaml

PICKLES = (".pth", ".pt", ".ckpt", ".bin")
"""What torch saves as a pickle: converted to safetensors, tensors only, before anything uses it."""
State = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True)
class Entry:
    """One file of weights; the fields are explained at the head of weights/registry.yaml."""

    name: str
    title: str
    download: str
    page: str
    licence: str
    commercial: bool
    address: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    file: str = ""
    """its name in the weights folder; the download's where none is given, with .safetensors for a state dict"""
    instead: str = ""
    used_by: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    note: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def converted(self) -> bool:
        """Whether the file in the folder is made from the download."""
        return Path(self.download).suffix in PICKLES


@dataclass(frozen=True)
class Found:
    """What lies where an entry's file should be."""

    state: State
    path: Path
    sha256: str = ""
    """of the file"""
    expected: str = ""


def weights_folder() -> Path:
    """TWIN_WEIGHTS, else $XDG_CACHE_HOME/stereotwin/weights, else ~/.cache/stereotwin/weights."""
    if chosen := os.environ.get("TWIN_WEIGHTS"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stereotwin" / "weights"


def registry() -> dict[str, Entry]:
    """All entries by name: the project's and those of the weights folder. Raises ConfigError or WeightsError for a bad file."""
    own = weights_folder() / "registry.yaml"
    values = load_yaml(resources.files("weights").joinpath("registry.yaml").read_text(), "weights/registry.yaml")
    if own.exists():
        values |= load_yaml(read_text(own, ConfigError), str(own))
    return {name: _entry(name, value) for name, value in values.items()}


def entry(name: str) -> Entry:
    """By name. Raises WeightsError that names the nearest."""
    entries = registry()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 1, 0.4)
        raise WeightsError(
            f"no weights are named {name}", f"did you mean {near[0]}? " if near else "`twin weights list` names them"
        )
    return entries[name]


def find(wanted: Entry) -> Found:
    """The entry's file in the weights folder or among the project's own, and whether it is the right one."""
    for folder in (weights_folder(), _project_folder()):
        if (path := folder / wanted.file).is_file():
            expected = pinned(wanted, path)
            found = digest_of(path)
            return Found("ok" if found == expected else "wrong", path, found, expected)
    return Found("missing", weights_folder() / wanted.file)


def require(name: str) -> Found:
    """The right file of these weights. Raises WeightsError that says which command brings it."""
    wanted = entry(name)
    found = find(wanted)
    if found.state == "missing":
        raise WeightsError(f"the weights {name} are not on this machine ({found.path})", how_to_get(wanted))
    if found.state == "wrong":
        expected = found.expected or "none is pinned"
        raise WeightsError(
            f"{found.path} is not the file of {name}: sha256 expected {expected}, found {found.sha256}",
            f"remove it, then: {how_to_get(wanted)}",
        )
    return found


def identity(name: str) -> dict[str, str]:
    """What these weights add to a fingerprint: the file's digest, and that of how it is fed."""
    found = require(name)
    return {name: found.sha256, f"{name} model": digest_mapping(entry(name).model)}


def how_to_get(wanted: Entry) -> str:
    """The command, or what to do by hand."""
    return f"`twin weights fetch {wanted.name}`" if wanted.address else by_hand(wanted)


def by_hand(wanted: Entry) -> str:
    """What to download, how to know it, and where to put it."""
    size = f", {wanted.bytes:,} bytes" if wanted.bytes else ""
    digest = f", sha256 {wanted.sha256}" if wanted.sha256 else ""
    note = f" ({wanted.note})" if wanted.note and not wanted.address else ""
    accept = "" if wanted.sha256 else " --accept-unverified"
    return (
        f"download {wanted.download}{size}{digest} from {wanted.address or wanted.page}{note}, on any machine, then run "
        f"`twin weights add {wanted.download}{accept}`"
    )


def pinned(wanted: Entry, path: Path) -> str:
    """The sha256 the file must have; "" if none is known."""
    note = origin_file(path)
    origin = json.loads(note.read_text()) if note.exists() else {}
    if wanted.sha256 is None:
        return origin.get("sha256", "")
    if wanted.converted:
        return origin.get("sha256", "") if origin.get("source_sha256") == wanted.sha256 else ""
    return wanted.sha256


def origin_file(path: Path) -> Path:
    """The note beside a file that says what it was made from and which digest it had then."""
    return path.with_name(path.name + ".origin.json")


def digest_of(path: Path) -> str:
    """sha256, computed once per process for a file that does not change."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return digest_file(path)


def _project_folder() -> Path:
    return Path(str(resources.files("weights")))


def _entry(name: str, values: Any) -> Entry:
    known = {f.name for f in dataclasses.fields(Entry)} - {"name"}
    needed = {"title", "download", "page", "licence", "commercial"}
    if not isinstance(values, Mapping) or not needed <= set(values) <= known:
        wrong = sorted(set(values) - known) if isinstance(values, Mapping) else values
        raise WeightsError(
            f"registry.yaml: {name} needs {', '.join(sorted(needed))}; not known: {wrong}", "see weights/registry.yaml"
        )
    lists = {key: tuple(values.get(key) or ()) for key in ("used_by", "libraries")}
    made = Entry(name, **{**values, **lists})
    return made if made.file else dataclasses.replace(made, file=_stored_name(made))


def _stored_name(made: Entry) -> str:
    return str(Path(made.download).with_suffix(".safetensors")) if made.converted else made.download
