"""Pictures of work under way, beside a run: no result depends on them, and no fingerprint knows them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever only hands it on does not wait for their import
    import numpy as np

log = logging.getLogger(__name__)
WIDTH, UNKNOWN_HEIGHT, GREY = 1280, 64, 235


@dataclass(frozen=True)
class Aside:
    """Where they go, and what they show from top to bottom. `every`: steps between two of them in a stage that learns."""

    folder: Path
    panels: tuple[str, ...]
    every: int

    def due(self, step: int, before: int) -> bool:
        """Whether one falls into the steps `before` + 1 .. `step`."""
        return step // self.every > before // self.every

    def write(self, name: str, shown: Mapping[str, np.ndarray]) -> None:
        """NNNN_name.jpg of the panels (H, W, 3) uint8 that are `shown`; the others are grey. A disk that fails costs the picture alone."""
        from stages.core.images import write_rgb

        partial = self.folder / f".{os.getpid()}.jpg"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = 1 + max((int(p.name[:4]) for p in taken(self.folder)), default=0)
            write_rgb(partial, layout(self.panels, shown), 90)
            partial.rename(self.folder / f"{number:04d}_{name}.jpg")
        except OSError as e:
            partial.unlink(missing_ok=True)
            log.warning("no progress picture: %s", e)


def taken(folder: Path) -> list[Path]:
    """The progress pictures in a folder, in order."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.jpg"))


def layout(panels: Sequence[str], shown: Mapping[str, np.ndarray]) -> np.ndarray:
    """(H, WIDTH, 3) uint8: the panels below one another, each with its name."""
    import numpy as np

    return np.vstack([_strip(name, shown.get(name)) for name in panels])


def _strip(name: str, picture: np.ndarray | None) -> np.ndarray:
    import cv2
    import numpy as np

    if picture is None:
        out, name = np.full((UNKNOWN_HEIGHT, WIDTH, 3), GREY, np.uint8), f"{name}: not known yet"
    else:
        scale = min(WIDTH / picture.shape[1], 1.0)
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
        out, left = np.full((small.shape[0], WIDTH, 3), GREY, np.uint8), (WIDTH - small.shape[1]) // 2
        out[:, left : left + small.shape[1]] = small
    cv2.putText(out, name, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return out
