"""A small twin whose size, axes and colours are known: a box of 40 x 60 x 80 mm, off centre, each side of one colour."""

from __future__ import annotations

import numpy as np

from stages.core.meshes import SurfaceMesh, TexturedMesh

SIDES = {  # outward direction in the object frame (x right, y down, z forward): colour
    (1, 0, 0): (220, 30, 30),
    (-1, 0, 0): (30, 200, 40),
    (0, 1, 0): (40, 60, 220),
    (0, -1, 0): (230, 220, 40),
    (0, 0, 1): (200, 50, 200),
    (0, 0, -1): (40, 200, 210),
}
SIZE_M = np.array([0.04, 0.06, 0.08])
CENTRE_M = np.array([0.01, -0.02, 0.005])
TEXELS = 96


def boxed() -> TexturedMesh:
    """The box; each side is a 32 x 32 cell of the texture."""
    vertices, faces, uv, faces_uv = [], [], [], []
    texture = np.zeros((TEXELS, TEXELS, 3), np.uint8)
    for k, (direction, colour) in enumerate(SIDES.items()):
        n = np.array(direction, float)
        a = np.roll(np.abs(n), 1)
        b = np.cross(n, a)
        corners = [CENTRE_M + SIZE_M / 2 * (n + s * a + t * b) for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        row, column = divmod(k, 3)
        texture[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = colour
        low = np.array([column / 3, 1 - (row + 1) / 3])
        cell = [low + np.array(c) / 3 for c in ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))]
        start = len(vertices)
        vertices += corners
        uv += cell
        for tri in ((0, 1, 2), (0, 2, 3)):
            faces.append([start + i for i in tri])
            faces_uv.append([start + i for i in tri])
    v, f = np.array(vertices), np.array(faces)
    normals = np.repeat([np.array(d, float) for d in SIDES], 4, axis=0)
    return TexturedMesh(v, f, np.array(uv), np.array(faces_uv), normals, texture)


def surface(mesh: TexturedMesh) -> SurfaceMesh:
    """The same shape as mesh.ply holds it; confidence grows with x."""
    confidence = (mesh.vertices[:, 0] > CENTRE_M[0]).astype(np.float32)
    colour = np.repeat([np.array(c, np.uint8) for c in SIDES.values()], 4, axis=0)
    return SurfaceMesh(mesh.vertices, mesh.faces, colour, confidence)


def colour_towards(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, image: np.ndarray, direction: np.ndarray
) -> np.ndarray:
    """Colour of the face of a loaded model that looks in `direction`; uv per vertex, origin bottom-left, image (H, W, 3)."""
    c = vertices[faces]
    n = np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0])
    face = int(np.argmax(n @ np.asarray(direction, float) / np.linalg.norm(n, axis=1)))
    at = uv[faces[face]].mean(0)
    size = np.array(image.shape[1::-1])
    x, y = np.clip((np.array([at[0], 1 - at[1]]) * size).astype(int), 0, size - 1)
    return image[y, x, :3].astype(int)
