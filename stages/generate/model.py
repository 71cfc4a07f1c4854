"""A generative model as a file: ONNX in onnxruntime, or a TorchScript program in torch. Tensors go by the contract's names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import StageError, WeightsError
from stages.core.onnx_files import first_line, onnx_errors, open_onnx
from stages.generate.contract import ANSWERS, Contract, inputs_for

SUFFIXES = {".onnx": "ONNX", ".ts": "TorchScript"}
ADVICE = "docs/generated.md says what a model gets and what it gives"


class Model:
    """One model, ready to be asked."""

    def __init__(self, name: str, path: Path, contract: Contract, device: str, threads: int) -> None:
        if path.suffix not in SUFFIXES:
            raise WeightsError(
                f"{path.name} of {name} is no model that can be run here",
                f"its file must end in {' or '.join(SUFFIXES)}",
            )
        self.name, self.contract = name, contract
        self._run = _Onnx(path, device, threads) if path.suffix == ".onnx" else _TorchScript(path, device)
        there = inputs_for(contract.answers)
        if strange := sorted(set(self._run.takes) - set(there)):
            raise WeightsError(
                f"the model {name} wants {', '.join(strange)}, which nobody gives it; there is {', '.join(there)}",
                ADVICE,
            )
        if self._run.gives is not None:
            self._refuse_without(self._run.gives)

    @property
    def runs_on(self) -> str:
        """For the report."""
        return self._run.runs_on

    def __call__(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Its outputs by name, from all that is `given`. Raises StageError where it fails, WeightsError where an output is missing."""
        answer = self._run({k: given[k] for k in self._run.takes}, self.name)
        self._refuse_without(tuple(answer))
        return answer

    def _refuse_without(self, outputs: tuple[str, ...]) -> None:
        sets = ANSWERS[self.contract.answers]
        if not any(set(s) <= set(outputs) for s in sets):
            wanted = " or ".join(" and ".join(s) for s in sets)
            raise WeightsError(
                f"the model {self.name} gives {', '.join(outputs) or 'nothing'}, expected {wanted}", ADVICE
            )


class _Onnx:
    def __init__(self, path: Path, device: str, threads: int) -> None:
        import onnxruntime as ort

        providers = ["CPUExecutionProvider"] if device == "cpu" else ort.get_available_providers()
        self._session = open_onnx(path, providers, threads)
        self.takes = tuple(v.name for v in self._session.get_inputs())
        self.gives: tuple[str, ...] | None = tuple(v.name for v in self._session.get_outputs())
        self.runs_on = f"onnxruntime, {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"

    def __call__(self, given: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
        try:
            found = self._session.run(None, given)
        except onnx_errors() as e:
            raise _failed(name, given, e) from e
        return {k: np.asarray(v) for k, v in zip(self.gives or (), found, strict=True)}


class _TorchScript:
    def __init__(self, path: Path, device: str) -> None:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # the format stays readable, and is the one that needs no pickle
            try:
                self._module: Any = torch.jit.load(str(path), map_location=device).eval()
            except (RuntimeError, ValueError) as e:
                raise WeightsError(
                    f"torch cannot open {path.name}: {first_line(e)}", "`twin weights verify`; or export it again"
                ) from e
        self._device = device
        self.takes = tuple(a.name for a in self._module.forward.schema.arguments[1:])
        self.gives: tuple[str, ...] | None = None
        self.runs_on = f"TorchScript, {device}"

    def __call__(self, given: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
        import torch

        try:
            with torch.no_grad():
                found = self._module(**{k: torch.from_numpy(v).to(self._device) for k, v in given.items()})
        except RuntimeError as e:
            raise _failed(name, given, e) from e
        if not isinstance(found, dict):
            raise WeightsError(f"the model {name} returns {type(found).__name__}, not Dict[str, Tensor]", ADVICE)
        return {k: v.cpu().numpy() for k, v in found.items()}


def _failed(name: str, given: Mapping[str, np.ndarray], error: Exception) -> StageError:
    shapes = ", ".join(f"{k} {v.shape}" for k, v in given.items())
    reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), first_line(error))
    return StageError(f"the model {name} fails on {shapes}: {reason.strip()[:200]}", f"try it alone; {ADVICE}")
