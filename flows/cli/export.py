"""`twin export`: a twin's pictures, cameras, masks and depth for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.core.export.write import export_twin
from stages.core.store import Store


def export(args: argparse.Namespace) -> int:
    """Write the folder and name it."""
    twin = Path(args.twin).expanduser().resolve()
    out = Path(args.out).expanduser().resolve() if args.out else twin.with_name(f"{twin.name}-{args.format}")
    count = export_twin(twin, args.format, out, Store())
    print(f"{count} pictures with their cameras: {out}")
    return 0
