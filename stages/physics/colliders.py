"""Convex parts whose union follows the mesh within a tolerance: CoACD with a threshold that is lowered until it does, or time is up."""

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

from stages.physics.shapes import Shape, convex_hull, open_edges
from stages.physics.surface_distance import SurfaceDistance, between

LIGHT_FACES = (2000, 3000, 5000, 9000, 20000)
"""of the mesh that CoACD gets, the first that stays closed: its time grows with them, the parts hardly get better"""
HULL_VERTICES = 64
FIRST_THRESHOLD, LAST_THRESHOLD = 0.05, 0.008
"""of CoACD, in halves of the mesh's longest side; 0.05 takes seconds"""
LEAST_LOWERED, MOST_LOWERED = 0.75, 0.4
MOST_TRIES = 5
LEAST_CPU_S = 1.0
"""less is not enough to start Python"""
HANGS_FACTOR = 30.0
"""of the CPU seconds; a process that has not used them up by then on the clock waits for something that does not come"""
Note = Callable[[int, int, str], None]


class NoParts(Exception):
    """Why no convex parts were found."""


@dataclass(frozen=True)
class Colliders:
    """parts: convex shapes; distance of their union's surface from the mesh; why: what stopped the search; tries of CoACD."""

    parts: list[Shape]
    distance: SurfaceDistance
    within: bool
    why: str
    tries: int


def one_hull(mesh: Shape) -> Colliders:
    """The convex hull with no more vertices than every engine takes."""
    hull = convex_hull(mesh.vertices, HULL_VERTICES)
    return Colliders([hull], between(mesh, [hull]), True, "one hull, as asked for", 0)


def convex_parts(mesh: Shape, error_m: float, max_hulls: int, cpu_s: float, workers: int, seed: int = 0,
                 note: Note = lambda done, total, what: None) -> Colliders:
    """Parts within `error_m` of the closed `mesh`, else the closest found with at most `max_hulls` in `cpu_s`. Raises NoParts."""
    light, threshold, left = lightened(mesh), FIRST_THRESHOLD, cpu_s
    best, why = None, "finer thresholds bring little"
    for tries in range(MOST_TRIES):
        note(tries, MOST_TRIES, f"convex parts, threshold {threshold:.3f}")
        parts, used = decomposed(light, threshold, max_hulls, left, workers, seed)
        left -= used
        if parts is None:
            why = f"the time for it was over ({cpu_s:g} CPU seconds)"
            break
        found = Colliders(parts, between(mesh, parts), False, "", tries + 1)
        best = found if best is None or found.distance.max_m < best.distance.max_m else best
        if found.distance.max_m <= error_m:
            return replace(found, within=True, why="within the tolerance")
        if len(parts) >= max_hulls:
            why = f"{max_hulls} parts are the limit"
            break
        threshold *= float(np.clip(error_m / found.distance.max_m, MOST_LOWERED, LEAST_LOWERED))
        if threshold < LAST_THRESHOLD:
            break
    if best is None:
        raise NoParts(f"CoACD gave no convex parts within {cpu_s:g} CPU seconds (physics.cpu_limit_s)")
    return replace(best, why=why)


def lightened(mesh: Shape) -> Shape:
    """Few faces, still closed (quadric edge collapse; Garland and Heckbert 1997); the mesh itself where every try opens it."""
    import fast_simplification

    middle = mesh.vertices.mean(0)
    for count in (c for c in LIGHT_FACES if c < len(mesh.faces)):
        centred = (mesh.vertices - middle).astype(np.float32)
        v, f = fast_simplification.simplify(centred, mesh.faces.astype(np.int32), target_count=count, agg=5)
        light = Shape(v.astype(np.float64) + middle, f.astype(np.int64))
        if len(f) and open_edges(light.faces) == 0:
            return light
    return mesh


def decomposed(mesh: Shape, threshold: float, max_hulls: int, cpu_s: float, workers: int, seed: int) -> tuple[list[Shape] | None, float]:
    """One run of CoACD in a process of its own, and the CPU seconds it took; None when it does not end in `cpu_s`. Raises NoParts."""
    if cpu_s < LEAST_CPU_S:
        return None, 0.0
    with tempfile.TemporaryDirectory() as folder:
        asked, found = Path(folder) / "asked.npz", Path(folder) / "parts.npz"
        np.savez(asked, vertices=mesh.vertices, faces=mesh.faces.astype(np.int32), threshold=threshold, max_hulls=max_hulls, seed=seed)
        command = [sys.executable, "-m", "stages.physics.coacd_child", str(asked), str(found), str(cpu_s)]
        env = {**os.environ, "OMP_NUM_THREADS": str(workers)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_FACTOR * cpu_s, env=env, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return None, cpu_s
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL) and used > 0.8 * cpu_s:
            return None, used
        if done.returncode or not found.exists():
            raise NoParts(f"CoACD ended with status {done.returncode}: {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}")
        return _read_parts(found), used


def _read_parts(path: Path) -> list[Shape]:
    with np.load(path, allow_pickle=False) as z:
        vertices = np.split(z["vertices"], np.cumsum(z["vertex_count"])[:-1])
    out = []
    for v in vertices:                               # hulls again: exact, outward, and flat slivers fall away
        try:
            out.append(convex_hull(v))
        except ValueError:
            continue
    if not out:
        raise NoParts("CoACD gave only flat parts")
    return out
