"""Each encoding against the twin in float64: values, gradients, second order; then how fast, against the memory's bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from stages.core.field.field_shape import FieldShape
from stages.core.field.hash_grid import FEATURES, GridLayout
from stages.surface.device import grid as device_grid
from stages.surface.device.grid import DeviceLayout
from stages.surface.field.torch_twin import encode as twin_encode
from tools.gpu_checks.rows import FIGURE, Row, Sizes, compared, relative_error, timed

EXACT = 1e-3
"""float32 against float64, relative to the largest value: with 2048 cells an edge, float32 knows a point to 1e-4 of a cell"""
BORDER = 2e-3
"""points this near to the side of a cell, cells, are not compared: rounding decides on which side they lie"""
NAMES = (
    "features",
    "gradient of points",
    "gradient of table",
    "second order, points",
    "second order, table",
    "second order, upstream",
)


def encoders() -> dict[str, Callable]:
    """Those that import here."""
    found = {"torch": device_grid.encode}
    try:
        from stages.surface.device import triton_grid
    except ImportError:
        return found
    return found | {"triton": triton_grid.encode}


def check(device: torch.device, sizes: Sizes, bandwidth: float) -> Iterator[Row]:
    """Rows of all encoders."""
    shape = FieldShape(levels=sizes.levels, log2_entries=sizes.log2_entries)
    layout = shape.grid()
    numbers = torch.Generator().manual_seed(0)
    table = torch.randn((layout.entries, FEATURES), generator=numbers).to(device)
    active = torch.linspace(1.4, 0.1, shape.levels).clamp(max=1).to(device)
    here, x = (
        DeviceLayout.of(layout, device),
        inside_cells(torch.rand((sizes.checked, 3), generator=numbers), layout).to(device),
    )
    wanted = derivatives(lambda p, t: twin_encode(t, layout, p, active.tolist()).T, x.double(), table.double())
    for name, encode in encoders().items():
        found = derivatives(lambda p, t, encode=encode: encode(p, t, active, here), x, table)
        for what, ours, theirs in zip(NAMES, found, wanted, strict=True):
            yield compared(f"grid {name}: {what}", relative_error(ours, theirs), EXACT)
        yield from speeds(name, encode, table, active, here=here, sizes=sizes, bandwidth=bandwidth)


def inside_cells(x: torch.Tensor, layout: GridLayout) -> torch.Tensor:
    """Those of the points that lie well inside a cell at every level."""
    at = x.double()[:, None] * torch.tensor(layout.scale).double()[:, None] + 0.5
    return x[((at - at.round()).abs() > BORDER).flatten(1).all(1)]


def derivatives(encode: Callable, x: torch.Tensor, table: torch.Tensor) -> list[torch.Tensor]:
    """In the order of NAMES, from fixed upstream gradients."""
    x, table = x.clone().requires_grad_(), table.clone().requires_grad_()
    numbers = np.random.default_rng(1)

    def draw(shape):
        return torch.tensor(numbers.normal(size=tuple(shape)), dtype=x.dtype, device=x.device)

    features = encode(x, table)
    upstream = draw(features.shape).requires_grad_()
    first = torch.autograd.grad((features * upstream).sum(), [x, table], create_graph=True)
    loss = sum((g * draw(g.shape)).sum() for g in first)
    return [features, *first, *torch.autograd.grad(loss, [x, table, upstream])]


def speeds(
    name: str,
    encode: Callable,
    table: torch.Tensor,
    active: torch.Tensor,
    here: DeviceLayout,
    sizes: Sizes,
    bandwidth: float,
) -> Iterator[Row]:
    """Points a second, and the share of the bandwidth that the bytes asked for are (a cache may serve them faster than that)."""
    device = table.device
    points = max(1, sizes.points // (8 if name == "torch" else 1))  # plain torch holds every corner: 8 kB a point
    x, table = torch.rand((points, 3), device=device), table.clone().requires_grad_()
    d_enc = torch.rand((FEATURES * here.levels, points), device=device)
    corners = here.levels * 8 * FEATURES * 4

    def backward() -> None:
        table.grad = None
        encode(x, table, active, here).backward(d_enc)

    def forward() -> None:
        with torch.no_grad():
            encode(x, table, active, here)

    rows = here.levels * FEATURES * 4
    seconds = {"forward": timed(device, forward, sizes.runs), "with backward": timed(device, backward, sizes.runs)}
    # the backward pass reads and writes each corner's gradient, and clears and fills one table
    asked = {
        "forward": corners + rows + 12,
        "with backward": 3 * corners + 2 * rows + 24 + 2 * table.numel() * 4 / points,
    }
    for what, time in seconds.items():
        share = asked[what] * points / time / bandwidth
        speed = points / time
        yield Row(
            f"grid {name}: {what}",
            FIGURE,
            f"{speed / 1e6:.1f} M points/s, {100 * share:.0f} % of the copy's bandwidth asked for",
            {"points_per_s": speed, "share_of_bandwidth": share},
        )
