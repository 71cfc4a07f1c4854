"""A stereo network in onnxruntime: the file opened on a device, and what goes wrong there in words.

Colour order, range and size multiple are the contract's; this file only checks that the model has those inputs and runs it.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from stages.core.errors import StageError, WeightsError
from stages.core.onnx_files import first_line, onnx_errors, open_onnx
from stages.depth.onnx_contract import Contract

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""Operators that the first cannot run go to the next."""


class OnnxSession:
    """A stereo network ready to run; called from several threads, one picture pair at a time, so that memory holds one."""

    def __init__(self, path: Path, contract: Contract, provider: str, threads: int) -> None:
        picked = pick_provider(provider)
        self._session = open_onnx(path, PROVIDERS[picked], threads)
        self._refuse_another(picked)
        self._contract, self._one_at_a_time = contract, threading.Lock()
        self._check_names(path)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) of an export for one size; None when it takes any."""
        height, width = self._session.get_inputs()[0].shape[2:4]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def device(self) -> str:
        """What it runs on, for the report."""
        return self._session.get_providers()[0].removesuffix("ExecutionProvider")

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(1, 3, H, W) float32 pictures -> (H, W) float32 disparity. Raises StageError."""
        return self.outputs((self._contract.output,), left, right)[0]

    def outputs(self, wanted: tuple[str, ...], left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, ...]:
        """(1, 3, H, W) float32 pictures -> (H, W) float32 of each output wanted. Raises StageError."""
        names = self._contract.inputs
        try:
            with self._one_at_a_time:
                found = self._session.run(list(wanted), {names[0]: left, names[1]: right})
        except onnx_errors() as e:
            raise StageError(
                f"the stereo network fails on {left.shape[3]}x{left.shape[2]} px: {first_line(e)}",
                "if memory ran out, lower depth.onnx_band_megapixels or depth.onnx_megapixels",
            ) from e
        for out in found:
            if out.size != left.shape[2] * left.shape[3]:
                raise StageError(
                    f"the stereo network gave {out.shape} for {left.shape[3]}x{left.shape[2]} px",
                    "correct model.output in registry.yaml",
                )
        return tuple(np.asarray(out, np.float32).reshape(left.shape[2:]) for out in found)

    def _refuse_another(self, picked: str) -> None:
        """onnxruntime falls back without a word where a provider that it was built with cannot be loaded. Raises StageError."""
        if (got := self._session.get_providers()[0]) != PROVIDERS[picked][0]:
            raise StageError(
                f"onnxruntime cannot load {picked}: it would run on {got.removesuffix('ExecutionProvider')}",
                "install the CUDA, cuDNN or TensorRT libraries of the version it was built for (`twin doctor`), "
                "or set depth.onnx_provider=cpu",
            )

    def _check_names(self, path: Path) -> None:
        inputs, outputs = ([v.name for v in vs] for vs in (self._session.get_inputs(), self._session.get_outputs()))
        wanted = {self._contract.output, self._contract.sigma} - {""}
        if sorted(inputs) != sorted(self._contract.inputs) or not wanted <= set(outputs):
            raise WeightsError(
                f"{path.name} has inputs {', '.join(inputs)} and outputs {', '.join(outputs)}; its registry entry says "
                f"{', '.join(self._contract.inputs)} and {', '.join(sorted(wanted))}",
                "correct `model` in registry.yaml",
            )


def pick_provider(wanted: str) -> str:
    """ "auto" -> cuda where onnxruntime has it, else cpu. Raises StageError for one that this onnxruntime does not have."""
    import onnxruntime as ort

    there = [name for name, chain in PROVIDERS.items() if chain[0] in ort.get_available_providers()]
    if wanted == "auto":
        return "cuda" if "cuda" in there else "cpu"
    if wanted not in there:
        raise StageError(
            f"this onnxruntime cannot use {wanted}; it has {', '.join(there)}",
            "pip install onnxruntime-gpu, or depth.onnx_provider=auto",
        )
    return wanted
