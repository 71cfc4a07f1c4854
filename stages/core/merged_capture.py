"""A merged capture: `merge.json`, which names the results of two finished sessions in the store. `twin merge` writes it.

    {"schema_version": 1, "sessions": [{"name": "a", "results": {KIND: {"stage", "fingerprint"}, ..}}, {..}]}

Fingerprints name results by their content, so this small file decides the twin; it holds no path, and reaches nothing but the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import CaptureError, StoreError
from stages.core.plain_files import read_json, require_all_regular
from stages.core.routes import MERGE_FILE
from stages.core.store import ArtifactRef, Store

FILE = MERGE_FILE
KINDS = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "masks.parquet", "poses.json", "tracks.npz")
"""what is taken over of each session"""
WHICH = ("first", "second")
_ADVICE = "merge the sessions anew with `twin merge A B --out C`"
_WORD, _DIGEST = re.compile(r"[a-z_]{1,40}"), re.compile(r"[0-9a-f]{64}")


def kind_of(which: str, kind: str) -> str:
    """The name of a session's result among the inputs of `merge`."""
    return f"{which}/{kind}"


INPUT_KINDS = tuple(kind_of(which, kind) for which in WHICH for kind in KINDS)


def write_merge(folder: Path, sessions: Mapping[str, Mapping[str, tuple[str, str]]]) -> None:
    """merge.json of two sessions, {name: {kind: (stage, fingerprint)}}."""
    rows = [
        {"name": name, "results": {k: {"stage": s, "fingerprint": f} for k, (s, f) in found.items()}}
        for name, found in sessions.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps({"schema_version": 1, "sessions": rows}, indent=1))
    partial.replace(folder / FILE)


def merge_files(root: Path) -> tuple[Path, ...]:
    """The one file that counts. Raises CaptureError."""
    path = root / FILE
    require_all_regular((path,))
    _sessions(path)
    return (path,)


def session_names(root: Path) -> tuple[str, ...]:
    """Of both sessions. Raises CaptureError."""
    return tuple(s["name"] for s in _sessions(root / FILE))


def session_refs(root: Path, store: Store) -> dict[str, ArtifactRef]:
    """{first/KIND, second/KIND: result}. Raises CaptureError for a damaged merge.json, StoreError for results that are gone."""
    refs, checked = {}, {}
    for which, session in zip(WHICH, _sessions(root / FILE), strict=True):
        for kind, (stage, fingerprint) in session["results"].items():
            if fingerprint not in checked:
                manifest = store.find(stage, fingerprint)
                checked[fingerprint] = {} if manifest is None else store.refs(stage, fingerprint, manifest)
            if kind not in checked[fingerprint]:
                raise StoreError(
                    f"the result of {stage} of the session {session['name']} is no longer in the store {store.root}",
                    f"{_ADVICE}; a capture folder is computed again where that is needed, a twin folder is not",
                )
            refs[kind_of(which, kind)] = checked[fingerprint][kind]
    return refs


def _sessions(path: Path) -> list[dict[str, Any]]:
    data = read_json(path)
    rows = data.get("sessions") if isinstance(data, dict) and set(data) == {"schema_version", "sessions"} else None
    if data is None or not isinstance(rows, list) or len(rows) != 2 or data["schema_version"] != 1:
        raise CaptureError(f"{path} does not hold two sessions", _ADVICE)
    return [_session(path, row) for row in rows]


def _session(path: Path, row: Any) -> dict[str, Any]:
    results = row.get("results") if isinstance(row, dict) and set(row) == {"name", "results"} else None
    if (
        not isinstance(results, dict)
        or set(results) != set(KINDS)
        or not isinstance(row["name"], str)
        or len(row["name"]) > 300
    ):
        raise CaptureError(f"{path} does not name what a session gives: {', '.join(KINDS)}", _ADVICE)
    return {"name": row["name"], "results": {k: _result(path, r) for k, r in results.items()}}


def _result(path: Path, row: Any) -> tuple[str, str]:
    if (
        not isinstance(row, dict)
        or set(row) != {"stage", "fingerprint"}
        or not all(isinstance(v, str) for v in row.values())
    ):
        raise CaptureError(f"{path}: a result is named by stage and fingerprint", _ADVICE)
    if not _WORD.fullmatch(row["stage"]) or not _DIGEST.fullmatch(row["fingerprint"]):
        raise CaptureError(f"{path}: {row['stage'][:40]!r}, {row['fingerprint'][:80]!r} name no result", _ADVICE)
    return row["stage"], row["fingerprint"]
