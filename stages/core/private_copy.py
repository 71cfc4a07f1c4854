"""The capture's files as the stage reads them: a copy of its own, proven to be what the fingerprint stands for.

A picture that is replaced while it is read, and put back after, would else be stored under the fingerprint of the right one. The copy is
read by nobody else, so its digests are those of the very bytes that are decoded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from stages.core.capture_links import open_inside
from stages.core.disk_errors import room_error
from stages.core.errors import CaptureError
from stages.core.fingerprint import digest_file, digest_mapping
from stages.core.store import ArtifactRef

_ADVICE = "run again when nothing writes into the capture any more; nothing of it was stored"
_NEVER_CHANGED = ". If nothing does, a file was damaged without a trace: remove the store's folder digests, which remembers unchanged files"
_ROOM = "free space (`twin clean`) or set TWIN_STORE to a larger disk: the capture is copied there while it is read"


@contextmanager
def private_copy(
    capture: ArtifactRef, folder: Path, workers: int, files_of: Callable[[Path], Sequence[Path]]
) -> Iterator[Path]:
    """The new `folder` with a copy of what `files_of` finds in the capture; it is removed at the end.

    Raises CaptureError, naming the file, where the capture is not what `capture.fingerprint` says; StoreError without room for the copy.
    """
    paths = files_of(capture.path)
    if error := room_error(folder, sum(p.stat().st_size for p in paths), _ROOM):
        raise error

    def copy(path: Path) -> tuple[str, str]:
        target = folder / path.relative_to(capture.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_inside(path, capture.path) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        return target.relative_to(folder).as_posix(), digest_file(target)

    try:
        with ThreadPoolExecutor(workers) as pool:
            digests = dict(pool.map(copy, paths))
        if digest_mapping(digests) != capture.fingerprint:
            raise CaptureError(*_what_changed(capture.path, digests))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _what_changed(root: Path, read: dict[str, str]) -> tuple[str, str]:
    """Message and advice. Names the files that were put back already; else the one that changed last."""
    now = {name: digest_file(root / name) for name in read if (root / name).is_file()}
    if changed := [name for name in read if now.get(name) != read[name]]:
        more = f" and {len(changed) - 1} more files" if changed[1:] else ""
        return f"{changed[0]}{more} of {root} changed while the capture was read", _ADVICE
    last = max(read, key=lambda name: (root / name).stat().st_ctime_ns)
    return f"{root} changed after this run had begun; the last file to change was {last}", _ADVICE + _NEVER_CHANGED
