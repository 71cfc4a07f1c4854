"""Binary glTF 2.0 (Khronos), as much of it as one textured mesh needs: written to the letter of the specification, and read back.

glTF: metres, right-handed, +Y up, the front looks along +Z; uv origin top-left; colour textures are sRGB. The object frame has OpenCV
axes (x right, y down, z forward), so `GLTF_FROM_OBJECT` turns it by half a turn about x: lengths and handedness stay.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import StageError
from stages.core.glb_draco import EXTENSION, packed, unpacked
from stages.core.glb_meshopt import EXTENSION as MESHOPT
from stages.core.glb_meshopt import packed_array, reordered, unpacked_view
from stages.core.gltf_mesh import GltfMesh
from stages.core.twin_frame import TWIN_FROM_OBJECT, turned

GLTF_FROM_OBJECT = TWIN_FROM_OBJECT
_JSON, _BIN, _MAGIC = 0x4E4F534A, 0x004E4942, 0x46546C67
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
_COMPONENTS = {"<f4": 5126, "<u4": 5125, "<u2": 5123}
_ARRAY_BUFFER, _INDEX_BUFFER = 34962, 34963


def gltf_from_object(vertices: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals (N, 3) of the object frame (OpenCV axes) in glTF axes."""
    return turned(vertices, GLTF_FROM_OBJECT), turned(normals, GLTF_FROM_OBJECT)


def object_from_gltf(vertices: np.ndarray) -> np.ndarray:
    """Points (N, 3) in glTF axes back in the object frame."""
    return vertices @ GLTF_FROM_OBJECT


def encode_glb(mesh: GltfMesh, roughness: float = 0.9, compression: str = "none") -> bytes:
    """The bytes of a .glb file: one node, one mesh, one matt material with the picture as sRGB base colour. compression: none, draco or
    meshopt."""
    named = {
        "baseColorTexture": mesh.image,
        "normalTexture": mesh.normal_image,
        "metallicRoughnessTexture": mesh.surface_image,
    }
    named = {name: picture for name, picture in named.items() if picture}
    pictures = list(named.values())
    blob = bytearray()
    primitive, accessors, views, more = _STORING[compression](mesh, blob)
    views += [_append(blob, picture, None) for picture in pictures]
    document = _document(primitive, accessors, views, len(blob), named=named, roughness=roughness)
    document["buffers"] += more.pop("buffers", [])
    text = json.dumps(document | more, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(blob), _BIN) + bytes(blob)
    return struct.pack("<III", _MAGIC, 2, 12 + len(chunks)) + chunks


_Stored = tuple[dict[str, Any], list, list, dict[str, Any]]
"""primitive, accessors, buffer views, and what else the document says"""


def _plain(mesh: GltfMesh, blob: bytearray) -> _Stored:
    arrays = _arrays(mesh)
    accessors = [_accessor(k, data, kind, name) for k, (name, data, kind) in enumerate(arrays)]
    views = [_append(blob, data.tobytes(), _ARRAY_BUFFER if name else _INDEX_BUFFER) for name, data, _ in arrays]
    return _drawn(arrays), accessors, views, {}


def _by_draco(mesh: GltfMesh, blob: bytearray) -> _Stored:
    small = packed(mesh)
    arrays = _arrays(small.mesh)
    accessors = [_accessor(None, data, kind, name) for name, data, kind in arrays]
    primitive = {**_drawn(arrays), "extensions": {EXTENSION: {"bufferView": 0, "attributes": small.ids}}}
    return primitive, accessors, [_append(blob, small.data, None)], _needs(EXTENSION)


def _by_meshopt(mesh: GltfMesh, blob: bytearray) -> _Stored:
    arrays, accessors, views, size = _arrays(reordered(mesh)), [], [], 0
    for name, data, kind in arrays:
        small = packed_array(name, data)
        accessors.append(_accessor(len(views), small.values, kind, name))
        views.append(small.view(_append(blob, small.data, None)["byteOffset"], size))
        size += views[-1]["byteLength"] + -views[-1]["byteLength"] % 4
    nowhere = {"byteLength": size, "extensions": {MESHOPT: {"fallback": True}}}
    return _drawn(arrays), accessors, views, {"buffers": [nowhere], **_needs(MESHOPT)}


_STORING = {"none": _plain, "draco": _by_draco, "meshopt": _by_meshopt}


def _drawn(arrays: list[tuple[str, np.ndarray, str]]) -> dict[str, Any]:
    attributes = {name: k for k, (name, _, _) in enumerate(arrays) if name}
    return {"attributes": attributes, "indices": len(arrays) - 1, "material": 0, "mode": 4}


def _needs(extension: str) -> dict[str, Any]:
    return {"extensionsUsed": [extension], "extensionsRequired": [extension]}


