"""A strict check of a .glb against the rules of glTF 2.0 that apply to one textured mesh, written from the specification.

Independent of the writer: it parses the bytes itself. Every rule that is broken becomes a line in the answer.
"""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COMPONENT = {5120: ("i1", 1), 5121: ("u1", 1), 5122: ("<i2", 2), 5123: ("<u2", 2), 5125: ("<u4", 4), 5126: ("<f4", 4)}
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def broken_rules(data: bytes) -> list[str]:
    """Rules that the file breaks; empty = none."""
    bad: list[str] = []
    document, binary = _container(data, bad)
    if document is None:
        return bad
    if document.get("asset", {}).get("version") != "2.0":
        bad.append("asset.version is not 2.0")
    _buffers(document, binary, bad)
    arrays = [_accessor(document, binary, k, bad) for k in range(len(document["accessors"]))]
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            _primitive(document, primitive, arrays, bad)
    _references(document, bad)
    _images(document, binary, bad)
    return bad


def _container(data: bytes, bad: list[str]):
    magic, version, length = struct.unpack_from("<4sII", data)
    if magic != b"glTF" or version != 2:
        bad.append("header is not glTF version 2")
        return None, b""
    if length != len(data):
        bad.append(f"header says {length} bytes, the file has {len(data)}")
    at, chunks = 12, []
    while at < len(data):
        size, kind = struct.unpack_from("<I4s", data, at)
        if size % 4 or at % 4:
            bad.append(f"chunk {kind!r} is not aligned to 4 bytes")
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if [k for k, _ in chunks] != [b"JSON", b"BIN\0"]:
        bad.append("chunks are not JSON then BIN")
        return None, b""
    text = chunks[0][1]
    if text.rstrip(b" ")[-1:] != b"}":
        bad.append("JSON chunk is padded with something other than spaces")
    return json.loads(text), chunks[1][1]


def _buffers(document: dict, binary: bytes, bad: list[str]) -> None:
    if len(document["buffers"]) != 1 or "uri" in document["buffers"][0]:
        bad.append("a glb has one buffer without uri")
    declared = document["buffers"][0]["byteLength"]
    if not declared <= len(binary) <= declared + 3:
        bad.append(f"buffer says {declared} bytes, the BIN chunk has {len(binary)}")
    for k, view in enumerate(document["bufferViews"]):
        if view.get("byteOffset", 0) + view["byteLength"] > declared:
            bad.append(f"bufferView {k} ends outside the buffer")
        if view["byteLength"] < 1:
            bad.append(f"bufferView {k} is empty")


