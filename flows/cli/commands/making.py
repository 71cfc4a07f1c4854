"""Commands that make a twin: from a capture, from two, from the files of other programs."""

from __future__ import annotations

import argparse

from flows.cli.commands.common import PROFILES, box, command, output_options, prefect_option
from flows.cli.parsing import Version


def reconstruct(commands) -> None:
    """`twin reconstruct`"""
    p = command(commands, "reconstruct", "reconstruct:reconstruct", "reconstruct a capture into a twin folder")
    p.add_argument(
        "capture",
        help="folder with left/, right/ (or video) and a calibration, or with posed pictures; or s3://BUCKET/FOLDER/NAME",
    )
    p.add_argument(
        "--out",
        required=True,
        help="folder that receives the twin; or s3://BUCKET/FOLDER/NAME, or .../ for the capture's name",
    )
    p.add_argument("--profile", default="standard", choices=PROFILES, help="default: standard")
    p.add_argument(
        "--route",
        default="auto",
        choices=("auto", "stereo", "posed", "scene", "rgbd", "merge", "turntable"),
        help="default: by what lies there; scene: new views of posed pictures, without masks and surface; "
        "turntable: a depth camera's capture, poses from marks that turn with the object",
    )
    p.add_argument("--box", type=box, metavar="X0,Y0,X1,Y1", help="the object in the first left picture, px")
    p.add_argument("--force", action="store_true", help="compute every stage again")
    p.add_argument("--from", dest="start_from", metavar="STAGE", help="compute this stage and all that follow again")
    p.add_argument("--until", metavar="STAGE", help="stop after this stage; no twin is written")
    p.add_argument("--time-limit", type=float, metavar="SECONDS", help="end a stage that takes longer")
    p.add_argument(
        "--threads", type=int, default=0, help="worker threads per stage; default: all cores, shared with other runs"
    )
    p.add_argument("settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings; `twin settings` lists them")
    output_options(p)
    prefect_option(p)


def merge(commands) -> None:
    """`twin merge`"""
    p = command(
        commands, "merge", "merge:merge", "join two sessions of one object (turned over, other light) into one twin"
    )
    p.add_argument("first", help="a twin folder, or a capture folder (what is missing of it is computed)")
    p.add_argument("second", help="the same")
    p.add_argument("--out", required=True, help="folder that receives the twin of both")
    p.add_argument("--profile", default="standard", choices=PROFILES, help="default: standard")
    p.add_argument("--force", action="store_true", help="compute the stages of the merge again")
    p.add_argument("--time-limit", type=float, metavar="SECONDS", help="end a stage that takes longer")
    p.add_argument(
        "--threads", type=int, default=0, help="worker threads per stage; default: all cores, shared with other runs"
    )
    p.add_argument(
        "settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings of the merge; `twin settings` lists them"
    )
    output_options(p)
    prefect_option(p)


def resume(commands) -> None:
    """`twin resume`"""
    p = command(commands, "resume", "reconstruct:resume", "go on with a run that failed or was ended; same settings")
    p.add_argument("which", nargs="?", metavar="RUN", help="id, or the beginning of one; default: the last run")
    p.add_argument("--last", action="store_true", help="the last run (the default)")
    output_options(p)
    prefect_option(p)


def demo(commands) -> None:
    """`twin demo`"""
    p = command(
        commands, "demo", "reconstruct:demo", "make the built-in capture, reconstruct it and compare with its truth"
    )
    p.add_argument("--out", default="demo", help="folder for capture and twin; default: demo")
    p.add_argument("--profile", default="standard", choices=PROFILES)
    p.add_argument("settings", nargs="*", metavar="STAGE.KEY=VALUE")
    prefect_option(p)


def nvidia(commands) -> None:
    """`twin nvidia`"""
    p = command(
        commands,
        "nvidia",
        "nvidia:nvidia",
        "reconstruct with the settings file and folders of NVIDIA's workflow as they are",
    )
    p.add_argument("--config", required=True, metavar="FILE", help="its settings file, wherever it lies")
    p.add_argument("--data-path", metavar="DIR", help="folder with left/ and right/; default: data_path of the file")
    p.add_argument("--output-path", metavar="DIR", help="folder that receives the twin; default: workdir of the file")
    p.add_argument("--profile", default="standard", choices=PROFILES, help="what the file leaves open")
    for names in (("--verbose", "-v"), ("--debug", "-d")):
        p.add_argument(*names, dest="verbose", action="store_true", default=argparse.SUPPRESS, help="show log lines")
    p.add_argument("--version", action=Version)
    p.add_argument(
        "settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings of this program, over those of the file"
    )
    output_options(p)
    prefect_option(p)


def nvdiffrec(commands) -> None:
    """`twin nvdiffrec`"""
    p = command(
        commands, "nvdiffrec", "nvdiffrec:nvdiffrec", "reconstruct with nvdiffrec's settings file and data as they are"
    )
    p.add_argument("--config", required=True, metavar="FILE", help="its JSON file")
    p.add_argument("--data", metavar="FOLDER", help="with transforms_train.json; default: what ref_mesh names")
    p.add_argument("--out", help="folder that receives the twin; default: out/ and out_dir of the file")
    p.add_argument("--profile", choices=PROFILES, help="default: by iter of the file")
    p.add_argument(
        "--viewer",
        metavar="ADDRESS",
        help="print a link: the twin's page below it, or the address with {name} filled in",
    )
    p.add_argument("settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings; `twin settings` lists them")
    output_options(p)
    prefect_option(p)
