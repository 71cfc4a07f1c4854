"""SAM 2 video (Ravi et al., 2024) through transformers: the network, its memory of the video, prompts. The only file that imports them.

It expects RGB, resized to a square of `image_size` without keeping the aspect, (value / 255 - mean) / std with ImageNet's figures; prompt
coordinates in pixels of that square, to which it adds half a pixel itself. It gives logits at a quarter of the square's size. Frames are
fed one by one and forgotten when nothing that follows can use them, so memory does not grow with the video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from transformers import Sam2VideoConfig, Sam2VideoInferenceSession, Sam2VideoModel
from transformers.utils.logging import disable_progress_bar

from stages.core.errors import WeightsError

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
_OBJECT = 1
_BOX_CORNERS = (2, 3)
"""Labels of a box's upper left and lower right corner among point prompts; 1 and 0 are points on the object and beside it."""


@dataclass(frozen=True)
class Answer:
    """(H, W) float32 logits (above 0 = object) at the picture's size, and the probability that the object is in the picture."""

    logits: np.ndarray
    present: float


class Sam2Network:
    """Follows one object; positions count the frames in the order of time."""

    def __init__(self, model: Sam2VideoModel, device: str) -> None:
        kind = torch.bfloat16 if device == "cuda" else torch.float32
        self._model, self._device, self._dtype = model.to(device, kind).eval(), device, kind
        self._size = int(model.config.image_size)
        self._reach = max(model.config.num_maskmem, model.config.max_object_pointers_in_encoder)
        places = {f"{what}_device": device for what in ("inference", "inference_state", "video_storage")}
        self._session = Sam2VideoInferenceSession(dtype=kind, **places)

    def prompt(self, position: int, rgb: np.ndarray, points: list[tuple[float, float, int]], box: tuple[float, ...] | None) -> Answer:
        """The object on this frame from points (x, y, 1 or 0) and a box (x0, y0, x1, y1), px of `rgb` (H, W, 3) uint8."""
        self._add_prompt(position, rgb.shape[:2], points, box)
        return self._run(position, rgb, reverse=False)

    def follow(self, position: int, rgb: np.ndarray, reverse: bool) -> Answer:
        """The object on the next frame (with `reverse`, the one before) of those seen so far."""
        answer = self._run(position, rgb, reverse)
        self._forget(position, reverse)
        return answer

    def correct(self, position: int, rgb: np.ndarray, box: tuple[float, ...], reverse: bool, better: Any) -> Answer | None:
        """Once more on the frame just followed, with a box; None, and nothing has changed, unless better(answer)."""
        outputs = self._outputs["non_cond_frame_outputs"]
        before = outputs.get(position)
        self._add_prompt(position, rgb.shape[:2], [], box)
        answer = self._run(position, rgb, reverse)
        if better(answer):
            return answer
        self._session.remove_point_inputs(0, position)
        if before is not None:
            outputs[position] = before
        return None

    def turn_back(self) -> None:
        """Forget what was followed, keep the prompted frames: the other direction starts from them."""
        self._outputs["non_cond_frame_outputs"].clear()
        self._session.cache.clear_all()

    @property
    def frames_held(self) -> int:
        """Of which the memory holds something."""
        return sum(len(self._outputs[k]) for k in ("cond_frame_outputs", "non_cond_frame_outputs"))

    @property
    def _outputs(self) -> dict[str, dict]:
        return self._session.output_dict_per_obj[0]

    def _add_prompt(self, position: int, shape: tuple[int, int], points: list, box: tuple[float, ...] | None) -> None:
        corners = [] if box is None else [(box[0], box[1], _BOX_CORNERS[0]), (box[2], box[3], _BOX_CORNERS[1])]
        every = [*corners, *points]
        factor = np.array([self._size / shape[1], self._size / shape[0]])
        places = (np.array([p[:2] for p in every], float) + 0.5) * factor - 0.5
        labels = torch.tensor([p[2] for p in every], dtype=torch.int32)
        index = self._session.obj_id_to_idx(_OBJECT)
        inputs = {"point_coords": torch.tensor(places, dtype=self._dtype)[None, None], "point_labels": labels[None, None]}
        self._session.add_point_inputs(index, position, inputs)
        self._session.obj_with_new_inputs = [_OBJECT]

    def _run(self, position: int, rgb: np.ndarray, reverse: bool) -> Answer:
        how = cv2.INTER_AREA if min(rgb.shape[:2]) > self._size else cv2.INTER_LINEAR
        small = cv2.resize(rgb, (self._size, self._size), interpolation=how)
        pixels = torch.from_numpy(((small / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)[None].copy())
        out = self._model(inference_session=self._session, frame_idx=position, frame=pixels, reverse=reverse)
        logits = out.pred_masks.float().reshape(out.pred_masks.shape[-2:]).cpu().numpy()
        full = cv2.resize(logits, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return Answer(full, float(torch.sigmoid(out.object_score_logits.float()).reshape(-1)[0]))

    def _forget(self, position: int, reverse: bool) -> None:
        self._session.processed_frames.clear()
        for kept in (self._outputs["cond_frame_outputs"], self._outputs["non_cond_frame_outputs"]):
            for output in kept.values():
                output.pop("high_res_masks", None)               # the largest, and needed only while its frame is encoded
        followed = self._outputs["non_cond_frame_outputs"]
        for old in [p for p in followed if abs(p - position) > self._reach]:
            del followed[old]


def load_network(path: Path, model: Mapping[str, Any], name: str) -> Sam2Network:
    """The network from safetensors; `model`: what its configuration changes of transformers' defaults. Raises WeightsError."""
    from safetensors.torch import load_file

    state = load_file(str(path))
    disable_progress_bar()
    try:
        found, info = Sam2VideoModel.from_pretrained(None, config=Sam2VideoConfig(**model), state_dict=state, output_loading_info=True)
    except (RuntimeError, TypeError, ValueError) as e:
        raise WeightsError(f"the weights {name} do not fit SAM 2 as its registry entry describes it: {str(e).splitlines()[0][:200]}",
                           "`twin weights verify`, or correct `model` in registry.yaml") from e
    if missing := sorted(info["missing_keys"]):
        raise WeightsError(f"{path.name} lacks {len(missing)} tensors of SAM 2 as its entry describes it, for example {missing[0]}",
                           "`twin weights verify`, or correct `model` in registry.yaml")
    return Sam2Network(found, "cuda" if torch.cuda.is_available() else "cpu")
