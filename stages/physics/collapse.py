"""Fewer faces for the same texture: half-edge collapses by quadrics of position and texture coordinate (Garland and Heckbert 1998).

A vertex is only ever moved onto a neighbour, so that what is left has the positions, normals and texture coordinates that it had: the same
picture fits. A vertex on a seam moves along the seam alone, on both sides at once: no crack, no colour from another chart.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numba as nb
import numpy as np

from stages.core.meshes import TexturedMesh
from stages.physics.quadrics import quadrics

MOST_TURN = 0.3
"""cosine: no face turns farther in one step"""
LEAST_SHAPE = 0.03
"""doubled area by squared longest side of a face (1: right-angled, equal legs) that a step may leave, unless it was thinner before"""
MOST_FACES = 256
"""round a vertex; one with more stays"""


def collapsed(mesh: TexturedMesh, targets: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each target, from many to few: (F', 3) faces and (F', 3) faces_uv into the mesh's own vertices and uv; about so many, more where
    no step is left that keeps the surface whole."""
    point = (mesh.vertices - mesh.vertices.mean(0)) / float(np.ptp(mesh.vertices, axis=0).max())
    faces, count, many = np.array(mesh.faces, np.int64), len(mesh.vertices), len(mesh.uv)
    pairs, wedges = np.unique(
        faces * many + mesh.faces_uv, return_inverse=True
    )  # a uv that several vertices use is several
    wedges, uv = wedges.reshape(-1, 3).astype(np.int64), np.asarray(mesh.uv, np.float64)[pairs % many]
    work = _Work(
        point,
        faces,
        uv,
        wedges,
        quadric=quadrics(point, faces, uv, wedges),
        first=np.full(count, -1),
        last=np.full(count, -1),
        following=np.full(faces.size, -1),
        dead=np.zeros(len(faces), bool),
        mark=np.zeros(count, np.int64),
        ring=np.zeros(MOST_FACES, np.int64),
        pair=np.zeros((2, 2), np.int64),
    )
    kept, corners = _run(work, np.array(targets, np.int64))
    return [(c[k, :, 0], (pairs % many)[c[k, :, 1]]) for k, c in zip(kept, corners, strict=True)]


class _Work(NamedTuple):
    """first, last, following: the corners of each vertex as linked lists (a corner is 3 x face + place); mark: a number per vertex to
    tell those met on one walk; ring: corners of the vertex that is looked at; pair: of each face that an edge shares, the uv index at the
    end that goes and at the end that stays."""

    point: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    faces_uv: np.ndarray
    quadric: np.ndarray
    first: np.ndarray
    last: np.ndarray
    following: np.ndarray
    dead: np.ndarray
    mark: np.ndarray
    ring: np.ndarray
    pair: np.ndarray


@nb.njit(nogil=True, cache=True)
def _error(q, at):
    total = q[30]
    for i in range(5):
        total += 2 * q[25 + i] * at[i]
        for j in range(5):
            total += at[i] * q[5 * i + j] * at[j]
    return total


