"""Meshes on disk: mesh.ply (geometry with colour and confidence per vertex) and the folder `textured` (geometry, UV, texture).

Metres, object frame (OpenCV axes; up is -y where a support plane is known; in a twin folder as twin_frame.py says), faces
counter-clockwise seen from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.errors import StageError
from stages.core.images import read_rgb, write_rgb

_VERTEX = [
    ("x", "<f4"),
    ("y", "<f4"),
    ("z", "<f4"),
    ("red", "u1"),
    ("green", "u1"),
    ("blue", "u1"),
    ("confidence", "<f4"),
]
_FACE = [("count", "u1"), ("index", "<i4", (3,))]
_PLY_NAME = {"<f4": "float", "<f8": "double", "u1": "uchar", "<i4": "int"}
_PLY_TYPES = {
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
    "uchar": "u1",
    "uint8": "u1",
    "char": "i1",
    "int8": "i1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
}


@dataclass(frozen=True)
class SurfaceMesh:
    """vertices (V, 3) float64 metres, faces (F, 3) int64, colour (V, 3) uint8 sRGB, confidence (V,) float32 0-1."""

    vertices: np.ndarray
    faces: np.ndarray
    colour: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class TexturedMesh:
    """vertices (V, 3) metres, faces (F, 3), uv (T, 2) in 0-1 with origin bottom-left, faces_uv (F, 3) into uv, normals (V, 3) unit,
    texture (S, S, 3) uint8 sRGB."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    faces_uv: np.ndarray
    normals: np.ndarray
    texture: np.ndarray


def write_ply(
    path: Path, mesh: SurfaceMesh, axes: str = "metres; x right, y down, z forward", invented: np.ndarray | None = None
) -> None:
    """Binary little-endian PLY as docs/artifacts.md describes mesh.ply; `axes` is a comment in its header. `invented` (V,) bool: a
    property of that name, 1 where nobody measured the vertex; without it there is no such property."""
    columns = _VERTEX if invented is None else [*_VERTEX, ("invented", "u1")]
    vertex = np.zeros(len(mesh.vertices), columns)
    for k, name in enumerate("xyz"):
        vertex[name] = mesh.vertices[:, k]
    for k, name in enumerate(("red", "green", "blue")):
        vertex[name] = mesh.colour[:, k]
    vertex["confidence"] = mesh.confidence
    if invented is not None:
        vertex["invented"] = invented
    face = np.zeros(len(mesh.faces), _FACE)
    face["count"], face["index"] = 3, mesh.faces
    lines = ["ply", "format binary_little_endian 1.0", f"comment {axes}", f"element vertex {len(vertex)}"]
    lines += [f"property {_PLY_NAME[kind]} {name}" for name, kind in columns]
    lines += [f"element face {len(face)}", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(lines).encode() + vertex.tobytes() + face.tobytes())


def read_ply(path: Path) -> SurfaceMesh:
    """A binary triangle PLY; grey and confidence 1 where the file has none. Raises StageError for anything else."""
    data = path.read_bytes()
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise StageError(f"{path} is not a PLY file", "run the surface stage again")
    order, elements = _header(path, data[:end].decode("ascii", "replace"))
    at, tables = data.index(b"\n", end) + 1, {}
    for name, count, properties in elements:
        kind = np.dtype(_triangle(order, properties) if name == "face" else _plain(order, properties))
        if at + count * kind.itemsize > len(data):
            raise StageError(f"{path} is truncated", "run the surface stage again")
        tables[name] = np.frombuffer(data, kind, count, at)
        at += count * kind.itemsize
    faces = tables.get("face", np.zeros(0, _FACE))
    if (faces["count"] != 3).any():
        raise StageError(f"{path} has faces that are not triangles", "triangulate the mesh first")
    return _surface_mesh(tables["vertex"], faces["index"].astype(np.int64))


def _surface_mesh(vertex: np.ndarray, faces: np.ndarray) -> SurfaceMesh:
    names = vertex.dtype.names or ()

    def columns(keys):
        return np.stack([vertex[k] for k in keys], 1)

    colour = columns(("red", "green", "blue")) if "red" in names else np.full((len(vertex), 3), 128, np.uint8)
    confidence = vertex["confidence"].astype(np.float32) if "confidence" in names else np.ones(len(vertex), np.float32)
    return SurfaceMesh(columns("xyz").astype(np.float64), faces, colour.astype(np.uint8), confidence)


def write_textured(folder: Path, mesh: TexturedMesh, provenance: np.ndarray) -> None:
    """`folder`/mesh.npz, texture.png and provenance.png (uint8, number of views behind each texel, 0 = filled in)."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "mesh.npz",
        vertices=np.float64(mesh.vertices),
        faces=np.int32(mesh.faces),
        uv=np.float32(mesh.uv),
        faces_uv=np.int32(mesh.faces_uv),
        normals=np.float32(mesh.normals),
    )
    write_rgb(folder / "texture.png", mesh.texture)
    write_rgb(folder / "provenance.png", provenance)


def read_textured(folder: Path) -> TexturedMesh:
    """What `write_textured` wrote."""
    with np.load(folder / "mesh.npz", allow_pickle=False) as z:
        arrays = {k: z[k] for k in ("vertices", "faces", "uv", "faces_uv", "normals")}
    return TexturedMesh(**arrays, texture=read_rgb(folder / "texture.png"))


def _header(path: Path, text: str) -> tuple[str, list]:
    """Byte order and [(element, count, [(property, type or (count type, index type))])]."""
    order, elements = "", []
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["format"]:
            order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(words[1], "")
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            kind = (_PLY_TYPES[words[2]], _PLY_TYPES[words[3]]) if words[1] == "list" else _PLY_TYPES[words[1]]
            elements[-1][2].append((words[-1], kind))
    if not order or not any(e[0] == "vertex" for e in elements):
        raise StageError(f"{path} is not a binary PLY with vertices", "export it as binary PLY")
    return order, elements


def _triangle(order: str, properties: list) -> list:
    (_, (count, index)), *rest = properties
    return [("count", order + count), ("index", order + index, (3,)), *_plain(order, rest)]


def _plain(order: str, properties: list) -> list:
    return [(name, order + kind) for name, kind in properties]
