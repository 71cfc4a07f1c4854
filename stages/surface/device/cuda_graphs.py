"""Training steps recorded as CUDA graphs: a step is some hundred short kernels, and launching them takes longer than running them.

CUDA only (and ROCm, which torch shows as CUDA); device/steps.py asks for it by `surface.capture_step`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3
"""steps of a kind before it is captured: kernels are compiled and libraries make their work space in them"""


class StepGraphs:
    """A captured graph per kind of step; the first few steps of a kind run as they are."""

    def __init__(self, compute: Callable[[tuple[str, ...]], dict[str, torch.Tensor]]) -> None:
        self._compute = compute
        self._seen: dict[tuple[str, ...], int] = {}
        self._graphs: dict[tuple[str, ...], tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor]]] = {}
        self._side = torch.cuda.Stream()

    def forget(self) -> None:
        """Drop what was captured: an input has moved."""
        self._seen.clear()
        self._graphs.clear()

    def run(self, kinds: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """One step; warming up happens on a stream of its own, as capturing asks for."""
        self._seen[kinds] = self._seen.get(kinds, 0) + 1
        if kinds in self._graphs:
            graph, losses = self._graphs[kinds]
            graph.replay()
            return losses
        if self._seen[kinds] <= WARM_UP:
            self._side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._side):
                losses = self._compute(kinds)
            torch.cuda.current_stream().wait_stream(self._side)
            return losses
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self._compute(kinds)
        self._graphs[kinds] = graph, losses
        graph.replay()  # capturing records the step without making it
        return losses
