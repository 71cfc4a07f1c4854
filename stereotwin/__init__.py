"""From a stereo video of one object to its metric, textured digital twin. The Python side of `twin`; docs/python.md shows it in use.

    import stereotwin
    twin = stereotwin.reconstruct("capture", out="twin", profile="preview")
    print(twin.verdict, twin.mesh.vertices.shape, twin.poses[0])

Importing this is cheap: numpy and the rest are loaded by what needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.core.camera import Rig as Rig
    from stages.core.errors import CaptureError as CaptureError
    from stages.core.errors import ConfigError as ConfigError
    from stages.core.errors import StageError as StageError
    from stages.core.errors import StoreError as StoreError
    from stages.core.errors import TwinError as TwinError
    from stages.core.errors import WeightsError as WeightsError
    from stages.core.frames import FramePose as FramePose
    from stages.core.meshes import SurfaceMesh as SurfaceMesh
    from stages.core.metrics import evaluate as evaluate
    from stereotwin.captures import Capture as Capture
    from stereotwin.captures import read_capture as read_capture
    from stereotwin.captures import write_capture as write_capture
    from stereotwin.registration import Registration as Registration
    from stereotwin.registration import register as register
    from stereotwin.run import reconstruct as reconstruct
    from stereotwin.run import run_until as run_until
    from stereotwin.stereo import Disparity as Disparity
    from stereotwin.stereo import disparity as disparity
    from stereotwin.twin import Twin as Twin
    from stereotwin.twin import TwinVerdict as TwinVerdict

_PLACES = {
    "stages.core.camera": ("Rig",),
    "stages.core.errors": ("TwinError", "CaptureError", "ConfigError", "StageError", "StoreError", "WeightsError"),
    "stages.core.frames": ("FramePose",),
    "stages.core.meshes": ("SurfaceMesh",),
    "stages.core.metrics": ("evaluate",),
    "stereotwin.captures": ("Capture", "read_capture", "write_capture"),
    "stereotwin.registration": ("Registration", "register"),
    "stereotwin.run": ("reconstruct", "run_until"),
    "stereotwin.stereo": ("Disparity", "disparity"),
    "stereotwin.twin": ("Twin", "TwinVerdict"),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
__all__ = [
    "Capture",
    "CaptureError",
    "ConfigError",
    "Disparity",
    "FramePose",
    "Registration",
    "Rig",
    "StageError",
    "StoreError",
    "SurfaceMesh",
    "Twin",
    "TwinError",
    "TwinVerdict",
    "WeightsError",
    "disparity",
    "evaluate",
    "read_capture",
    "reconstruct",
    "register",
    "run_until",
    "write_capture",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("stereotwin")
    if name not in _MODULES:
        raise AttributeError(f"module 'stereotwin' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
