"""A run whose capture comes from a bucket, or whose twin goes to one: what happens before its first stage and after its last."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.captures.sent_twin import MANIFEST, send_twin
from flows.captures.staged_capture import staged
from flows.captures.staging_space import limit_bytes, make_room, mark_used
from flows.records.near_names import no_such_folder
from flows.records.request import Reconstruction
from flows.records.s3_addresses import place_of_address, twins_address
from flows.run.run import Run
from flows.run.watcher import Watcher
from stages.core.bucket import ACCESS, Bucket, RemoteTrouble
from stages.core.errors import ConfigError, StoreError
from stages.core.store import Store

log = logging.getLogger(__name__)


@contextmanager
def capture_here(request: Reconstruction, store: Store, watcher: Watcher) -> Iterator[None]:
    """Inside, the capture that the request names lies on this machine. Raises CaptureError, StoreError."""
    with staged(store, request.capture_from, _teller(watcher)):
        yield


def deliver(run: Run) -> Path | None:
    """Fill the twin folder, and send it where it is to go. Raises StoreError: then the folder is whole all the same."""
    asked, out = Path(run.request.out), run.deliver()
    if out is None or not run.request.twin_to:
        return out
    with suppress(OSError):  # its last lines come after this
        shutil.copyfile(run.log_file, out / "run.log")
    address = run.request.twin_to if out == asked else f"{run.request.twin_to}.{run.request.profile}"
    if staged_here := out.parent == place_of_address(address, "twins").parent:
        mark_used(run.store, out)
    by_itself = bool(twins_address()) and address.startswith(f"{twins_address()}/")
    say = _teller(run.watcher)
    say(
        f"the twin is in {send_twin(run.store, out, address, say, keep_better=by_itself, still_mine=run.leave_if_over)}"
    )
    if staged_here:
        make_room(run.store, 0, out)
    return out


def _teller(watcher: Watcher) -> Callable[[str], None]:
    def say(text: str) -> None:
        log.info("%s", text)
        watcher.capture_changed(text)

    return say


def check_buckets(capture_from: str, twin_to: str) -> None:
    """Before any work: is the capture there, does the twin's bucket answer? Raises CaptureError, ConfigError, StoreError."""
    limit_bytes()
    if twin_to and capture_from and (twin_to == capture_from or twin_to.startswith(f"{capture_from}/")):
        raise ConfigError(f"{twin_to} lies in the capture", "name another folder for the twin")
    for address, wanted in ((capture_from, True), (twin_to, False)):
        try:
            if address and wanted and Bucket(address).is_empty():
                raise no_such_folder(address)
            if address and not wanted:
                Bucket(address).get(MANIFEST)
        except RemoteTrouble as e:
            raise StoreError(f"{address} cannot be used: {e}", ACCESS) from e
