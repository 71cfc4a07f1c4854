"""`twin`: the command line. It parses, calls, prints; what a command does lies in a file beside this one, imported when it is used.

Exit codes say whose fault it was. 0 done; 1 the program; 2 the settings or the command line; 3 the capture, which cannot be used; 4 the
capture, of which a stage could make nothing; 5 the machine: store, disk, memory, time limit, a missing library or server; 6 the machine:
weights are missing; 7 something about the capture is odd (`twin check`); 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import signal
import sys
import traceback
from collections.abc import Callable

from flows.cli import options
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
    _reconstruct(commands)
    _check(commands)
    _merge(commands)
    _resume(commands)
    _look(commands)
    _evaluate(commands)
    _drop(commands)
    _export(commands)
    _calibrate(commands)
    _nvidia(commands)
    _nvdiffrec(commands)
    _machine(commands)
    _weights(commands)
    p = _command(commands, "completion", "completion:completion", "a script that completes this command in your shell")
    p.add_argument("shell", choices=("bash", "zsh", "fish"))
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


def _reconstruct(commands) -> None:
    p = _command(commands, "reconstruct", "reconstruct:reconstruct", "reconstruct a capture into a twin folder")
    p.add_argument(
        "capture",
        help="folder with left/, right/ (or video) and a calibration, or with posed pictures; or s3://BUCKET/FOLDER/NAME",
    )
    p.add_argument(
        "--out",
        required=True,
        help="folder that receives the twin; or s3://BUCKET/FOLDER/NAME, or .../ for the capture's name",
    )
    p.add_argument(
        "--profile", default="standard", choices=("preview", "standard", "quality"), help="default: standard"
    )
    p.add_argument(
        "--route",
        default="auto",
        choices=("auto", "stereo", "posed", "scene", "rgbd", "merge", "turntable"),
        help="default: by what lies there; scene: new views of posed pictures, without masks and surface; "
        "turntable: a depth camera's capture, poses from marks that turn with the object",
    )
    p.add_argument("--box", type=_box, metavar="X0,Y0,X1,Y1", help="the object in the first left picture, px")
    p.add_argument("--force", action="store_true", help="compute every stage again")
    p.add_argument("--from", dest="start_from", metavar="STAGE", help="compute this stage and all that follow again")
    p.add_argument("--until", metavar="STAGE", help="stop after this stage; no twin is written")
    p.add_argument("--time-limit", type=float, metavar="SECONDS", help="end a stage that takes longer")
    p.add_argument(
        "--threads", type=int, default=0, help="worker threads per stage; default: all cores, shared with other runs"
    )
    p.add_argument("settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings; `twin settings` lists them")
    _output_options(p)
    _prefect_option(p)


def _merge(commands) -> None:
    p = _command(
        commands, "merge", "merge:merge", "join two sessions of one object (turned over, other light) into one twin"
    )
    p.add_argument("first", help="a twin folder, or a capture folder (what is missing of it is computed)")
    p.add_argument("second", help="the same")
    p.add_argument("--out", required=True, help="folder that receives the twin of both")
    p.add_argument(
        "--profile", default="standard", choices=("preview", "standard", "quality"), help="default: standard"
    )
    p.add_argument("--force", action="store_true", help="compute the stages of the merge again")
    p.add_argument("--time-limit", type=float, metavar="SECONDS", help="end a stage that takes longer")
    p.add_argument(
        "--threads", type=int, default=0, help="worker threads per stage; default: all cores, shared with other runs"
    )
    p.add_argument(
        "settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings of the merge; `twin settings` lists them"
    )
    _output_options(p)
    _prefect_option(p)


def _check(commands) -> None:
    p = _command(
        commands,
        "check",
        "check:check",
        "what a capture holds, how it is understood and what is odd; reconstructs nothing",
    )
    p.add_argument("capture", help="folder with left/, right/ (or video) and a calibration")
    p.add_argument(
        "--profile", default="standard", choices=("preview", "standard", "quality"), help="default: standard"
    )
    p.add_argument("--box", type=_box, metavar="X0,Y0,X1,Y1", help="the object in the first left picture, px")
    p.add_argument("--quick", action="store_true", help="names, headers and small files only: no picture is read")
    p.add_argument("--json", action="store_true", help="for machines")
    p.add_argument(
        "settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings of a run; `twin settings` lists them"
    )

    p = _command(
        commands,
        "import",
        "import_recording:unpack",
        "unpack a robot's recording (ROS bag, MCAP) into a capture folder",
    )
    p.add_argument("recording", help=".bag or .mcap file, or the folder of a ROS 2 bag; needs the extra `bags`")
    p.add_argument("--out", required=True, help="new folder for the capture")
    p.add_argument(
        "--left", metavar="TOPIC", help="image topic of the left eye; default: the one called left, infra1, cam0 .."
    )
    p.add_argument("--right", metavar="TOPIC")
    p.add_argument(
        "--tolerance",
        type=float,
        default=5.0,
        metavar="MS",
        help="how far the stamps of a pair may lie apart; default 5",
    )


def _resume(commands) -> None:
    p = _command(commands, "resume", "reconstruct:resume", "go on with a run that failed or was ended; same settings")
    p.add_argument("which", nargs="?", metavar="RUN", help="id, or the beginning of one; default: the last run")
    p.add_argument("--last", action="store_true", help="the last run (the default)")
    _output_options(p)
    _prefect_option(p)
    p = _command(
        commands, "demo", "reconstruct:demo", "make the built-in capture, reconstruct it and compare with its truth"
    )
    p.add_argument("--out", default="demo", help="folder for capture and twin; default: demo")
    p.add_argument("--profile", default="standard", choices=("preview", "standard", "quality"))
    p.add_argument("settings", nargs="*", metavar="STAGE.KEY=VALUE")
    _prefect_option(p)


def _look(commands) -> None:
    p = _command(
        commands, "pick", "pick:pick", "a page on which the object is marked with mouse or finger; writes prompt.json"
    )
    p.add_argument("capture", help="the capture folder")
    p.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; default: this machine only, others ask for a password",
    )
    p.add_argument("--port", type=int, default=0, help="default: any that is free")
    p = _command(
        commands, "view", "view:view", "a twin, or a run while it goes on, in 3-D in a browser; needs the extra view"
    )
    p.add_argument("which", metavar="TWIN|RUN", help="a twin folder or a run id")
    p.add_argument("--port", type=int, default=8080, help="default: 8080, or the next that is free")
    p = _command(commands, "status", "status:status", "runs so far, and what the store holds")
    p.add_argument("--all", action="store_true", help="every run, not only the last ten")
    p.add_argument("--json", action="store_true", help="for machines: every run that fits")
    options.run_filter(p)
    p = _command(commands, "audit", "audit:audit", "who started what, and who asked the served API for which change")
    p.add_argument("--days", type=float, metavar="DAYS", help="only within so many days")
    p.add_argument("--json", action="store_true", help="for machines")
    p = _command(commands, "inspect", "status:inspect", "why a stage was computed again, with its settings and inputs")
    p.add_argument("which", metavar="CAPTURE|TWIN|RUN", help="a capture folder, a twin folder or a run id")
    p.add_argument("stage", metavar="STAGE")
    p = _command(commands, "clean", "status:clean", "remove leftovers, damaged results and, if asked, old results")
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


def _evaluate(commands) -> None:
    p = _command(commands, "evaluate", "status:evaluate", "score a twin against a capture that has gt/")
    p.add_argument("capture")
    p.add_argument("twin", help="the twin folder")
    p.add_argument("--json", metavar="FILE", nargs="?", const="-", help="as JSON, to a file or to the terminal")


def _drop(commands) -> None:
    p = _command(
        commands, "drop", "drop:drop", "let a twin's files for simulators fall in MuJoCo and PyBullet, in seven poses"
    )
    p.add_argument("twin", help="the twin folder")
    p.add_argument("--engine", choices=("mujoco", "pybullet"), help="default: every one that is installed")
    p.add_argument("--json", action="store_true", help="for machines")


def _export(commands) -> None:
    p = _command(
        commands, "export", "export:export", "write a twin's pictures, cameras, masks and depth for another program"
    )
    p.add_argument("twin", help="the twin folder")
    p.add_argument("--format", required=True, choices=("nerf", "colmap", "bop", "nerfstudio"))
    p.add_argument("--out", help="a new folder; default: TWIN-FORMAT beside the twin")


def _calibrate(commands) -> None:
    p = _command(commands, "calibrate", "calibrate:calibrate", "calibrate a stereo camera from pictures of a board")
    p.add_argument("folder", help="left*.jpg and right*.jpg, or left/ and right/ below it")
    p.add_argument(
        "--board",
        required=True,
        type=_board,
        metavar="COLUMNSxROWS",
        help="inner corners (chessboard), squares (charuco) or tags, for example 9x6",
    )
    p.add_argument("--square", required=True, type=float, metavar="METRES", help="side of one square, or of one tag")
    p.add_argument(
        "--kind", default="chessboard", choices=("chessboard", "charuco", "apriltag"), help="default: chessboard"
    )
    p.add_argument("--marker", type=float, metavar="METRES", help="side of a marker of a ChArUco board")
    p.add_argument("--gap", type=float, metavar="METRES", help="between two AprilTags")
    p.add_argument("--dictionary", metavar="NAME", help="of the markers; default: 4X4_50 (charuco), APRILTAG_36h11")
    p.add_argument("--out", default="calibration.json", help="default: calibration.json")


def _nvdiffrec(commands) -> None:
    p = _command(
        commands, "nvdiffrec", "nvdiffrec:nvdiffrec", "reconstruct with nvdiffrec's settings file and data as they are"
    )
    p.add_argument("--config", required=True, metavar="FILE", help="its JSON file")
    p.add_argument("--data", metavar="FOLDER", help="with transforms_train.json; default: what ref_mesh names")
    p.add_argument("--out", help="folder that receives the twin; default: out/ and out_dir of the file")
    p.add_argument("--profile", choices=("preview", "standard", "quality"), help="default: by iter of the file")
    p.add_argument(
        "--viewer",
        metavar="ADDRESS",
        help="print a link: the twin's page below it, or the address with {name} filled in",
    )
    p.add_argument("settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings; `twin settings` lists them")
    _output_options(p)
    _prefect_option(p)


def _nvidia(commands) -> None:
    p = _command(
        commands,
        "nvidia",
        "nvidia:nvidia",
        "reconstruct with the settings file and folders of NVIDIA's workflow as they are",
    )
    p.add_argument("--config", required=True, metavar="FILE", help="its settings file, wherever it lies")
    p.add_argument("--data-path", metavar="DIR", help="folder with left/ and right/; default: data_path of the file")
    p.add_argument("--output-path", metavar="DIR", help="folder that receives the twin; default: workdir of the file")
    p.add_argument(
        "--profile", default="standard", choices=("preview", "standard", "quality"), help="what the file leaves open"
    )
    for names in (("--verbose", "-v"), ("--debug", "-d")):
        p.add_argument(*names, dest="verbose", action="store_true", default=argparse.SUPPRESS, help="show log lines")
    p.add_argument("--version", action=Version)
    p.add_argument(
        "settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings of this program, over those of the file"
    )
    _output_options(p)
    _prefect_option(p)


def _board(text: str) -> tuple[int, int]:
    columns, _, rows = text.lower().partition("x")
    if not (columns.isdigit() and rows.isdigit()):
        raise argparse.ArgumentTypeError("give inner corners as COLUMNSxROWS, for example 9x6")
    return int(columns), int(rows)


def _machine(commands) -> None:
    p = _command(
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
    p = _command(commands, "schedule", "serve:schedule", "reconstruct what is READY at fixed times; needs `twin serve`")
    p.add_argument("--cron", help="five fields, for example '0 2 * * *'")
    p.add_argument("--timezone", default="UTC", help="for example Europe/Berlin; default UTC")
    p.add_argument("--root", default="", help="folder with captures; default: the captures folder")
    p.add_argument("--profile", default="standard", choices=("preview", "standard", "quality"))
    p.add_argument(
        "--name",
        default="",
        help="name of the schedule, which replaces the one that has it; default: batch-1, batch-2, ...",
    )
    p.add_argument("--list", action="store_true", help="the schedules there are, with their next run")
    p.add_argument("--remove", nargs="*", metavar="NAME", help="take these schedules away; all, if none is named")
    options.backup(_command(commands, "backup", "backup:backup", "copy database, records and results while runs go on"))
    options.restore(_command(commands, "restore", "backup:restored", "put a back-up into the store"))
    options.notify(
        _command(commands, "notify", "notify:notify", "tell somebody of runs that fail, by e-mail, Slack or a webhook")
    )
    p = _command(commands, "settings", "settings:settings", "every setting, with default, choices and reason")
    p.add_argument("stage", nargs="?", help="only of this stage")
    p.add_argument("--json", action="store_true", help="for machines")
    p = _command(commands, "doctor", "doctor:doctor", "what this machine has, and what `method: auto` would pick")
    p.add_argument("--json", action="store_true", help="for machines")


def _weights(commands) -> None:
    text = "trained weights that optional methods use"
    p = commands.add_parser("weights", help=text, description=text)
    what = p.add_subparsers(title="commands", required=True, metavar="COMMAND")
    p = _command(what, "list", "weights:list_all", "every entry of the registry: there or not, licence, what uses it")
    p.add_argument("--json", action="store_true", help="for machines")
    p = _command(what, "fetch", "weights:fetch", "download, verify and put in place; goes on where it was cut")
    p.add_argument("names", nargs="+", metavar="NAME")
    p.add_argument(
        "--from", dest="mirror", metavar="FOLDER", help="copy from a folder that holds the downloads, without network"
    )
    _accept_option(p)
    p = _command(what, "verify", "weights:verify", "compute the sha256 of every file again")
    p.add_argument("names", nargs="*", metavar="NAME", help="only these; they have to be there")
    p = _command(
        what, "add", "weights:add", "put a file that was downloaded by hand in place; known by its sha256 or name"
    )
    p.add_argument("file", metavar="FILE")
    _accept_option(p)
    p = _command(
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


def _command(commands, name: str, target: str, help_text: str) -> argparse.ArgumentParser:
    p = commands.add_parser(name, help=help_text, description=help_text)
    p.set_defaults(run=_lazily(target))
    return p


def _lazily(target: str) -> Callable[[argparse.Namespace], int | None]:
    module, function = target.split(":")
    return lambda args: getattr(importlib.import_module(f"flows.cli.{module}"), function)(args)


def _output_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--quiet", action="store_true", help="no progress, only what came out")
    p.add_argument("--json", action="store_true", help="what came out, for machines")


def _prefect_option(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--no-prefect", action="store_true", help="without Prefect's server: starts faster, no history in its UI"
    )


def _box(text: str) -> tuple[float, ...]:
    numbers = tuple(float(x) for x in text.split(","))
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError("give four numbers: x0,y0,x1,y1")
    return numbers


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
