"""The mesh of a GLB as meshoptimizer packs it (EXT_meshopt_compression), and back. The package meshopt (MIT, extra `meshopt`) does it.

Every array stays an array of its own, in another coding, so that a file differs from a plain one in its buffer views alone. Floats are
rounded to steps of a power of two that all of an array share, triangles put into the order that packs best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.core.backends import version_of
from stages.core.errors import MachineError
from stages.core.gltf_mesh import GltfMesh

EXTENSION = "EXT_meshopt_compression"
INSTALL = "pip install 'stereotwin[meshopt]'"
STEP = {"POSITION": 1e-5, "NORMAL": 5e-4, "TEXCOORD_0": 1.5e-5, "_CONFIDENCE": 2e-3, "TANGENT": 5e-4}
"""largest step of the values, metres where they are positions; the error is half of it"""
MOST_BITS = 24


@dataclass(frozen=True)
class PackedArray:
    """data: meshoptimizer's bytes of `count` elements of `stride` bytes, vertices or triangles; values: what they give back."""

    data: bytes
    values: np.ndarray
    count: int
    stride: int
    mode: str

    def view(self, start: int, plain_start: int) -> dict[str, Any]:
        """The buffer view, its bytes at `start` of the file's buffer and at `plain_start` of the one that nobody has to store."""
        told = {
            "buffer": 0,
            "byteOffset": start,
            "byteLength": len(self.data),
            "byteStride": self.stride,
            "count": self.count,
            "mode": self.mode,
            **({"filter": "EXPONENTIAL"} if self.mode == "ATTRIBUTES" else {}),
        }
        return {
            "buffer": 1,
            "byteOffset": plain_start,
            "byteLength": self.count * self.stride,
            "extensions": {EXTENSION: told},
            **({"byteStride": self.stride} if self.mode == "ATTRIBUTES" else {}),
        }


def meshopt_version() -> str:
    """Of the package, "" where it is not installed."""
    return version_of("meshopt", "meshopt")


def reordered(mesh: GltfMesh) -> GltfMesh:
    """Triangles and vertices in the order that packs best. Raises MachineError without the package."""
    indices, place, used = _library().reorder_mesh(np.ascontiguousarray(mesh.triangles, np.uint32).ravel(), True, False)
    order = np.argsort(place)[:used]
    return replace(
        mesh,
        position=mesh.position[order],
        normal=mesh.normal[order],
        uv=mesh.uv[order],
        confidence=mesh.confidence[order],
        tangent=None if mesh.tangent is None else mesh.tangent[order],
        triangles=indices.reshape(-1, 3).astype(np.int64),
    )


def packed_array(name: str, values: np.ndarray) -> PackedArray:
    """Of an attribute (N, K) float32, or of the triangles' corners (3F, 1), uint16 or uint32, where `name` is ""."""
    library = _library()
    if not name:
        stride = values.dtype.itemsize
        data = library.encode_gltf_buffer(values.ravel(), "TRIANGLES")
        return PackedArray(
            data,
            _values(library.decode_gltf_buffer(data, len(values), stride, "TRIANGLES"), values),
            len(values),
            stride,
            mode="TRIANGLES",
        )
    largest = float(np.abs(values).max())
    bits = 2 + int(
        np.ceil(np.log2(max(largest / STEP[name], 2.0)))
    )  # one for the sign, one for an exponent that is rounded up
    rows = library.encode_filter_exp(np.ascontiguousarray(values, np.float32), min(bits, MOST_BITS), "SharedComponent")
    data, stride = library.encode_gltf_buffer(rows, "ATTRIBUTES"), 4 * values.shape[1]
    back = library.decode_gltf_buffer(data, len(values), stride, "ATTRIBUTES", "EXPONENTIAL")
    return PackedArray(data, _values(back, values), len(values), stride, mode="ATTRIBUTES")


def unpacked_view(binary: bytes, told: dict[str, Any]) -> bytes:
    """The plain bytes of a buffer view, from what its extension says of it. Raises MachineError without the package."""
    start = told.get("byteOffset", 0)
    data = bytes(binary[start : start + told["byteLength"]])
    return (
        _library()
        .decode_gltf_buffer(data, told["count"], told["byteStride"], told["mode"], told.get("filter"))
        .tobytes()
    )


def _values(back: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.frombuffer(back.tobytes(), like.dtype).reshape(like.shape)


def _library() -> Any:
    if not meshopt_version():
        raise MachineError(
            "the GLB is compressed with meshoptimizer, and the package meshopt is not installed", INSTALL
        )
    import meshopt

    return meshopt
