"""Examples for the network: captures are drawn and run as far as `depth`; kept are the windows in which masks are looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

import stages.masks.cut.frame_cut
import stages.masks.cut.seed
from flows.records.run_record import RunRecords
from stages.base import StageContext
from stages.core.errors import TwinError
from stages.core.images import read_mask
from stages.core.store import ArtifactRef, Store
from stages.masks.cut.mask_net import SIZE, Cues, Weighed, channels, shown_size, weighed
from stages.masks.stage import STAGE
from tools.mask_net.learn import Examples
from tools.robustness.draw import draw
from tools.robustness.one_seed import How, folders_of, reconstruct
from tools.robustness.write import render

FRAMES, WIDTH = 14, 640
LEAST_PX = 30
"""pixels of the object below which a window shows nothing to learn"""
ASKING = (stages.masks.cut.frame_cut, stages.masks.cut.seed)


def examples_of(seed: int, work: Path, with_network: bool) -> Path:
    """The file with the examples of one drawn capture; what is there is not made again. `with_network`: the masks stage follows the network
    as it is, so that it sees the windows that it will see; without, the cues by themselves."""
    path = work / ("with" if with_network else "without") / f"{seed:05d}.npz"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    capture, store = render(seed, work / "captures", draw(seed, FRAMES, WIDTH)), work / "stores" / f"{seed:05d}"
    exit_code = 0 if store.exists() else reconstruct(capture, store, How(FRAMES, WIDTH), "depth")
    cues, truth = ([], []) if exit_code else _seen(capture, Store(store), work / "masks" / f"{seed:05d}", with_network)
    empty = np.zeros((0, SIZE, SIZE))
    np.savez_compressed(path, cues=np.stack(cues) if cues else empty, truth=np.stack(truth) if truth else empty)
    return path


def read_examples(paths: Sequence[Path]) -> Examples:
    """All of them as arrays."""
    cues, truth, capture = [], [], []
    for path in paths:
        with np.load(path, allow_pickle=False) as held:
            if len(held["cues"]):
                cues.append(held["cues"])
                truth.append(held["truth"])
                capture.append(np.full(len(held["cues"]), int(path.stem)))
    return Examples(np.concatenate(cues), np.concatenate(truth), np.concatenate(capture))


def _seen(capture: Path, store: Store, out: Path, with_network: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    cues: list[np.ndarray] = []
    truth: list[np.ndarray] = []

    def keep(seen: Cues) -> Weighed:
        true = _in_window(read_mask(capture / "gt" / "masks" / f"{seen.frame:06d}.png"), seen)
        if (true > 127).sum() > LEAST_PX:
            cues.append(channels(seen).astype(np.float16))
            truth.append(true)
        return weighed(seen) if with_network else Weighed(seen.llr + seen.prior, None)

    out.mkdir(parents=True, exist_ok=True)
    with _heard(keep):
        try:
            STAGE.run(_inputs(store, capture), STAGE.Config(), out, StageContext(threads=1, seed=0))
        except TwinError as error:  # a capture without an object that can be found teaches nothing more
            print(f"{capture.name}: {error}")
    return cues, truth


@contextmanager
def _heard(answer: Callable[[Cues], Weighed]) -> Iterator[None]:
    """While it is open, the masks stage asks `answer` in place of the network."""
    for module in ASKING:
        module.weighed = answer
    try:
        yield
    finally:
        for module in ASKING:
            module.weighed = weighed


def _inputs(store: Store, capture: Path) -> dict[str, ArtifactRef]:
    folders = folders_of(store, RunRecords(store).of_capture(capture)[0], "rectify", "depth")
    found = ((kind, folder / kind) for kind in STAGE.inputs for folder in folders.values())
    return {kind: ArtifactRef(kind, path, "") for kind, path in found if path.exists()}


def _in_window(mask: np.ndarray, seen: Cues) -> np.ndarray:
    """(SIZE, SIZE) uint8: share of each of the network's pixels that is object, 255 = all."""
    h, w = seen.llr.shape
    x, y = seen.corner
    size = shown_size((h, w))
    out = np.zeros((SIZE, SIZE), np.uint8)
    part = mask[y : y + h, x : x + w].astype(np.float32)
    out[: size[1], : size[0]] = np.rint(255 * cv2.resize(part, size, interpolation=cv2.INTER_AREA))
    return out
