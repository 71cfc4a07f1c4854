"""`twin check`: what is known of a capture before hours of work."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXIT = {"fine": 0, "odd": 7, "refused": 3}


def check(args: argparse.Namespace) -> int:
    """Print it; the exit code tells whether it is fine (0), odd (7) or refused (3)."""
    from flows.records.request import Reconstruction
    from flows.run.capture_look import look

    capture = Path(args.capture).expanduser().resolve()
    request = Reconstruction(
        capture=str(capture), out=f"{capture}.twin", profile=args.profile, box=args.box, settings=tuple(args.settings)
    )
    found = look(request, pictures=not args.quick)
    if args.json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        print(f"{capture} ({found.pictures_read} pictures read, {found.seconds:.1f} s)")
        print("\n".join([*found.lines(), "", found.closing()]))
    return EXIT[found.verdict]
