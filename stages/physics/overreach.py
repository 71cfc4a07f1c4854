"""How far a convex part reaches beyond the mesh, and half of that taken back."""

from __future__ import annotations

import numpy as np

from stages.physics.shapes import Shape, convex_hull
from stages.physics.surface_distance import Ruler, SurfaceDistance, inside, samples

SHARES = (0.0, 0.5, 0.25)
PUT_BACK = 6
ROUGH = 12000
"""samples each way that tell one try from another"""
FINALISTS = 3
TOUCH_M = 2e-4
CORNER_DIGITS = 5
"""of metres: corners closer to each other are one"""
SKIN_M = 1e-5
"""a sample less deep in a part lies on its surface"""
FACES_ALONG = 0.9
"""cosine: only sides of a part that run along the mesh move, not those where it was cut"""


class Outward:
    """Points of the mesh with the direction in which free space begins."""

    def __init__(self, mesh: Shape, count: int = 6000) -> None:
        self.points, face = samples(mesh, count)
        self.normals = mesh.planes[0][face]

    def beyond(self, part: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the points inside the part: which (K,), the way outward until it is left (K,), and through which of its faces (K,).

        Wherever a part bridges a hollow, some point in it has that way before it; so the longest bounds how far it reaches beyond."""
        low, high = part.vertices.min(0), part.vertices.max(0)
        which = np.flatnonzero(((self.points > low) & (self.points < high)).all(1))
        normal, offset = part.planes
        gap = offset - self.points[which] @ normal.T
        which, gap = (a[(gap > SKIN_M).all(1)] for a in (which, gap))
        slope = self.normals[which] @ normal.T
        way = np.where(slope > 1e-6, gap / np.maximum(slope, 1e-6), np.inf)
        face = way.argmin(1) if len(which) else np.zeros(0, int)
        return which, way[np.arange(len(which)), face], face

    def reach(self, part: Shape) -> float:
        """Metres."""
        way = self.beyond(part)[1]
        return float(way.max()) if len(way) else 0.0

    def bridged(self, part: Shape) -> float:
        """The same at right angles to the face through which it is left, metres."""
        which, way, face = self.beyond(part)
        along = np.abs((self.normals[which] * part.planes[0][face]).sum(1))
        return float((way * along).max()) if len(which) else 0.0

    def drawn_back(self, part: Shape, free: np.ndarray, share: float) -> Shape:
        """Each `free` side (F,) that bridges a hollow moved inward by a share of what it bridges: the error lies on both sides."""
        from scipy.spatial import HalfspaceIntersection, QhullError

        if not share:
            return part
        which, way, face = self.beyond(part)
        normal, offset = part.planes
        along = (self.normals[which] * normal[face]).sum(1)
        bridged, facing = np.zeros(len(normal)), (along > FACES_ALONG) & free[face]
        np.maximum.at(bridged, face[facing], (way * along)[facing])
        whole = np.isfinite(offset)
        planes = np.c_[normal, share * bridged - offset][whole]
        try:
            corners = HalfspaceIntersection(planes, part.vertices.mean(0)).intersections
            return convex_hull(np.unique(np.round(corners, CORNER_DIGITS), axis=0))
        except (QhullError, ValueError):  # nothing of it would be left
            return part


def pushed_out(few: Shape, points: np.ndarray) -> Shape:
    """A hull of few vertices with those on round sides moved outward by half of what `points` (N, 3) lie outside there; flat sides stay."""
    normal, offset = few.planes
    outside = points @ normal.T - offset
    face, lack = outside.argmax(1), np.zeros(len(normal))
    np.maximum.at(lack, face, outside[np.arange(len(points)), face])
    count, direction, least = len(few.vertices), np.zeros_like(few.vertices), np.full(len(few.vertices), np.inf)
    most = np.zeros(count)
    for k in range(3):
        np.add.at(direction, few.faces[:, k], normal)
        np.minimum.at(least, few.faces[:, k], lack)
        np.maximum.at(most, few.faces[:, k], lack)
    step = (
        np.where(least > SKIN_M, most / 2, 0)[:, None]
        * direction
        / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    )
    return convex_hull(few.vertices + step)


def free_faces(which: int, parts: list[Shape]) -> np.ndarray:
    """(F,) whether a face of that part touches no other part: moved, the others would open a gap between the two."""
    part = parts[which]
    corner, normal = part.vertices[part.faces], part.planes[0]
    middle = corner.mean(1, keepdims=True)
    spots = np.concatenate([middle, 0.7 * corner + 0.3 * middle], 1) + TOUCH_M * normal[:, None]
    taken = np.zeros(spots.shape[:2], bool)
    for k, other in enumerate(parts):
        if k != which:
            taken |= inside(spots.reshape(-1, 3), other).reshape(taken.shape)
    return np.logical_not(taken.any(1))


def balanced(
    parts: list[Shape], outward: Outward, ruler: Ruler, error_m: float, vertices: int
) -> tuple[list[Shape], SurfaceDistance]:
    """The parts with at most so many vertices, each drawn back and pushed out as suits it, and how far their union lies from the mesh.

    What is best for one part depends on its neighbours: all alike, each with its own best, and that with the worst ones put back (also
    those that lack where a neighbour's cut is bared) are measured on some samples. Of the best few, measured on all, the one with the
    least largest distance (below `error_m`: the least mean) is taken.
    """
    rough = ruler.rougher(ROUGH)
    free = [free_faces(k, parts) for k in range(len(parts))]
    back = [[outward.drawn_back(p, f, share) for p, f in zip(parts, free, strict=True)] for share in SHARES]
    tries = [[convex_hull(p.vertices, vertices) for p in shapes] for shapes in back]
    tries += [
        [pushed_out(few, p.vertices) for few, p in zip(t, shapes, strict=True)]
        for t, shapes in zip(tries, back, strict=True)
    ]
    found = [rough.by_part(t) for t in tries]
    chosen = np.argmin([worst for _, worst, _ in found], axis=0)
    for _ in range(PUT_BACK):
        tries.append([tries[k][n] for n, k in enumerate(chosen)])
        found.append(rough.by_part(tries[-1]))
        worst = found[-1][1] > np.maximum(found[0][1], error_m)
        worst |= [k > 0 and bool(inside(found[-1][2], whole).any()) for k, whole in zip(chosen, tries[0], strict=True)]
        if not (worst & (chosen > 0)).any():
            break
        chosen = np.where(worst, 0, chosen)

    def score(d):
        return (max(d.max_m, error_m), d.mean_m)

    best = sorted(range(len(tries)), key=lambda k: score(found[k][0]))[:FINALISTS]
    return min(((tries[k], ruler.distance(tries[k])) for k in best), key=lambda of: score(of[1]))
