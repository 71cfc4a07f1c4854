"""Which captures of a bucket wait to be reconstructed: folders that hold an object READY, written last by whoever uploads them.

The listing is gone through page by page and nothing of it is kept but markers and a number for each folder: millions of pictures cost no
memory.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows.captures.listing import SETTINGS
from flows.captures.markers import DEEPEST, MARKER, PICTURE_FOLDERS, Note
from flows.captures.ready import ReadyCapture, is_made, not_done
from flows.captures.sent_twin import read_sent
from flows.captures.start_wish import StartWish, wish_of
from flows.records.places import twin_address, twin_folder
from flows.records.run_record import RunRecords
from flows.records.s3_addresses import checked_address, place_of_address, twins_address
from stages.core.bucket import ACCESS, SCHEME, Bucket, Entry, RemoteTrouble, many
from stages.core.errors import CaptureError, ConfigError, StoreError


def arrived_there(root: str) -> tuple[list[ReadyCapture], list[Note]]:
    """All complete captures below an address, by name, and notes on what is not taken. Raises CaptureError, StoreError."""
    root = root.rstrip("/")
    if not root.removeprefix(SCHEME):
        raise CaptureError(f"{root} names no bucket", "give s3://BUCKET/FOLDER")
    captures, notes, any_, settings = [], [], False, set()
    listings: dict[str, int] = {}
    try:
        for e in Bucket(root).entries():
            any_ = True
            *folders, name = e.key.split("/")
            for k in range(1, min(len(folders), DEEPEST) + 1):
                above = "/".join(folders[:k])
                listings[above] = hash((listings.get(above), e))
            if name == SETTINGS:
                settings.add("/".join(folders))
            if name != MARKER or PICTURE_FOLDERS.intersection(folders):
                continue
            where = f"{root}/{'/'.join(folders)}"
            if not 0 < len(folders) <= DEEPEST:
                why = (
                    "is the folder of all captures: move the capture into one of its own"
                    if not folders
                    else f"lies more than {DEEPEST} folders deep: it is not taken"
                )
                notes.append(Note(f"{root}/{e.key}", why))
                continue
            try:
                captures.append(_capture(checked_address(where), "/".join(folders), e))
            except CaptureError as error:
                notes.append(Note(where, str(error)))
    except RemoteTrouble as e:
        raise StoreError(f"{root} cannot be looked through: {e}", ACCESS) from e
    if not any_:
        raise CaptureError(f"there is nothing in {root}", "name the folder of the bucket that captures arrive in")
    return [
        replace(c, has_settings=c.name in settings, listing=listings[c.name])
        for c in sorted(captures, key=lambda c: c.name)
    ], notes


def left_to_do(
    captures: Sequence[ReadyCapture], profile: str, settings: Sequence[str], records: RunRecords
) -> list[ReadyCapture]:
    """As `not_done`, wherever the captures lie. Where captures come from a bucket and twins stay here, the twins here are asked."""
    there = [c for c in captures if c.address and twins_address()]
    due = {
        c.key
        for c in [
            *not_done([c for c in captures if c not in there], profile, settings, records),
            *not_done_there(there, profile, settings),
        ]
    }
    return [c for c in captures if c.key in due]


def not_done_there(captures: Sequence[ReadyCapture], profile: str, settings: Sequence[str]) -> list[ReadyCapture]:
    """Those whose twin in the bucket of TWIN_TWINS_S3 is none that was made with these settings, or with a better profile, after they were
    complete. Raises StoreError."""
    try:
        return [
            c
            for c, made in zip(captures, many(lambda c: _has_twin(c, profile, settings), captures), strict=True)
            if not made
        ]
    except RemoteTrouble as e:
        raise StoreError(f"the twins cannot be looked at: {e}", ACCESS) from e


def wish_there(capture: ReadyCapture) -> StartWish:
    """What the capture's own twin.yaml in the bucket says of its start, else the deployment. Raises ConfigError, StoreError."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            if capture.has_settings and (data := Bucket(capture.address).get(SETTINGS)):
                (Path(folder) / SETTINGS).write_bytes(data)
            return wish_of(Path(folder))
        except RemoteTrouble as e:
            raise StoreError(f"{capture.address}/{SETTINGS} cannot be read: {e}", ACCESS) from e
        except ConfigError as e:
            raise ConfigError(e.message.replace(folder, capture.address), e.advice) from e


def _has_twin(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> bool:
    address = twin_address(twin_folder(capture.path))
    sent = read_sent(address)
    return sent is not None and is_made(sent.twin, capture, profile, settings)


def _capture(address: str, name: str, marker: Entry) -> ReadyCapture:
    key = hashlib.sha256(f"{address}|{marker.changed_ns}".encode()).hexdigest()[:32]
    return ReadyCapture(
        place_of_address(address), name, key, marker.changed_ns / 1e9, marker=marker.changed_ns, address=address
    )
