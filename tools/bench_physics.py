"""Mass properties, colliders and drops of twins beside their truth, and of shapes with hollows whose solid is known.

    python -m tools.bench_physics                          the built-in object, a mug and a bowl, meshed from their distance functions
    python -m tools.bench_physics CAPTURE TWIN [...]       also twins with sim/ of captures that have gt/, with their support

The drops need mujoco and pybullet (extra simulate); those that are not installed are left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.base import StageContext
from stages.core.drop import engines_here, failures
from stages.core.frames import posed, read_poses
from stages.core.meshes import SurfaceMesh, TexturedMesh
from stages.core.synthetic.shape import cylinder, object_sdf, torus
from stages.physics.config import PhysicsConfig
from stages.physics.files import write_sim
from stages.physics.make import make
from stages.physics.mass import Moments, solid_moments
from stages.physics.shapes import Shape, convex_hull
from stages.physics.stable import stable_poses
from stages.texture.lighten import vertex_normals

VOXEL_M, FINE_M = 0.001, 0.0005
Sdf = Callable[[np.ndarray], np.ndarray]
FILES = {"mujoco": ("in_mujoco", "twin.xml"), "pybullet": ("in_bullet", "twin.urdf")}


def mug(x: np.ndarray) -> np.ndarray:
    """80 mm wide, 96 mm high, walls of 5 mm, an ear."""
    ear = np.maximum(torus(x - [0.042, 0, 0], 0.024, 0.005), 0.037 - np.hypot(x[..., 0], x[..., 2]))
    return np.maximum(
        np.minimum(cylinder(x, 0.040, 0.048, 0.003), ear), -cylinder(x - [0, -0.006, 0], 0.035, 0.048, 0.003)
    )


def bowl(x: np.ndarray) -> np.ndarray:
    """Half a ball of 60 mm radius with walls of 5 mm, on a flat foot."""
    ball = np.maximum(np.linalg.norm(x, axis=-1) - 0.060, np.maximum(-x[..., 1], x[..., 1] - 0.057))
    return np.maximum(ball, 0.055 - np.linalg.norm(x * [1, 1.04, 1], axis=-1))


SHAPES: dict[str, tuple[Sdf, tuple[float, float, float]]] = {
    "built-in object": (object_sdf, (0.066, 0.070, 0.050)), "mug": (mug, (0.078, 0.053, 0.046)), "bowl": (bowl, (0.065, 0.062, 0.065)),
}  # fmt: skip


def main() -> None:
    """Rows of a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", nargs="*", metavar="CAPTURE TWIN")
    names = parser.parse_args().pairs
    print(
        "| object | volume | inertia | centre of mass | parts | mean / max of the parts | one hull, max | drops | seconds | support |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, (sdf, half) in SHAPES.items():
        print(row(name, *_of_shape(sdf, half)), "|", flush=True)
    for capture, twin in zip(names[::2], names[1::2], strict=True):
        found, shape = _of_twin(Path(capture), Path(twin))
        print(row(Path(capture).name, *found), f"{support(found[0], shape, found[1].centre)} |", flush=True)


def row(name: str, record: dict, truth: Moments, drops: str, seconds: float) -> str:
    """One line, errors against `truth`, which is in the upright frame; inertia at the true density."""

    def value(key):
        return np.array(record[key]["value"])

    volume = float(value("volume")) / truth.content - 1
    ours, true = (
        value("principal_moments") / value("mass") * value("volume"),
        np.linalg.eigvalsh(truth.inertia) * truth.content,
    )
    away = 1000 * float(np.linalg.norm(value("centre_of_mass") - truth.centre))
    c = record["colliders"]
    return (
        f"| {name} | {100 * volume:+.2f} % | {100 * np.abs(ours / true - 1).max():.2f} % | {away:.2f} mm | {c['count']} | "
        f"{1000 * c['mean_m']:.2f} / {1000 * c['max_m']:.2f} mm | {1000 * c['one_hull_max_m']:.1f} mm | {drops} | {seconds:.1f} |"
    )


def support(record: dict, truth: Shape, centre: np.ndarray) -> str:
    """Tilt of our ground against the nearest side on which the true shape (in our upright frame) stands, and how far its lowest point
    lies from our ground along that side's normal."""
    sides = stable_poses(convex_hull(truth.vertices, 400), centre)
    up = max((p.up for p in sides), key=lambda u: u[2])
    tilt = np.degrees(np.arccos(np.clip(up[2], -1, 1)))
    return f"{record['support']['source']}, {tilt:.2f} degrees, {1000 * float((truth.vertices @ up).min()):+.2f} mm"


def _of_shape(sdf: Sdf, half: tuple[float, float, float]) -> tuple[dict, Moments, str, float]:
    shape = meshed(sdf, half)
    count = len(shape.vertices)
    surface = SurfaceMesh(shape.vertices, shape.faces, np.full((count, 3), 128, np.uint8), np.ones(count, np.float32))
    uv, faces_uv = np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.8]]), np.tile([0, 1, 2], (len(shape.faces), 1))
    normals = vertex_normals(shape.vertices, shape.faces)
    shown = TexturedMesh(
        shape.vertices, shape.faces, uv, faces_uv, normals=normals, texture=np.full((8, 8, 3), 99, np.uint8)
    )
    started = time.perf_counter()
    made = make(surface, shown, np.zeros((0, 3)), PhysicsConfig(), context=StageContext())
    with tempfile.TemporaryDirectory() as folder:
        record = write_sim(Path(folder) / "sim", made)
        seconds = time.perf_counter() - started
        drops = dropped(Path(folder) / "sim")
    turn, truth = made.support.upright_from_object, integrated(sdf, half)
    R = turn[:3, :3]
    return record, Moments(truth.content, R @ truth.centre + turn[:3, 3], R @ truth.inertia @ R.T), drops, seconds


