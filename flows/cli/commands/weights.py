"""Commands about trained weights, and about licences."""

from __future__ import annotations

import argparse

from flows.cli.commands.common import command


def weights(commands) -> None:
    """`twin weights`, with commands of its own"""
    text = "trained weights that optional methods use"
    p = commands.add_parser("weights", help=text, description=text)
    what = p.add_subparsers(title="commands", required=True, metavar="COMMAND")
    p = command(what, "list", "weights:list_all", "every entry of the registry: there or not, licence, what uses it")
    p.add_argument("--json", action="store_true", help="for machines")
    p = command(what, "fetch", "weights:fetch", "download, verify and put in place; goes on where it was cut")
    p.add_argument("names", nargs="+", metavar="NAME")
    p.add_argument(
        "--from", dest="mirror", metavar="FOLDER", help="copy from a folder that holds the downloads, without network"
    )
    _accept_option(p)
    p = command(what, "verify", "weights:verify", "compute the sha256 of every file again")
    p.add_argument("names", nargs="*", metavar="NAME", help="only these; they have to be there")
    p = command(
        what, "add", "weights:add", "put a file that was downloaded by hand in place; known by its sha256 or name"
    )
    p.add_argument("file", metavar="FILE")
    _accept_option(p)


def licences(commands) -> None:
    """`twin licences`"""
    p = command(
        commands, "licences", "weights:licences", "licence of every library and file of weights that a run stands on"
    )
    p.add_argument(
        "which", nargs="?", metavar="RUN|TWIN", help="a run id or a twin folder; default: the default methods"
    )
    p.add_argument("--commercial", action="store_true", help="exit code 2 if one forbids commercial use")
    p.add_argument("--json", action="store_true", help="for machines")


def _accept_option(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--accept-unverified",
        action="store_true",
        help="take a file whose sha256 is not pinned, and pin the one it has",
    )
