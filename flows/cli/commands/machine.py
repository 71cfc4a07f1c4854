"""Commands about this machine: what it serves, when, whom it tells, what it has."""

from __future__ import annotations

from flows.cli.commands.common import PROFILES, command


def serve(commands) -> None:
    """`twin serve`"""
    p = command(
        commands, "serve", "serve:serve", "Prefect server, UI, workers and watcher on this machine, until Ctrl-C"
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen at; default: this machine only")
    p.add_argument("--port", type=int, default=4200)
    p.add_argument("--files-port", type=int, help="for the twins' files; default: port + 1")
    p.add_argument(
        "--runs", default="auto", metavar="N", help="captures at once; default: auto, what cores and free memory allow"
    )
    p.add_argument(
        "--keep-gb",
        type=float,
        metavar="GB",
        help="remove results not used for longest while all take more; or TWIN_KEEP_GB",
    )
    p.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help="instead of a password that is made; or TWIN_AUTH, which other users cannot see",
    )
    p.add_argument("--no-password", action="store_true", help="let in every user and program that reaches the address")
    p.add_argument(
        "--link", action="store_true", help="only print the address that logs a browser in to the one that runs"
    )


def schedule(commands) -> None:
    """`twin schedule`"""
    p = command(commands, "schedule", "serve:schedule", "reconstruct what is READY at fixed times; needs `twin serve`")
    p.add_argument("--cron", help="five fields, for example '0 2 * * *'")
    p.add_argument("--timezone", default="UTC", help="for example Europe/Berlin; default UTC")
    p.add_argument("--root", default="", help="folder with captures; default: the captures folder")
    p.add_argument("--profile", default="standard", choices=PROFILES)
    p.add_argument(
        "--name",
        default="",
        help="name of the schedule, which replaces the one that has it; default: batch-1, batch-2, ...",
    )
    p.add_argument("--list", action="store_true", help="the schedules there are, with their next run")
    p.add_argument("--remove", nargs="*", metavar="NAME", help="take these schedules away; all, if none is named")


def notify(commands) -> None:
    """`twin notify`"""
    p = command(commands, "notify", "notify:notify", "tell somebody of runs that fail, by e-mail, Slack or a webhook")
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


def settings(commands) -> None:
    """`twin settings`"""
    p = command(commands, "settings", "settings:settings", "every setting, with default, choices and reason")
    p.add_argument("stage", nargs="?", help="only of this stage")
    p.add_argument("--json", action="store_true", help="for machines")


def doctor(commands) -> None:
    """`twin doctor`"""
    p = command(commands, "doctor", "doctor:doctor", "what this machine has, and what `method: auto` would pick")
    p.add_argument("--json", action="store_true", help="for machines")


def completion(commands) -> None:
    """`twin completion`"""
    p = command(commands, "completion", "completion:completion", "a script that completes this command in your shell")
    p.add_argument("shell", choices=("bash", "zsh", "fish"))
