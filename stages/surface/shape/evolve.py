"""Move a surface to where uncertain readings say it is, smooth where they say little.

The surface is a triangle mesh on which every vertex may move along its normal by delta. Minimised is

    sum w_i (delta_i - offset_i)^2  +  lambda sum r_i (b_i + (L delta)_i)^2

with w the inverse variance of the readings, L the umbrella Laplacian of the mesh and b its present value along the normal: a thin plate
through the readings (Desbrun et al. 1999, Botsch and Kobbelt 2004), so that a flat label continues the curvature of what surrounds it.
Where the surface is curved more tightly than the plate spans, a plate at rest when flat would make a minimal surface of it (of a rod a row
of catenoids, thin here and a disc there): lambda falls with the square of the radius, and b counts from the mean of the surroundings.
r falls where a well-read surface bends sharply: the smoothness yields at edges. One sparse symmetric system per round of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.surface.shape.grid import Grid

DIRECT_LIMIT = 40_000
"""unknowns up to which the sparse factorisation is faster than conjugate gradients"""
BLOCK = 200_000
"""voxels whose nearest vertices are looked up at once: 80 MB"""
SURROUNDINGS = 12
"""rounds of averaging over neighbours (three edges far) for the curvature of a place: 5 keep noise, 30 mix a rod with what it sits in"""


@dataclass(frozen=True)
class Stiffness:
    """How the smoothness weighs against the readings; lengths in metres."""

    unit: float
    """a reading with this standard deviation weighs 1, and `smooth` holds for edges of this length (scaled by the 4th power otherwise)"""
    smooth: float
    edge: float = 1.0
    """umbrella bend, in edge lengths, at which the smoothness has yielded by three quarters on a surface that readings confirm"""
    most: float = 400.0
    """cap of a reading's weight: readings share errors of pose and calibration"""
    outlier: float = 2.5
    """standard deviations from the smooth surface at which a reading's weight has fallen to a quarter (Geman-McClure)"""
    anchor: float = 1e-3
    """weight that holds vertices without any reading near where they are"""
    rounds: int = 4
    """of weighing anew what is an outlier and what an edge"""

    @property
    def span(self) -> float:
        """metres over which the plate carries against readings that weigh 1"""
        return self.unit * self.smooth**0.25


def fitted_offsets(
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    offset: np.ndarray,
    weight: np.ndarray,
    stiffness: Stiffness,
    reach: float,
) -> np.ndarray:
    """(V,) metres to move each vertex along its normal, at most `reach`; `weight` (V,) is the inverse variance of `offset`, 0 = none."""
    laplacian, edge = umbrella(len(vertices), faces), mean_edge(vertices, faces)
    w = np.minimum(weight * stiffness.unit**2, stiffness.most)
    target = np.where(w > 0, offset, 0.0)
    lam = stiffness.smooth * (stiffness.unit / edge) ** 4
    bend = np.einsum("ij,ij->i", laplacian @ vertices, normals)
    rest = _averaged(bend, laplacian)
    # a cylinder's umbrella is edge^2 / (4 radius)
    broad = np.minimum(1.0, edge**2 / (4 * np.maximum(np.abs(rest), 1e-12)) / stiffness.span) ** 2
    lam, bend = lam * broad, bend - (1 - broad) * rest
    delta, yielding, read = np.zeros(len(vertices)), np.ones(len(vertices)), w
    for _ in range(stiffness.rounds):
        w = (
            read / (1 + read * ((delta - target) / (stiffness.outlier * stiffness.unit)) ** 2) ** 2
            if delta.any()
            else read
        )
        system = _diagonal(w + stiffness.anchor) + laplacian.T @ _diagonal(lam * yielding) @ laplacian
        right = w * target - laplacian.T @ (lam * yielding * bend)
        delta = _solve(system, right, delta)
        now = (bend + laplacian @ delta) / (stiffness.edge * edge)
        sure = w / (w + 1)  # only a bend that readings confirm is an edge and not noise
        yielding = 1 / (1 + sure * now**2) ** 2
    return np.clip(delta, -reach, reach)


def _averaged(values: np.ndarray, laplacian) -> np.ndarray:
    """(V,) values averaged over about three edges round each vertex."""
    for _ in range(SURROUNDINGS):
        values = values + laplacian @ values
    return values


