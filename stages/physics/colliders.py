"""Convex parts whose union follows the mesh within a tolerance.

CoACD cuts the mesh into many fine convex pieces; they are put together to few parts, and sides that bridge a hollow are drawn back by half.
Where few parts are not enough for a thin wall, patches of the wall are tried too; what lies closer to the mesh is taken.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.physics.cells import is_thin, patches
from stages.physics.merging import Grouping
from stages.physics.overreach import Outward, balanced
from stages.physics.shapes import Shape, convex_hull, open_edges
from stages.physics.surface_distance import Ruler, SurfaceDistance, between, samples

LIGHT_FACES = (4000, 6000, 9000, 20000)
"""of the mesh that CoACD gets, the first that stays closed: its time grows with them"""
CAREFUL = (3, 2, 4)
"""aggressiveness of the lightening, one after the other; its default of 7 or even 5 moves the surface by millimetres"""
PASSES = 3
MOST_FACES = 1.5
"""times those asked for; a careful one may stop earlier"""
HULL_VERTICES = 64
FINEST, COARSEST, COARSER = 0.01, 0.16, 2.5
"""thresholds of CoACD, in halves of the mesh's longest side: 0.02 gives a mug 80 pieces in 4 seconds, 0.1 a dozen"""
FIRST_SHARE = 0.6
"""of the time that is left goes into one try; the rest is for coarser pieces"""
MERGE_SHARES = (0.9, 0.6, 0.4)
"""of the tolerance that parts may reach beyond the mesh as they are put together; less where vertices are too few for a round side"""
LEAST_CPU_S = 1.0
"""less is not enough to start Python"""
HANGS_FACTOR = 30.0
"""of the CPU seconds; a process that has not used them up by then on the clock waits for something that does not come"""
LIMIT, NOT_FOUND, WITHIN = "{} parts are the limit", "finer parts were not found", "within the tolerance"
Note = Callable[[int, int, str], None]


class NoParts(Exception):
    """Why no convex parts were found."""


@dataclass(frozen=True)
class Colliders:
    """parts: convex shapes; distance of their union's surface from the mesh; why: what stopped the search; pieces of CoACD that
    the parts were put together from, 0 where they are patches of a wall."""

    parts: list[Shape]
    distance: SurfaceDistance
    within: bool
    why: str
    pieces: int


def one_hull(mesh: Shape) -> Colliders:
    """The convex hull with no more vertices than every engine takes."""
    hull = convex_hull(mesh.vertices, HULL_VERTICES)
    return Colliders([hull], between(mesh, [hull]), True, "one hull, as asked for", pieces=0)


def convex_parts(
    mesh: Shape,
    error_m: float,
    max_hulls: int,
    cpu_s: float,
    workers: int,
    seed: int = 0,
    note: Note = lambda done, total, what: None,
) -> Colliders:
    """Parts within `error_m` of the closed `mesh`, else the closest found with at most `max_hulls`. Raises NoParts."""
    note(0, 3, "convex pieces")
    axes = principal_axes(mesh)  # CoACD cuts along the coordinate axes: along those of the shape fewer pieces do
    pieces = [p.moved(axes.T) for p in _pieces(lightened(mesh.moved(axes)), error_m, cpu_s, workers, seed=seed)]
    note(1, 3, "convex parts")
    outward, ruler = Outward(mesh), Ruler(mesh)
    grouping = Grouping(pieces, outward, workers)
    found: list[Colliders] = []
    for share in MERGE_SHARES:
        groups = grouping.evened(grouping.merged(grouping.alone(), share * error_m, max_hulls))
        found.append(_measured([grouping.hull(g) for g in groups], len(pieces), outward, ruler, error_m=error_m))
        if found[-1].within or len(groups) >= min(max_hulls, len(pieces)):
            break
    if not found[-1].within and is_thin(mesh):
        note(2, 3, "patches of the wall")
        found.append(_measured(patches(mesh, max_hulls, outward, seed), 0, outward, ruler, error_m=error_m))
    best = min(found, key=lambda f: f.distance.max_m)
    if best.within:
        return best
    return replace(best, why=LIMIT.format(max_hulls) if len(best.parts) >= max_hulls else NOT_FOUND)