def _accessor(document: dict, binary: bytes, index: int, bad: list[str]) -> np.ndarray:
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    kind, size = COMPONENT[accessor["componentType"]]
    width = WIDTH[accessor["type"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    if start % size:
        bad.append(f"accessor {index} is not aligned to its component size")
    if view.get("target") == 34962 and (view.get("byteStride", size * width) % 4 or start % 4):
        bad.append(f"accessor {index}: vertex attributes start at and stride by multiples of 4")
    if accessor["count"] * size * width > view["byteLength"] - accessor.get("byteOffset", 0):
        bad.append(f"accessor {index} ends outside its bufferView")
    values = np.frombuffer(binary, kind, accessor["count"] * width, start).reshape(-1, width)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad.append(f"accessor {index} holds NaN or infinity")
    for key, found in (("min", values.min(0)), ("max", values.max(0))):
        if key in accessor and not np.array_equal(np.asarray(accessor[key], values.dtype), found):
            bad.append(f"accessor {index}.{key} is {accessor[key]}, the data says {found.tolist()}")
    return values


def _primitive(document: dict, primitive: dict, arrays: list[np.ndarray], bad: list[str]) -> None:
    attributes = {name: arrays[k] for name, k in primitive["attributes"].items()}
    position = document["accessors"][primitive["attributes"]["POSITION"]]
    if "min" not in position or "max" not in position:
        bad.append("POSITION has no min and max")
    if len({len(a) for a in attributes.values()}) != 1:
        bad.append("attributes have different counts")
    for name, values in attributes.items():
        if name.startswith("_") and name.upper() != name:
            bad.append(f"{name}: application attributes are upper case")
        if not name.startswith("_") and name not in ("POSITION", "NORMAL", "TEXCOORD_0", "TANGENT", "COLOR_0"):
            bad.append(f"{name} is no attribute of glTF")
        if name.startswith("_") and values.dtype == np.dtype("<u4"):
            bad.append(f"{name}: attributes must not be unsigned int")
    if "NORMAL" in attributes and np.abs(np.linalg.norm(attributes["NORMAL"], axis=1) - 1).max() > 5e-4:
        bad.append("NORMAL is not of unit length")
    if "TANGENT" in attributes and (
        np.abs(np.linalg.norm(attributes["TANGENT"][:, :3], axis=1) - 1).max() > 5e-4
        or not np.isin(attributes["TANGENT"][:, 3], (-1, 1)).all()
    ):
        bad.append("TANGENT is not of unit length with a fourth number of 1 or -1")
    indices = arrays[primitive["indices"]][:, 0]
    if len(indices) % 3:
        bad.append("the number of indices of triangles is not a multiple of 3")
    if indices.max() >= len(attributes["POSITION"]):
        bad.append("an index points behind the last vertex")
    if indices.max() == np.iinfo(indices.dtype).max:
        bad.append("the largest index value is reserved for primitive restart")
    if document["bufferViews"][document["accessors"][primitive["indices"]]["bufferView"]].get("target") != 34963:
        bad.append("indices lie in a bufferView that is no ELEMENT_ARRAY_BUFFER")


def _references(document: dict, bad: list[str]) -> None:
    used = {k: set() for k in ("materials", "textures", "images", "samplers", "meshes", "nodes")}
    used["nodes"] |= set(document["scenes"][document["scene"]]["nodes"])
    used["meshes"] |= {n["mesh"] for n in document["nodes"] if "mesh" in n}
    for mesh in document["meshes"]:
        used["materials"] |= {p["material"] for p in mesh["primitives"]}
    for material in document["materials"]:
        surface = material["pbrMetallicRoughness"]
        used["textures"] |= {
            t["index"]
            for t in (
                surface["baseColorTexture"],
                material.get("normalTexture"),
                surface.get("metallicRoughnessTexture"),
            )
            if t
        }
        if not (0 <= surface.get("metallicFactor", 1) <= 1 and 0 <= surface.get("roughnessFactor", 1) <= 1):
            bad.append("material factors lie outside 0 to 1")
    for texture in document["textures"]:
        used["images"].add(texture["source"])
        used["samplers"].add(texture["sampler"])
    for kind, ids in used.items():
        if ids != set(range(len(document[kind]))):
            bad.append(f"{kind}: {sorted(ids)} used of {len(document[kind])}")
    if undeclared := set(document.get("extensionsRequired", [])) - set(document.get("extensionsUsed", [])):
        bad.append(f"required extensions not declared as used: {undeclared}")


def _images(document: dict, binary: bytes, bad: list[str]) -> None:
    for k, image in enumerate(document["images"]):
        view = document["bufferViews"][image["bufferView"]]
        if "target" in view or "byteStride" in view:
            bad.append(f"image {k}: its bufferView must have no target and no stride")
        head = binary[view["byteOffset"] : view["byteOffset"] + 8]
        real = "image/png" if head == b"\x89PNG\r\n\x1a\n" else "image/jpeg" if head[:3] == b"\xff\xd8\xff" else "?"
        if image.get("mimeType") != real:
            bad.append(f"image {k} says {image.get('mimeType')} and is {real}")


def khronos_issues(glb: Path) -> dict[str, Any]:
    """What Khronos' own validator counts in a file; skips the test that asks where it is not installed."""
    command = ["node", str(Path(__file__).with_name("khronos_validator.js")), str(glb)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("node is not installed: reference validator not run")
    if done.returncode == 3:
        pytest.skip("npm package gltf-validator is not installed: reference validator not run")
    return json.loads(done.stdout)
