"""The settings with which a stage that died for want of memory is tried once more."""

from __future__ import annotations

import dataclasses
from typing import Any


def with_less_memory(config: Any) -> Any | None:
    """The same with `memory: auto`; None where the stage has no such setting, or had it already."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type) or getattr(config, "memory", "auto") == "auto":
        return None
    return dataclasses.replace(config, memory="auto")
