"""The words of a prompt, read before anything heavy is imported: they decide which weights a run needs."""

from __future__ import annotations

import json
from pathlib import Path


def text_of(capture: Path) -> str:
    """The words of a capture's prompt.json, "" where there are none or the file is broken: reading it for work says what is wrong."""
    path = capture / "prompt.json"
    try:
        data = json.loads(path.read_text("utf-8-sig")) if path.is_file() and path.stat().st_size < 1 << 20 else {}
    except (OSError, ValueError, RecursionError):
        return ""
    text = data.get("text") if isinstance(data, dict) else None
    return text.strip() if isinstance(text, str) else ""
