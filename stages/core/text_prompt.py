"""An object named in words: a zero-shot detector finds its box in one picture, before anything else is done.

prompt.json: {"text": "ball"} (frame 0) or {"frame": 3, "text": "red ball"}; or the setting `rectify.text` (`rgbd.text`). The box takes the
place of the words, and is shown in the report of the first stage and by `twin check`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from stages.core.detected_box import Box
from stages.core.errors import CaptureError, MachineError, TwinError, WeightsError
from stages.core.images import thumbnail_jpeg
from stages.core.object_prompt import MIN_BOX_PX, Prompt

WEIGHTS = ("owlv2-base", "clip-merges")
"""names in weights/registry.yaml: the network, and how it cuts words"""
LEAST_SCORE = 0.1
"""of a box that counts; OWLv2's authors use the same"""
RIVAL = 0.8
"""share of the best score from which another thing is worth a warning"""
APART = 0.3
"""boxes that overlap by less of both together are of different things"""
PICTURE = "pictures/text.jpg"
_BOX = "or give a box (--box x0,y0,x1,y1, or prompt.json)"


Detector = Callable[[np.ndarray, str], Sequence[Box]]
"""(H, W, 3) uint8 RGB and words -> boxes"""


def needed(text: str) -> tuple[str, ...]:
    """Names of the weights that words need."""
    return WEIGHTS if text else ()


def check(prompt: Prompt) -> None:
    """Before work: raises WeightsError without the weights, MachineError without transformers."""
    if "text" not in prompt:
        return
    import importlib.util

    from stages.core.weights import require

    for name in WEIGHTS:
        try:
            require(name)
        except WeightsError as e:
            raise WeightsError(f"the prompt {prompt['text']!r} is in words: {e.message}", f"{e.advice}, {_BOX}") from e
    if importlib.util.find_spec("transformers") is None:
        raise MachineError(
            f"the prompt {prompt['text']!r} is in words, which needs transformers; it is not installed",
            f"pip install 'stereotwin[learned]', {_BOX}",
        )


def refusal(prompt: Prompt) -> tuple[str, str] | None:
    """(message, advice) of what `check` would raise."""
    try:
        check(prompt)
    except TwinError as e:
        return e.message, e.advice
    return None


def load_detector() -> Detector:
    """The network of `WEIGHTS`. Raises WeightsError."""
    from stages.core.owl_detector import OwlDetector
    from stages.core.weights import entry, require

    return OwlDetector.load(require(WEIGHTS[0]).path, entry(WEIGHTS[0]).model, require(WEIGHTS[1]).path)


def with_box(prompt: Prompt, picture: np.ndarray, detect: Detector) -> tuple[Prompt, Box, str]:
    """The prompt with a box in the place of its words, the box, and a warning ("" = one thing fits). Raises CaptureError for none."""
    words, frame = prompt["text"], prompt["frame"]
    found = sorted(
        (b for raw in detect(picture, words) if (b := _inside(raw, picture)) is not None), key=lambda b: -b.score
    )
    if not found or found[0].score < LEAST_SCORE:
        best = f" (the best guess has a score of {found[0].score:.2f}; {LEAST_SCORE} counts)" if found else ""
        raise CaptureError(
            f"no {words!r} is found in the left picture of frame {frame}{best}",
            "use a plain word for the kind of thing (cup, shoe, toy), name a frame that shows it whole, or give a box",
        )
    box = found[0]
    other = next((b for b in found[1:] if b.score > RIVAL * box.score and _overlap(b.xyxy, box.xyxy) < APART), None)
    warning = (
        ""
        if other is None
        else (
            f"two things look like {words!r} in frame {frame}: the one in {_words(box)} is taken, another "
            f"lies in {_words(other)}; give --box if that is the one"
        )
    )
    return {k: v for k, v in prompt.items() if k != "text"} | {"box_xyxy": list(box.xyxy)}, box, warning


def _inside(box: Box, picture: np.ndarray) -> Box | None:
    """Cut to the picture; None where nothing is left: a detector sees what its square was filled up with, too."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = np.clip(box.xyxy, 0.0, np.array([width, height, width, height]) - 1.0).tolist()
    return Box(box.score, (x0, y0, x1, y1)) if min(x1 - x0, y1 - y0) >= MIN_BOX_PX else None


def draw(out: Path, picture: np.ndarray, box: Box, words: str, frame: int) -> tuple[str, str]:
    """Writes the picture with its box; (caption, path) for a report."""
    shown = picture.copy()
    (x0, y0), (x1, y1) = (tuple(round(v) for v in p) for p in (box.xyxy[:2], box.xyxy[2:]))
    cv2.rectangle(shown, (x0, y0), (x1, y1), (255, 60, 60), max(2, picture.shape[1] // 300))
    (out / "pictures").mkdir(exist_ok=True)
    thumbnail_jpeg(out / PICTURE, shown, 960, 85)
    return f"What {words!r} is taken to be, in the left picture of frame {frame} (score {box.score:.2f})", PICTURE


def words_of(box: Box, prompt: Prompt) -> str:
    """For a log."""
    return f"{prompt['text']!r} is taken to be in {_words(box)} of frame {prompt['frame']} (score {box.score:.2f})"


def _words(box: Box) -> str:
    return f"x {box.xyxy[0]:.0f} to {box.xyxy[2]:.0f}, y {box.xyxy[1]:.0f} to {box.xyxy[3]:.0f} px"


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union."""
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))

    def area(r):
        return (r[2] - r[0]) * (r[3] - r[1])

    return both / max(area(a) + area(b) - both, 1e-9)
