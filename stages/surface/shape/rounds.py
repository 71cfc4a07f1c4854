"""Coarse to fine: read the evidence on the present surface, move it there, mesh it anew on a finer grid.

All lengths scale with the footprint, the size of a pixel on the object, so that the same settings fit a nut and a chair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from stages.core.render import Caster
from stages.surface.shape.bounds import Bounds, refuse_unbounded_masks
from stages.surface.shape.crumbs import SURE, without_crumbs
from stages.surface.shape.evolve import Stiffness, distance_near, fitted_offsets, mean_edge, slid_apart, vertex_normals
from stages.surface.shape.grid import Grid, object_box
from stages.surface.shape.initial import closed, initial_distance
from stages.surface.shape.meshing import marching
from stages.surface.shape.photometric import Sweep, choose_cameras, sweep_offsets
from stages.surface.shape.readings import Readings, combine, depth_offsets, onto_vertices, rim_readings
from stages.surface.shape.thin import fineness
from stages.surface.shape.without_depth import footprint_by_outlines, has_depth, silhouette_box
from stages.surface.views.cameras import Cameras, blocks, pack, visible
from stages.surface.views.views import View

LEARNED_VOXEL = 2.4
"""cells, in footprints, with which a learned field is meshed first"""
FAIRING = 0.2
"""stiffness of the last smoothing, as a share of the rounds': it is to take out what meshing added, not to round edges once more"""


@dataclass(frozen=True)
class Round:
    """One round: pictures resized by `scale`, `sweep` in footprints, then meshed with `voxel` footprints."""

    scale: float
    step: float
    steps: int
    spacing: float
    voxel: float


@dataclass(frozen=True)
class Evidence:
    """Which kinds of readings vote, and how sure they can be at best, in footprints."""

    depth: bool = True
    colour: bool = True
    outlines: bool = True
    points: bool = True
    depth_floor: float = 4.0
    colour_floor: float = 0.12
    outline_px: float = 1.5
    point_sigma: float = 0.6
    right_eyes: bool = True


@dataclass(frozen=True)
class Plan:
    """How a shape is recovered: rounds from coarse to fine, what votes in them, and the settings of the surface stage."""

    rounds: Sequence[Round]
    evidence: Evidence
    smooth: float
    hull_rank: int
    coarse_cells: int
    bounds: Bounds = Bounds()  # noqa: RUF009  (frozen)


@dataclass(frozen=True)
class _Scene:
    """What a round reads: the views, sparse points (P, 3), the cameras with pictures of its scale, metres of a footprint."""

    views: Sequence[View]
    points: np.ndarray
    cameras: Cameras
    footprint: float
    workers: int


@dataclass
class Shape:
    """A closed mesh, its distance field, and what stood behind each vertex before the last meshing."""

    vertices: np.ndarray
    faces: np.ndarray
    grid: Grid
    distance: np.ndarray
    read_at: np.ndarray
    """(N, 3) vertices of the last round, where it read"""
    read_sigma: np.ndarray
    """(N,) metres, inf = nothing read there"""
    log: list[dict[str, float]] = field(default_factory=list)
    thinnest: float = np.inf
    """width in metres of the thin part that the grids were made finer for; inf = none"""


class Learner(Protocol):
    """Learns a first shape from the pictures (learned_shape.py)."""

    def shape(self, hull: Grid, distance: np.ndarray, voxel: float) -> tuple[Grid, np.ndarray]:
        """(grid with cells of `voxel` metres, signed distance on it in metres) from the visual hull's `distance` on `hull`."""
        ...

    def placed(self, views: Sequence[View]) -> list[View]:
        """The views where the cameras stand after learning."""
        ...


def footprint_of(views: Sequence[View]) -> float:
    """Size of a pixel on the object: median over the views of median depth / focal length, metres."""
    if not has_depth(views):
        return footprint_by_outlines(views)
    return float(np.median([np.nanmedian(v.depth) / v.rig.fx for v in views if np.isfinite(v.depth).any()]))