def _measured(shapes: list[Shape], pieces: int, outward: Outward, ruler: Ruler, error_m: float) -> Colliders:
    parts, distance = balanced(shapes, outward, ruler, error_m, vertices=HULL_VERTICES)
    within = distance.max_m <= error_m
    return Colliders(parts, distance, within, WITHIN if within else "", pieces=pieces)


def _pieces(light: Shape, error_m: float, cpu_s: float, workers: int, seed: int) -> list[Shape]:
    """As fine as the error asks for, or as fine as the time allows. Raises NoParts."""
    threshold, left = float(np.clip(2 * error_m / light.size, FINEST, COARSEST)), cpu_s
    while True:
        last = threshold >= COARSEST
        pieces, used = decomposed(light, threshold, left if last else FIRST_SHARE * left, workers, seed=seed)
        if pieces is not None:
            return pieces
        if last:
            raise NoParts(f"CoACD gave no convex parts within {cpu_s:g} CPU seconds (physics.cpu_limit_s)")
        left, threshold = left - used, min(COARSEST, COARSER * threshold)


def principal_axes(mesh: Shape) -> np.ndarray:
    """(4, 4) turn into the principal axes of the surface."""
    points, turn = samples(mesh, 20000)[0], np.eye(4)
    axes = np.linalg.eigh(np.cov(points.T))[1]
    turn[:3, :3] = (axes * np.linalg.det(axes)).T
    return turn


def lightened(mesh: Shape) -> Shape:
    """Few faces, still closed (quadric edge collapse; Garland and Heckbert 1997); the mesh itself where every try opens it."""
    middle = mesh.vertices.mean(0)
    for count, force in ((c, force) for c in LIGHT_FACES for force in CAREFUL if c < len(mesh.faces)):
        v, f = _collapsed(mesh.vertices - middle, mesh.faces, count, force)
        if 0 < len(f) <= MOST_FACES * count and open_edges(f) == 0:
            return Shape(v + middle, f)
    return mesh


def _collapsed(v: np.ndarray, f: np.ndarray, count: int, force: int) -> tuple[np.ndarray, np.ndarray]:
    """Again where slivers held it up; what lies folded onto itself in the result falls away."""
    import fast_simplification

    for _ in range(PASSES):
        if len(f) <= MOST_FACES * count:
            break
        v, f = fast_simplification.simplify(v.astype(np.float32), f.astype(np.int32), target_count=count, agg=force)
        _, which, times = np.unique(np.sort(f, 1), axis=0, return_inverse=True, return_counts=True)
        f = f[times[which.ravel()] == 1]
    return v.astype(np.float64), f.astype(np.int64)


def decomposed(
    mesh: Shape, threshold: float, cpu_s: float, workers: int, seed: int
) -> tuple[list[Shape] | None, float]:
    """One run of CoACD in a process of its own, and the CPU seconds it took; None when it does not end in `cpu_s`. Raises NoParts."""
    if cpu_s < LEAST_CPU_S:
        return None, 0.0
    with tempfile.TemporaryDirectory() as folder:
        asked, found = Path(folder) / "asked.npz", Path(folder) / "parts.npz"
        np.savez(asked, vertices=mesh.vertices, faces=mesh.faces.astype(np.int32), threshold=threshold, seed=seed)
        command = [sys.executable, "-m", "stages.physics.coacd_child", str(asked), str(found), str(cpu_s)]
        env = {**os.environ, "OMP_NUM_THREADS": str(workers), "OMP_WAIT_POLICY": "passive"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=HANGS_FACTOR * cpu_s, env=env, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return None, cpu_s
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL) and used > 0.8 * cpu_s:
            return None, used
        if done.returncode or not found.exists():
            raise NoParts(
                f"CoACD ended with status {done.returncode}: {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}"
            )
        return _read_parts(found), used


def _read_parts(path: Path) -> list[Shape]:
    with np.load(path, allow_pickle=False) as z:
        vertices = np.split(z["vertices"], np.cumsum(z["vertex_count"])[:-1])
    out = []
    for v in vertices:  # hulls again: exact, outward, and flat slivers fall away
        try:
            out.append(convex_hull(v))
        except ValueError:
            continue
    if not out:
        raise NoParts("CoACD gave only flat parts")
    return out
