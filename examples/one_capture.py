"""The flow told as a story.   python examples/one_capture.py [CAPTURE [SETTING ...]]"""

from __future__ import annotations

import sys
from pathlib import Path

import stereotwin
from stages.core.synthetic.capture import CaptureSpec, write_capture


def main(capture: Path, settings: dict[str, object]) -> None:
    """What happens, in its order."""
    # A capture is a folder: left/ and right/ with a picture each, and a calibration. Here one is drawn if there is none.
    if not capture.exists():
        write_capture(capture, CaptureSpec(frames=16, width=320, height=240, swings=2), workers=2)

    # rectify -> depth -> masks -> track -> bundle -> surface -> texture -> physics -> package. Each result goes to the store before the
    # next stage begins.
    begun: list[str] = []

    def tell(stage: str, done: int, total: int, note: str) -> None:
        if stage not in begun:
            begun.append(stage)
            print(f"{stage} ...")

    twin = stereotwin.reconstruct(
        capture, out=capture.parent / "twin", profile="preview", settings=settings, progress=tell
    )

    # The verdict says how far to trust it before anything is measured in it.
    print(twin.verdict)
    print(f"{len(twin.mesh.faces)} triangles; frames with a pose: {len(twin.poses)}")

    # A changed setting costs the stages that depend on it. Nothing changed, so nothing is computed now.
    begun.clear()
    stereotwin.reconstruct(capture, out=capture.parent / "twin", profile="preview", settings=settings, progress=tell)
    print(f"computed again: {', '.join(begun) or 'nothing'}")


if __name__ == "__main__":
    pairs = (text.partition("=") for text in sys.argv[2:])
    main(
        Path(sys.argv[1] if len(sys.argv) > 1 else "example/capture").resolve(),
        {name: value for name, _, value in pairs},
    )