@nb.njit(nogil=True, cache=True)
def _around(u, w):
    """The live corners of a vertex into `ring`; how many, 0 where they do not fit."""
    n, c = 0, w.first[u]
    while c >= 0:
        if not w.dead[c // 3]:
            if n == len(w.ring):
                return 0
            w.ring[n] = c
            n += 1
        c = w.following[c]
    return n


@nb.njit(nogil=True, cache=True)
def _neighbours(n, stamp, w):
    """How many vertices share a face with that in whose ring we are; each is marked."""
    count = 0
    for at in range(n):
        c = w.ring[at]
        for m in range(1, 3):
            v = w.faces[c // 3, (c % 3 + m) % 3]
            if w.mark[v] != stamp:
                w.mark[v] = stamp
                count += 1
    return count


@nb.njit(nogil=True, cache=True)
def _shape(a, b, c):
    """Normal of a face by its corners, with the doubled area as its length, and that by the squared longest side."""
    x0, x1, x2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    y0, y1, y2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    n0, n1, n2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
    third = (x0 - y0) ** 2 + (x1 - y1) ** 2 + (x2 - y2) ** 2
    side = max(x0 * x0 + x1 * x1 + x2 * x2, y0 * y0 + y1 * y1 + y2 * y2, third)
    return n0, n1, n2, length, length / max(side, 1e-300)


@nb.njit(nogil=True, cache=True)
def _turn(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@nb.njit(nogil=True, cache=True)
def _keeps_its_side(f, k, v, wedge, w):
    """Whether face f, its corner k moved to vertex v and `wedge`, looks as before and lies in the picture as before."""
    i, j = (k + 1) % 3, (k + 2) % 3
    p, q = w.point[w.faces[f, i]], w.point[w.faces[f, j]]
    x0, y0, z0, before, shape_before = _shape(w.point[w.faces[f, k]], p, q)
    x1, y1, z1, after, shape_after = _shape(w.point[v], p, q)
    if x0 * x1 + y0 * y1 + z0 * z1 <= MOST_TURN * before * after or after == 0.0:
        return False
    if shape_after < LEAST_SHAPE and shape_after < shape_before:
        return False
    a, b = w.uv[w.faces_uv[f, i]], w.uv[w.faces_uv[f, j]]
    was = _turn(w.uv[w.faces_uv[f, k]], a, b)
    return was == 0.0 or was * _turn(w.uv[wedge], a, b) > 0.0


@nb.njit(nogil=True, cache=True)
def _shared(v, n, w):
    """Faces between the vertex in whose ring we are and v; fills `pair`. -1 for more than two."""
    found = 0
    for at in range(n):
        f, k = w.ring[at] // 3, w.ring[at] % 3
        for m in range(1, 3):
            if w.faces[f, (k + m) % 3] == v:
                if found == 2:
                    return -1
                w.pair[found, 0], w.pair[found, 1] = w.faces_uv[f, k], w.faces_uv[f, (k + m) % 3]
                found += 1
    return found


@nb.njit(nogil=True, cache=True)
def _allowed(u, v, n, shared, stamp, w):
    """Whether u may move onto v: every uv index of u has one of v in its place, and the two share no neighbours but across those faces."""
    if shared == 2 and w.pair[0, 0] == w.pair[1, 0] and w.pair[0, 1] != w.pair[1, 1]:
        return False
    for at in range(n):
        wedge = w.faces_uv[w.ring[at] // 3, w.ring[at] % 3]
        if wedge != w.pair[0, 0] and (shared == 1 or wedge != w.pair[1, 0]):
            return False
    common, c = 0, w.first[v]
    while c >= 0:
        for m in range(1, 3):
            x = w.faces[c // 3, (c % 3 + m) % 3]
            if not w.dead[c // 3] and w.mark[x] == stamp:
                common += 1
                w.mark[x] = -stamp
        c = w.following[c]
    for at in range(n):
        for m in range(3):
            x = w.faces[w.ring[at] // 3, m]
            if w.mark[x] == -stamp:
                w.mark[x] = stamp
    return common == shared


@nb.njit(nogil=True, cache=True)
def _cost(shared, w):
    total = 0.0
    for s in range(shared):
        if s == 0 or w.pair[1, 0] != w.pair[0, 0]:
            at = w.quadric[w.pair[s, 1], 31:]
            total += _error(w.quadric[w.pair[s, 0]], at) + _error(w.quadric[w.pair[s, 1]], at)
    return total


@nb.njit(nogil=True, cache=True)
def _no_face_turns(v, n, w):
    for at in range(n):
        f, k = w.ring[at] // 3, w.ring[at] % 3
        if w.faces[f, (k + 1) % 3] != v and w.faces[f, (k + 2) % 3] != v:
            wedge = w.pair[0, 1] if w.faces_uv[f, k] == w.pair[0, 0] else w.pair[1, 1]
            if not _keeps_its_side(f, k, v, wedge, w):
                return False
    return True


@nb.njit(nogil=True, cache=True)
def _best(u, stamp, w):
    """(cost, neighbour) of the cheapest step of u; neighbour -1 for none. A vertex on the rim of an open mesh moves along the rim."""
    n = _around(u, w)
    rim = _neighbours(n, stamp, w) - n
    cost, best = np.inf, -1
    if n < 1 or rim < 0 or rim > 1:
        return cost, best
    for at in range(n):
        for m in range(1, 3):
            v = w.faces[w.ring[at] // 3, (w.ring[at] % 3 + m) % 3]
            shared = _shared(v, n, w)
            if shared != 2 - rim or not _allowed(u, v, n, shared, stamp, w):
                continue
            found = _cost(shared, w)
            if found < cost and _no_face_turns(v, n, w):
                cost, best = found, v
    return cost, best


@nb.njit(nogil=True, cache=True)
def _move(u, v, w):
    """u onto v; how many faces went."""
    n = _around(u, w)
    shared = _shared(v, n, w)
    for s in range(shared):
        if s == 0 or w.pair[1, 0] != w.pair[0, 0]:
            for i in range(31):
                w.quadric[w.pair[s, 1], i] += w.quadric[w.pair[s, 0], i]
    for at in range(n):
        f, k = w.ring[at] // 3, w.ring[at] % 3
        if w.faces[f, (k + 1) % 3] == v or w.faces[f, (k + 2) % 3] == v:
            w.dead[f] = True
            continue
        w.faces[f, k] = v
        w.faces_uv[f, k] = w.pair[0, 1] if w.faces_uv[f, k] == w.pair[0, 0] else w.pair[1, 1]
    w.following[w.last[v]], w.last[v] = w.first[u], w.last[u]
    w.first[u] = -1
    return shared


@nb.njit(nogil=True, cache=True)
def _link(w):
    for c in range(3 * len(w.faces)):
        v = w.faces[c // 3, c % 3]
        if w.first[v] < 0:
            w.first[v] = c
        else:
            w.following[w.last[v]] = c
        w.last[v] = c


@nb.njit(nogil=True, cache=True)
def _note(at, kept, corners, w):
    """What is left now. Entry by entry: numba takes seconds to compile assignments of whole slices."""
    for f in range(len(w.faces)):
        kept[at, f] = not w.dead[f]
        for k in range(3):
            corners[at, f, k, 0], corners[at, f, k, 1] = w.faces[f, k], w.faces_uv[f, k]


@nb.njit(nogil=True, cache=True)
def _run(w, targets):
    """Cheapest steps first. (K, F) which faces are left at each target, and (K, F, 3, 2) the vertices and uv indices of all then."""
    _link(w)
    version, aim = np.zeros(len(w.point), np.int64), np.full(len(w.point), -1)
    stamp, live, heap, reached = 0, len(w.faces), [(np.inf, 0, -1)], 0
    changed = [u for u in range(len(w.point))]
    kept, corners = (
        np.zeros((len(targets), len(w.faces)), np.bool_),
        np.zeros((len(targets), len(w.faces), 3, 2), np.int64),
    )
    while True:
        for u in changed:
            stamp += 1
            version[u] += 1
            cost, aim[u] = _best(u, stamp, w)
            if aim[u] >= 0:
                heapq.heappush(heap, (cost, u, version[u]))
        changed.clear()
        cost, u, made = heapq.heappop(heap)
        while reached < len(targets) and (live <= targets[reached] or made < 0):
            _note(reached, kept, corners, w)
            reached += 1
        if reached == len(targets):
            return kept, corners
        if made != version[u] or w.first[u] < 0 or w.first[aim[u]] < 0:  # one of the two has changed since
            continue
        v = aim[u]
        live -= _move(u, v, w)
        changed.append(v)
        stamp += 1
        n = _around(v, w)
        _neighbours(n, stamp, w)
        for at in range(n):
            for m in range(1, 3):
                x = w.faces[w.ring[at] // 3, (w.ring[at] % 3 + m) % 3]
                if w.mark[x] == stamp:
                    w.mark[x] = 0
                    changed.append(x)