def decode_glb(data: bytes, name: str = "the file") -> GltfMesh:
    """What `encode_glb` wrote (and any glb with one such mesh). Raises StageError for anything else."""
    if len(data) < 20 or struct.unpack_from("<II", data) != (_MAGIC, 2):
        raise StageError(f"{name} is not a binary glTF 2.0 file", "run the package stage again")
    length = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + length]), data[20 + length + 8 :]
    read, triangles = _primitive(document, binary)
    position = read["POSITION"]
    confidence = read["_CONFIDENCE"][:, 0] if "_CONFIDENCE" in read else np.ones(len(position), np.float32)
    material = document["materials"][0]
    named = {**material.get("pbrMetallicRoughness", {}), **material}

    def image(name):
        return document["images"][document["textures"][named[name]["index"]]["source"]]

    def picture(name):
        return _bytes(document, binary, image(name)["bufferView"]) if name in named else b""

    return GltfMesh(
        position,
        read["NORMAL"],
        read["TEXCOORD_0"],
        confidence,
        triangles=triangles,
        image=picture("baseColorTexture"),
        tangent=read.get("TANGENT"),
        normal_image=picture("normalTexture"),
        surface_image=picture("metallicRoughnessTexture"),
    )


def read_glb(path: Path) -> GltfMesh:
    """`decode_glb` of a file."""
    return decode_glb(path.read_bytes(), str(path))


def plain_glb(path: Path) -> bytes:
    """The bytes of a file, its mesh without compression: for readers that know none."""
    data = path.read_bytes()
    return (
        encode_glb(decode_glb(data, str(path)))
        if any(e.encode() in data[:20_000] for e in (EXTENSION, MESHOPT))
        else data
    )


def _arrays(mesh: GltfMesh) -> list[tuple[str, np.ndarray, str]]:
    """(attribute, array, type) of each accessor; the last, without a name, are the indices."""
    index_type = "<u2" if len(mesh.position) < 65535 else "<u4"  # the largest value is reserved (primitive restart)
    arrays = [
        ("POSITION", mesh.position, "<f4"),
        ("NORMAL", _unit(mesh.normal), "<f4"),
        ("TEXCOORD_0", mesh.uv, "<f4"),
        ("_CONFIDENCE", mesh.confidence[:, None], "<f4"),
        *([] if mesh.tangent is None else [("TANGENT", mesh.tangent, "<f4")]),
        ("", mesh.triangles.reshape(-1, 1), index_type),
    ]
    return [(name, np.ascontiguousarray(values, kind), kind) for name, values, kind in arrays]


def _primitive(document: dict, binary: bytes) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Attributes by name, and triangles (F, 3)."""
    primitive = document["meshes"][0]["primitives"][0]
    if small := primitive.get("extensions", {}).get(EXTENSION):
        return unpacked(_bytes(document, binary, small["bufferView"]), small["attributes"])
    triangles = _read(document, binary, primitive["indices"]).reshape(-1, 3).astype(np.int64)
    return {name: _read(document, binary, k) for name, k in primitive["attributes"].items()}, triangles


def _document(
    primitive: dict, accessors: list, views: list, size: int, named: dict[str, bytes], roughness: float
) -> dict:
    def mime(image):
        return "image/png" if image[:4] == b"\x89PNG" else "image/jpeg"

    pictures, index = list(named.values()), {name: {"index": k} for k, name in enumerate(named)}
    first = len(views) - len(pictures)
    note = {"unit": "metre", "gltf_from_object": GLTF_FROM_OBJECT.tolist()}
    surface = {"baseColorTexture": index.pop("baseColorTexture"), "metallicFactor": 0.0, "roughnessFactor": roughness}
    if mapped := index.pop("metallicRoughnessTexture", None):
        surface |= {"metallicRoughnessTexture": mapped, "metallicFactor": 1.0, "roughnessFactor": 1.0}
    return {
        "asset": {"version": "2.0", "generator": "stereotwin", "extras": note},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "twin", "mesh": 0}],
        "meshes": [{"name": "twin", "primitives": [primitive]}],
        "materials": [{"name": "twin", "pbrMetallicRoughness": surface, **index}],
        "textures": [{"source": k, "sampler": 0} for k in range(len(pictures))],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": [{"bufferView": first + k, "mimeType": mime(picture)} for k, picture in enumerate(pictures)],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": size}],
    }


def _accessor(view: int | None, data: np.ndarray, kind: str, name: str) -> dict:
    out = {"componentType": _COMPONENTS[kind], "count": len(data), "type": _TYPES[data.shape[1]]}
    out |= {} if view is None else {"bufferView": view}
    if name in ("POSITION", ""):
        # through the stored type: the specification compares with what is in the buffer
        out |= {"min": data.min(0).tolist(), "max": data.max(0).tolist()}
    return out


def _append(blob: bytearray, data: bytes, target: int | None) -> dict:
    out = {"buffer": 0, "byteOffset": len(blob), "byteLength": len(data)}
    blob += data + b"\0" * (-len(data) % 4)
    return out if target is None else {**out, "target": target}


def _bytes(document: dict, binary: bytes, index: int) -> bytes:
    view = document["bufferViews"][index]
    if told := view.get("extensions", {}).get(MESHOPT):
        return unpacked_view(binary, told)
    return bytes(binary[view.get("byteOffset", 0) : view.get("byteOffset", 0) + view["byteLength"]])


def _read(document: dict, binary: bytes, index: int) -> np.ndarray:
    accessor = document["accessors"][index]
    kind = {v: k for k, v in _COMPONENTS.items()}[accessor["componentType"]]
    width = {v: k for k, v in _TYPES.items()}[accessor["type"]]
    data = _bytes(document, binary, accessor["bufferView"])
    return np.frombuffer(data, kind, accessor["count"] * width, accessor.get("byteOffset", 0)).reshape(-1, width)


def _unit(normals: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-12, normals / np.maximum(length, 1e-12), [0.0, 1.0, 0.0])
