"""The one place that chooses a torch device, so that the same code runs on NVIDIA (cuda), AMD (ROCm, which torch also calls cuda), Apple
(mps) and none (cpu). Adapters of CUDA kits may name their device; nothing else does (tests/core/test_device_neutral.py)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.errors import MachineError

if TYPE_CHECKING:
    import torch

_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""what a driver leaves (NVIDIA, NVIDIA's Jetson, Windows' Linux, AMD): without one of them torch, slow to import, need not be asked"""


def driver_there() -> bool:
    """Whether a GPU that torch may call "cuda" is worth asking for; does not import torch."""
    return any(Path(p).exists() for p in _DRIVERS)


def torch_there() -> bool:
    """Whether torch is installed (extra `torch`); does not import it."""
    return find_spec("torch") is not None


def has_cuda() -> bool:
    """Whether torch is there and sees an NVIDIA or AMD GPU."""
    if not driver_there() or not torch_there():
        return False
    import torch

    return torch.cuda.is_available()


def best_device() -> str:
    """ "cuda", "mps" or "cpu": the fastest that torch can use here; "cpu" without torch."""
    if not torch_there():
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def cuda_or_cpu() -> str:
    """For libraries that know no other device: "cuda" where torch sees an NVIDIA or AMD GPU, else "cpu"."""
    return "cuda" if has_cuda() else "cpu"


def torch_device(wanted: str = "auto") -> torch.device:
    """The device of that name, or the best. Raises MachineError if it is asked for by name and not there."""
    import torch

    name = best_device() if wanted == "auto" else wanted
    kind = name.partition(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        raise MachineError(
            f"torch {torch.__version__} cannot use the device {name!r} here",
            "`twin doctor` says what is missing, or use cpu",
        )
    return torch.device(name)


def free_memory(device: torch.device) -> int:
    """Bytes that a tensor may take on the device now (on the CPU: what the system calls available)."""
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


def captures_graphs(device: torch.device) -> bool:
    """Whether steps can be recorded as CUDA graphs there."""
    return device.type == "cuda"


def computes_well_in_half(device: torch.device) -> bool:
    """Whether float16 products are faster than float32 ones there."""
    return device.type == "cuda"


def finish_work(device: torch.device) -> None:
    """Wait for all that was launched: before a clock is read."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
