"""`twin notify`: who is told of runs that fail, and how."""

from __future__ import annotations

import argparse
import os
import socket

from flows.web.address import use_server
from stages.core.errors import ConfigError
from stages.core.store import Store


def notify(args: argparse.Namespace) -> int:
    """Kept by the server until it is removed."""
    use_server(Store())  # before Prefect is imported, which reads the environment then
    from flows.serve import notifications

    if args.remove:
        notifications.remove_notification(args.remove)
        print(f"{args.remove} is told no more")
    elif args.test:
        notifications.try_notification(args.test)
        print(f"a message was sent to {args.test}, from this machine")
    elif args.list:
        found = notifications.list_notifications()
        lines = (f"{t.name}: {t.about}{'' if t.active else ' (switched off in the UI)'}" for t in found)
        print("\n".join(lines) or "nobody is told of anything")
    else:
        _set(args)
    return 0


def _set(args: argparse.Namespace) -> None:
    from flows.serve import notifications

    if not args.way or not args.to:
        raise ConfigError(
            "nobody is named",
            "twin notify email me@example.org --smtp mail.example.org:587, twin notify slack URL, "
            "twin notify webhook URL; or --list, --test NAME, --remove NAME",
        )
    if args.way == "email":
        sender = args.sender or f"twin@{socket.getfqdn()}"
        block = notifications.mail(
            args.to, args.smtp, sender, args.user, password=os.environ.get("TWIN_SMTP_PASSWORD", "")
        )
    else:
        block = notifications.webhook(args.to, args.way == "slack")
    name, states, which = args.name or args.way, _words(args.on), _words(args.only)
    notifications.set_notification(name, block, states, which)
    print(
        f"{name}: told by {args.way} of {' and '.join(which)} that are {', '.join(states)}   (a message now: twin notify --test {name})"
    )


def _words(text: str) -> list[str]:
    return [w.strip() for w in text.split(",") if w.strip()]
