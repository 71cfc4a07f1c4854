"""Every change that the store, the run records and the twin folders make on the disk goes through here, for two reasons: what must
outlive a power cut is synced in one place, and tests can put a disk underneath that fails or loses what was not synced.

After a power cut a file has the content that was last synced, and a name stands in a folder for certain only if that folder was synced
after the name was made. A rename shows the whole of the old or the whole of the new.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

PARTIAL = ".partial"


class Disk:
    """The real disk. Errors are OSError; see disk_errors.py for the words that a user gets."""

    def write(self, path: Path, data: bytes) -> None:
        """The whole file, not synced."""
        path.write_bytes(data)

    def copy(self, source: Path, target: Path) -> None:
        """A file with its times, not synced."""
        shutil.copy2(source, target)

    def make(self, folder: Path) -> None:
        """One folder; it may be there already."""
        folder.mkdir(exist_ok=True)

    def sync(self, path: Path) -> None:
        """What a file holds, or which names a folder has, survives a power cut from here on."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as e:
            if e.errno != errno.EINVAL:  # some network filesystems sync no folders, and say so in this way
                raise
        finally:
            os.close(descriptor)

    def move(self, source: Path, target: Path) -> None:
        """Rename within one filesystem, atomically; a file at `target` is replaced."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """A file or a folder with all in it. What cannot be removed stays: it is swept another time."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()

    # made of those above

    def make_folders(self, folder: Path) -> None:
        """The folder and those above it that are missing, durably."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for level in reversed(missing):
            self.make(level)
            self.sync(level.parent)

    def replace(self, path: Path, data: bytes) -> None:
        """The file holds its old content or `data`, whatever happens, and `data` durably once this returns. Its folder is made."""
        partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
        try:
            self.make_folders(path.parent)
            self.write(partial, data)
            self.sync(partial)
            self.move(partial, path)
            self.sync(path.parent)
        except OSError:
            self.remove(partial)
            raise

    def copy_tree(self, source: Path, target: Path, without: tuple[str, ...] = ()) -> None:
        """A file or a folder with all in it but for the names `without`; links are followed, nothing is synced."""
        if not source.is_dir():
            self.copy(source, target)
            return
        self.make(target)
        for path in sorted(source.iterdir()):
            if path.name not in without:
                self.copy_tree(path, target / path.name, without)

    def sync_tree(self, folder: Path) -> None:
        """Every file and folder below, and the folder itself."""
        for path in sorted(folder.iterdir()):
            if path.is_symlink():
                continue
            if path.is_dir():
                self.sync_tree(path)
            else:
                self.sync(path)
        self.sync(folder)


THE_DISK = Disk()