def slid_apart(vertices: np.ndarray, faces: np.ndarray, passes: int = 3) -> np.ndarray:
    """The vertices (V, 3) slid along the surface towards the middle of their neighbours: slivers that marching cubes leaves, and that a
    small move turns over, become triangles again. Normals for this are averaged over neighbours, so that slivers have no say."""
    average = umbrella(len(vertices), faces)
    normals = vertex_normals(vertices, faces)
    for _ in range(passes):
        normals = normals + average @ normals
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    out = vertices
    for _ in range(passes):
        step = average @ out
        out = out + 0.5 * (step - np.einsum("ij,ij->i", step, normals)[:, None] * normals)
    return out


def umbrella(count: int, faces: np.ndarray):
    """(V, V) sparse: mean of the neighbours minus the vertex; rows of vertices without neighbours are zero."""
    from scipy.sparse import csr_matrix, diags

    a = np.concatenate([faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()])
    b = np.concatenate([faces[:, [1, 2, 0]].ravel(), faces[:, [0, 1, 2]].ravel()])
    adjacency = csr_matrix((np.ones(len(a)), (a, b)), shape=(count, count))
    adjacency.data[:] = 1.0
    degree = np.asarray(adjacency.sum(1)).ravel()
    return (diags(1 / np.maximum(degree, 1)) @ adjacency - diags((degree > 0).astype(float))).tocsr()


def mean_edge(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Mean length of the faces' first edges."""
    return float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean())


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, mean of the faces by area."""
    corner = vertices[faces]
    face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    out = np.stack([np.bincount(faces.ravel(), np.repeat(face[:, axis], 3), len(vertices)) for axis in range(3)], 1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-30)


def distance_near(
    vertices: np.ndarray,
    normals: np.ndarray,
    moved: np.ndarray,
    before: np.ndarray,
    grid: Grid,
    band: float,
    spacing: float,
) -> np.ndarray:
    """Signed distance on `grid` to the oriented vertices within `band` metres of the surface `before`; further away `before` itself.

    Each voxel takes the mean of n . (x - p) over its four nearest vertices, the nearer the heavier. Planes say nothing sure about places
    further from the vertices than these are from one another (`spacing`), where a rough spot would put surface into thin air: there it
    takes the distance `before` less what those vertices `moved` (V,) outward.
    """
    from scipy.spatial import cKDTree

    out = before.astype(np.float32).copy()
    tree, flat, old = cKDTree(vertices), out.ravel(), before.ravel()
    near = np.flatnonzero((np.abs(before) < band) & _beside(vertices, grid, band))
    for start in range(0, len(near), BLOCK):
        block = near[start : start + BLOCK]
        x = grid.points(block)
        far, index = tree.query(x, k=4)
        weight = 1 / np.maximum(far, 0.1 * grid.voxel) ** 2
        weight /= weight.sum(1, keepdims=True)
        planes = np.sum(weight * np.einsum("nki,nki->nk", x[:, None] - vertices[index], normals[index]), 1)
        carried = old[block].astype(np.float32) - np.sum(weight * moved[index], 1)
        value = planes + np.clip(far[:, 0] / spacing - 1, 0, 1) * (carried - planes)
        # past a sharp edge the planes of the nearest vertices lie: never further than the nearest vertex is
        limit = far[:, 0]
        flat[block] = np.clip(value, -limit, limit)
    return out


def _beside(vertices: np.ndarray, grid: Grid, band: float) -> np.ndarray:
    """(I, J, K) bool: at most a voxel further than `band` from a vertex along every axis. Fields say nothing about how far the surface is
    where nobody looked: there a small value is not a place near it."""
    from scipy.ndimage import maximum_filter1d

    out = np.zeros(grid.shape, np.uint8)
    at = np.rint((vertices - grid.origin) / grid.voxel).astype(int)
    ok = ((at >= 0) & (at < grid.shape)).all(1)
    out[tuple(at[ok].T)] = 1
    size = 2 * (int(np.ceil(band / grid.voxel)) + 1) + 1
    for axis in range(3):
        out = maximum_filter1d(out, size, axis=axis, mode="constant")
    return out > 0


def _diagonal(values: np.ndarray):
    from scipy.sparse import diags

    return diags(values)


def _solve(system, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    from scipy.sparse.linalg import LinearOperator, cg, splu

    if len(right) <= DIRECT_LIMIT:
        return splu(
            system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        ).solve(right)
    scale = 1 / system.diagonal()
    return cg(
        system.tocsr(),
        right,
        x0=start,
        rtol=1e-5,
        maxiter=150,
        M=LinearOperator(system.shape, matvec=lambda r: scale * r),
    )[0]