def recover_shape(
    views: Sequence[View],
    points: np.ndarray,
    plan: Plan,
    workers: int,
    progress: Callable[[str], None],
    learner: Learner | None = None,
) -> Shape:
    """The surface that depth, colours and outlines of all views agree on; with a `learner` the rounds begin with what it learned instead of
    with the hull. Raises ValueError when the masks leave nothing, or more than the bounds allow (Unbounded)."""
    refuse_unbounded_masks(views)
    bounds, rounds = plan.bounds, plan.rounds
    footprint = footprint_of(views)
    low, high = object_box(views, points) if has_depth(views) else silhouette_box(views)
    last = bounds.voxel(low, high, rounds[-1].voxel * footprint)
    fine = fineness(views, low, high, plan.coarse_cells, footprint=footprint)
    grid = Grid.covering(low, high, fine.first)
    progress("visual hull and fused depth")
    distance = initial_distance(views, grid, footprint, plan.hull_rank, workers=workers)
    if not (distance < 0).any():
        raise ValueError("no space lies inside the masks of the views")
    if learner is not None:
        voxel = bounds.voxel(low, high, min(LEARNED_VOXEL * footprint, fine.most))
        grid, distance = learner.shape(grid, distance, voxel)
        views = learner.placed(views)
        if not (distance < 0).any():
            raise ValueError("the field that learned from the pictures holds nothing")
    vertices, faces = marching(distance, grid)
    packed: dict[float, Cameras] = {}
    shape = Shape(vertices, faces, grid, distance, read_at=vertices, read_sigma=np.full(len(vertices), np.inf))
    for i, r in enumerate(rounds):
        progress(f"round {i + 1} of {len(rounds)}: {len(shape.vertices):,} vertices")
        if r.scale not in packed:
            packed[r.scale] = pack(views, r.scale)
        bounds.refuse_large(shape.vertices, shape.faces, min(last, fine.most))
        r = replace(r, voxel=bounds.voxel(low, high, min(r.voxel * footprint, fine.most)) / footprint)
        scene = _Scene(views, points, packed[r.scale], footprint, workers=workers)
        shape = _one_round(shape, scene, r, plan, box=(low, high))
    bounds.refuse_large(shape.vertices, shape.faces, shape.grid.voxel)
    return replace(
        _fair(shape, Stiffness(unit=3 * footprint, smooth=FAIRING * plan.smooth, rounds=3)), thinnest=fine.thinnest
    )


def _fair(shape: Shape, stiffness: Stiffness) -> Shape:
    """The last mesh drawn smooth once more: meshing leaves the grid's ripple and the planes' kinks on it. Each vertex is held where it is
    as surely as the surface was read there, so that label and edge keep what was measured and only the rest gives way."""
    from scipy.spatial import cKDTree

    vertices, faces = shape.vertices, shape.faces
    normals = vertex_normals(vertices, faces)
    weight = 1 / shape.read_sigma[cKDTree(shape.read_at).query(vertices)[1]] ** 2
    delta = fitted_offsets(
        vertices,
        faces,
        normals,
        np.zeros(len(vertices)),
        weight=weight,
        stiffness=stiffness,
        reach=shape.grid.voxel,
    )
    return replace(shape, vertices=slid_apart(vertices + delta[:, None] * normals, faces))


def _one_round(shape: Shape, scene: _Scene, r: Round, plan: Plan, box: tuple[np.ndarray, np.ndarray]) -> Shape:
    vertices, faces, grid, footprint = shape.vertices, shape.faces, shape.grid, scene.footprint
    normals = vertex_normals(vertices, faces)
    offset, weight, shares = _read_evidence(shape, normals, scene, r, evidence=plan.evidence)
    stiffness = Stiffness(unit=3 * footprint, smooth=plan.smooth)
    delta = fitted_offsets(vertices, faces, normals, offset, weight=weight, stiffness=stiffness, reach=2 * grid.voxel)
    moved = vertices + delta[:, None] * normals
    finer = Grid.covering(*box, r.voxel * footprint)
    band = max(float(np.abs(delta).max()), 2 * grid.voxel) + 2 * finer.voxel
    before, spacing = grid.resampled(shape.distance, finer), mean_edge(vertices, faces)
    distance = closed(
        distance_near(moved, vertex_normals(moved, faces), delta, before, grid=finer, band=band, spacing=spacing),
        finer.voxel,
    )
    if any(v.veil is not None for v in scene.views):
        distance = closed(
            without_crumbs(distance, finer, moved[weight * (SURE * footprint) ** 2 > 1], footprint), finer.voxel
        )
    new_vertices, new_faces = marching(distance, finer)
    entry = {"vertices": len(vertices), "moved_mm": 1000 * float(np.abs(delta).mean()), **shares}
    sigma = 1 / np.sqrt(np.maximum(weight, 1e-30))
    return Shape(
        new_vertices,
        new_faces,
        finer,
        distance,
        read_at=moved,
        read_sigma=np.where(weight > 0, sigma, np.inf),
        log=[*shape.log, entry],
    )


