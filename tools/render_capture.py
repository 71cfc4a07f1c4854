"""Renders a capture with full ground truth: one of the cases of docs/benchmarks.md, or one of your own.

    python -m tools.render_capture CASE OUT [--set KEY=VALUE ...] [--workers 2]
    python -m tools.render_capture mug_orbit build/mug --set frames=40 distance_m=0.4 surrounding=plain
    python -m tools.render_capture box_orbit build/mine --set shape=scan.ply paint=mottle motion=inhand

KEY is a field of `tools/capture_rendering/spec.py`: RenderSpec.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

from tools.capture_rendering.spec import CASES, RenderSpec
from tools.capture_rendering.write import write_capture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    try:
        spec = changed(CASES[args.case], args.set)
        write_capture(args.out, spec, args.workers, lambda done, total: print(f"\r{done}/{total}", end="", flush=True))
    except ValueError as e:
        parser.error(str(e))
    print(f"\n{args.out}")


def changed(spec: RenderSpec, settings: list[str]) -> RenderSpec:
    """`spec` with KEY=VALUE applied; a pair is written as VALUE,VALUE. Raises ValueError for an unknown key or a bad value."""
    kinds = {f.name: type(getattr(spec, f.name)) for f in fields(spec)}
    values = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if key not in kinds:
            raise ValueError(f"no setting {key!r}; there are {', '.join(kinds)}")
        values[key] = tuple(map(float, text.split(","))) if kinds[key] is tuple else kinds[key](text)
    return replace(spec, **values)


if __name__ == "__main__":
    main()
