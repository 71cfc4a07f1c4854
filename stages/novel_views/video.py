"""MP4 (H.264) by PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np


def write_mp4(path: Path, pictures: Iterable[np.ndarray], size: tuple[int, int], fps: int) -> int:
    """Write (H, W, 3) uint8 RGB pictures of `size` (width, height, both even); returns how many. One thread: the same bytes twice."""
    import av

    count = 0
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "medium", "threads": "1"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")):
                out.mux(packet)
            count += 1
        for packet in stream.encode():
            out.mux(packet)
    return count
