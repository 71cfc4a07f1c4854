"""One machine of those that share a bucket computes a result, the others wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flows.run.lost_after import lost_after_s
from stages.core.remote_lease import only_one_computes
from stages.core.store import Store


@contextmanager
def my_turn_in_the_bucket(
    store: Store, stage: str, fingerprint: str, force: bool, tell: Callable[[int, int, str], None]
) -> Iterator[bool]:
    """False if another machine made the result while this one waited. Without a bucket it is always one's turn. Raises ConfigError."""
    remote = store.remote
    if remote is None:
        yield True
        return
    began = time.monotonic()

    def is_there() -> bool:
        return not force and remote.manifest(stage, fingerprint) is not None

    def waiting(host: str) -> None:
        tell(0, 0, f"{host} computes it: waiting {time.monotonic() - began:.0f} s")

    with only_one_computes(remote.bucket, fingerprint, lost_after_s(), is_there, waiting=waiting) as mine:
        yield mine
