"""OWLv2 (Minderer et al. 2023), an open-vocabulary detector, through transformers.

Pictures are prepared with Pillow: nothing here needs torchvision. Words are cut by CLIP's byte pairs, whose whole vocabulary follows from
the list of merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.detected_box import Box
from stages.core.errors import WeightsError
from stages.core.plain_files import read_text

START, END, FILL = "<|startoftext|>", "<|endoftext|>", "!"
MOST_MERGES_BYTES = 4 << 20
TEMPLATE = "a photo of a {}"
"""as the network was trained"""
KEPT = 20


class OwlDetector:
    """Callable as `text_prompt.Detector`."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        from transformers import Owlv2ImageProcessorPil

        side = network.config.vision_config.image_size
        self._network, self._tokenizer = network.eval(), tokenizer
        self._prepare = Owlv2ImageProcessorPil(size={"height": side, "width": side})

    @staticmethod
    def load(weights: Path, model: Mapping[str, Any], merges: Path) -> OwlDetector:
        """From a state dict in safetensors, its `model` configuration and CLIP's merges. Raises WeightsError for files that do not fit."""
        from safetensors.torch import load_file
        from transformers import Owlv2Config, Owlv2ForObjectDetection

        network = Owlv2ForObjectDetection(Owlv2Config(**model))
        missing, unexpected = network.load_state_dict(load_file(weights), strict=False)
        wrong = [k for k in (*missing, *unexpected) if not k.endswith("position_ids")]
        if wrong:
            raise WeightsError(
                f"{weights} does not fit the detector it is for: {len(wrong)} tensors differ, first {wrong[0]}",
                "fetch it again: `twin weights fetch owlv2-base`",
            )
        return OwlDetector(network, tokenizer_of(merges))

    def __call__(self, picture: np.ndarray, words: str) -> Sequence[Box]:
        """Boxes in px of the (H, W, 3) uint8 picture, the surest first."""
        import torch

        length = self._network.config.text_config.max_position_embeddings
        text = self._tokenizer(
            [TEMPLATE.format(words)], padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        pixels = self._prepare(images=picture, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            found = self._network(
                input_ids=text["input_ids"], attention_mask=text["attention_mask"], pixel_values=pixels
            )
        score = torch.sigmoid(found.logits[0, :, 0]).float().numpy()
        # the picture was made square below and on the right; its edges are at 0, here pixel centres are
        centre, size = np.split(found.pred_boxes[0].float().numpy() * max(picture.shape[:2]), 2, 1)
        corners = np.hstack([centre - size / 2, centre + size / 2]) - 0.5
        return [Box(float(score[k]), tuple(map(float, corners[k]))) for k in np.argsort(-score, kind="stable")[:KEPT]]


def tokenizer_of(merges: Path) -> Any:
    """CLIP's tokenizer from merges.txt: a pair of parts in each line, most frequent first. Raises WeightsError for another file."""
    from transformers import CLIPTokenizer

    lines = [
        line
        for line in read_text(merges, WeightsError, MOST_MERGES_BYTES).split("\n")
        if line and not line.startswith("#version")
    ]
    pairs = [tuple(line.split(" ")) for line in lines]
    if not pairs or any(len(p) != 2 for p in pairs):
        raise WeightsError(
            f"{merges} is no list of merges: two parts in each line", "fetch it again: `twin weights fetch clip-merges`"
        )
    letters = _letters()
    parts = [*letters, *(f"{c}</w>" for c in letters), *("".join(p) for p in pairs), START, END]
    return CLIPTokenizer(vocab={part: k for k, part in enumerate(parts)}, merges=pairs, pad_token=FILL)


def _letters() -> list[str]:
    """What stands for each of the 256 bytes: printable ones for themselves, in order, then the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in printable] + [chr(256 + k) for k in range(256 - len(printable))]
