"""Reconstruct every capture of a folder that is READY and not done yet: one flow run per capture, so that each fails alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows.captures.markers import Note
from flows.captures.ready import ReadyCapture, arrived, changed_since
from flows.captures.ready_there import arrived_there, left_to_do, wish_there
from flows.captures.set_aside import why_set_aside
from flows.captures.start_wish import StartWish, wish_of
from flows.flow_run.attempt import begin_attempt, leave_if_over
from flows.flow_run.batch_runs import BatchRuns
from flows.flow_run.failed_state import failed_state
from flows.records.places import captures_root, twin_folder, twins_root
from flows.records.run_record import RunRecords
from flows.records.s3_addresses import captures_address
from flows.records.started_by import by_tags, tag
from flows.ui.batch_page import BY_HAND, CHANGED_SINCE, DONE_BEFORE, NOT_TAKEN, SET_ASIDE, Outcome, write_summary
from flows.ui.form import Profile, Setting
from stages.core.bucket import is_address
from stages.core.errors import ConfigError
from stages.core.store import Store

PAGE_EVERY_S = 15.0
MOST_IN_TABLE = 500
"""rows of the artifact, which lies in Prefect's database; batch.html has all"""


@flow(name="reconstruct-batch", flow_run_name="batch {root}", persist_result=False)
async def reconstruct_batch(
    root: str = "",
    profile: Profile = Profile.standard,
    settings: Annotated[list[Setting], Field(max_length=100)] = [],  # noqa: B006
    again: bool = False,
) -> Any:
    """Start one run per capture that is READY and not done, wait for all, and write a summary.

    Args:
        root: Folder with captures, here or s3://BUCKET/FOLDER; empty means TWIN_CAPTURES_S3 where it is set, else the captures folder.
        profile: Profile of every run.
        settings: More settings of every run, each as stage.key=value.
        again: Also captures that are done with these settings, and those that are set aside.
    """
    folder, batch = root or captures_address() or str(captures_root()), str(flow_run.id)
    begin_attempt()
    found, notes = arrived_there(folder) if is_address(folder) else arrived(Path(folder).expanduser())
    records = RunRecords(Store())
    wishes = _wishes(found, notes)
    held = [c for c in found if c.path in wishes and wishes[c.path].when == "never"]
    found = [c for c in found if c.path in wishes and wishes[c.path].when != "never"]
    profiles = {c.path: wishes[c.path].profile or str(profile) for c in found}
    due = (
        found
        if again
        else [
            c
            for p in sorted(set(profiles.values()))
            for c in left_to_do([c for c in found if profiles[c.path] == p], p, settings, records)
        ]
    )
    aside = {} if again else {c.path: why for c in due if (why := why_set_aside(c, records.of_capture(c.path)))}
    due = [c for c in due if c.path not in aside]
    get_run_logger().info("%d captures are READY, %d of them to be done", len(found), len(due))
    left = {c.path for c in due}
    outcomes_held = [Outcome(c.name, BY_HAND, capture=str(c.path)) for c in held]
    others = (_set_aside(c, aside[c.path]) if c.path in aside else _done(c) for c in found if c.path not in left)
    outcomes = [*(Outcome(note.path, NOT_TAKEN, reason=note.why) for note in notes), *others, *outcomes_held]
    for told in (o for o in outcomes if o.bad):
        get_run_logger().warning("%s: %s. %s", told.name, told.status, told.reason)
    runs = BatchRuns((), profile, settings, batch, attempt=int(flow_run.run_count or 1), again=again)
    runs.profiles = profiles
    runs.tags = [tag(f"batch {batch} of {by_tags(flow_run.tags or ())}")]
    runs.add_once_settled(due)
    next_page = 0.0
    async for outcome in runs.outcomes():
        outcomes.append(outcome)
        get_run_logger().info("%s: %s (%d of %d)", outcome.name, outcome.status, runs.ended, len(due))
        if time.monotonic() >= next_page:
            leave_if_over()
            write_summary(outcomes, twins_root(), under_way=len(due) - runs.ended)
            next_page = time.monotonic() + PAGE_EVERY_S
    return await _report(folder, outcomes, len(due))


def _wishes(found: Sequence[ReadyCapture], notes: list[Note]) -> dict[Path, StartWish]:
    """What each capture's folder says, read once; a note on each of which it says what nobody understands, and no wish."""
    wishes = {}
    for capture in found:
        try:
            wishes[capture.path] = wish_there(capture) if capture.address else wish_of(capture.path)
        except ConfigError as e:
            notes.append(Note(str(capture.path), str(e)))
    return wishes


def _set_aside(capture: ReadyCapture, why: str) -> Outcome:
    """Not tried again, so the night does not fail by it; the page shows it first."""
    return Outcome(capture.name, SET_ASIDE, reason=why, capture=str(capture.path))


def _done(capture: ReadyCapture) -> Outcome:
    """Made before; whether the twin is still that of the capture is told here, because only a new marker makes it anew."""
    out, where = str(twin_folder(capture.path)), str(capture.path)
    if not capture.address and changed_since(capture):
        told = "its files are others than those of its twin: touch READY to make it anew"
        return Outcome(capture.name, CHANGED_SINCE, reason=told, out=out, capture=where)
    return Outcome(capture.name, DONE_BEFORE, out=out, capture=where)


async def _report(folder: str, outcomes: Sequence[Outcome], due: int) -> Any:
    """The page, the table, and the batch's own state."""
    leave_if_over()
    page = write_summary(outcomes, twins_root())
    bad = [o for o in outcomes if o.bad]
    rows = [o.row() for o in [*bad, *(o for o in outcomes if not o.bad)]]
    await acreate_table_artifact(
        rows[:MOST_IN_TABLE] or [{"capture": "none", "status": "no READY capture"}],
        key="batch-summary",
        description=f"{folder}: {due} to be done, {sum(o.failed for o in bad)} failed. {page}",
    )
    failed = [o for o in bad if o.failed]
    names = ", ".join(o.name for o in failed[:20]) + (" and more" if len(failed) > 20 else "")
    return (
        failed_state(f"{len(failed)} of {len(outcomes)} captures failed: {names}. Reasons: {page}") if failed else None
    )
