"""manifest.json of a finished result: what made it, its files with their digests, and a checksum of the manifest itself.

It is believed only if all of it holds together: the checksum, the stage and the fingerprint of the folder it lies in, the fingerprint as
the digest of what it says decided the result, the outputs as the digests of the files. Version 1 had no checksum; such a manifest is
taken when the rest holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from stages.core.fingerprint import digest_mapping

NAME = "manifest.json"
SCHEMA_VERSION = 2
WITHOUT_CHECKSUM = 1
DECIDING = ("stage", "version", "settings", "seed", "inputs", "weights")
"""what the fingerprint is the digest of"""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ("seconds", "peak_memory_mb")


class Damaged(Exception):
    """Why a result cannot be trusted, in words that go after the name of its stage."""


def seal(record: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]], kinds: tuple[str, ...]) -> dict[str, Any]:
    """The manifest for a record with `stage` and `fingerprint`. Raises ValueError for a kind of which there is no file."""
    outputs = {kind: kind_digest(kind, files) for kind in kinds}
    manifest = {"schema_version": SCHEMA_VERSION, **record, "outputs": outputs, "files": files}
    return {**manifest, "checksum": digest_mapping(manifest)}


def read(data: bytes, stage: str, fingerprint: str) -> dict[str, Any]:
    """The manifest of this stage and fingerprint. Raises Damaged."""
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Damaged(f"its manifest is not readable ({str(e)[:80]})") from e
    if not isinstance(manifest, dict):
        raise Damaged("its manifest holds no entries")
    _check_version(manifest)
    for name, expected in (("stage", stage), ("fingerprint", fingerprint)):
        if manifest.get(name) != expected:
            raise Damaged(f"its manifest is of another {name} ({str(manifest.get(name))[:40]})")
    _check_shape(manifest)
    if all(k in manifest for k in DECIDING) and digest_mapping({k: manifest[k] for k in DECIDING}) != fingerprint:
        raise Damaged("the settings or inputs in its manifest are not those of its fingerprint")
    return manifest


def kind_digest(kind: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """Of the file or folder of one kind, by content and names. Raises ValueError if there is no such file."""
    own = {n: e["sha256"] for n, e in files.items() if n == kind or n.startswith(kind + "/")}
    if not own:
        raise ValueError(f"the stage declared the output {kind!r} but wrote no such file or folder")
    return digest_mapping(own)


def _check_version(manifest: dict[str, Any]) -> None:
    version = manifest.get("schema_version")
    if version not in (SCHEMA_VERSION, WITHOUT_CHECKSUM) or isinstance(version, bool):
        raise Damaged(
            f"its manifest is of version {str(version)[:20]}, this program reads {WITHOUT_CHECKSUM} and {SCHEMA_VERSION}"
        )
    if version == WITHOUT_CHECKSUM and "checksum" not in manifest:
        return
    try:
        checksum = digest_mapping({k: v for k, v in manifest.items() if k != "checksum"})
    except ValueError as e:  # NaN, which is never written
        raise Damaged("its manifest holds what is no number") from e
    if manifest.get("checksum") != checksum:
        raise Damaged("its manifest does not fit its checksum")


def _check_shape(manifest: dict[str, Any]) -> None:
    files, outputs = manifest.get("files"), manifest.get("outputs")
    if not isinstance(files, dict) or not files or not all(_is_entry(name, entry) for name, entry in files.items()):
        raise Damaged("the files in its manifest are not such as are written")
    if not isinstance(outputs, dict) or not all(_is_inside(kind) for kind in outputs):
        raise Damaged("the outputs in its manifest are not such as are written")
    for kind, digest in outputs.items():
        if not any(n == kind or n.startswith(kind + "/") for n in files) or digest != kind_digest(kind, files):
            raise Damaged(f"the digest of its output {kind[:40]} is not that of its files")
    report = manifest.get("report", {"warnings": []})
    if not isinstance(report, dict) or not isinstance(report.get("warnings", []), list):
        raise Damaged("the report in its manifest is not such as is written")
    if any(not isinstance(manifest.get(name, 0), (int, float)) for name in _NUMBERS):
        raise Damaged("the figures in its manifest are no numbers")


def _is_entry(name: str, entry: Any) -> bool:
    return (
        _is_inside(name)
        and isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
        and _DIGEST.fullmatch(entry["sha256"]) is not None
    )


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
