"""Who computes a result of a shared bucket: one machine at a time.

    PREFIX/leases/<fingerprint>     who computes it, and how often that one has said that it lives; every write is a conditional PUT

Whoever finds no lease writes one, whoever finds one waits for the result. A holder writes its lease anew every five seconds. One that has
not changed for TWIN_LOST_AFTER_S, by the clock of whoever waits and while it looks, is taken over: of several that wait, the first whose
PUT finds the dead one's ETag. A holder that was cut off and comes back notices, and computes on: a manifest is written only where none is.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from stages.core.bucket import Bucket, RemoteTrouble, Superseded

log = logging.getLogger(__name__)
BEAT_S = 5.0
LOOK_EVERY_S = 2.0
FOLDER = "leases"


class RemoteLease:
    """One, to be taken with `take` and kept while the context is open."""

    def __init__(self, bucket: Bucket, fingerprint: str, beat_s: float = BEAT_S) -> None:
        self._bucket, self._key, self._beat_s = bucket, f"{FOLDER}/{fingerprint}", beat_s
        self._token, self._beats, self._tag = secrets.token_hex(8), 0, ""
        self._stop = threading.Event()

    def take(self, over: str | None = None) -> bool:
        """Write it where there is none, or in the place of the one with that ETag; False where another is there. Raises RemoteTrouble."""
        try:
            self._tag = self._write(over)
        except Superseded:
            return False
        return True

    def seen(self) -> tuple[str, str] | None:
        """(ETag, host of the holder) of the one that is there; None without one. Raises RemoteTrouble."""
        if (found := self._bucket.get_tagged(self._key)) is None:
            return None
        try:
            return found[1], str(json.loads(found[0])["host"])
        except (ValueError, KeyError, TypeError):  # damaged: it will not change, and is taken over
            return found[1], "?"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._beat_on, name="remote lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Given back, if it still is ours: after a beat that came through nobody takes it for dead."""
        self._stop.set()
        self._thread.join()
        try:
            if self._tag:
                self._write(self._tag)
                self._bucket.delete([self._key])
        except (RemoteTrouble, Superseded) as e:
            log.info("a lease was not given back (%s): it ends by itself", e)

    def _beat_on(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                self._tag = self._write(self._tag)
            except Superseded:
                log.warning(
                    "another machine took this one for dead and computes the same result; the first one's counts"
                )
                self._tag = ""
                return
            except RemoteTrouble as e:
                log.warning("the lease in the bucket cannot be renewed: %s", e)

    def _write(self, over: str | None) -> str:
        """Its ETag. A write whose answer was lost has been made all the same: then what is there is ours."""
        self._beats += 1
        data = json.dumps({"token": self._token, "host": socket.gethostname(), "beats": self._beats}).encode()
        try:
            return self._bucket.put(self._key, data, over=over)
        except Superseded:
            if (found := self._bucket.get_tagged(self._key)) is None or found[0] != data:
                raise
            return found[1]


@contextmanager
def only_one_computes(
    bucket: Bucket, fingerprint: str, lost_after_s: float, is_there: Callable[[], bool], waiting: Callable[[str], None]
) -> Iterator[bool]:
    """Inside, no other machine that uses the bucket computes this result; False: another one has made it meanwhile, or does not let one
    know. `is_there`: whether the bucket has the result. `waiting` is told for whom one waits. A bucket that does not answer lets all
    compute: what they make is the same."""
    lease = RemoteLease(bucket, fingerprint)
    try:
        mine = _take(lease, lost_after_s, is_there, waiting)
    except RemoteTrouble as e:
        log.warning("no lease in the bucket (%s): another machine may compute the same", e)
        yield True
        return
    if not mine:
        yield False
        return
    with lease:
        yield True


def _take(
    lease: RemoteLease, lost_after_s: float, is_there: Callable[[], bool], waiting: Callable[[str], None]
) -> bool:
    """True once it is ours; False once the result is there."""
    last, silent, looked = "", 0.0, time.monotonic()
    while not lease.take():
        now = time.monotonic()
        if (seen := lease.seen()) is not None:
            tag, host = seen
            # a pause of one's own is no silence of the other: no more than a few looks' time counts for each look
            silent = 0.0 if tag != last else silent + min(now - looked, 3 * LOOK_EVERY_S)
            last, looked = tag, now
            if silent >= lost_after_s:
                log.warning("%s held the lease of a result and is silent for %.0f s: it is computed here", host, silent)
                if lease.take(over=tag):
                    break
            waiting(host)
            time.sleep(LOOK_EVERY_S)
        if is_there():
            return False
    if is_there():  # its maker gave the lease back a moment ago
        with lease:
            return False
    return True