def _of_twin(capture: Path, twin: Path) -> tuple[tuple[dict, Moments, str, float], Shape]:
    import trimesh

    run = json.loads((twin / "run.json").read_text())
    ours, true = posed(read_poses(twin / "poses.json")), posed(read_poses(capture / "gt/poses.json"))
    steps = np.array([ours[k] @ np.linalg.inv(true[k]) for k in ours if k in true])
    left, _, right = np.linalg.svd(steps[:, :3, :3].mean(0))
    twin_from_truth = np.eye(4)
    twin_from_truth[:3, :3], twin_from_truth[:3, 3] = left @ right, np.median(steps[:, :3, 3], 0)
    mesh = trimesh.load(capture / "gt/mesh.ply")
    shape = Shape(np.array(mesh.vertices, float), np.array(mesh.faces, np.int64))
    shape = shape.moved(np.array(run["physics"]["upright_from_object"]) @ twin_from_truth)
    return (run["physics"], solid_moments(shape), dropped(twin / "sim"), run["stages"]["physics"]["seconds"]), shape


def meshed(sdf: Sdf, half: tuple[float, float, float]) -> Shape:
    """Marching cubes at `VOXEL_M`."""
    from skimage.measure import marching_cubes

    axes = [np.arange(-h, h + VOXEL_M, VOXEL_M) + 0.113 * VOXEL_M for h in half]
    vertices, faces, _, _ = marching_cubes(
        sdf(np.stack(np.meshgrid(*axes, indexing="ij"), -1)), 0.0, spacing=(VOXEL_M,) * 3
    )
    return Shape(vertices + np.array([a[0] for a in axes]), faces.astype(np.int64))


def integrated(sdf: Sdf, half: tuple[float, float, float]) -> Moments:
    """Of the solid itself, summed over a grid of `FINE_M` with what of each cell lies inside, to first order."""
    total, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    axes = [np.arange(-h, h, FINE_M) + FINE_M / 2 for h in half]
    for x in axes[0]:
        at = np.stack(np.meshgrid([x], axes[1], axes[2], indexing="ij"), -1).reshape(-1, 3)
        share = np.clip(0.5 - sdf(at) / FINE_M, 0, 1)
        total, first = total + share.sum(), first + share @ at
        second += (share[:, None] * at).T @ at
    centre = first / total
    covariance = second / total - np.outer(centre, centre) + np.eye(3) * FINE_M**2 / 12
    return Moments(total * FINE_M**3, centre, np.trace(covariance) * np.eye(3) - covariance)


def dropped(sim: Path) -> str:
    """How many of the drops are as they should be."""
    from importlib import import_module

    drops = [
        d for e in engines_here() for d in import_module(f"stages.core.drop.{FILES[e][0]}").drop_all(sim / FILES[e][1])
    ]
    return f"{len(drops) - len(failures(drops))} of {len(drops)}" if drops else "no engine"


if __name__ == "__main__":
    main()
