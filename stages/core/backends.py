"""Optional libraries that make stages faster or better: whether each works here, what is missing, and the one command that mends it.

`twin doctor` prints the table; stages ask `KITS[name].problem()` before they choose a method. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import functools
import importlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from stages.core.devices import driver_there, has_cuda, torch_there
from stages.core.errors import MachineError

BUILD = "bash deploy/build_cuda_kits.sh"


@dataclass(frozen=True)
class Kit:
    """A library and what is told of it."""

    name: str
    module: str
    package: str
    serves: str
    command: str
    """mends it"""
    gpu: bool = False
    """only useful with a CUDA or ROCm GPU"""
    more: Callable[[], str] | None = None
    """a further check once it imports: "" or what is missing"""

    def problem(self) -> str:
        """ "" if it works here, else what is missing."""
        return _problem(self)

    def version(self) -> str:
        """Of the installed package, "" if it is not."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return ""

    def says(self) -> str:
        """One line for `twin doctor`."""
        if problem := self.problem():
            useless = self.gpu and not driver_there()  # nothing to mend on a machine without a GPU
            return f"no: {problem}{'' if useless else f'; {self.command}'} ({self.serves})"
        return f"yes, {self.version()} ({self.serves})"


def version_of(package: str, module: str) -> str:
    """Of an installed package, "" where its module is not there; nothing is imported."""
    return metadata.version(package) if find_spec(module) is not None else ""


def check_libraries(names: Iterable[str], wanted_by: str) -> None:
    """Raises MachineError for the first that does not work here, with what mends it; `wanted_by`: the setting that asks for it."""
    for kit in (KITS[n] for n in names):
        if problem := kit.problem():
            raise MachineError(f"{wanted_by} needs {kit.name}: {problem}", f"{kit.command}; or leave the setting out")


def check_torch(wanted_by: str) -> None:
    """Raises MachineError where torch is not installed; quick, because nothing is imported."""
    if not torch_there():
        raise MachineError(
            f"{wanted_by} needs torch, which is not installed", f"{KITS['torch'].command}; or leave the setting out"
        )


@functools.cache
def _problem(kit: Kit) -> str:
    if kit.gpu and not has_cuda():
        return _no_gpu() + (f" ({kit.package} {kit.version()} is installed)" if kit.version() else "")
    if not kit.version():
        return "not installed"
    try:
        importlib.import_module(kit.module)
    except Exception as e:  # noqa: BLE001 - a kit built for another torch, driver or GPU may raise anything, and that is the finding
        return (
            f"installed ({kit.version()}) but does not import: {(str(e).splitlines() or [type(e).__name__])[0][:150]}"
        )
    return kit.more() if kit.more else ""


def _no_gpu() -> str:
    """Why torch sees none: there is none, or torch cannot use it."""
    if not driver_there():
        return "no GPU here"
    if not torch_there():
        return "a GPU's driver is here, but torch is not installed"
    import torch

    built_for = torch.version.cuda or torch.version.hip
    return f"a GPU's driver is here, but torch {torch.__version__} {'does not get on with it' if built_for else 'is a CPU build'}"


def _c_compiler() -> str:
    """Triton compiles a stub of C for the driver, once: with CC, gcc or clang."""
    if os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"):
        return ""
    return "no C compiler (gcc or clang) for its launcher: install gcc and Python's headers"


def _onnx_cuda() -> str:
    import onnxruntime

    there = onnxruntime.get_available_providers()
    return "" if "CUDAExecutionProvider" in there else f"this build has no CUDA provider ({', '.join(there)})"


_KITS = (
    Kit(
        "torch",
        "torch",
        "torch",
        "networks by torch, surface.backend=torch, texture.refine",
        command="pip install 'stereotwin[torch]'",
    ),
    Kit(
        "torch on the GPU",
        "torch",
        "torch",
        "every learned method, faster",
        command="TORCH_INDEX=<index with torch's CUDA or ROCm build> make setup",
        gpu=True,
    ),
    Kit(
        "onnxruntime",
        "onnxruntime",
        "onnxruntime",
        "learned stereo on any machine",
        command="pip install 'stereotwin[learned]'",
    ),
    Kit(
        "transformers",
        "transformers",
        "transformers",
        "masks by SAM 2, objects named in words",
        command="pip install 'stereotwin[learned]'",
    ),
    Kit("kornia", "kornia", "kornia", "learned matching", command="pip install 'stereotwin[learned]'"),
    Kit("open3d", "open3d", "open3d", "surface.method=tsdf, registration", command="pip install 'stereotwin[open3d]'"),
    Kit("pyav", "av", "av", "novel_views.path: videos", command="pip install 'stereotwin[video]'"),
    Kit("viser", "viser", "viser", "twin view", command="pip install 'stereotwin[view]'"),
    Kit(
        "romatch",
        "romatch",
        "romatch",
        "track.method=roma; it needs torchvision",
        command="pip install 'stereotwin[roma]'",
    ),
    Kit(
        "triton",
        "triton",
        "triton",
        "surface.backend=triton",
        command="pip install 'stereotwin[cuda]'",
        gpu=True,
        more=_c_compiler,
    ),
    Kit(
        "tinycudann",
        "tinycudann",
        "tinycudann",
        "surface.backend=tcnn",
        command=f"WITH_TINY_CUDA_NN=1 {BUILD}",
        gpu=True,
    ),
    Kit(
        "nvdiffrast",
        "nvdiffrast.torch",
        "nvdiffrast",
        "texture.refine=nvdiffrast, non-commercial",
        command=f"WITH_NVDIFFRAST=1 {BUILD}",
        gpu=True,
    ),
    Kit(
        "onnxruntime-gpu",
        "onnxruntime",
        "onnxruntime-gpu",
        "learned stereo on the GPU",
        command="pip install onnxruntime-gpu",
        gpu=True,
        more=_onnx_cuda,
    ),
)
KITS = {k.name: k for k in _KITS}
