"""Commands about the store: its runs, who started them, what may go, and copies of it."""

from __future__ import annotations

from flows.cli.commands.common import PROFILES, command
from flows.records.states import STATES


def status(commands) -> None:
    """`twin status`"""
    p = command(commands, "status", "status:status", "runs so far, and what the store holds")
    p.add_argument("--all", action="store_true", help="every run, not only the last ten")
    p.add_argument("--json", action="store_true", help="for machines: every run that fits")
    p.add_argument(
        "--state", action="append", choices=STATES, default=[], help="only runs in this state; may be given again"
    )
    p.add_argument("--capture", default="", metavar="TEXT", help="only runs of captures with this in their path")
    p.add_argument("--days", type=float, metavar="DAYS", help="only runs that began within so many days")
    p.add_argument("--failed-in", default="", metavar="STAGE", help="only runs that failed in this stage")
    p.add_argument("--profile", default="", choices=PROFILES, help="only runs of this profile")


def audit(commands) -> None:
    """`twin audit`"""
    p = command(commands, "audit", "audit:audit", "who started what, and who asked the served API for which change")
    p.add_argument("--days", type=float, metavar="DAYS", help="only within so many days")
    p.add_argument("--json", action="store_true", help="for machines")


def inspect(commands) -> None:
    """`twin inspect`"""
    p = command(commands, "inspect", "status:inspect", "why a stage was computed again, with its settings and inputs")
    p.add_argument("which", metavar="CAPTURE|TWIN|RUN", help="a capture folder, a twin folder or a run id")
    p.add_argument("stage", metavar="STAGE")


def clean(commands) -> None:
    """`twin clean`"""
    p = command(commands, "clean", "status:clean", "remove leftovers, damaged results and, if asked, old results")
    p.add_argument("--older-than", type=float, metavar="DAYS", help="also results and run records not used for so long")
    p.add_argument(
        "--keep-gb",
        type=float,
        metavar="GB",
        help="also results not used for longest, until all take no more than this",
    )
    p.add_argument(
        "--twins-older-than",
        type=float,
        metavar="DAYS",
        help="also twins in the twins folder made longer ago; their record stays, so that they are not made anew",
    )
    p.add_argument("--intermediate", action="store_true", help="also every result but the twins themselves")
    p.add_argument(
        "--twins-too", action="store_true", help="--keep-gb may take the twins' results too (twin folders always stay)"
    )
    p.add_argument("--corrupt", action="store_true", help="only damaged results")
    p.add_argument("--remote", action="store_true", help="in the bucket of TWIN_STORE_S3, not in this folder")
    p.add_argument("--dry-run", action="store_true", help="only say what would go")


def backup(commands) -> None:
    """`twin backup`"""
    p = command(commands, "backup", "backup:backup", "copy database, records and results while runs go on")
    p.add_argument("folder", metavar="FOLDER", help="on another disk; the same one again is brought up to date")
    p.add_argument("--no-database", action="store_true", help="where it is copied by other means")
    p.add_argument(
        "--no-results", action="store_true", help="records alone: results can be computed again from the captures"
    )
    p.add_argument("--prune", action="store_true", help="results that the store has no more go from the back-up too")


def restore(commands) -> None:
    """`twin restore`"""
    p = command(commands, "restore", "backup:restored", "put a back-up into the store")
    p.add_argument("folder", metavar="FOLDER", help="that `twin backup` was given")
    p.add_argument("--no-database", action="store_true", help="keep the database that is there")
    p.add_argument("--no-results", action="store_true", help="records alone")
