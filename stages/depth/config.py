"""Settings of `depth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.config import setting


@dataclass(frozen=True)
class DepthConfig:
    """How disparities are measured. Lengths in px of the pictures as they come from `rectify`."""

    method: Literal["auto", "sgm", "onnx", "stereo_net", "hybrid"] = "auto"
    """`sgm`: semi-global matching refined by a thin plate, no weights needed. `onnx`: a stereo network (docs/weights.md), only when asked
    for. `stereo_net`: the project's own small network, which comes with it (weights/stereo_net.md). `hybrid`: the same, joined with `sgm`
    by their variances and refined like it. `auto` takes the best method that needs no weights"""
    work_megapixels: float = setting(2.0, only_for=("sgm", "hybrid"))
    """megapixels; larger pictures are refined at this size and the result enlarged: errors in px of the full picture grow with the
    reduction, time falls with its square. 2 keeps a 1600x1200 pair whole and a 12-megapixel pair below 2 s"""
    matching_megapixels: float = setting(0.5, only_for=("sgm", "hybrid"))
    """megapixels; the search over all disparities runs at the first halving at or below this size, where blank areas are smaller and
    the noise is lower; sub-pixel precision comes from the refinement"""
    cost: Literal["census", "mc_cnn"] = setting("census", only_for=("sgm", "hybrid"))
    """what makes two pixels alike: `census`, no weights needed, or `mc_cnn`, features of the network MC-CNN-fast (docs/methods/depth.md):
    fewer mismatches for several times the CPU time"""
    steps: int = setting(2, only_for=("sgm", "hybrid"))
    """Gauss-Newton steps at the finest size; each costs about 0.3 s per megapixel, the third changes little"""
    max_sigma_px: float = setting(8.0, only_for=("sgm", "hybrid", "stereo_net"))
    """px; a disparity less certain than this is left out: its depth would be worth less than the object's own size"""
    net_megapixels: float = setting(0.25, only_for=("stereo_net", "hybrid"))
    """megapixels; size at which the network sees the pictures: it finds disparities up to 192 px of it, and fills areas better that are
    small in it; time grows in proportion, 0.25 take 1.3 s of CPU for both passes"""
    onnx_weights: str = setting("c-fast-foundationstereo", only_for=("onnx",))
    """name in `twin weights list`; the default may be used commercially"""
    onnx_megapixels: float = setting(0.8, only_for=("onnx",))
    """megapixels; larger pictures are reduced to this before the network, and to the width it was trained for, if that is less"""
    onnx_band_megapixels: float = setting(0.8, only_for=("onnx",))
    """megapixels given to the network at once; what is larger goes in bands of full width that share 64 rows. Lower it when memory runs
    out"""
    onnx_left_right_px: float = setting(1.0, only_for=("onnx",))
    """px of the network's picture; a disparity that the right picture's own pass contradicts by more is left out, as hidden or wrong"""
    onnx_floor_px: float = setting(0.2, only_for=("onnx",))
    """px of the network's picture; least standard deviation stated, for errors that both passes share. Not calibrated per network yet"""
    onnx_provider: Literal["auto", "cpu", "cuda", "tensorrt"] = setting(
        "auto", only_for=("onnx", "stereo_net", "hybrid")
    )
    """`auto`: CUDA where the installed onnxruntime has it, else the CPU"""
    memory: Literal["fixed", "auto"] = setting("fixed", only_for=("onnx",))
    """fixed: refuse to start where memory will not suffice, naming the estimate; auto: lower onnx_band_megapixels, then onnx_megapixels,
    until it does, and say so"""
    max_depth_m: float | None = None
    """metres; what is farther away is left out, whatever its method; None keeps all"""
    given_sigma_px: float = 0.25
    """px; standard deviation stated for depth that came with the capture, which says nothing about its own errors"""
