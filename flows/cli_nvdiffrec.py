"""`twin nvdiffrec`: nvdiffrec's settings file and data folder as they are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flows.before_work import check_places
from flows.nvdiffrec_config import read_nvdiffrec
from stages.core.errors import ConfigError


def nvdiffrec(args: argparse.Namespace) -> int:
    """Say what every key does here, and reconstruct."""
    from flows.cli_reconstruct import go
    from flows.request import Reconstruction
    from flows.viewer_link import checked_base

    if args.viewer is not None:
        checked_base(args.viewer)
    config = Path(args.config).expanduser().resolve()
    asked = read_nvdiffrec(config)
    data = _data_folder(args.data, asked.data, config)
    out = Path(args.out or Path("out") / asked.out).expanduser().resolve()
    if not args.quiet:
        print("\n".join([f"{config.name}: {data} -> {out}", *asked.told()]), file=sys.stderr, flush=True)
    check_places(str(data), str(out), "posed")
    go(Reconstruction(capture=str(data), out=str(out), route="posed", profile=args.profile or asked.profile,
                      settings=(*asked.settings, *args.settings)), args)  # fmt: skip
    return 0


def _data_folder(given: str | None, named: str, config: Path) -> Path:
    """By --data; else as the file names it, from here or from the file's folder, or the file's own folder if it holds the cameras."""
    tried = [Path(given).expanduser()] if given else [Path(named), config.parent / named, config.parent]
    for folder in tried:
        if (folder / "transforms_train.json").is_file() or (given and folder.is_dir()):
            return folder.resolve()
    raise ConfigError(f"ref_mesh of {config.name} is {named}, and no such folder holds transforms_train.json (looked in "
                      f"{', '.join(str(f) for f in tried)})", "name the folder with --data")  # fmt: skip
