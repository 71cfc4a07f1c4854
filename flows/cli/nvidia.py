"""`twin nvidia`, also installed as nvidia-3d-reconstruct: takes the settings file and folders of NVIDIA's workflow as they are."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any

from flows.foreign.nvidia_capture import not_read, picture_size_of, remove_capture, write_capture
from flows.foreign.nvidia_config import NvidiaRequest, read_config, translate
from flows.run.before_work import check_places
from stages.core.errors import ConfigError
from stages.core.plain_files import read_text
from stages.core.store import Store

NAMES = "package.textured_mesh=true"
"""beside our own files, the mesh under the name that its users look for"""


def main() -> int:
    """The command nvidia-3d-reconstruct."""
    from flows.cli.main import main as twin

    return twin(["nvidia", *sys.argv[1:]])


def nvidia(args: argparse.Namespace) -> int:
    """Translate, say what acts and what does not, reconstruct."""
    from flows.cli.reconstruct import go
    from flows.records.request import Reconstruction

    config = Path(args.config).expanduser()
    keys = read_config(read_text(config, ConfigError), str(config))
    data, out = (
        _folder(args.data_path, keys, "data_path", "--data-path"),
        _folder(args.output_path, keys, "workdir", "--output-path"),
    )
    size = picture_size_of(data)
    asked = translate(keys, str(config), size)
    if not args.quiet:
        print("\n".join(told(asked, not_read(data))), file=sys.stderr, flush=True)
    capture = write_capture(data, asked, size, Store())
    check_places(str(capture), str(out))
    go(
        Reconstruction(
            capture=str(capture),
            out=str(out),
            profile=args.profile,
            box=asked.box,
            settings=(*asked.settings, NAMES, *args.settings),
        ),
        args,
    )
    remove_capture(capture)
    return 0


def told(asked: NvidiaRequest, others: list[str]) -> list[str]:
    """What every key of the file does here, in lines; those without an equivalent grouped by the reason."""
    lines = ["acts:"] + [f"  {key}: {what}" for key, what in asked.acts.items()]
    if "sam2.bbox" not in asked.acts:
        lines.append("  (no sam2.bbox: the object is found by itself)")
    for reason in dict.fromkeys(asked.without.values()):
        names = ", ".join(k for k, why in asked.without.items() if why == reason)
        lines += [f"no equivalent: {reason}", *textwrap.wrap(names, 110, initial_indent="  ", subsequent_indent="  ")]
    return lines + ([f"not read in the data folder: {', '.join(others)}"] if others else [])


def _folder(given: str | None, keys: dict[str, Any], key: str, option: str) -> Path:
    """By the option, else as the file has it. Raises ConfigError."""
    name = given or keys.get(key)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"neither {option} nor {key} in the settings file names a folder", f"give {option}")
    return Path(name).expanduser().resolve()
