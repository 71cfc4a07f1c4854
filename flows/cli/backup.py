"""`twin backup` and `twin restore`."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.upkeep.backup import Copied, Parts, back_up, restore
from stages.core.store import Store


def backup(args: argparse.Namespace) -> int:
    """Into a folder; runs may go on."""
    done = back_up(
        Store(), Path(args.folder).expanduser(), Parts(not args.no_database, not args.no_results, args.prune)
    )
    print(f"database  {done.database or 'none'}")
    _show(done)
    if done.removed:
        print(f"removed   {done.removed} results that the store has no more")
    return 0


def restored(args: argparse.Namespace) -> int:
    """From a folder, into the store; nothing may run on it."""
    store = Store()
    done = restore(Path(args.folder).expanduser(), store, Parts(not args.no_database, not args.no_results))
    print(f"store     {store.root}\ndatabase  {done.database or 'none restored'}")
    _show(done)
    print("Start `twin serve`: it brings its database up to this version, and runs that were under way go on.")
    return 0


def _show(done: Copied) -> None:
    print(f"records   {done.records} of runs\nresults   {done.results} copied, {done.kept} there already")
    for line in done.left_out:
        print(f"left out  {line}")
