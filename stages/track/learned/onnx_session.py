"""onnxruntime for the small networks of tracking: a file opened, its inputs checked, its errors in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.core.errors import StageError, WeightsError
from stages.core.onnx_files import first_line, onnx_errors, open_onnx


class OnnxSession:
    """A network with known names; runs on one thread, since frames run side by side."""

    def __init__(self, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._session = open_onnx(path, ["CPUExecutionProvider"], threads=1)
        self._outputs, self._name = list(outputs), path.name
        has = [v.name for v in self._session.get_inputs()], [v.name for v in self._session.get_outputs()]
        if set(has[0]) != set(inputs) or not set(outputs) <= set(has[1]):
            raise WeightsError(
                f"{path.name} has inputs {', '.join(has[0])} and outputs {', '.join(has[1])}; wanted are "
                f"{', '.join(inputs)} and {', '.join(outputs)}",
                "`twin weights list` shows the file that belongs there",
            )

    def shape(self, name: str) -> tuple:
        """Of an input: whole numbers, or names where it is free."""
        return tuple(next(v for v in self._session.get_inputs() if v.name == name).shape)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs in the order named. Raises StageError."""
        try:
            return [np.asarray(v) for v in self._session.run(self._outputs, dict(inputs))]
        except onnx_errors() as e:
            raise StageError(
                f"{self._name} fails: {first_line(e)}", "if memory ran out, lower max_points_inside"
            ) from e
