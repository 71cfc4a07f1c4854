"""Bringing weights to this machine: download that resumes, copy from a mirror folder, a file downloaded by hand.

Nothing takes its place in the weights folder before its sha256 is checked, and it does so by one rename. A download that was cut stays
as FILE.part and is continued. Proxies come from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import WeightsError
from stages.core.fingerprint import digest_file
from stages.core.weights import Entry, by_hand, entry, find, origin_file, registry, weights_folder

_CHUNK = 1 << 18
_TRIES = 5
"""Connections that may break before it gives up; each goes on where the last one stopped."""
_TIMEOUT_S = 30.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Added:
    """A file that took its place."""

    entry: Entry
    path: Path
    source_sha256: str
    pinned_now: bool
    """its digest was not known before, and is noted now"""


def fetch(
    name: str,
    mirror: Path | None = None,
    accept_unverified: bool = False,
    progress: Progress = lambda done, total: None,
) -> Added | None:
    """Download (or copy from the folder `mirror`) and put in place; None if it was there already. progress(bytes, total or 0).

    Raises WeightsError: no address, no network, wrong digest, a digest that is not pinned.
    """
    wanted = entry(name)
    if find(wanted).state == "ok":
        return None
    part = weights_folder() / f"{wanted.file}.part"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if mirror is not None:
            _copy(_in_mirror(wanted, mirror), part)
        elif wanted.address is None:
            raise WeightsError(f"{name} has no address that a program may fetch from", by_hand(wanted))
        else:
            _download(wanted, part, progress)
        return _take_in(wanted, part, accept_unverified)
    except OSError as e:
        raise _disk_error(e, part) from e


def add(file: Path, accept_unverified: bool = False) -> Added:
    """Put a file that was downloaded by hand in place: recognised by its sha256, else by its name. Raises WeightsError."""
    if not file.is_file():
        raise WeightsError(f"there is no file {file}", "give the path of a file")
    digest, entries = digest_file(file), registry()
    wanted = next((e for e in entries.values() if e.sha256 == digest), None)
    wanted = wanted or next((e for e in entries.values() if file.name in (e.download, e.file)), None)
    if wanted is None:
        names = ", ".join(sorted({e.download for e in entries.values()}))
        raise WeightsError(
            f"{file.name} (sha256 {digest}) is not in the registry",
            f"known files: {names}. Weights of your own go into {weights_folder() / 'registry.yaml'} (docs/weights.md)",
        )
    part = weights_folder() / f"{wanted.file}.adding"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _copy(file, part)
        return _take_in(wanted, part, accept_unverified)
    except OSError as e:
        raise _disk_error(e, part) from e
    finally:
        part.unlink(missing_ok=True)


def _take_in(wanted: Entry, part: Path, accept_unverified: bool) -> Added:
    digest = digest_file(part)
    if wanted.sha256 is None and not accept_unverified:
        raise WeightsError(
            f"the sha256 of {wanted.name} is not pinned; this file has {digest}",
            "compare it with what the publisher says, then run the same command with --accept-unverified: "
            "the digest is noted, and another file is refused from then on",
        )
    if wanted.sha256 not in (None, digest):
        size = part.stat().st_size
        _forget(part)
        raise WeightsError(
            f"this is not the file of {wanted.name}: sha256 expected {wanted.sha256}, found {digest} ({size:,} bytes)",
            f"the file was not kept. {by_hand(wanted)}",
        )
    path = weights_folder() / wanted.file
    ready = _to_safetensors(part, path.with_name(f"{path.name}.new"), wanted) if wanted.converted else part
    note = {"source_sha256": digest, "sha256": digest_file(ready), "download": wanted.download}
    _write(origin_file(path), json.dumps(note, indent=1).encode())
    with ready.open("rb+") as handle:
        os.fsync(handle.fileno())
    ready.replace(path)
    _forget(part)
    return Added(wanted, path, digest, wanted.sha256 is None)


def _download(wanted: Entry, part: Path, progress: Progress) -> None:
    reason: Exception | None = None
    for attempt in range(_TRIES):
        time.sleep(min(attempt, 3))
        try:
            if _receive(wanted, part, progress):
                return
        except urllib.error.HTTPError as e:
            raise WeightsError(
                f"{wanted.address} answers {e.code} {e.reason}",
                f"see {wanted.page}: perhaps its terms have to be accepted first. By hand: {by_hand(wanted)}",
            ) from e
        except (OSError, http.client.HTTPException) as e:
            if isinstance(e, OSError) and (e.filename is not None or e.errno in (errno.ENOSPC, errno.EDQUOT)):
                raise  # the disk, not the network
            reason = e
            if not part.exists():  # not one byte came: no network, wrong proxy, no such host
                break
    got = part.stat().st_size if part.exists() else 0
    if got:
        raise WeightsError(
            f"the connection to {wanted.address} broke after {got:,} bytes ({reason or 'cut short'})",
            "run the same command again: it goes on from there",
        )
    raise WeightsError(
        f"{wanted.address} cannot be reached ({getattr(reason, 'reason', reason)})",
        f"behind a proxy set HTTPS_PROXY; with a folder of downloads use --from FOLDER; without network {by_hand(wanted)}",
    )


def _receive(wanted: Entry, part: Path, progress: Progress) -> bool:
    """One connection; True when the file is whole."""
    tag_file = part.with_name(part.name + ".etag")
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(
        wanted.address or "", headers={"User-Agent": "stereotwin", "Accept-Encoding": "identity"}
    )
    if start:
        request.add_header("Range", f"bytes={start}-")
        if tag_file.exists():
            request.add_header("If-Range", tag_file.read_text())  # a changed file is sent from its beginning
    try:
        answer = urllib.request.build_opener().open(request, timeout=_TIMEOUT_S)  # proxies as the environment says now
    except urllib.error.HTTPError as e:
        if e.code == 416 and e.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
            return True  # it was whole already
        if e.code == 416:
            _forget(part)
            return False
        raise
    with answer:
        start = start if answer.status == 206 else 0
        total = start + int(answer.headers.get("Content-Length") or 0)
        if tag := answer.headers.get("ETag"):
            tag_file.write_text(tag)
        done = start
        with part.open("ab" if start else "wb") as out:
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                progress(done, total)
    return done >= total > 0 or (total == start and done > start)


def _in_mirror(wanted: Entry, mirror: Path) -> Path:
    for place in (mirror / wanted.name / wanted.download, mirror / wanted.file, mirror / wanted.download):
        if place.is_file():
            return place
    raise WeightsError(f"{mirror} holds neither {wanted.name}/{wanted.download} nor {wanted.download}", by_hand(wanted))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as i, target.open("wb") as o:
        shutil.copyfileobj(i, o, _CHUNK)


def _to_safetensors(part: Path, target: Path, wanted: Entry) -> Path:
    """The tensors of a torch file, and nothing else of it. Raises WeightsError if it holds code or other objects."""
    import pickle

    import torch
    from safetensors.torch import save_file

    try:
        values = torch.load(part, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as e:
        raise WeightsError(
            f"{wanted.download} is not a plain state dict: {str(e).splitlines()[0][:150]}",
            f"only tensors are read, never a pickled program; look for another file at {wanted.page}",
        ) from e
    tensors = _tensors(values)
    if not tensors:
        raise WeightsError(f"{wanted.download} holds no state dict", f"look for another file at {wanted.page}")
    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, str(target))
    return target


def _tensors(values: object) -> dict:
    """{name: tensor} of a state dict, or of the one inside a training checkpoint."""
    import torch

    if not isinstance(values, dict):
        return {}
    tensors = {str(k): v for k, v in values.items() if isinstance(v, torch.Tensor)}
    inner = (values[key] for key in ("state_dict", "model", "params", "extractor") if key in values)
    return tensors or next((found for v in inner if (found := _tensors(v))), {})


def _disk_error(e: OSError, path: Path) -> WeightsError:
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsError(
            f"no space left writing {path}",
            "free space, or set TWIN_WEIGHTS to a folder on a larger disk; what was downloaded is kept",
        )
    return WeightsError(f"cannot write {path}: {e}", "check the permissions of the folder, or set TWIN_WEIGHTS")


def _forget(part: Path) -> None:
    for path in (part, part.with_name(part.name + ".etag")):
        path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
