"""SAM 2's weights as its authors' package names them (`sam2.1_hiera_small.pt`), under the names of transformers' classes.

The networks are the same; modules are called otherwise, the four point embeddings lie in one table, and the layers of a perceptron are
named by what they do. Compared with the authors' code at random weights of the tiny network: all tensors, and equal masks to 1e-4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SIGN = "image_encoder.trunk.pos_embed"
_RENAMED = (
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.", "prompt_encoder.mask_embed."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"^(memory_attention|vision_encoder|mask_decoder)(\..*)?\.norm(\d?)\.", r"\1\2.layer_norm\3."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"^(memory_encoder\.memory_fuser\..*)\.norm\.", r"\1.layer_norm."),
    (r"\.gamma$", ".scale"),
)
_PLACES = {
    "prompt_encoder.mask_embed.": {0: "conv1", 1: "layer_norm1", 3: "conv2", 4: "layer_norm2", 6: "conv3"},
    "mask_decoder.output_upscaling.": {0: "upscale_conv1", 1: "upscale_layer_norm", 3: "upscale_conv2"},
}
_POINTS = "sam_prompt_encoder.point_embeddings."
_GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_PERCEPTRON = re.compile(
    r"^(.*(?:mlp|mlps\.\d+|iou_prediction_head|pred_obj_score_head|object_pointer_proj))\.layers\.(\d+)\.(\w+)$"
)
_DOWNSAMPLER = re.compile(r"^(memory_encoder\.mask_downsampler)\.encoder\.(\d+)\.(\w+)$")


def is_original(names: Mapping[str, object]) -> bool:
    """Whether a state dict has the names of the authors' package."""
    return _SIGN in names


def for_transformers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under the names of transformers' Sam2VideoModel."""
    import torch

    plain = {
        _renamed(name): value for name, value in state.items() if name != _GAUSSIAN and not name.startswith(_POINTS)
    }
    points = sorted((name for name in state if name.startswith(_POINTS)), key=lambda name: int(name.split(".")[2]))
    plain["prompt_encoder.point_embed.weight"] = torch.cat([state[name] for name in points])
    for name in ("shared_image_embedding", "prompt_encoder.shared_embedding"):
        plain[f"{name}.positional_embedding"] = state[_GAUSSIAN].clone()
    return _downsampler(_perceptrons(plain))


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    for start, places in _PLACES.items():
        if name.startswith(start):
            place, kind = name[len(start) :].split(".")
            folder = start if start.endswith("embed.") else start.removesuffix("output_upscaling.")
            return f"{folder}{places[int(place)]}.{kind}"
    return name


def _perceptrons(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The first layer is called proj_in, the last proj_out, those between are counted from 0."""
    found = {name: match.groups() for name in state if (match := _PERCEPTRON.match(name))}
    last = {owner: max(int(place) for o, place, _ in found.values() if o == owner) for owner, _, _ in found.values()}

    def called(name: str) -> str:
        if name not in found:
            return name
        owner, place, kind = found[name][0], int(found[name][1]), found[name][2]
        layer = "proj_in" if place == 0 else "proj_out" if place == last[owner] else f"layers.{place - 1}"
        return f"{owner}.{layer}.{kind}"

    return {called(name): value for name, value in state.items()}


def _downsampler(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A convolution, its normalisation and an activation in turn; the last convolution alone."""
    places = [int(match[2]) for name in state if (match := _DOWNSAMPLER.match(name))]
    last = max(places, default=0)

    def called(name: str) -> str:
        match = _DOWNSAMPLER.match(name)
        if match is None:
            return name
        place = int(match[2])
        layer = "final_conv" if place == last else f"layers.{place // 3}.{'conv' if place % 3 == 0 else 'layer_norm'}"
        return f"{match[1]}.{layer}.{match[3]}"

    return {called(name): value for name, value in state.items()}
