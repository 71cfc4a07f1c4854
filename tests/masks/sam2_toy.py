"""SAM 2 at toy size: the published classes, randomly initialised; and a stand-in that answers from the truth."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_HIERA = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1, "image_size": [128, 128],
          "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 1, 1],
          "window_size_per_stage": [8, 4, 8, 4], "window_positional_embedding_background_size": [2, 2], "global_attention_blocks": [3]}
MODEL = {
    "image_size": 128, "memory_attention_hidden_size": 128, "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 16, "memory_attention_rope_feat_sizes": [8, 8], "memory_encoder_hidden_size": 128,
    "mask_downsampler_embed_dim": 128, "memory_fuser_embed_dim": 128, "memory_fuser_intermediate_dim": 16, "memory_fuser_num_layers": 1,
    "vision_config": {"model_type": "sam2_vision_model", "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 128,
                      "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]], "backbone_config": _HIERA},
    "prompt_encoder_config": {"hidden_size": 128, "image_size": 128, "mask_input_channels": 4},
    "mask_decoder_config": {"hidden_size": 128, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "iou_head_hidden_dim": 16},
}
"""0.9 million parameters, pictures of 128 x 128."""


def random_model(seed: int = 2):
    """A Sam2VideoModel that is sure to see the object, so that its masks are not empty."""
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(seed)
    model = Sam2VideoModel(Sam2VideoConfig(**MODEL))
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(4.0)
    return model


def write(folder: Path) -> None:
    """A weights folder whose registry knows the random model as sam2-toy."""
    random_model().save_pretrained(folder / "saved")
    file = (folder / "saved/model.safetensors").rename(folder / "sam2-toy.safetensors")
    entry = {"title": "SAM 2, random", "page": "https://example.org", "licence": "Apache-2.0", "commercial": True, "model": MODEL,
             "download": "sam2-toy.safetensors", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "registry.yaml").write_text(json.dumps({"sam2-toy": entry}))


class TruthNetwork:
    """Answers with the true masks; in `lost` frames with the whole picture, even when asked again if they are in `hopeless`."""

    def __init__(self, masks: list[np.ndarray], lost: tuple[int, ...] = (), hopeless: tuple[int, ...] = ()) -> None:
        self.masks, self.lost, self.hopeless, self.calls = masks, lost, hopeless, []

    def prompt(self, position, rgb, points, box):
        self.calls.append(("prompt", position))
        return self._answer(self.masks[position])

    def follow(self, position, rgb, reverse):
        self.calls.append(("back" if reverse else "on", position))
        return self._answer(self.masks[position] | (position in self.lost))

    def correct(self, position, rgb, box, reverse, better):
        self.calls.append(("again", position))
        answer = self._answer(self.masks[position] | (position in self.hopeless))
        return answer if better(answer) else None

    def turn_back(self):
        self.calls.append(("turn", -1))

    def _answer(self, mask: np.ndarray):
        return SimpleNamespace(logits=np.where(mask, 8.0, -8.0).astype(np.float32), present=0.99)
