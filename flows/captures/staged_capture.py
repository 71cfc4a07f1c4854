"""A capture of a bucket, brought to this machine: whole, or not at all.

    <store>/staged/coming/.../NAME      what has come so far: each file under its name once it is whole, else NAME.TAG.part
    <store>/staged/captures/.../NAME    the capture: moved there by one rename when every file is there and synced
    beside each of them .NAME.json      the listing that it is of: size, ETag and time of each object

Each file is asked for by the ETag that the listing had, so files of two versions of a capture never mix; what changed there while it came
is fetched anew. A download that is cut off goes on in the middle of a file. Files get the times of their objects, so a marker stays the
same one on every machine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.captures.staging_space import held, make_room, mark_used, name_of
from flows.records.near_names import no_such_folder
from flows.records.s3_addresses import checked_address, place_of_address
from flows.records.saved import Unreadable, read_object
from stages.core.bucket import ACCESS, Bucket, Entry, RemoteTrouble, Superseded, many
from stages.core.disk_errors import store_error
from stages.core.errors import CaptureError, StoreError
from stages.core.store import Store

log = logging.getLogger(__name__)
MOST_ROUNDS = 5
"""a capture that somebody goes on writing into is not waited for for ever"""
PAUSE_S = 2.0
SAY_EVERY_S = 5.0
SYNC_EVERY = 8 << 20
"""bytes of a file after which they are synced; what a power cut may have lost at the end is fetched again"""
PART = ".part"
Listing = dict[str, Entry]


@contextlib.contextmanager
def staged(store: Store, address: str, say: Callable[[str], None]) -> Iterator[Path]:
    """The capture's folder on this machine, as the bucket has it now; it stays while this is open. Nothing to do for the address "".

    Raises CaptureError for what is not there, StoreError for a bucket or a disk that does not do it: what has come is kept.
    """
    if not address:
        yield Path()
        return
    place = place_of_address(checked_address(address))
    with contextlib.ExitStack() as open_:
        with store.lock(name_of(place)):
            open_.enter_context(held(store, place))
            try:
                _bring(store, address, place, say)
            except RemoteTrouble as e:
                raise StoreError(
                    f"{address} could not be fetched: {e}", f"{ACCESS}; what has come is kept, and goes on from there"
                ) from e
            except OSError as e:
                raise store_error(e, place) from e
            mark_used(store, place)
        yield place


def list_capture(address: str) -> Listing:
    """What lies there, by name. Raises CaptureError, RemoteTrouble."""
    found = {e.key: e for e in Bucket(address).entries()}
    folders = {"/".join(parts[:k]) for parts in (name.split("/") for name in found) for k in range(1, len(parts))}
    listing = {
        name: e for name, e in found.items() if e.size or name not in folders
    }  # some tools mark folders by empty objects
    if not listing:
        raise no_such_folder(address)
    if bad := next(
        (n for n in listing if n in folders or any(p in ("", ".", "..") or "\0" in p for p in n.split("/"))), None
    ):
        raise CaptureError(f"{address} holds {bad!r}, which no folder can hold", "rename that object")
    return listing


def _bring(store: Store, address: str, place: Path, say: Callable[[str], None]) -> None:
    listing = list_capture(address)
    for round_ in range(MOST_ROUNDS):
        if _is_here(place, listing):
            return
        coming = place_of_address(address, "coming")
        _keep(store, coming, place, listing)
        came = _fetch_all(store, address, coming, listing, say=say)
        if (now := list_capture(address)) == listing and came:
            _show(store, coming, place, listing)
            return
        say(f"{address} changed while it was fetched: what is new is fetched too")
        listing = now
        time.sleep(PAUSE_S * round_)
    raise CaptureError(
        f"{address} goes on changing while it is fetched", "upload it whole, READY last, and start the run then"
    )


def _is_here(place: Path, listing: Listing) -> bool:
    return _read_listing(place) == listing and _files_of(place) == _expected(listing)


def _expected(listing: Listing) -> dict[str, tuple[int, int]]:
    return {name: (e.size, e.changed_ns) for name, e in listing.items()}


def _keep(store: Store, coming: Path, place: Path, listing: Listing) -> None:
    """Of what came before, what still is as in the bucket; of the capture that is here, the same."""
    before, there = _read_listing(coming), _files_of(coming)
    for name in there:
        e, old = listing.get(name), before.get(name)
        whole = e is not None and old is not None and (old.tag, there[name]) == (e.tag, (e.size, e.changed_ns))
        begun = name.endswith(PART) and any(name == _part_name(e) for e in listing.values() if name.startswith(e.key))
        if not (whole or begun):
            store.disk.remove(coming / name)
    store.disk.make_folders(coming)
    store.disk.replace(_listing_file(coming), _listing_bytes(listing))
    here, mine = _read_listing(place), _files_of(place)
    for name, e in listing.items():
        if (
            name in here
            and here[name].tag == e.tag
            and mine.get(name) == (e.size, here[name].changed_ns)
            and not (coming / name).exists()
        ):
            (coming / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(place / name, coming / name)
            os.utime(coming / name, ns=(e.changed_ns, e.changed_ns))


def _fetch_all(store: Store, address: str, coming: Path, listing: Listing, say: Callable[[str], None]) -> bool:
    """False if one of them is no longer there, or another one is."""
    bucket, there = Bucket(address), _files_of(coming)
    left = [e for name, e in sorted(listing.items()) if name not in there]
    make_room(store, sum(e.size for e in left), place_of_address(address))
    told = _Told(address, len(left), sum(e.size for e in left), say)
    for folder in {(coming / e.key).parent for e in left}:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        many(lambda e: _fetch(bucket, e, coming, told), left)
    except (Superseded, FileNotFoundError):
        return False
    return True


def _fetch(bucket: Bucket, e: Entry, coming: Path, told: _Told) -> None:
    """One file, from where it was cut off."""
    part = coming / _part_name(e)
    with part.open("r+b" if part.exists() else "wb") as file:
        offset = max(0, min(part.stat().st_size, e.size) - 2 * SYNC_EVERY)
        file.truncate(offset)
        file.seek(offset)
        unsynced = 0
        for chunk in bucket.stream(e.key, offset, e.tag) if e.size else ():
            file.write(chunk)
            told.came(len(chunk))
            if (unsynced := unsynced + len(chunk)) >= SYNC_EVERY:
                _sync(file)
                unsynced = 0
        _sync(file)
    if (size := part.stat().st_size) != e.size:
        raise RemoteTrouble(f"{e.key} came with {size} bytes of {e.size}")
    os.utime(part, ns=(e.changed_ns, e.changed_ns))
    part.replace(coming / e.key)
    told.came(0, whole=True)


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _show(store: Store, coming: Path, place: Path, listing: Listing) -> None:
    """One rename; the listing after it, so that it never stands beside files of another version."""
    for name in _files_of(coming).keys() - listing.keys():
        store.disk.remove(coming / name)
    if _files_of(coming) != _expected(listing):
        raise RemoteTrouble("files are not as they came: somebody else writes into the store")
    for folder in sorted((p for p in coming.rglob("*") if p.is_dir()), reverse=True):
        with contextlib.suppress(OSError):  # empty ones of objects that went
            folder.rmdir()
    store.disk.sync_tree(coming)
    former = place.parent / f".{place.name}.former"
    store.disk.make_folders(place.parent)
    store.disk.remove(former)
    if place.exists():
        store.disk.move(place, former)
    store.disk.move(coming, place)
    store.disk.sync(place.parent)
    store.disk.replace(_listing_file(place), _listing_bytes(listing))
    store.disk.remove(_listing_file(coming))
    store.disk.remove(former)


def _files_of(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for above, _, names in os.walk(folder):
        for path in (Path(above, name) for name in names):
            about = path.stat()
            found[path.relative_to(folder).as_posix()] = (about.st_size, about.st_mtime_ns)
    return found


def _part_name(e: Entry) -> str:
    return f"{e.key}.{''.join(c for c in e.tag if c.isalnum())[:40]}{PART}"


def _listing_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.json"


def _listing_bytes(listing: Listing) -> bytes:
    return json.dumps({name: [e.size, e.tag, e.changed_ns] for name, e in listing.items()}).encode()


def _read_listing(folder: Path) -> Listing:
    """Empty if there is none that can be read: then all is fetched."""
    try:
        return {
            name: Entry(name, *map(lambda kind, value: kind(value), (int, str, int), about))
            for name, about in read_object(_listing_file(folder)).items()
        }
    except (FileNotFoundError, Unreadable, TypeError, ValueError):
        return {}


class _Told:
    """Says now and then how far it is."""

    def __init__(self, address: str, files: int, size: int, say: Callable[[str], None]) -> None:
        self._address, self._files, self._size, self._say = address, files, size, say
        self._whole, self._came, self._next, self._guard = 0, 0, time.monotonic(), threading.Lock()

    def came(self, size: int, whole: bool = False) -> None:
        with self._guard:
            self._came, self._whole = self._came + size, self._whole + whole
            last = self._whole == self._files
            if last or time.monotonic() >= self._next:
                self._next = time.monotonic() + SAY_EVERY_S
                self._say(
                    f"{self._address}: {self._whole} of {self._files} files, {self._came / 1e6:.1f} of {self._size / 1e6:.1f} MB"
                )
