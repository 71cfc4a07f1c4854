"""A folder of captures, each of which fails alone.   python examples/a_batch.py FOLDER OUT [SETTING ...]

The same with a page, schedules, retries and several machines: `twin serve` (docs/operating.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

import stereotwin


def main(folder: Path, out: Path, settings: dict[str, object]) -> int:
    """How many failed."""
    failed = 0
    for capture in sorted(p for p in folder.iterdir() if p.is_dir()):
        try:
            twin = stereotwin.reconstruct(capture, out=out / capture.name, profile="preview", settings=settings)
            print(f"{capture.name}: {twin.verdict}")
        except stereotwin.TwinError as e:
            failed += 1
            print(f"{capture.name}: failed. {e.message}. What to do: {e.advice}")
    return failed


if __name__ == "__main__":
    pairs = (text.partition("=") for text in sys.argv[3:])
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), {name: value for name, _, value in pairs}))
