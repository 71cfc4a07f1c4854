"""How far the pictures of captures with known truth disagree on the surface: all in one place, and some frames in a second position.

    python -m tools.bench_disagreement [CAPTURE ...]

Captures are rectified and have gt/; none = the built-in one, both ways (a camera that goes round it, and turned before a still one). The
mesh, the masks and the poses are the true ones; then frames are turned by some degrees about the object's upright axis, as if it had been
touched unnoticed. The figure is that of the texture stage, `pair_disagreement_ratio`. One row of a Markdown table for each capture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import trimesh

from stages.core.camera import Rig
from stages.core.frames import posed, read_poses
from stages.core.images import read_mask, read_rgb
from stages.core.render import Caster
from stages.core.texels.agreement import SURVEY_POINTS
from stages.core.texels.disagreement import disagreement_of_views
from stages.core.texels.exposure import solve_gains
from stages.core.texels.survey import Source, Surveyed, survey
from stages.core.texels.views import stereo_views
from stages.texture.config import TextureConfig
from stages.texture.lighten import lighten, vertex_normals

CASES = (
    ("as it is", 0, 0.0),
    ("half by 3", 3, 0.5),
    ("half by 6", 6, 0.5),
    ("half by 12", 12, 0.5),
    ("a quarter by 12", 12, 0.25),
    ("an eighth by 12", 12, 0.125),
)
"""name, degrees, share of the frames, in two runs of neighbours"""


def ratios(capture: Path) -> list[float | None]:
    """One for each of CASES; None where too few pictures overlap to say anything."""
    poses, look = posed(read_poses(capture / "gt/poses.json")), Looker(capture)
    seen = {degrees: look(poses, degrees) for degrees in sorted({d for _, d, _ in CASES})}
    half, out = len(poses) / 2, []
    for _, degrees, share in CASES:
        of = {k: degrees if (i % half) / half >= 1 - share else 0 for i, k in enumerate(sorted(poses))}
        found = [seen[d][k] for k, d in of.items() if k in seen[d]]
        colours, weights = np.stack([s.colour for s in found]), np.stack([s.weight for s in found])
        gains = solve_gains(colours, weights)
        out.append(
            disagreement_of_views(
                [s.view for s in found], colours, weights, gains, points=look.points, normals=look.normals
            )
        )
    return out


class LeftPictures:
    """A capture's left pictures and true masks, as a survey reads them."""

    def __init__(self, capture: Path) -> None:
        self.capture, self.files = capture, sorted((capture / "left").iterdir())

    def mask(self, frame: int) -> np.ndarray:
        """The true one."""
        return read_mask(self.capture / "gt/masks" / f"{frame:06d}.png")

    def rgb(self, frame: int, side: str, reduce: int) -> np.ndarray:
        """The left picture."""
        return read_rgb(self.files[frame], reduce)

    def hidden(self, frame: int, side: str) -> None:
        """Nothing stands before the object."""


class Looker:
    """The survey of a capture's left pictures, through its true mesh and masks."""

    def __init__(self, capture: Path) -> None:
        self.config, self.capture = TextureConfig(), capture
        mesh = trimesh.load(capture / "gt/mesh.ply", process=False, force="mesh")
        tolerance = self.config.simplify_tolerance_mm / 1000
        vertices, faces, _ = lighten(
            np.asarray(mesh.vertices), np.asarray(mesh.faces), self.config.face_budget, tolerance
        )
        self.caster = Caster(vertices, faces)
        light = trimesh.Trimesh(vertices, faces, process=False)
        points, of = trimesh.sample.sample_surface(light, SURVEY_POINTS, seed=0)
        normals = vertex_normals(vertices, faces)[faces[of]].mean(1)
        self.points = points.astype(np.float32)
        self.normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
        self.middle = points.mean(0)

    def __call__(self, poses: dict[int, np.ndarray], degrees: float) -> dict[int, Surveyed]:
        """By frame, with all poses turned about y through the middle."""
        c, move = self.config, np.eye(4)
        move[:3, :3] = cv2.Rodrigues(np.array([0, np.radians(degrees), 0]))[0]
        move[:3, 3] = self.middle - move[:3, :3] @ self.middle
        rig = Rig.load(self.capture / "calibration.json")
        views = stereo_views({k: move @ p for k, p in poses.items()}, rig, ("left",), {})
        limits = np.array([c.min_facing, c.border_px, c.border_ramp_px])
        source = Source(rig, LeftPictures(self.capture), limits, workers=2)
        found = survey(views, source, self.caster, self.points, normals=self.normals)
        return {s.view.frame: s for s in found if s is not None}


def built_in(folder: Path) -> list[Path]:
    """Both kinds of the built-in capture, as the tests have it."""
    from stages.core.synthetic.capture import CaptureSpec, write_capture

    return [
        write_capture(
            folder / f"built_in_{kind}",
            CaptureSpec(kind=kind, frames=16, width=400, height=300, voxel_m=0.001),
            workers=2,
        )
        for kind in ("orbit", "inhand")
    ]


def main() -> int:
    """The table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*", type=Path, metavar="CAPTURE")
    given = parser.parse_args().captures
    print(f"| capture | {' | '.join(name for name, _, _ in CASES)} |\n|---|{'---|' * len(CASES)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for capture in given or built_in(Path(folder)):
            row = ("none" if r is None else f"{r:.1f}" for r in ratios(capture))
            print(f"| {capture.name} | {' | '.join(row)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
