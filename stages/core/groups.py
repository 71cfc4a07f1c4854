"""Which things hang together."""

from __future__ import annotations

from collections.abc import Iterable


def joined(frames: Iterable[int], pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Connected parts, largest first (ties: the one with the earliest frame)."""
    parent = {f: f for f in frames}

    def find(f: int) -> int:
        while parent[f] != f:
            parent[f] = parent[parent[f]]
            f = parent[f]
        return f

    for a, b in pairs:
        parent[find(a)] = find(b)
    parts: dict[int, list[int]] = {}
    for f in sorted(parent):
        parts.setdefault(find(f), []).append(f)
    return sorted(parts.values(), key=lambda p: (-len(p), p[0]))
