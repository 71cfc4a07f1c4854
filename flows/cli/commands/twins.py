"""Commands about a twin that is there."""

from __future__ import annotations

from flows.cli.commands.common import command


def view(commands) -> None:
    """`twin view`"""
    p = command(
        commands, "view", "view:view", "a twin, or a run while it goes on, in 3-D in a browser; needs the extra view"
    )
    p.add_argument("which", metavar="TWIN|RUN", help="a twin folder or a run id")
    p.add_argument("--port", type=int, default=8080, help="default: 8080, or the next that is free")


def evaluate(commands) -> None:
    """`twin evaluate`"""
    p = command(commands, "evaluate", "status:evaluate", "score a twin against a capture that has gt/")
    p.add_argument("capture")
    p.add_argument("twin", help="the twin folder")
    p.add_argument("--json", metavar="FILE", nargs="?", const="-", help="as JSON, to a file or to the terminal")


def drop(commands) -> None:
    """`twin drop`"""
    p = command(
        commands, "drop", "drop:drop", "let a twin's files for simulators fall in MuJoCo and PyBullet, in seven poses"
    )
    p.add_argument("twin", help="the twin folder")
    p.add_argument("--engine", choices=("mujoco", "pybullet"), help="default: every one that is installed")
    p.add_argument("--json", action="store_true", help="for machines")


def export(commands) -> None:
    """`twin export`"""
    p = command(
        commands, "export", "export:export", "write a twin's pictures, cameras, masks and depth for another program"
    )
    p.add_argument("twin", help="the twin folder")
    p.add_argument("--format", required=True, choices=("nerf", "colmap", "bop", "nerfstudio"))
    p.add_argument("--out", help="a new folder; default: TWIN-FORMAT beside the twin")
