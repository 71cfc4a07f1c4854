"""onnxruntime, as every stage opens it: the file as a session, and what goes wrong there in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.errors import WeightsError


def open_onnx(path: Path, providers: Sequence[str], threads: int) -> Any:
    """An onnxruntime.InferenceSession that uses `threads` threads per operator, 0 = all cores. Raises WeightsError."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except onnx_errors() as e:
        raise WeightsError(f"onnxruntime cannot open {path.name}: {first_line(e)}", "`twin weights verify`") from e


def onnx_errors() -> tuple[type[Exception], ...]:
    """All that onnxruntime raises: a dozen classes that share no base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception))
    return (*own, RuntimeError, MemoryError)


def first_line(error: Exception) -> str:
    """Of an error's text, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
