"""A small pipeline with the shape of the real one, to test what runs it: a -> b -> c, and d which reads a and c.

Each run adds a line to $TOY_FOLDER/<stage>.count, and the threads that it was given to $TOY_FOLDER/threads. What a stage does badly is said
by the content of $TOY_FOLDER/<stage>.do, outside its settings, so that its fingerprint stays the same when it is mended.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.base import ArtifactRef, Resources, Stage, StageContext, StageReport
from stages.core.config import setting
from stages.core.errors import CaptureError, WeightsError


@dataclass(frozen=True)
class ToyConfig:
    """Settings of a toy stage."""

    method: Literal["auto", "plain", "fancy"] = "auto"
    gain: float = 1.0
    steps: int = setting(3, only_for=("fancy",))
    size: tuple[int, ...] = (2, 3)
    weights: str = ""
    memory: Literal["fixed", "auto"] = "auto"


@dataclass(frozen=True)
class ConfigBefore:
    """The same as the version before had it; tests/flows/store_before is of these stages."""

    method: Literal["auto", "plain", "fancy"] = "auto"
    gain: float = 1.0
    steps: int = setting(3, only_for=("fancy",))
    size: tuple[int, ...] = (2, 3)
    weights: str = ""


class ToyStage(Stage):
    """Writes `<name>.txt`: its inputs' text, its name and its gain."""

    Config: type = ToyConfig
    needs = Resources(memory_gb=0.1)
    version = 1

    def __init__(self, name: str, inputs: tuple[str, ...]) -> None:
        self.name, self.inputs, self.outputs = name, inputs, (f"{name}.txt", f"{name}_folder")

    def weights_used(self, config: ToyConfig) -> dict[str, str]:
        return {"toy_net": config.weights} if config.weights else {}

    def check(self, inputs: Mapping[str, ArtifactRef], config: Any) -> None:
        if self._orders() == "no weights":
            raise WeightsError("weights toy_net are missing", "twin weights fetch toy")

    def run(self, inputs: Mapping[str, ArtifactRef], config: Any, out: Path, context: StageContext) -> StageReport:
        with (self._folder / f"{self.name}.count").open("a") as f:
            f.write(f"{os.getpid()}\n")
        with (self._folder / "threads").open("a") as f:
            f.write(f"{context.workers}\n")
        text = "".join(_text(inputs[k].path) for k in self.inputs) + f"{self.name}({config.gain:g})"
        (out / f"{self.name}.txt").write_text(text)
        (out / f"{self.name}_folder").mkdir()
        (out / f"{self.name}_folder" / "000000.txt").write_text(text)
        context.progress(1, 2, "half way")
        if self._orders() == "allocate while fixed" and config.memory == "fixed":
            bytearray(1 << 50)
        self._misbehave(out)
        context.progress(2, 2, "done")
        return StageReport(metrics={"length_px": len(text)}, warnings=["toy warning"] if self.name == "b" else [])

    @property
    def _folder(self) -> Path:
        return Path(os.environ["TOY_FOLDER"])

    def _orders(self) -> str:
        path = self._folder / f"{self.name}.do"
        return path.read_text() if path.exists() else ""

    def _misbehave(self, out: Path) -> None:
        match self._orders().split():
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["hold"]:  # until it is told otherwise
                while self._orders() == "hold":
                    time.sleep(0.05)
            case ["raise", *after]:
                time.sleep(sum(map(float, after)))
                raise CaptureError("frame 17 of right/ is missing", "copy it again")
            case ["fault"]:
                raise KeyError("a fault of the program")
            case ["kill", number]:
                os.kill(os.getpid(), int(number))
            case ["write", megabytes]:
                for k in range(int(megabytes)):
                    (out / f"{self.name}_folder" / f"{k}.bin").write_bytes(b"x" * (1 << 20))
            case ["temporary", megabytes]:
                with tempfile.NamedTemporaryFile() as file:
                    file.write(b"x" * (int(megabytes) << 20))
            case ["allocate"]:
                bytearray(1 << 50)
            case ["library", *words]:
                raise RuntimeError(" ".join(words))
            case ["print"]:
                os.write(1, b"words of a library\n")
                raise SystemExit(7)
            case ["child", path]:
                pid = os.fork()
                if pid == 0:
                    time.sleep(60)
                    os._exit(0)
                Path(path).write_text(str(pid))
                time.sleep(60)


def _text(path: Path) -> str:
    return (path / "text").read_text() if path.is_dir() else path.read_text()


def stages() -> tuple[ToyStage, ...]:
    """The toy graph in order."""
    return (
        ToyStage("a", ("capture",)),
        ToyStage("b", ("a.txt",)),
        ToyStage("c", ("b.txt",)),
        ToyStage("d", ("a.txt", "c.txt")),
    )


def stages_before() -> tuple[ToyStage, ...]:
    """The same, unchanged since the version before."""
    every = stages()
    for stage in every:
        stage.Config = ConfigBefore
    return every
