"""Options of the commands that operate a store: looking through runs, who did what, and who is told. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

from flows.records.states import STATES

PROFILES = ("preview", "standard", "quality")


def run_filter(p: argparse.ArgumentParser) -> None:
    """Of `twin status`; records/run_filter.py reads them."""
    p.add_argument(
        "--state", action="append", choices=STATES, default=[], help="only runs in this state; may be given again"
    )
    p.add_argument("--capture", default="", metavar="TEXT", help="only runs of captures with this in their path")
    p.add_argument("--days", type=float, metavar="DAYS", help="only runs that began within so many days")
    p.add_argument("--failed-in", default="", metavar="STAGE", help="only runs that failed in this stage")
    p.add_argument("--profile", default="", choices=PROFILES, help="only runs of this profile")


def notify(p: argparse.ArgumentParser) -> None:
    """Of `twin notify`; notify.py reads them."""
    p.add_argument(
        "way",
        nargs="?",
        choices=("webhook", "slack", "email"),
        help="how; without it, --list, --test or --remove says what",
    )
    p.add_argument(
        "to", nargs="?", metavar="URL|ADDRESS", help="URL of the webhook, or mail addresses separated by commas"
    )
    p.add_argument(
        "--on",
        default="failed,crashed",
        metavar="STATES",
        help="of failed, crashed, cancelled, completed, separated by commas; default: failed,crashed",
    )
    p.add_argument(
        "--only",
        default="runs,batches",
        metavar="WHICH",
        help="runs, batches, or both (the default), separated by commas",
    )
    p.add_argument("--name", default="", help="replaces the one that has it; default: the way")
    p.add_argument(
        "--smtp", default="localhost:25", metavar="HOST:PORT", help="for email; port 465 speaks TLS from the beginning"
    )
    p.add_argument("--sender", default="", metavar="ADDRESS", help="for email; default: twin@ this machine")
    p.add_argument(
        "--user", default="", help="for email, where the mail server asks; its password is read from TWIN_SMTP_PASSWORD"
    )
    p.add_argument("--list", action="store_true", help="who is told of what")
    p.add_argument("--test", metavar="NAME", help="send a message now")
    p.add_argument("--remove", metavar="NAME", help="tell that one no more")


def backup(p: argparse.ArgumentParser) -> None:
    """Of `twin backup`; backup.py reads them."""
    p.add_argument("folder", metavar="FOLDER", help="on another disk; the same one again is brought up to date")
    p.add_argument("--no-database", action="store_true", help="where it is copied by other means")
    p.add_argument(
        "--no-results", action="store_true", help="records alone: results can be computed again from the captures"
    )
    p.add_argument("--prune", action="store_true", help="results that the store has no more go from the back-up too")


def restore(p: argparse.ArgumentParser) -> None:
    """Of `twin restore`; backup.py reads them."""
    p.add_argument("folder", metavar="FOLDER", help="that `twin backup` was given")
    p.add_argument("--no-database", action="store_true", help="keep the database that is there")
    p.add_argument("--no-results", action="store_true", help="records alone")
