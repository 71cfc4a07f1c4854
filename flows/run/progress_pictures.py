"""Progress pictures of a run, from the pictures that finished stages leave; a stage that learns adds its own (stages/core/aside.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.aside import Aside, taken
from stages.core.errors import TwinError

if TYPE_CHECKING:
    import numpy as np

SHOWN: Mapping[str, Mapping[str, tuple[str, int, int]]] = {
    "surface": {"normal": ("mesh", 0, 1), "kd": ("colours", 0, 1)},
    "texture": {"kd": ("sides", 0, 1)},
    "material": {"kd": ("sides", 1, 3), "ks": ("sides", 2, 3), "latlong": ("light", 0, 1)},
}
"""{stage: {panel: (picture of its report, which row, of how many)}}"""


class ProgressPictures:
    """Of one run; begun, it takes away those of the run before."""

    def __init__(self, aside: Aside) -> None:
        self.aside = aside
        self._shown: dict[str, np.ndarray] = {}
        for old in taken(aside.folder):
            old.unlink()

    def finished(self, stage: str, folder: Path) -> None:
        """After a stage whose result lies in `folder`; from the store or computed."""
        from stages.core.images import read_rgb

        if stage not in SHOWN:
            return
        for panel, (name, row, rows) in SHOWN[stage].items():
            try:
                picture = read_rgb(folder / "pictures" / f"{name}.jpg")
            except (OSError, TwinError):  # a picture less
                continue
            height = picture.shape[0] // rows
            self._shown[panel] = picture[row * height : (row + 1) * height]
        self.aside.write(stage, self._shown)
