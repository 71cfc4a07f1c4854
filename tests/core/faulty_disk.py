"""Disks that fail: one that refuses the n-th change, and one whose power is cut before it.

After a cut, `PowerCutDisk.left` writes what may be found on the disk. Changes of names that no sync of their folder covered are there or
not, each by itself, so in any order; content that was not synced is old, empty, half or whole. What was synced is there.
"""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass
from pathlib import Path

from stages.core.disk import Disk

LOST, NAMES_ONLY = "nothing that was not synced", "all names, no content that was not synced"
ROOT = 0


class QuickDisk(Disk):
    """The real disk without its syncs: hundreds of them take minutes on a busy machine, and show nothing while the power stays on."""

    def sync(self, path: Path) -> None:
        assert path.exists()


class FaultyDisk(QuickDisk):
    """The real disk, but the `fail_at`-th change is refused, half done; if the disk `stays` full, all that follow too."""

    def __init__(self, fail_at: int, number: int = errno.ENOSPC, stays: bool = False) -> None:
        self.fail_at, self.number, self.stays, self.count = fail_at, number, stays, 0

    @property
    def refused(self) -> bool:
        """Whether it came to that."""
        return self.count >= self.fail_at

    def _may(self, path: Path) -> None:
        self.count += 1
        if self.count == self.fail_at or (self.stays and self.count > self.fail_at):
            raise OSError(self.number, os.strerror(self.number), str(path))

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        self._may(path)
        super().write(path, data)

    def copy(self, source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        self._may(target)
        super().copy(source, target)

    def make(self, folder: Path) -> None:
        self._may(folder)
        super().make(folder)

    def sync(self, path: Path) -> None:
        self._may(path)
        super().sync(path)

    def move(self, source: Path, target: Path) -> None:
        self._may(target)
        super().move(source, target)


class PowerCut(BaseException):
    """The end of the process as far as the disk can tell."""


@dataclass
class _Node:
    folder: bool
    synced: bytes | None = None
    now: bytes = b""


@dataclass
class _Change:
    """`node` got the name `to`, lost the name `former`, or both at once; a name is (folder, name)."""

    node: int
    to: tuple[int, str] | None
    former: tuple[int, str] | None = None
    durable: bool = False


class PowerCutDisk(QuickDisk):
    """The real disk below `root`, cut before the `cut_at`-th call. Whatever else writes there is seen too, as never synced."""

    def __init__(self, root: Path, cut_at: int | None = None) -> None:
        self.root, self.count, self._cut_at, self._off = root, 0, cut_at, False
        self._nodes: dict[int, _Node] = {ROOT: _Node(True)}
        self._numbers: dict[int, int] = {}
        """inode: node"""
        self._names: dict[tuple[int, str], int] = {}
        self._log: list[_Change] = []
        self._look()
        for node in self._nodes.values():
            node.synced = node.now
        for change in self._log:
            change.durable = True

    def _do(self, name: str, *args) -> None:
        if self._off:
            return
        self._look()
        self.count += 1
        if self.count == self._cut_at:
            self._off = True
            raise PowerCut
        getattr(super(), name)(*args)
        self._look()

    def write(self, path: Path, data: bytes) -> None:
        self._do("write", path, data)

    def copy(self, source: Path, target: Path) -> None:
        self._do("copy", source, target)

    def make(self, folder: Path) -> None:
        self._do("make", folder)

    def move(self, source: Path, target: Path) -> None:
        self._do("move", source, target)

    def remove(self, path: Path) -> None:
        self._do("remove", path)

    def sync(self, path: Path) -> None:
        self._do("sync", path)
        if self._off or not path.is_relative_to(self.root):
            return
        number = self._numbers.get(path.stat().st_ino, ROOT)
        self._nodes[number].synced = self._nodes[number].now
        for change in self._log:
            if self._nodes[number].folder and number == (change.to or change.former)[0]:
                change.durable = True

    def _look(self) -> None:
        """Note what changed since the last look: names by inode, so that a rename is one change."""
        found, numbers = {}, {}
        for path in sorted(self.root.rglob("*")):
            inode = path.stat().st_ino
            if inode not in numbers:
                numbers[inode] = self._numbers[inode] if inode in self._numbers else len(self._nodes)
                self._nodes.setdefault(numbers[inode], _Node(path.is_dir()))
            parent = ROOT if path.parent == self.root else numbers[path.parent.stat().st_ino]
            found[parent, path.name] = numbers[inode]
            if path.is_file():
                self._nodes[numbers[inode]].now = path.read_bytes()
        gone = {name: node for name, node in self._names.items() if found.get(name) != node}
        for name, node in found.items():
            if self._names.get(name) != node:
                former = next((n for n, other in gone.items() if other == node), None)
                gone.pop(former, None)
                gone.pop(name, None)  # a file that was replaced
                self._log.append(_Change(node, name, former))
        self._log += [_Change(node, None, name) for name, node in gone.items()]
        self._names, self._numbers = found, numbers

    def left(self, target: Path, luck: str | random.Random) -> Path:
        """Write into the new folder `target` what a machine that starts again may find."""
        names: dict[tuple[int, str], int] = {}
        for change in self._log:
            if change.durable or luck == NAMES_ONLY or (isinstance(luck, random.Random) and luck.random() < 0.5):
                names = {n: node for n, node in names.items() if node != change.node}
                if change.to is not None:
                    names[change.to] = change.node
        self._write(ROOT, target, names, luck)
        return target

    def _write(self, number: int, path: Path, names: dict[tuple[int, str], int], luck: str | random.Random) -> None:
        node = self._nodes[number]
        if not node.folder:
            path.write_bytes(_content(node, luck))
            return
        path.mkdir()
        for (parent, name), child in names.items():
            if parent == number:
                self._write(child, path / name, names, luck)


def _content(node: _Node, luck: str | random.Random) -> bytes:
    if node.synced == node.now:
        return node.now
    old = node.synced or b""
    return luck.choice([old, b"", node.now[: len(node.now) // 2], node.now]) if isinstance(luck, random.Random) else old
