"""`twin nvdiffrec`: nvdiffrec's settings file and data folder as they are."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.foreign.nvdiffrec_config import read_nvdiffrec
from flows.run.before_work import check_places
from stages.core.errors import ConfigError

if TYPE_CHECKING:
    from flows.foreign.nvdiffrec_config import NvdiffrecRequest
    from flows.foreign.nvdiffrec_memory import Fit
    from flows.run.progress_pictures import ProgressPictures


def nvdiffrec(args: argparse.Namespace) -> int:
    """Say what every key does here and what memory it takes, and reconstruct."""
    from flows.cli.reconstruct import go
    from flows.records.request import Reconstruction
    from flows.ui.viewer_link import checked_base

    if args.viewer is not None:
        checked_base(args.viewer)
    config = Path(args.config).expanduser().resolve()
    asked = read_nvdiffrec(config)
    data = _data_folder(args.data, asked.data, config)
    out = Path(args.out or Path("out") / asked.out).expanduser().resolve()
    if not args.quiet:
        print("\n".join([f"{config.name}: {data} -> {out}", *asked.told()]), file=sys.stderr, flush=True)
    check_places(str(data), str(out), "posed")
    profile, settings = args.profile or asked.profile, (*asked.settings, *args.settings)
    fit = _fit(data, profile, settings)
    if fit is not None and (fit.settings or not args.quiet):
        print("\n".join(fit.lines), file=sys.stderr, flush=True)
    lowered = fit.settings if fit is not None else ()
    request = Reconstruction(
        capture=str(data), out=str(out), route="posed", profile=profile, settings=(*settings, *lowered)
    )
    go(request, args, pictures=_pictures(asked, out, data, profile, settings=settings))
    return 0


def _configs(data: Path, profile: str, settings: Sequence[str]) -> Mapping[str, Any]:
    """The run's settings by stage. Raises ConfigError."""
    from flows.run.stage_child import load_stages
    from stages.core.config import resolve

    configs = {s.name: s.Config for s in load_stages()}
    return resolve(configs, profile, data / "twin.yaml", settings).stages


def _fit(data: Path, profile: str, settings: Sequence[str]) -> Fit | None:
    """What has to be lowered for this machine's memory; None where the run itself will say what is wrong with the folder. Raises
    MachineError where the lowest does not fit."""
    from flows.foreign.nvdiffrec_memory import Pictures, fit
    from flows.run.neighbours import share_of_cores
    from stages.core.memory import free_gb
    from stages.core.parallel import usable_cores
    from stages.graph import look_at, stages

    if _other_stages():
        return None
    configs = _configs(data, profile, settings)
    found = look_at(data, configs["posed"], pictures=False)
    if found.refused:
        return None
    pictures = Pictures(found.figures["frames"], found.figures["width_px"], found.figures["height_px"])
    surface = next(s for s in stages() if s.name == "surface")

    def gb(rays):
        return surface.card_gb(dataclasses.replace(configs["surface"], picture_rays=rays))

    card = (gb, free_gb("auto")) if gb(configs["surface"].picture_rays) else None
    return fit(configs, pictures, free_gb(), share_of_cores() or usable_cores(), card=card)


def _pictures(
    asked: NvdiffrecRequest, out: Path, data: Path, profile: str, settings: Sequence[str]
) -> ProgressPictures | None:
    """Of the run, where the file asks for any."""
    from flows.run.progress_pictures import ProgressPictures
    from stages.core.aside import Aside
    from stages.core.twin_folder import PROGRESS

    if asked.saved_share is None or _other_stages():
        return None
    steps = _configs(data, profile, settings)["surface"].picture_steps
    return ProgressPictures(Aside(out / PROGRESS, asked.panels, max(1, round(asked.saved_share * steps))))


def _other_stages() -> bool:
    """Whether TWIN_STAGES names others than the real ones, of whose memory nothing is known."""
    return "TWIN_STAGES" in os.environ


def _data_folder(given: str | None, named: str, config: Path) -> Path:
    """By --data; else as the file names it, from here or from the file's folder, or the file's own folder if it holds the cameras."""
    tried = [Path(given).expanduser()] if given else [Path(named), config.parent / named, config.parent]
    for folder in tried:
        if (folder / "transforms_train.json").is_file() or (given and folder.is_dir()):
            return folder.resolve()
    raise ConfigError(f"ref_mesh of {config.name} is {named}, and no such folder holds transforms_train.json (looked in "
                      f"{', '.join(str(f) for f in tried)})", "name the folder with --data")  # fmt: skip
