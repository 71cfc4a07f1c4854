"""What the exported stereo network expects and gives; its entry in weights/registry.yaml. No torch here."""

from __future__ import annotations

WEIGHTS = "stereo-net"
SIZE_MULTIPLE = 32
WEIGHTS_CONTRACT = {
    "inputs": ("left", "right"),
    "output": "disparity",
    "sigma": "sigma",
    "multiple": SIZE_MULTIPLE,
}
