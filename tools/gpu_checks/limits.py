"""What the device can do at most: the speeds that the kernels' are held against."""

from __future__ import annotations

import torch

from tools.gpu_checks.rows import FIGURE, Row, Sizes, timed


def measure(device: torch.device, sizes: Sizes) -> list[Row]:
    """Memory bandwidth of a copy (bytes read and written), and multiply-adds of a matrix product in float32 and float16."""
    source = torch.empty(sizes.copied // 4, device=device)
    target = torch.empty_like(source)
    copy = 2 * sizes.copied / timed(device, lambda: target.copy_(source), sizes.runs)
    rows = [Row("memory: copy", FIGURE, f"{copy / 1e9:.0f} GB/s", {"bytes_per_s": copy})]
    side = 4096 if sizes.copied > 1 << 24 else 128
    for dtype in (torch.float32, torch.float16):
        a = torch.randn((side, side), device=device).to(dtype)
        speed = 2 * side**3 / timed(device, lambda a=a: a @ a, sizes.runs)
        name = str(dtype).removeprefix("torch.")
        rows.append(Row(f"product {side} x {side}, {name}", FIGURE, f"{speed / 1e12:.1f} TFLOP/s", {"flops": speed}))
    return rows
