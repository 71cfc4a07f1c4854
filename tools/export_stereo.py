"""Calibrates the trained stereo network's sigma on held-back generated scenes and writes weights/stereo_net.onnx.

    python -m tools.export_stereo [--checkpoint build/stereo_net/checkpoint.pt] [--out weights/stereo_net.onnx] [--levels 48]

The ONNX file holds the moving average of the weights as float16 (computed with in float32), the calibration as part of the graph, and as
metadata how it came about; it takes pictures of any size that is a multiple of 32. Beside it, stereo_net.safetensors holds the same
weights for training to go on from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from stages.depth.stereo_net.network import StereoNet
from tools.stereo_training.export import Calibration, calibrate, write_onnx
from tools.stereo_training.pool import Sizes
from tools.stereo_training.trainer import TEXTURES, held_back_batches, scene_maker, write_weights


def main() -> None:
    """Calibrate, export, and say what was found."""
    args = _arguments()
    saved = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    torch.set_num_threads(1)
    net = StereoNet(Sizes().levels).eval()
    net.load_state_dict(saved["average"])
    maker = scene_maker(TEXTURES, args.seed, "cpu")
    batches = held_back_batches(maker, Sizes(), args.scenes)
    half = len(batches) // 2
    found = calibrate(net, batches[:half])
    covered = Calibration.coverage(net, batches[half:], found)
    net.levels = args.levels
    notes = {
        "steps": str(saved["step"]),
        "training_seconds": f"{saved['seconds']:.0f}",
        "seed": str(args.seed),
        "levels": str(args.levels),
        "sigma": f"sqrt({found.floor_px:.3f}^2 + ({found.factor:.3f} scale^{found.power:.3f})^2) px",
        "licence": "Apache-2.0",
    }
    write_onnx(net, found, Path(args.out), notes)
    write_weights(saved["average"], Path(args.out).with_suffix(".safetensors"))
    print(
        f"{notes} | {Path(args.out).stat().st_size:,} bytes | of {len(batches) - half} batches left out, "
        f"{covered[0]:.3f} within 1 sigma, {covered[1]:.3f} within 2 sigma"
    )


def _arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", default="build/stereo_net/checkpoint.pt")
    p.add_argument("--out", default="weights/stereo_net.onnx")
    p.add_argument("--levels", type=int, default=48, help="disparities, 4 px apart, of the network's picture")
    p.add_argument("--scenes", type=int, default=48)
    p.add_argument("--seed", type=int, default=0, help="of the training: its textures")
    return p.parse_args()


if __name__ == "__main__":
    main()
