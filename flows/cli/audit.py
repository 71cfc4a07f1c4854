"""`twin audit`: who started what, from the records of the runs, and who asked the served API for which change, from its audit file."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from flows.records.run_filter import DAY_S
from flows.records.run_record import RunRecords
from flows.web.address import audit_file
from flows.web.audit import read_entries
from stages.core.store import Store


def audit(args: argparse.Namespace) -> int:
    """Oldest first."""
    store = Store()
    since = time.time() - args.days * DAY_S if args.days is not None else 0.0
    runs = [
        {
            "time": r.started,
            "who": r.started_by,
            "what": "run",
            "run": r.id,
            "capture": r.request["capture"],
            "flow_run": r.flow_run,
        }
        for r in RunRecords(store).all()
    ]
    asked = [{"what": "API", **e} for e in read_entries(audit_file(store))]
    entries: list[dict[str, Any]] = sorted((e for e in (*runs, *asked) if e["time"] >= since), key=lambda e: e["time"])
    if args.json:
        print(json.dumps(entries, indent=1))
        return 0
    for entry in entries:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(entry['time']))}  {_line(entry)}")
    if not entries:
        print("nothing was started yet")
    return 0


def _line(e: dict[str, Any]) -> str:
    if e["what"] == "run":
        return f"{e['who'] or 'unknown (an earlier version)'}: run {e['run']} of {e['capture']}"
    who = f"{e.get('user') or 'nobody named'} from {e.get('forwarded_for') or e.get('from') or 'somewhere'}"
    more = " ".join(filter(None, (e.get("state"), e.get("name"), e.get("id"))))
    return f"{who}: {e.get('method')} {e.get('path')} {e.get('status')} {more}".rstrip()
