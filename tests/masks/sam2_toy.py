"""SAM 2 at toy size: the published classes, randomly initialised; and a stand-in that answers from the truth."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "num_attention_heads": 1,
    "image_size": [128, 128],
    "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 1, 1],
    "window_size_per_stage": [8, 4, 8, 4],
    "window_positional_embedding_background_size": [2, 2],
    "global_attention_blocks": [3],
}
MODEL = {
    "image_size": 128,
    "memory_attention_hidden_size": 128,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 16,
    "memory_attention_rope_feat_sizes": [8, 8],
    "memory_encoder_hidden_size": 128,
    "mask_downsampler_embed_dim": 128,
    "memory_fuser_embed_dim": 128,
    "memory_fuser_intermediate_dim": 16,
    "memory_fuser_num_layers": 1,
    "vision_config": {
        "model_type": "sam2_vision_model",
        "backbone_channel_list": [64, 32, 16, 8],
        "fpn_hidden_size": 128,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "backbone_config": _HIERA,
    },
    "prompt_encoder_config": {"hidden_size": 128, "image_size": 128, "mask_input_channels": 4},
    "mask_decoder_config": {
        "hidden_size": 128,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "iou_head_hidden_dim": 16,
    },
}
"""0.9 million parameters, pictures of 128 x 128."""
EDGE_MODEL = {
    **{k: v for k, v in MODEL.items() if k != "memory_attention_feed_forward_hidden_size"},
    "family": "edgetam",
    "memory_attention_mlp_hidden_size": 16,
    "memory_attention_rope_k_sizes": [4, 4],
    "perceiver_resampler_num_latents": 16,
    "perceiver_resampler_num_latents_2d": 16,
    "perceiver_resampler_mlp_intermediate_size": 16,
    "enable_temporal_pos_encoding_for_object_pointers": False,
    "enable_occlusion_spatial_embedding": False,
}
"""EdgeTAM's memory behind the same small tower: its own tower needs timm and torchvision."""


def random_model(seed: int = 2, described: dict = MODEL):
    """A Sam2VideoModel or EdgeTamVideoModel that is sure to see the object, so that its masks are not empty."""
    import torch
    import transformers

    from stages.masks.sam2.model import FAMILIES, family_of, resized_model

    torch.manual_seed(seed)
    model_class, config_class = (getattr(transformers, n) for n in FAMILIES[family_of(described, "toy")])
    model = model_class(config_class(**resized_model(described, 0)))
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(4.0)
    return model


def write(folder: Path) -> None:
    """A weights folder whose registry knows the random models as sam2-toy and edgetam-toy."""
    entries = {}
    for name, described in (("sam2-toy", MODEL), ("edgetam-toy", EDGE_MODEL)):
        random_model(described=described).save_pretrained(folder / name)
        file = (folder / name / "model.safetensors").rename(folder / f"{name}.safetensors")
        entries[name] = {
            "title": "random",
            "page": "https://example.org",
            "licence": "Apache-2.0",
            "commercial": True,
            "model": described,
            "download": file.name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
    (folder / "registry.yaml").write_text(json.dumps(entries))


class TruthNetwork:
    """Answers with the true masks; in `lost` frames with the whole picture, even when asked again if they are in `hopeless`."""

    def __init__(self, masks: list[np.ndarray], lost: tuple[int, ...] = (), hopeless: tuple[int, ...] = ()) -> None:
        self.masks, self.lost, self.hopeless, self.calls, self.prompted_with = masks, lost, hopeless, [], []

    def prompt(self, position, rgb, points, box, mask=None):
        self.calls.append(("prompt", position))
        self.prompted_with.append(mask)
        return self._answer(self.masks[position])

    def follow(self, position, rgb, reverse):
        self.calls.append(("back" if reverse else "on", position))
        return self._answer(self.masks[position] | (position in self.lost))

    def correct(self, position, rgb, points, box, reverse, better):
        self.calls.append(("again", position))
        answer = self._answer(self.masks[position] | (position in self.hopeless))
        return answer if better(answer) else None

    def amend(self, position, rgb, points, reverse):
        self.calls.append(("amend", position))
        return self._answer(self.masks[position])

    def turn_back(self):
        self.calls.append(("turn", -1))

    def _answer(self, mask: np.ndarray):
        return SimpleNamespace(logits=np.where(mask, 8.0, -8.0).astype(np.float32), present=0.99)
