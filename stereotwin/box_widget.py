"""A picture in a notebook on which the mouse, or a finger, draws a box."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets


class BoxPicker(anywidget.AnyWidget):
    """`box`: [x0, y0, x1, y1] px of the picture, [] for none; both sides may change it."""

    _esm = Path(__file__).parent / "box_widget.js"
    picture = traitlets.Bytes().tag(sync=True)
    size = traitlets.List(traitlets.Int()).tag(sync=True)
    box = traitlets.List(traitlets.Float()).tag(sync=True)
