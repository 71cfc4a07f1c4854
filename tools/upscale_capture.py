"""Makes a large capture out of a small one, to time pictures of 12 megapixels: the content is no sharper, the work is.

    python tools/upscale_capture.py CAPTURE OUT [--width 4000] [--height 3000] [--frames 36]

The picture is enlarged to the width; grey rows are added above and below to reach the height. Calibration and prompt follow.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2

from stages.core.camera import Rig
from stages.core.images import read_rgb, write_rgb
from stages.core.parallel import ordered_map


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("capture", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--width", type=int, default=4000)
    p.add_argument("--height", type=int, default=3000)
    p.add_argument("--frames", type=int, default=36)
    args = p.parse_args()
    resize_capture(args.capture, args.out, args.width, args.height, frames=range(args.frames))


def resize_capture(capture: Path, out: Path, width: int, height: int, frames: range) -> None:
    """Write the named `frames` of `capture` into `out`, scaled to `width`; rows that are missing up to `height` (px) are grey."""
    source = Rig.load(capture / "calibration.json")
    scale = width / source.width
    rig = source.scaled(scale)
    above = (height - rig.height) // 2
    pictures = [f for side in ("left", "right") for f in [sorted((capture / side).iterdir())[k] for k in frames]]

    def resize(picture: Path) -> None:
        image = cv2.resize(
            read_rgb(picture), (rig.width, rig.height), interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        )
        padded = cv2.copyMakeBorder(
            image, above, height - rig.height - above, 0, 0, cv2.BORDER_CONSTANT, value=(128, 128, 128)
        )
        target = out / picture.parent.name / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(target, padded, 92)

    for _ in ordered_map(resize, pictures, 2):
        pass
    rig.cropped(0, -above, width, height).save(out / "calibration.json")
    prompt = json.loads((capture / "prompt.json").read_text())
    x0, y0, x1, y1 = (v * scale for v in prompt["box_xyxy"])
    (out / "prompt.json").write_text(
        json.dumps({"frame": prompt["frame"], "box_xyxy": [x0, y0 + above, x1, y1 + above]})
    )


if __name__ == "__main__":
    main()
