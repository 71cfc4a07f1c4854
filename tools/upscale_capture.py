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
    small = Rig.load(args.capture / "calibration.json")
    large = small.scaled(args.width / small.width)
    above = (args.height - large.height) // 2
    sources = [f for side in ("left", "right") for f in sorted((args.capture / side).iterdir())[: args.frames]]

    def enlarge(source: Path) -> None:
        image = cv2.resize(read_rgb(source), (large.width, large.height), interpolation=cv2.INTER_CUBIC)
        padded = cv2.copyMakeBorder(image, above, args.height - large.height - above, 0, 0, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        target = args.out / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(target, padded, 92)

    for _ in ordered_map(enlarge, sources, 2):
        pass
    large.cropped(0, -above, args.width, args.height).save(args.out / "calibration.json")
    prompt = json.loads((args.capture / "prompt.json").read_text())
    scale = args.width / small.width
    x0, y0, x1, y1 = (v * scale for v in prompt["box_xyxy"])
    (args.out / "prompt.json").write_text(json.dumps({"frame": prompt["frame"], "box_xyxy": [x0, y0 + above, x1, y1 + above]}))


if __name__ == "__main__":
    main()
