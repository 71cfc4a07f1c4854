"""Reconstruct every capture of a folder that is READY and not done yet: one flow run per capture, so that each fails alone."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment
from prefect.flow_runs import wait_for_flow_run
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import Field

from flows.form import Profile, Setting
from flows.places import captures_root, twin_folder, twins_root
from flows.ready import ReadyCapture, ready_captures
from flows.run_record import RunRecord, RunRecords
from stages.core.fingerprint import digest_mapping
from stages.core.store import Store

DEPLOYMENT = "reconstruct-capture/twin"
AT_ONCE = 100
"""flow runs handed to the server at a time: hundreds queued make it slow"""


@dataclass
class Outcome:
    """One capture of the batch."""

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    out: str = ""


@flow(name="reconstruct-batch", flow_run_name="batch {root}", persist_result=False)
async def reconstruct_batch(
    root: str = "",
    profile: Profile = Profile.standard,
    settings: Annotated[list[Setting], Field(max_length=100)] = [],  # noqa: B006
    again: bool = False,
) -> Any:
    """Start one run per capture that is READY and not done, wait for all, and write a summary.

    Args:
        root: Folder with captures; empty means the captures folder.
        profile: Profile of every run.
        settings: More settings of every run, each as stage.key=value.
        again: Also captures that are done with these settings.
    """
    folder = Path(root).expanduser() if root else captures_root()
    found = ready_captures(folder)
    due = [c for c in found if again or not is_done(c, profile, settings)]
    get_run_logger().info("%d captures are READY, %d of them to be done", len(found), len(due))
    batch = str(flow_run.id)
    outcomes = [Outcome(c.name, "done before", out=str(twin_folder(c.path))) for c in found if c not in due]
    for k in range(0, len(due), AT_ONCE):
        outcomes += await asyncio.gather(*(_one(c, profile, settings, batch, again) for c in due[k:k + AT_ONCE]))
    summary = write_summary(outcomes, twins_root())
    await acreate_table_artifact([vars(o) for o in outcomes] or [{"name": "none", "status": "no READY capture"}], key="batch-summary",
                                 description=f"{folder}: {len(due)} started. {summary}")
    bad = [o.name for o in outcomes if o.status not in ("Completed", "done before")]
    return Failed(message=f"{len(bad)} of {len(due)} captures failed: {', '.join(bad[:20])}") if bad else None


async def _one(capture: ReadyCapture, profile: str, settings: Sequence[str], batch: str, again: bool) -> Outcome:
    started = time.monotonic()
    run = None if again else await _start(capture, profile, settings, start_key(capture, profile, settings))
    if run is None or (run.state and run.state.is_final()):          # it failed in an earlier batch, which may have been the disk's fault
        run = await _start(capture, profile, settings, f"{start_key(capture, profile, settings)}-{batch}")
    state = (await wait_for_flow_run(run.id, timeout=None)).state
    return Outcome(capture.name, state.name if state else "unknown", round(time.monotonic() - started, 1),
                   (state.message or "") if state and not state.is_completed() else "", str(twin_folder(capture.path)))


async def _start(capture: ReadyCapture, profile: str, settings: Sequence[str], key: str) -> FlowRun:
    return await arun_deployment(DEPLOYMENT, parameters=parameters_of(capture, profile, settings), timeout=0, idempotency_key=key)


def start_key(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> str:
    """Prefect starts one run per key, whoever asks: batch, schedule or watcher, and however often."""
    return f"{capture.key}-{digest_mapping({'profile': str(profile), 'settings': list(settings)})[:12]}"


def parameters_of(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> dict[str, Any]:
    """The form's content for one capture."""
    return {"capture": str(capture.path), "profile": str(profile), "settings": list(settings)}


def is_done(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> bool:
    """Whether the newest finished run with these settings began after the capture was complete, and left a twin."""
    record = _last_done(capture.path, profile, settings)
    marker = (capture.path / "READY").stat().st_mtime
    return record is not None and record.started >= marker and (Path(record.request["out"]) / "run.json").exists()


def _last_done(path: Path, profile: str, settings: Sequence[str]) -> RunRecord | None:
    for r in RunRecords(Store()).all():
        if r.state == "done" and r.request["capture"] == str(path) and r.request["profile"] == str(profile) \
                and list(r.request["settings"]) == list(settings):
            return r
    return None


def write_summary(outcomes: Sequence[Outcome], folder: Path) -> Path:
    """batch.html beside the twins: thumbnail, status, duration and reason per capture."""
    rows = "".join(_row(o, folder) for o in outcomes)
    page = ("<!doctype html><meta charset=utf-8><title>Batch</title><style>body{font:15px sans-serif;margin:2em}td,th{padding:.4em 1em;"
            "text-align:left;border-bottom:1px solid #ddd}img{height:90px}</style>"
            f"<h1>Batch of {time.strftime('%Y-%m-%d %H:%M')}</h1>"
            f"<table><tr><th><th>capture<th>status<th>seconds<th>reason</tr>{rows}</table>")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "batch.html"
    partial = path.with_suffix(".partial")
    partial.write_text(page)
    partial.replace(path)
    return path


def _row(o: Outcome, folder: Path) -> str:
    twin = Path(o.out)
    picture = next(iter(sorted((twin / "previews").glob("*.*"))), None) if o.out else None
    image = f'<img src="{html.escape(picture.relative_to(folder).as_posix())}">' if picture and picture.is_relative_to(folder) else ""
    name = html.escape(o.name)
    report = twin / "report.html"
    link = f'<a href="{html.escape(report.relative_to(folder).as_posix())}">{name}</a>' if report.exists() else name
    return f"<tr><td>{image}<td>{link}<td>{html.escape(o.status)}<td>{o.seconds or ''}<td>{html.escape(o.reason)}</tr>"
