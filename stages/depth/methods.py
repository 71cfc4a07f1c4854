"""Which ways to measure disparity there are, and which one `method: auto` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from stages.depth.config import DepthConfig
    from stages.depth.stereo import Estimate

    Matcher = Callable[[np.ndarray, np.ndarray], Estimate]


@dataclass(frozen=True)
class Method:
    """A way to measure disparity: why it cannot run here ("" if it can), and its matcher for some settings."""

    missing: Callable[[], str]
    matcher: Callable[[DepthConfig], Any]
    summary: str


def _semi_global(config: DepthConfig) -> Matcher:
    from stages.depth.stereo import SemiGlobalStereo

    return SemiGlobalStereo(config.work_megapixels, config.matching_megapixels, config.steps, config.max_sigma_px)


METHODS: dict[str, Method] = {
    "sgm": Method(lambda: "", _semi_global, "semi-global matching refined by a thin plate"),
}
"""By the name used in the settings."""
AUTO_ORDER = ("sgm",)
"""Best first; the last one always runs."""


def choose(name: str) -> tuple[str, str]:
    """(method, why) for a setting. Raises ConfigError when the method that was asked for cannot run here."""
    if name == "auto":
        chosen = next(m for m in AUTO_ORDER if not METHODS[m].missing())
        return chosen, f"auto: {METHODS[chosen].summary}, the best method that needs nothing this machine lacks"
    if missing := METHODS[name].missing():
        raise ConfigError(f"depth.method={name} cannot run: {missing}", "provide what is missing, or use depth.method=auto")
    return name, "asked for"
