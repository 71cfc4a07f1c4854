"""Colour for people at a terminal; what goes to a file, a pipe or a terminal without colours (NO_COLOR, TERM=dumb) stays plain."""

from __future__ import annotations

import os
from typing import TextIO

VERDICTS = {"usable": "bold green", "partial": "bold yellow", "do not use": "bold red"}
BAR_WIDTH = 20


def is_colourful(stream: TextIO) -> bool:
    """Whether the stream is a terminal whose reader has nothing against colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, style: str, stream: TextIO) -> str:
    """The text as this stream shall show it; `style` in rich's words, as "bold red"."""
    if not style or not is_colourful(stream):
        return text
    from rich.color import ColorSystem
    from rich.style import Style

    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


def bar(done: int, total: int) -> str:
    """How far it is, BAR_WIDTH characters; "" where that is not known."""
    if total <= 0:
        return ""
    full = round(BAR_WIDTH * min(done / total, 1.0))
    return "━" * full + "╌" * (BAR_WIDTH - full)
