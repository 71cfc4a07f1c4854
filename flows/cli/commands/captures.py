"""Commands about a capture before it is reconstructed."""

from __future__ import annotations

import argparse

from flows.cli.commands.common import PROFILES, box, command


def check(commands) -> None:
    """`twin check`"""
    p = command(
        commands,
        "check",
        "check:check",
        "what a capture holds, how it is understood and what is odd; reconstructs nothing",
    )
    p.add_argument("capture", help="folder with left/, right/ (or video) and a calibration")
    p.add_argument("--profile", default="standard", choices=PROFILES, help="default: standard")
    p.add_argument("--box", type=box, metavar="X0,Y0,X1,Y1", help="the object in the first left picture, px")
    p.add_argument("--quick", action="store_true", help="names, headers and small files only: no picture is read")
    p.add_argument("--json", action="store_true", help="for machines")
    p.add_argument(
        "settings", nargs="*", metavar="STAGE.KEY=VALUE", help="settings of a run; `twin settings` lists them"
    )


def unpack(commands) -> None:
    """`twin import`"""
    p = command(
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


def pick(commands) -> None:
    """`twin pick`"""
    p = command(
        commands, "pick", "pick:pick", "a page on which the object is marked with mouse or finger; writes prompt.json"
    )
    p.add_argument("capture", help="the capture folder")
    p.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; default: this machine only, others ask for a password",
    )
    p.add_argument("--port", type=int, default=0, help="default: any that is free")


def calibrate(commands) -> None:
    """`twin calibrate`"""
    p = command(commands, "calibrate", "calibrate:calibrate", "calibrate a stereo camera from pictures of a board")
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


def _board(text: str) -> tuple[int, int]:
    columns, _, rows = text.lower().partition("x")
    if not (columns.isdigit() and rows.isdigit()):
        raise argparse.ArgumentTypeError("give inner corners as COLUMNSxROWS, for example 9x6")
    return int(columns), int(rows)
