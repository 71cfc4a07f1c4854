"""The content-addressed store of stage results: atomic, verified, locked.

Layout under the root (TWIN_STORE, else the user's cache folder):

    artifacts/<stage>/<fingerprint>/   one finished result: its files and manifest.json, written last
    locks/<fingerprint>.lock           fcntl.flock; a dead process frees it at once
    tmp/<fingerprint>.<pid>/           work in progress; swept when nobody holds its lock
    corrupt/                           results whose files no longer match their manifest, kept for a look

A result is visible only after one rename, so a kill at any moment leaves either the whole result or nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import StoreError
from stages.core.file_locks import is_held, lock, try_flock
from stages.core.fingerprint import digest_file, digest_mapping

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


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

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()

    def artifact_dir(self, stage: str, fingerprint: str) -> Path:
        """Where a finished result lies (it may not exist yet)."""
        return self.root / "artifacts" / stage / fingerprint

    def manifest(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The manifest of a finished result, without verifying its files; None if there is none."""
        path = self.artifact_dir(stage, fingerprint) / MANIFEST
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as e:
            raise StoreError(f"cannot read {path}: {e}", "run `twin clean --corrupt`, then run again") from e

    def lookup(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The manifest if the result is there and every byte of it is as recorded; a damaged result is moved to corrupt/."""
        try:
            manifest = self.manifest(stage, fingerprint)
        except StoreError:
            manifest = None
            if (self.artifact_dir(stage, fingerprint) / MANIFEST).exists():
                self._quarantine(stage, fingerprint)
        if manifest is None:
            return None
        if damaged := self.damaged_files(stage, fingerprint, manifest):
            self._quarantine(stage, fingerprint)
            import logging

            logging.getLogger(__name__).warning(
                "%s: %d damaged files in the store (first: %s); computing again", stage, len(damaged), damaged[0]
            )
            return None
        return manifest

    def damaged_files(self, stage: str, fingerprint: str, manifest: dict[str, Any]) -> list[str]:
        """Relative paths whose bytes differ from the manifest's digests."""
        folder = self.artifact_dir(stage, fingerprint)
        bad = []
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["bytes"] or digest_file(path) != entry["sha256"]:
                bad.append(name)
        return bad

    def refs(self, stage: str, fingerprint: str, manifest: dict[str, Any]) -> dict[str, ArtifactRef]:
        """The outputs of a finished result by kind."""
        folder = self.artifact_dir(stage, fingerprint)
        return {kind: ArtifactRef(kind, folder / kind, digest) for kind, digest in manifest["outputs"].items()}

    @contextlib.contextmanager
    def lock(self, fingerprint: str, timeout_s: float | None = None) -> Iterator[None]:
        """Hold the lock of one result. Waits; raises StoreError after `timeout_s`."""
        path = self.root / "locks" / f"{fingerprint}.lock"
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = lock(path, timeout_s)
            except TimeoutError as e:
                raise StoreError(str(e), "wait for it, or end it") from e
            os.utime(handle.fileno())
        with handle:
            yield

    def is_locked(self, fingerprint: str) -> bool:
        """Whether a live process holds the lock of this result now."""
        return is_held(self.root / "locks" / f"{fingerprint}.lock")

    @contextlib.contextmanager
    def workspace(self, fingerprint: str) -> Iterator[Path]:
        """A fresh folder on the store's filesystem; removed unless `publish` moved it away. Call with the lock held."""
        path = self.root / "tmp" / f"{fingerprint}.{os.getpid()}"
        with _writing(path):
            for stale in (self.root / "tmp").glob(f"{fingerprint}.*"):
                shutil.rmtree(stale)  # the lock is ours: whoever made it is gone
            path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, stage: str, fingerprint: str, workspace: Path, kinds: tuple[str, ...], record: dict[str, Any]) -> dict[str, Any]:
        """Digest the workspace, write its manifest last, fsync, rename into place. Returns the manifest."""
        with _writing(workspace):
            names = sorted(p.relative_to(workspace).as_posix() for p in workspace.rglob("*") if p.is_file())
            files = {n: {"sha256": digest_file(workspace / n), "bytes": (workspace / n).stat().st_size} for n in names}
            outputs = {k: _kind_digest(k, files) for k in kinds}
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "stage": stage,
                "fingerprint": fingerprint,
                **record,
                "outputs": outputs,
                "files": files,
            }
            for name in names:
                _fsync(workspace / name)
            (workspace / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False))
            _fsync(workspace / MANIFEST)
            target = self.artifact_dir(stage, fingerprint)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                self._quarantine(stage, fingerprint)
            workspace.rename(target)
            _fsync(target.parent)
        return manifest

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
                shutil.rmtree(path, ignore_errors=True)
                count += 1
        return count

    def results(self) -> Iterator[tuple[str, str, Path]]:
        """(stage, fingerprint, folder) of every finished result."""
        for folder in sorted((self.root / "artifacts").glob("*/*")):
            if (folder / MANIFEST).exists():
                yield folder.parent.name, folder.name, folder

    def _quarantine(self, stage: str, fingerprint: str) -> None:
        target = self.root / "corrupt" / f"{stage}.{fingerprint}.{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.artifact_dir(stage, fingerprint).rename(target)


def _kind_digest(kind: str, files: dict[str, dict[str, Any]]) -> str:
    own = {n: e["sha256"] for n, e in files.items() if n == kind or n.startswith(kind + "/")}
    if not own:
        raise ValueError(f"the stage declared the output {kind!r} but wrote no such file or folder")
    return digest_mapping(own)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise store_error(e, path) from e


def store_error(e: OSError, path: Path) -> StoreError:
    """A StoreError that says what to do about a failed write."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"no space left writing {path}",
            "free space (`twin clean`) or set TWIN_STORE to a larger disk; finished stages are kept, run the same command again",
        )
    return StoreError(f"cannot write {path}: {e}", "check the permissions of the store, or set TWIN_STORE")
