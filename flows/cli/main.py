"""`twin`: the command line. It parses, calls, prints. Commands and their options lie in `commands/`; what a command does lies in a file
beside this one, imported when it is used.

Exit codes say whose fault it was. 0 done; 1 the program; 2 the settings or the command line; 3 the capture, which cannot be used; 4 the
capture, of which a stage could make nothing; 5 the machine: store, disk, memory, time limit, a missing library or server; 6 the machine:
weights are missing; 7 something about the capture is odd (`twin check`); 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import signal
import sys
import traceback

from flows.cli.commands import COMMANDS
from flows.cli.parsing import Parser, Version

EXIT_CODES = {
    "ConfigError": 2,
    "CaptureError": 3,
    "MachineError": 5,
    "OutOfMemory": 5,
    "StageError": 4,
    "StoreError": 5,
    "WeightsError": 6,
    "TwinError": 5,
}
"""by the class of the error, or the nearest above it"""
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that is not UTF-8 must not end the command that tells of it
            stream.reconfigure(errors="backslashreplace")
    args = _parse(_verbose_first(sys.argv[1:] if argv is None else argv))
    _set_up_logging(args.verbose)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a polite end cleans up as Ctrl-C does
    from stages.core.errors import TwinError

    try:
        return args.run(args) or 0
    except TwinError as e:
        _complain(e.message, e.advice, args.verbose)
        return next(EXIT_CODES[kind.__name__] for kind in type(e).__mro__ if kind.__name__ in EXIT_CODES)
    except KeyboardInterrupt:
        _complain("interrupted", "finished stages are kept: `twin resume` goes on from there", False)
        return INTERRUPTED
    except BrokenPipeError:  # `twin status | head`
        return 0
    except Exception as e:  # noqa: BLE001 - the outermost border: a message and an exit code, whatever it was
        from stages.core.disk_errors import disk_fault
        from stages.core.store import default_root

        if trouble := disk_fault(e, default_root()):
            _complain(trouble.message, trouble.advice, args.verbose)
            return EXIT_CODES["StoreError"]
        details = getattr(e, "details", "") or "".join(traceback.format_exception(e))
        _complain(
            f"{type(e).__name__}: {e}",
            "this is a fault of the program: run again with --verbose and report what it prints",
            False,
        )
        if args.verbose:
            print(details, file=sys.stderr)
        return 1


def _verbose_first(argv: list[str]) -> list[str]:
    """`--verbose` is added at the end by whoever was told to run a command again with it. NVIDIA's command has one of its own."""
    if "--verbose" not in argv or argv[0] == "nvidia":
        return argv
    return ["--verbose", *(word for word in argv if word != "--verbose")]


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="twin",
        description="From a stereo video of one object to its metric, textured digital twin.",
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=Version)
    top.add_argument("--verbose", action="store_true", help="show log lines, and the traceback when something fails")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return top


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """Also settings that come after options, which argparse alone would not give to `settings`."""
    top = parser()
    args, rest = top.parse_known_args(argv)
    for text in rest:
        if text.startswith("-") or "=" not in text or not hasattr(args, "settings"):
            top.error(f"unrecognized argument: {text}")
        args.settings.append(text)
    return args


def _set_up_logging(verbose: bool) -> None:
    handler: logging.Handler = logging.StreamHandler() if verbose else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    for name in ("flows", "stages"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if verbose else logging.INFO)
        logger.propagate = False  # Prefect puts a handler of its own on the root
    logging.raiseExceptions = verbose  # a full disk must not fill the terminal with failed log lines


def _complain(message: str, advice: str, verbose: bool) -> None:
    from flows.ui.colour import painted

    print("\n" + painted(f"twin: {message}", "bold red", sys.stderr), file=sys.stderr)
    if advice:
        print(f"What to do: {advice}", file=sys.stderr)
    if verbose:
        traceback.print_exc()
