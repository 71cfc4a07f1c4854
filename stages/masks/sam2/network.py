"""SAM 2 video (Ravi et al., 2024) and EdgeTAM (Zhou et al., CVPR 2025) through transformers: the network, its memory of the video, prompts.

The only file that imports them. They expect RGB, resized to a square of `image_size` without keeping the aspect, (value / 255 - mean) / std
with ImageNet's figures; prompt coordinates in pixels of that square, to which they add half a pixel themselves; masks at the square's size.
They give logits at a quarter of it. Frames are fed one by one and forgotten when nothing that follows can use them, so memory does not grow
with the video: what stays is the frames prompted by the user, and of those followed the ones within the memory's reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import transformers
from transformers.utils.logging import disable_progress_bar

from stages.core.devices import cuda_or_cpu
from stages.core.errors import StageError, WeightsError
from stages.masks.frame.prompt import Box, Points
from stages.masks.sam2.model import FAMILIES, family_of, resized_model
from stages.masks.sam2.original import for_transformers, is_original

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

    def __init__(self, model: Any, device: str, dtype: torch.dtype | None = None) -> None:
        """`dtype`: of weights and pictures, by default bfloat16 on a GPU, float32 elsewhere."""
        kind = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
        self._model, self._device, self._dtype = model.to(device, kind).eval(), device, kind
        self._size = int(model.config.image_size)
        self._reach = max(model.config.num_maskmem, model.config.max_object_pointers_in_encoder)
        places = {f"{what}_device": device for what in ("inference", "inference_state", "video_storage")}
        name = type(model).__name__.replace("Model", "InferenceSession")
        self._session = getattr(transformers, name)(dtype=kind, **places)

    def prompt(
        self, position: int, rgb: np.ndarray, points: Points, box: Box | None, mask: np.ndarray | None = None
    ) -> Answer:
        """The object on this frame from points (x, y, 1 or 0), a box (x0, y0, x1, y1), or its mask (H, W); px of `rgb` (H, W, 3) uint8.

        The frame stays in memory for all frames that follow, in either direction.
        """
        if mask is None:
            self._add_prompt(position, rgb.shape[:2], points, box)
        else:
            self._add_mask(position, mask)
        answer = self._run(position, rgb, reverse=False)
        self._session.remove_mask_inputs(self._object, position)  # its output stays; the input is as large as a picture
        self._forget(position)
        return answer

    def follow(self, position: int, rgb: np.ndarray, reverse: bool) -> Answer:
        """The object on the next frame (with `reverse`, the one before) of those seen so far."""
        answer = self._run(position, rgb, reverse)
        self._forget(position)
        return answer

    def correct(
        self,
        position: int,
        rgb: np.ndarray,
        points: Points,
        box: Box | None,
        reverse: bool,
        better: Callable[[Answer], bool],
    ) -> Answer | None:
        """Once more on the frame just followed, with a prompt; None, and nothing has changed, unless better(answer)."""
        outputs = self._outputs["non_cond_frame_outputs"]
        before = outputs.get(position)
        self._add_prompt(position, rgb.shape[:2], points, box)
        answer = self._run(position, rgb, reverse)
        self._session.remove_point_inputs(self._object, position)
        if better(answer):
            self._forget(position)
            return answer
        if before is not None:
            outputs[position] = before
        return None

    def amend(self, position: int, rgb: np.ndarray, points: Points, reverse: bool) -> Answer:
        """The frame with a user's points beside what was followed so far; from then on it counts as prompted."""
        self.follow(position, rgb, reverse)
        answer = self.correct(position, rgb, points, None, reverse, lambda answer: True)
        self._outputs["cond_frame_outputs"][position] = self._outputs["non_cond_frame_outputs"].pop(position)
        assert answer is not None
        return answer

    def turn_back(self) -> None:
        """Forget what was followed, keep the prompted frames: the other direction starts from them."""
        self._outputs["non_cond_frame_outputs"].clear()
        self._session.cache.clear_all()

    @property
    def frames_held(self) -> int:
        """Of which the memory holds something."""
        return sum(len(self._outputs[k]) for k in ("cond_frame_outputs", "non_cond_frame_outputs"))

    @property
    def _object(self) -> int:
        return self._session.obj_id_to_idx(_OBJECT)

    @property
    def _outputs(self) -> dict[str, dict]:
        return self._session.output_dict_per_obj[self._object]

    def _add_prompt(self, position: int, shape: tuple[int, int], points: Points, box: Box | None) -> None:
        corners = [] if box is None else [(box[0], box[1], _BOX_CORNERS[0]), (box[2], box[3], _BOX_CORNERS[1])]
        every = [*corners, *points]
        factor = np.array([self._size / shape[1], self._size / shape[0]])
        places = (np.array([p[:2] for p in every], float) + 0.5) * factor - 0.5
        labels = torch.tensor([p[2] for p in every], dtype=torch.int32)
        # places stay in 32 bits: in bfloat16 a place of 1000 px is known to 4 px, and the network rounds after it divided by its size
        inputs = {
            "point_coords": torch.tensor(places, dtype=torch.float32)[None, None],
            "point_labels": labels[None, None],
        }
        self._session.add_point_inputs(self._object, position, inputs)
        self._session.obj_with_new_inputs = [_OBJECT]

    def _add_mask(self, position: int, mask: np.ndarray) -> None:
        small = cv2.resize(mask.astype(np.float32), (self._size, self._size), interpolation=cv2.INTER_AREA) > 0.5
        self._session.add_mask_inputs(self._object, position, torch.from_numpy(small)[None, None])
        self._session.obj_with_new_inputs = [_OBJECT]

    def _run(self, position: int, rgb: np.ndarray, reverse: bool) -> Answer:
        how = cv2.INTER_AREA if min(rgb.shape[:2]) > self._size else cv2.INTER_LINEAR
        small = cv2.resize(rgb, (self._size, self._size), interpolation=how)
        pixels = torch.from_numpy(((small / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)[None].copy())
        try:
            with torch.inference_mode():
                out = self._model(inference_session=self._session, frame_idx=position, frame=pixels, reverse=reverse)
        except torch.OutOfMemoryError as e:
            raise StageError(
                f"the GPU ran out of memory in SAM 2: {str(e).splitlines()[0][:160]}",
                "lower masks.sam2_size_px, take smaller masks.sam2_weights, or set masks.memory=auto",
            ) from e
        logits = out.pred_masks.float().reshape(out.pred_masks.shape[-2:]).cpu().numpy()
        full = cv2.resize(logits, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return Answer(full, float(torch.sigmoid(out.object_score_logits.float()).reshape(-1)[0]))

    def _forget(self, position: int) -> None:
        session = self._session
        session.processed_frames.clear()
        for kept in (self._outputs["cond_frame_outputs"], self._outputs["non_cond_frame_outputs"]):
            for output in kept.values():
                output.pop("high_res_masks", None)  # the largest, and needed only while its frame is encoded
        followed = self._outputs["non_cond_frame_outputs"]
        for held in (followed, session.frames_tracked_per_obj[self._object]):
            for old in [p for p in held if abs(p - position) > self._reach]:
                del held[old]


def load_network(path: Path, model: Mapping[str, Any], name: str, size_px: int = 0) -> Sam2Network:
    """The network from safetensors, under transformers' names or its authors'; `model`: its registry entry; `size_px`: side of its square,
    0 = as trained. Raises WeightsError."""
    from safetensors.torch import load_file

    kind = family_of(model, name)
    state = load_file(str(path))
    state = for_transformers(state) if is_original(state) else state
    disable_progress_bar()
    found_class, config_class = (getattr(transformers, n) for n in FAMILIES[kind])
    try:
        config = config_class(**resized_model(model, size_px))
        found, info = found_class.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    except ImportError as e:
        raise StageError(
            f"the weights {name} need a library that is not installed: {' '.join(str(e).split())[:200]}",
            "install it (EdgeTAM: pip install timm torchvision), or choose other masks.sam2_weights",
        ) from e
    except (RuntimeError, TypeError, ValueError) as e:
        raise WeightsError(
            f"the weights {name} do not fit {kind} as its registry entry describes it: {str(e).splitlines()[0][:200]}",
            "`twin weights verify`, or correct `model` in registry.yaml",
        ) from e
    if missing := sorted(info["missing_keys"]):
        raise WeightsError(
            f"{path.name} lacks {len(missing)} tensors of {kind} as its entry describes it, for example {missing[0]}",
            "`twin weights verify`, or correct `model` in registry.yaml",
        )
    return Sam2Network(found, cuda_or_cpu())
