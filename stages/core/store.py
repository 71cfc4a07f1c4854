"""The content-addressed store of stage results: atomic, verified, locked.

Layout under the root (TWIN_STORE, else the user's cache folder):

    artifacts/<stage>/<fingerprint>/   one finished result: its files and manifest.json, written last
    locks/<fingerprint>.lock           fcntl.flock; a dead process frees it at once
    tmp/<fingerprint>.<pid>/           work in progress; swept when nobody holds its lock
    corrupt/<name>/                    result/ that cannot be trusted, kept for a look, and why.txt
    pending/<stage>.<fingerprint>      a result that has not reached the bucket yet

With TWIN_STORE_S3 the folder is a cache of the bucket (remote_results.py): what is not here is fetched, what is made here is sent there.

A result is visible only after one rename, and everything in it was synced before, so a kill or a power cut at any moment leaves either
the whole result or nothing. Reading needs no writing: a store on a read-only or full disk gives what it has.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import manifest as manifests
from stages.core.disk import THE_DISK, Disk
from stages.core.disk_errors import NO_ROOM, NOT_WRITABLE, store_error
from stages.core.errors import StoreError
from stages.core.file_locks import is_held, lock, try_flock
from stages.core.fingerprint import digest_file
from stages.core.manifest import Damaged
from stages.core.remote_results import RemoteResults, RemoteTrouble, of_environment

MANIFEST = manifests.NAME
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArtifactRef:
    """What stages hand to each other: a kind of data, where it lies, and the digest of its content."""

    kind: str
    path: Path
    fingerprint: str


def default_root() -> Path:
    """TWIN_STORE, else $XDG_CACHE_HOME/stereotwin, else ~/.cache/stereotwin."""
    if root := os.environ.get("TWIN_STORE"):
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stereotwin"


class Store:
    """One folder of results, shared by processes and (on a filesystem with working flock) by machines."""

    def __init__(self, root: Path | None = None, disk: Disk = THE_DISK, remote: RemoteResults | None = None) -> None:
        """`remote`: without it that of TWIN_STORE_S3, which belongs to the store of TWIN_STORE and to no other folder."""
        self.root, self.disk = Path(root) if root is not None else default_root(), disk
        self.remote = remote or (of_environment() if self.root == default_root() else None)
        self._bad_there: set[str] = set()
        self.set_aside: dict[str, str] = {}
        """{fingerprint: why} of the results that this object found damaged"""

    def artifact_dir(self, stage: str, fingerprint: str) -> Path:
        """Where a finished result lies (it may not exist yet)."""
        return self.root / "artifacts" / stage / fingerprint

    def manifest(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The manifest of a finished result, checked, but not its files; None if there is none that can be trusted."""
        try:
            return self._read_manifest(stage, fingerprint)
        except Damaged as e:
            log.warning("a result of %s in the store is damaged: %s; `twin clean --corrupt` removes it", stage, e)
            return None

    def find(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """`lookup` for callers that do not hold the lock; waits for it."""
        if self.remote is None and not os.path.lexists(self.artifact_dir(stage, fingerprint)):
            return None
        with self.lock_where_possible(fingerprint):
            return self.lookup(stage, fingerprint)

    def lookup(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The manifest if the result is there, or in the bucket, and every byte of it is as recorded; anything else is moved to corrupt/.
        Call with the lock held."""
        found = self._lookup_here(stage, fingerprint)
        return self._bring(stage, fingerprint) if found is None and self.remote is not None else found

    def _lookup_here(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        if not os.path.lexists(self.artifact_dir(stage, fingerprint)):
            return None
        try:
            manifest = self._read_manifest(stage, fingerprint)
            if manifest is None:
                raise Damaged("its manifest is missing")
            if damaged := self.damaged_files(stage, fingerprint, manifest):
                raise Damaged(
                    f"files that differ from what was written: {len(damaged)} of {len(manifest['files'])} (first: {damaged[0]})"
                )
        except Damaged as e:
            self._set_aside(stage, fingerprint, str(e))
            return None
        return manifest

    def _read_manifest(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        path = self.artifact_dir(stage, fingerprint) / MANIFEST
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except (NotADirectoryError, IsADirectoryError) as e:
            raise Damaged("its manifest is no file") from e
        except OSError as e:
            if e.errno == errno.EIO:
                raise Damaged("the disk cannot read its manifest") from e
            raise store_error(e, path) from e
        return manifests.read(data, stage, fingerprint)

    def damaged_files(self, stage: str, fingerprint: str, manifest: dict[str, Any]) -> list[str]:
        """Relative paths whose bytes differ from the manifest's digests, or that the disk cannot read. Raises StoreError."""
        folder = self.artifact_dir(stage, fingerprint)
        return [name for name, entry in manifest["files"].items() if not _is_as_written(folder / name, entry)]

    def refs(self, stage: str, fingerprint: str, manifest: dict[str, Any]) -> dict[str, ArtifactRef]:
        """The outputs of a finished result by kind."""
        folder = self.artifact_dir(stage, fingerprint)
        return {kind: ArtifactRef(kind, folder / kind, digest) for kind, digest in manifest["outputs"].items()}

    @contextlib.contextmanager
    def lock(self, fingerprint: str, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the lock of one result. Waits; raises StoreError after `timeout_s`."""
        path = self.root / "locks" / f"{fingerprint}.lock"
        with _writing(path):
            handle = self._open_lock(path, timeout_s)
        with handle:
            yield

    @contextlib.contextmanager
    def lock_where_possible(self, fingerprint: str) -> Iterator[None]:
        """The same for what only reads: goes on without a lock where no lock file can be made (a read-only store, a full disk)."""
        path = self.root / "locks" / f"{fingerprint}.lock"
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._open_lock(path))
            except OSError as e:
                if e.errno not in (*NOT_WRITABLE, *NO_ROOM):
                    raise store_error(e, path) from e
            yield

    def _open_lock(self, path: Path, timeout_s: float | None = None) -> contextlib.AbstractContextManager:
        self.disk.make_folders(path.parent)
        try:
            handle = lock(path, timeout_s)
        except TimeoutError as e:
            raise StoreError(str(e), "wait for it, or end it") from e
        os.utime(handle.fileno())
        return handle

    def is_locked(self, fingerprint: str) -> bool:
        """Whether a live process holds the lock of this result now."""
        path = self.root / "locks" / f"{fingerprint}.lock"
        with _writing(path):
            return is_held(path)

    @contextlib.contextmanager
    def workspace(self, fingerprint: str) -> Iterator[Path]:
        """A fresh folder on the store's filesystem; removed unless `publish` moved it away. Call with the lock held."""
        path = self.root / "tmp" / f"{fingerprint}.{os.getpid()}"
        self._clear(fingerprint)  # the lock is ours: whoever made what is there is gone
        try:
            with _writing(path):
                self.disk.make_folders(path)
            yield path
        finally:
            self._clear(fingerprint)

    def _clear(self, fingerprint: str) -> None:
        for path in (self.root / "tmp").glob(f"{fingerprint}.*"):
            self.disk.remove(path)

    def publish(
        self,
        stage: str,
        fingerprint: str,
        workspace: Path,
        kinds: tuple[str, ...],
        record: dict[str, Any],
        replace: bool = False,
    ) -> dict[str, Any]:
        """Digest the workspace, write its manifest last, sync all of it, rename into place, send it to the bucket. Returns the manifest, or
        that of another machine, whose files are here then, if one was there before and is not to be replaced."""
        with _writing(workspace):
            names = sorted(p.relative_to(workspace).as_posix() for p in workspace.rglob("*") if p.is_file())
            files = {n: {"sha256": digest_file(workspace / n), "bytes": (workspace / n).stat().st_size} for n in names}
            manifest = manifests.seal({"stage": stage, "fingerprint": fingerprint, **record}, files, kinds)
            self.disk.write(workspace / MANIFEST, json.dumps(manifest, indent=1, allow_nan=False).encode())
            if self.remote is not None:
                self.disk.replace(
                    self._pending(stage, fingerprint), b"replace" if replace or fingerprint in self._bad_there else b""
                )
            self._show(stage, fingerprint, workspace)
        return manifest if self.remote is None else self._send(stage, fingerprint, manifest)

    def _show(self, stage: str, fingerprint: str, workspace: Path) -> None:
        """Sync the whole of it, then one rename."""
        self.disk.sync_tree(workspace)
        target, former = (
            self.artifact_dir(stage, fingerprint),
            self.root / "tmp" / f"{fingerprint}.former-{os.getpid()}",
        )
        self.disk.make_folders(target.parent)
        if os.path.lexists(target):
            self.disk.move(target, former)
        self.disk.move(workspace, target)
        self.disk.sync(target.parent)

    def adopt(self, stage: str, fingerprint: str, workspace: Path) -> dict[str, Any]:
        """Publish what another store had: the workspace holds its files and its manifest as they were. Every byte is checked first; the
        manifest. Raises Damaged. Call with the lock held."""
        with _writing(workspace):
            manifest = manifests.read((workspace / MANIFEST).read_bytes(), stage, fingerprint)
            if wrong := [
                name for name, entry in manifest["files"].items() if not _is_as_written(workspace / name, entry)
            ]:
                raise Damaged(f"{wrong[0]} is not as its manifest says")
            self._show(stage, fingerprint, workspace)
        return manifest

    def _bring(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """From the bucket into the folder, every byte checked; None if it is not there, or cannot be had, which is said."""
        assert self.remote is not None
        try:
            if (data := self.remote.manifest(stage, fingerprint)) is None:
                return None
            with self.workspace(fingerprint) as place, _writing(place):
                if not self.remote.fetch(stage, fingerprint, manifests.read(data, stage, fingerprint)["files"], place):
                    raise Damaged("files of it are missing there")
                self.disk.write(place / MANIFEST, data)
                return self.adopt(stage, fingerprint, place)
        except (RemoteTrouble, Damaged) as e:
            self._bad_there |= {fingerprint} if isinstance(e, Damaged) else set()
            log.warning("%s: its result could not be had from %s: %s; it is computed here", stage, self.remote.url, e)
            return None

    def _send(self, stage: str, fingerprint: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """To the bucket. What fails stays pending, and is sent by the next run; here it is whole already."""
        assert self.remote is not None
        folder, mark = self.artifact_dir(stage, fingerprint), self._pending(stage, fingerprint)
        try:
            data, replace = (folder / MANIFEST).read_bytes(), mark.read_bytes() == b"replace"
            first = self.remote.push(stage, fingerprint, folder, (data, manifest["files"]), replace=replace)
            theirs = None if first else self._bring(stage, fingerprint)
        except RemoteTrouble as e:
            log.warning(
                "%s: its result could not be sent to %s: %s; the next run tries again", stage, self.remote.url, e
            )
            return manifest
        self.disk.remove(mark)
        return theirs or manifest

    def pending(self) -> list[tuple[str, str]]:
        """(stage, fingerprint) of results that have not reached the bucket."""
        names = (p.name.partition(".") for p in (self.root / "pending").glob("*.*"))
        return [(stage, fingerprint) for stage, _, fingerprint in names if "." not in fingerprint]

    def send_pending(self) -> int:
        """Send what former runs could not, or were killed before; returns how many results are still not there."""
        if self.remote is None:
            return 0
        for stage, fingerprint in self.pending():
            if self.is_locked(fingerprint):  # its own run is at it
                continue
            with self.lock(fingerprint):
                if (manifest := self._lookup_here(stage, fingerprint)) is None:
                    self.disk.remove(self._pending(stage, fingerprint))
                else:
                    self._send(stage, fingerprint, manifest)
        return len(self.pending())

    def _pending(self, stage: str, fingerprint: str) -> Path:
        return self.root / "pending" / f"{stage}.{fingerprint}"

    def forget_locks(self, older_than_s: float) -> int:
        """Remove lock files that nobody holds and that were not taken for so long: there is one for every result ever made."""
        limit, count = time.time() - older_than_s, 0
        for path in (self.root / "locks").glob("*.lock"):
            with contextlib.suppress(FileNotFoundError), path.open("r+") as handle:
                if path.stat().st_mtime < limit and try_flock(handle):
                    path.unlink()
                    count += 1
        return count

    def sweep(self) -> int:
        """Remove work folders that no live process holds; returns how many."""
        count = 0
        for path in (self.root / "tmp").glob("*"):
            if not self.is_locked(path.name.rsplit(".", 1)[0]):
                self.disk.remove(path)
                count += 1
        return count

    def results(self) -> Iterator[tuple[str, str, Path]]:
        """(stage, fingerprint, folder) of every finished result."""
        for folder in sorted((self.root / "artifacts").glob("*/*")):
            if (folder / MANIFEST).exists():
                yield folder.parent.name, folder.name, folder

    def untrusted(self) -> Iterator[Path]:
        """Folders of results whose manifest is missing or damaged and that nobody is at work on; their files are not looked at."""
        for folder in sorted((self.root / "artifacts").glob("*/*")):
            if not self.is_locked(folder.name) and self._manifest_fault(folder.parent.name, folder.name):
                yield folder

    def _manifest_fault(self, stage: str, fingerprint: str) -> bool:
        try:
            return self._read_manifest(stage, fingerprint) is None
        except Damaged:
            return True

    def _set_aside(self, stage: str, fingerprint: str, why: str) -> None:
        """Out of the way, with a note; where that cannot be (a read-only store) it stays, and counts as absent all the same."""
        place, where = self.root / "corrupt" / f"{stage}.{fingerprint}.{time.time_ns()}", "set aside in corrupt/"
        try:
            self.disk.make_folders(place)
            self.disk.move(self.artifact_dir(stage, fingerprint), place / "result")
            self.disk.write(place / "why.txt", f"{stage} {fingerprint}: {why}\n".encode())
        except OSError as e:
            where = f"not set aside: {e.strerror}" if os.path.lexists(self.artifact_dir(stage, fingerprint)) else where
        self.set_aside[fingerprint] = f"its result in the store was damaged: {why}; {where}"
        log.warning("%s: %s", stage, self.set_aside[fingerprint])


def _is_as_written(path: Path, entry: dict[str, Any]) -> bool:
    try:
        return path.is_file() and path.stat().st_size == entry["bytes"] and digest_file(path) == entry["sha256"]
    except OSError as e:
        if e.errno in (errno.EIO, errno.ENOENT, errno.ESTALE):
            return False
        raise store_error(e, path) from e


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise store_error(e, path) from e
