"""Capture folders from arrays, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.camera import Rig
from stages.core.capture import CaptureFiles, find_files
from stages.core.errors import CaptureError
from stages.core.frame_names import pair_files
from stages.core.images import read_rgb, write_mask, write_rgb

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Capture:
    """A capture folder; pictures are read one pair at a time. For folders of pictures; videos are read by the rectify stage only."""

    folder: Path
    files: CaptureFiles

    def __len__(self) -> int:
        return len(self._pairs())

    def __iter__(self) -> Iterator[Pair]:
        """(left, right) RGB of each whole pair, in the order of the capture."""
        for left, right in self._pairs():
            yield read_rgb(left), read_rgb(right)

    def _pairs(self) -> list[tuple[Path, Path]]:
        pairs, _ = pair_files(self.files.left, self.files.right)
        return [(left, right) for left, right in pairs if left is not None and right is not None]


def read_capture(folder: str | Path) -> Capture:
    """Raises CaptureError for a folder that is no capture or holds videos."""
    files = find_files(Path(folder).expanduser().resolve())
    if not files.left:
        raise CaptureError(f"{folder} holds videos", "run_until('rectify', ..) gives its pictures")
    return Capture(files.root, files)


def write_capture(
    folder: str | Path,
    pairs: Iterable[Pair],
    rig: Rig,
    box: tuple[float, float, float, float] | None = None,
    masks: Iterable[np.ndarray] = (),
) -> Path:
    """Write rectified pairs ((H, W, 3) uint8 RGB) as a capture that `reconstruct` takes. `box`: the object in the first left picture, px;
    `masks`: (H, W) bool per frame, if known. Raises CaptureError for a folder that holds something and for pictures of another size."""
    out = Path(folder)
    if out.exists() and any(out.iterdir()):
        raise CaptureError(f"{out} is not empty", "name a new folder")
    count = 0
    for count, (left, right) in enumerate(pairs, 1):
        for side, image in (("left", left), ("right", right)):
            if image.shape != (rig.height, rig.width, 3):
                found = f"{side} picture {count - 1} is {image.shape}, the rig is {rig.width} x {rig.height}"
                raise CaptureError(found, "give the rig of these pictures")
            write_rgb(out / side / f"{count - 1:06d}.png", image)
    if not count:
        raise CaptureError("there are no pairs", "give at least a few pairs of pictures")
    for k, mask in enumerate(masks):
        write_mask(out / "masks" / f"{k:06d}.png", mask)
    rig.save(out / "calibration.json")
    if box is not None:
        (out / "prompt.json").write_text(json.dumps({"frame": 0, "box_xyxy": list(box)}))
    return out
