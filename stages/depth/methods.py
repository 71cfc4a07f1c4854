"""Which ways to measure disparity there are, and which one `method: auto` takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.core.errors import ConfigError
from stages.core.weights import entry, require
from stages.depth.onnx_contract import contract
from stages.depth.stereo_net.contract import WEIGHTS as STEREO_NET

if TYPE_CHECKING:
    import numpy as np

    from stages.depth.config import DepthConfig
    from stages.depth.stereo import Estimate, Prior
    from stages.depth.stereo_net.matcher import NetworkStereo

    Matcher = Callable[[np.ndarray, np.ndarray], Estimate]


MC_CNN = "mc-cnn-fast"
"""Name in the registry of the weights of depth.cost=mc_cnn."""


@dataclass(frozen=True)
class Method:
    """A way to measure disparity: why it cannot run here ("" if it can), and its matcher for some settings."""

    missing: Callable[[], str]
    matcher: Callable[..., Any]
    """called with (settings, threads)"""
    summary: str


def _semi_global(config: DepthConfig, threads: int = 0, prior: Prior | None = None) -> Matcher:
    from stages.depth.seed import census_cost
    from stages.depth.stereo import SemiGlobalStereo

    cost = census_cost
    if config.cost == "mc_cnn":
        from stages.depth.learned_cost import LearnedCost

        cost = LearnedCost(require(MC_CNN).path)
    return SemiGlobalStereo(
        config.work_megapixels, config.matching_megapixels, config.steps, config.max_sigma_px, cost=cost, prior=prior
    )


def _stereo_net(config: DepthConfig, threads: int = 0) -> NetworkStereo:
    from stages.depth.stereo_net.matcher import NetworkStereo, onnx_network

    network = onnx_network(require(STEREO_NET).path, config.onnx_provider, threads)
    return NetworkStereo(network, config.net_megapixels, config.max_sigma_px)


def _hybrid(config: DepthConfig, threads: int = 0) -> Matcher:
    return _semi_global(config, threads, _stereo_net(config, threads).guess)


def _onnx(config: DepthConfig, threads: int = 0) -> Matcher:
    from stages.depth.onnx_session import OnnxSession
    from stages.depth.onnx_stereo import OnnxStereo

    expects = contract(config.onnx_weights, entry(config.onnx_weights).model)
    session = OnnxSession(require(config.onnx_weights).path, expects, config.onnx_provider, threads)
    return OnnxStereo(
        session,
        expects,
        session.fixed_size,
        config.onnx_megapixels,
        band_megapixels=config.onnx_band_megapixels,
        left_right_px=config.onnx_left_right_px,
        floor_px=config.onnx_floor_px,
    )


def _onnx_missing() -> str:
    there = importlib.util.find_spec("onnxruntime") is not None
    return (
        "" if there else "onnxruntime is not installed (pip install 'stereotwin[learned]', or onnxruntime-gpu for CUDA)"
    )


METHODS: dict[str, Method] = {
    "sgm": Method(lambda: "", _semi_global, "semi-global matching refined by a thin plate"),
    "stereo_net": Method(_onnx_missing, _stereo_net, "the project's own stereo network"),
    "hybrid": Method(
        _onnx_missing,
        _hybrid,
        "the project's own stereo network joined with semi-global matching, refined by a thin plate",
    ),
    "onnx": Method(_onnx_missing, _onnx, "a stereo network run by onnxruntime"),
}
"""By the name used in the settings."""
AUTO_ORDER = ("sgm",)
"""Best first; the last one always runs. A network is not among them: on a CPU it takes minutes per frame, and weights that happen to
lie on a machine should not change what a capture gives."""


def needs_weights(config: DepthConfig) -> tuple[str, ...]:
    """Names in the registry that these settings use."""
    if config.method == "onnx":
        return (config.onnx_weights,)
    method = choose(config.method)[0]
    own = (STEREO_NET,) if method in ("stereo_net", "hybrid") else ()
    return (*own, MC_CNN) if config.cost == "mc_cnn" and method in ("sgm", "hybrid") else own


def choose(name: str) -> tuple[str, str]:
    """(method, why) for a setting. Raises ConfigError when the method that was asked for cannot run here."""
    if name == "auto":
        chosen = next(m for m in AUTO_ORDER if not METHODS[m].missing())
        return chosen, f"auto: {METHODS[chosen].summary}, the best method that needs nothing this machine lacks"
    if missing := METHODS[name].missing():
        raise ConfigError(
            f"depth.method={name} cannot run: {missing}", "provide what is missing, or use depth.method=auto"
        )
    return name, "asked for"
