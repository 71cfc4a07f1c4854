"""Where a user marks the object, from outside the pipeline: the left pictures of a capture as captured, and its prompt.json.

The pictures are those that `rectify` reads, and a prompt is accepted by the same rules.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.capture import CaptureFiles, find_files
from stages.core.disk import THE_DISK
from stages.core.errors import CaptureError, StoreError

MOST_MEGAPIXELS = 100.0
VIDEO_FRAMES = 30
"""of a video, evenly spread: it is read from its start each time"""
JPEG_QUALITY = 88


@dataclass(frozen=True)
class MarkedCapture:
    """One capture; pictures are decoded when they are asked for."""

    files: CaptureFiles

    @classmethod
    def open(cls, folder: Path) -> MarkedCapture:
        """Raises CaptureError for a folder that is no capture."""
        return cls(find_files(folder))

    @property
    def frames(self) -> list[int]:
        """Numbers of the frames that can be shown."""
        count, step = self._reader.count, 1
        if self._reader.sequential:
            step = max(1, -(-count // VIDEO_FRAMES))
        return list(range(0, count, step))

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) of the left pictures. Raises CaptureError."""
        for pair in self._reader.stream():
            if pair.left is not None:
                height, width = pair.left.pixels().shape[:2]
                return width, height
        raise CaptureError(f"{self.files.root} has no left picture", "copy the left camera's pictures there")

    def left(self, frame: int) -> np.ndarray:
        """(H, W, 3) RGB. Raises CaptureError where the frame has no left picture or it cannot be read."""
        import cv2

        for pair in self._reader.stream(lambda k: k == frame):
            if pair.frame == frame and pair.left is not None:
                pixels = pair.left.pixels()
                return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB)
        raise CaptureError(
            f"frame {frame} of {self.files.root} has no left picture",
            f"frames are {self.frames[0]} to {self.frames[-1]}",
        )

    def jpeg(self, frame: int, most_width: int) -> bytes:
        """The left picture as JPEG, made smaller if it is wider."""
        import cv2

        image = self.left(frame)
        if image.shape[1] > most_width:
            image = cv2.resize(
                image, (most_width, round(image.shape[0] * most_width / image.shape[1])), interpolation=cv2.INTER_AREA
            )
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return data.tobytes()

    def prompt(self) -> dict[str, Any]:
        """What prompt.json says; {} without one. Raises CaptureError."""
        from stages.core.plain_files import read_json

        path = self.files.prompt
        found = {} if path is None else read_json(path)
        if not isinstance(found, dict):
            raise CaptureError(
                f"{path} cannot be understood: {str(found)[:60]} is no entry with keys", "remove it, or mend it"
            )
        return found

    def save(self, prompt: Any) -> None:
        """Write prompt.json, whole or not at all; {} removes it. Raises CaptureError for what `rectify` would refuse, StoreError."""
        from stages.core.object_prompt import check_prompt, read_prompt

        text = json.dumps(prompt, indent=1, allow_nan=False)
        with _kept(text) as path:
            check_prompt(read_prompt(path, None, 0, self.files.prompt_masks), self.size, self._reader.count)
        target = self.files.root / "prompt.json"
        try:
            target.unlink(missing_ok=True) if prompt == {} else THE_DISK.replace(target, text.encode())
        except OSError as e:
            raise StoreError(
                f"{target} cannot be written: {e.strerror}", "check the permissions of the capture's folder"
            ) from e

    @cached_property
    def _reader(self):
        from stages.rectify.capture_input import open_reader

        return open_reader(self.files, MOST_MEGAPIXELS)


@contextmanager
def _kept(text: str) -> Iterator[Path]:
    """As a file of the name that messages call it by."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompt.json"
        path.write_text(text)
        yield path
