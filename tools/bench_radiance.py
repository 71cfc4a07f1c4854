"""The radiance field of novel_views on sets beside the checkout: PSNR of every 8th picture, which is left out, and the time.

    make bench-radiance    ARGS="--only lego --lego-width 200 --steps 2000" for less

lego: rendered pictures with alpha, its box from the outlines alone. beer: phone pictures without masks, read as LLFF, learned whole in a
contracted space (the posed route refuses such a set, so this reads it directly). A Markdown table; the pictures lie in build/radiance.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.images import read_depth, thumbnail_jpeg, write_depth
from stages.core.new_views.image_based import psnr_inside
from stages.core.new_views.nearest import nearest
from stages.core.posed_cameras import PosedSet, common_point
from stages.novel_views.radiance.carving import box_of_outlines
from stages.novel_views.radiance.renderer import Radiance, Seen, learned_object, learned_scene
from stages.posed.formats import read
from stages.posed.masks import mask_of, read_picture

ROOT = Path(__file__).resolve().parents[1]
HOLD_OUT, SEED = 8, 0
FOLDERS = {"lego": "posed/nerf_lego_400", "beer": "posed/llff_beer"}


class Pictures:
    """Of a set, as wide as asked. Alpha is weighed in where a picture is made smaller."""

    def __init__(self, found: PosedSet, width: int, masked: bool) -> None:
        first = found.cameras[0]
        rig = Rig(
            first.width, first.height, first.K[0, 0], first.K[1, 1], cx=first.K[0, 2], cy=first.K[1, 2], baseline_m=1.0
        )
        self.rig = rig.scaled(width / rig.width) if 0 < width < rig.width else rig
        self.poses = {k: c.world_from_camera for k, c in enumerate(found.cameras)}
        self._found, self._masked = found, masked

    def both(self, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Picture and mask."""
        camera, size = self._found.cameras[k], (self.rig.width, self.rig.height)
        picture, alpha = read_picture(camera.picture)
        mask = mask_of(camera, picture, alpha, "auto")[0] if self._masked else None
        if picture.shape[1::-1] == size:
            return picture, mask
        if mask is None:
            return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), None
        share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        colour = cv2.resize(picture.astype(np.float32) * mask[..., None], size, interpolation=cv2.INTER_AREA)
        return np.clip(np.rint(colour / np.maximum(share, 1e-6)[..., None]), 0, 255).astype(np.uint8), share >= 0.5

    def seen(self) -> Seen:
        """All but every 8th."""
        return Seen(
            self.rig,
            {k: p for k, p in self.poses.items() if k % HOLD_OUT},
            lambda k: self.both(k)[0],
            lambda k: self.both(k)[1],
            hidden=lambda k: None,
        )


def learned(
    name: str, pictures: Pictures, steps: int, samples: int, tell: Callable[[int, int, float], None]
) -> Radiance:
    """The field of a set."""
    seen, threads = pictures.seen(), len(os.sched_getaffinity(0))
    if name == "lego":
        box = box_of_outlines(
            seen.rig, list(seen.poses.values()), [m for k in seen.poses if (m := seen.mask(k)) is not None]
        )
        return learned_object(seen, box, steps, samples, seed=SEED, threads=threads, progress=tell)
    centre = common_point(np.array(list(pictures.poses.values())))
    if centre is None:
        raise SystemExit(f"{name}: the cameras' axes do not meet")
    return learned_scene(seen, centre, steps, samples, seed=SEED, threads=threads, progress=tell)


def scores(found: Radiance, pictures: Pictures, out: Path) -> list[tuple[float, float, float]]:
    """(inside the mask, whole picture over white, nearest picture copied, dB) of each picture that was left out."""
    rows = []
    for k in (k for k in pictures.poses if k % HOLD_OUT == 0):
        picture, mask = pictures.both(k)
        inside = np.ones(picture.shape[:2], bool) if mask is None else mask
        rendered, _, depth = found.whole(pictures.poses[k], pictures.rig)
        near = nearest(pictures.poses[k], pictures.seen().poses, found.centre)[0].frame
        white = np.where(inside[..., None], picture, 255)
        rows.append(
            (
                psnr_inside(picture, rendered, inside),
                psnr_inside(white, rendered, np.ones_like(inside)),
                psnr_inside(picture, pictures.both(near)[0], inside),
            )
        )
        out.mkdir(parents=True, exist_ok=True)
        write_depth(out / f"{k:06d}.tiff", depth)
        assert np.isfinite(read_depth(out / f"{k:06d}.tiff")).any(), "a depth map without depth"
        thumbnail_jpeg(
            out / f"{k:06d}.jpg", np.hstack([white, np.clip(np.rint(rendered), 0, 255)]).astype(np.uint8), 1280
        )
    return rows


def main() -> None:
    """Rows of a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=tuple(FOLDERS), default=tuple(FOLDERS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--work", type=Path, default=ROOT / "build/radiance")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=32768)
    parser.add_argument("--lego-width", type=int, default=400)
    parser.add_argument("--beer-width", type=int, default=360)
    args = parser.parse_args()
    print(
        "| what | inside the mask, dB | whole, on white, dB | nearest copied, dB | wall s | CPU s |\n|---|---|---|---|---|---|"
    )
    for name in args.only:
        pictures = Pictures(read(args.data / FOLDERS[name]), getattr(args, f"{name}_width"), name == "lego")
        wall, cpu = time.monotonic(), time.process_time()
        found = learned(name, pictures, args.steps, args.samples, tell=lambda step, steps, error: None)
        seconds = time.monotonic() - wall, time.process_time() - cpu
        means = np.mean(scores(found, pictures, args.work / name), axis=0)
        print(
            f"| {name}, {pictures.rig.width}x{pictures.rig.height}, {args.steps} steps of {args.samples} | "
            + " | ".join(f"{x:.1f}" for x in means)
            + f" | {seconds[0]:.0f} | {seconds[1]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