def _read_evidence(
    shape: Shape, normals: np.ndarray, scene: _Scene, r: Round, evidence: Evidence
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """(offset (V,), inverse variance (V,), share of the vertices that each kind of evidence read)."""
    vertices, reach, points, footprint = shape.vertices, 2 * shape.grid.voxel, scene.points, scene.footprint
    found = _seen_evidence(shape, normals, scene, r, evidence=evidence)
    if evidence.outlines:
        gate, workers = 12 * footprint, scene.workers
        rims = rim_readings(scene.views, shape.grid, shape.distance, evidence.outline_px, gate=gate, workers=workers)
        found["outline"] = onto_vertices(rims, vertices, normals, reach)
    if evidence.points and len(points):
        found["point"] = onto_vertices(
            _as_readings(points, vertices, normals, evidence.point_sigma * footprint), vertices, normals, reach
        )
    if not found:
        return np.zeros(len(vertices)), np.zeros(len(vertices)), {}
    offset, weight = combine(list(found.values()))
    return offset, weight, {f"read_by_{k}_share": float((w > 0).mean()) for k, (_, w) in found.items()}


def _seen_evidence(
    shape: Shape, normals: np.ndarray, scene: _Scene, r: Round, evidence: Evidence
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{kind: (offset (V,), inverse variance (V,))} of what is read where vertices are seen, in blocks, which bounds the memory."""
    caster, parts = Caster(shape.vertices, shape.faces), []
    views, cameras, footprint, workers = scene.views, scene.cameras, scene.footprint, scene.workers
    for part in blocks(len(shape.vertices)):
        vertices, facing = shape.vertices[part], normals[part]
        cosine = visible(caster, views, vertices, facing, least_cosine=0.3, slack=6 * footprint, workers=workers)
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        if evidence.depth:
            offset, sigma = depth_offsets(views, vertices, facing, cosine, gate=3 * footprint)
            found["depth"] = _weights(offset, sigma, evidence.depth_floor * footprint)
        if evidence.colour:
            cosine[cosine <= 0.45] = 0
            if not evidence.right_eyes:
                cosine[:, 1::2] = 0
            chosen = choose_cameras(cosine, vertices, cameras.centres, workers)
            sweep = Sweep(r.step * footprint, r.steps, r.spacing * footprint)
            offset, sigma, _ = sweep_offsets(vertices, facing, chosen, cameras, sweep=sweep, workers=workers)
            found["colour"] = _weights(offset, sigma, evidence.colour_floor * footprint)
        parts.append(found)
    return {
        k: (np.concatenate([p[k][0] for p in parts]), np.concatenate([p[k][1] for p in parts]))
        for k in (parts[0] if parts else {})
    }


def _weights(offset: np.ndarray, sigma: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    ok = np.isfinite(sigma)
    return np.where(ok, offset, 0.0), np.where(ok, 1 / (np.where(ok, sigma, 1.0) ** 2 + floor**2), 0.0)


def _as_readings(points: np.ndarray, vertices: np.ndarray, normals: np.ndarray, sigma: float) -> Readings:
    """Bundle-adjusted points have no normal: they take the one of the surface there."""
    from scipy.spatial import cKDTree

    return Readings(points, normals[cKDTree(vertices).query(points)[1]], np.full(len(points), sigma))
