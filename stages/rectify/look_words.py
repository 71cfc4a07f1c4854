"""How a capture was understood, in words."""

from __future__ import annotations

from collections import Counter

import numpy as np

from stages.core.capture import CaptureFiles
from stages.core.frame_names import listed
from stages.core.object_prompt import Prompt
from stages.core.stereo_calibration import Camera, StereoCalibration
from stages.rectify.raw_pairs import PairReader
from stages.rectify.read_folders import FolderReader


def file_words(files: CaptureFiles) -> list[str]:
    """What lies there and is read."""
    folders = [(n, getattr(files, n)) for n in ("left", "right", "masks", "hidden", "depth", "prompt_masks")]
    out = [f"{n.replace('prompt_masks', 'prompt')}/ {len(f)} {_kinds(f)}" for n, f in folders if f]
    single = (
        files.left_video,
        files.right_video,
        files.stereo_video,
        *files.calibration,
        files.prompt,
        files.depth_notes,
    )
    names = [p.relative_to(files.root).as_posix() for p in single if p is not None]
    return [", ".join(out + names)]


def _kinds(files: tuple) -> str:
    return ", ".join(k.lstrip(".") for k, _ in Counter(p.suffix.lower() for p in files).most_common(3))


def pair_words(reader: PairReader) -> tuple[list[str], list[str]]:
    """Pairs and their order, and what is odd of it."""
    if not isinstance(reader, FolderReader):
        return [f"video, {reader.count} frames by its header; pairs by position"], []
    both = [(a, b) for a, b in reader.pairs if a is not None and b is not None]
    how = "the number in their names" if reader.numbers() is not None else "the order of their names"
    out = [f"{len(both)} pairs by {how}"]
    if both:
        ends = (both[0], both[-1]) if len(both) > 1 else (both[0],)
        out.append(" .. ".join(f"{a.name} + {b.name}" for a, b in ends))
    odd = []
    for side, k in (("left", 0), ("right", 1)):
        if lost := [f for f, pair in enumerate(reader.pairs) if pair[k] is None]:
            odd.append(f"{len(lost)} frames have no {side} picture: frames {listed(lost)}")
    return out, odd


def calibration_words(c: StereoCalibration) -> list[str]:
    """Its source and numbers."""
    size = f"{c.size[0]}x{c.size[1]} px" if c.size else "no picture size in it"
    kind = f"{c.kind}, " if c.kind else ""
    out = [f"{c.source}: {kind}{'rectified' if c.rectified else 'raw'}, {size}, baseline {1e3 * c.baseline_m:.2f} mm"]
    if c.rectified and np.allclose(c.left.K, c.right.K):
        return [*out, f"both eyes {_camera(c.left, c.size)}"]
    turn = np.degrees(np.arccos(np.clip((np.trace(c.right_from_left[:3, :3]) - 1) / 2, -1, 1)))
    return [
        *out,
        f"left {_camera(c.left, c.size)}",
        f"right {_camera(c.right, c.size)}",
        f"the eyes are turned by {turn:.2f} degrees",
    ]


def _camera(camera: Camera, size: tuple[int, int] | None) -> str:
    K, d = camera.K, camera.distortion
    view = (
        f", {2 * np.degrees(np.arctan(size[0] / 2 / K[0, 0])):.0f} degrees wide" if size and not camera.fisheye else ""
    )
    lens = " ".join(f"{v:.4g}" for v in d) if d.size and d.any() else "none"
    model = "fisheye (equidistant) " if camera.fisheye else ""
    return f"f {K[0, 0]:.1f} x {K[1, 1]:.1f} px, centre {K[0, 2]:.1f}, {K[1, 2]:.1f} px{view}; {model}distortion {lens}"


def prompt_words(prompt: Prompt, masks: bool) -> list[str]:
    """What says which object is meant."""
    if masks:
        return ["by the masks that came with the capture"]
    if not prompt:
        return ["no prompt: the object will be looked for (give --box or prompt.json to name it)"]
    if "text" in prompt:
        return [f"{prompt['text']!r}: a detector looks for it on frame {prompt['frame']}"]
    kinds = [k for k in ("box_xyxy", "points", "mask") if k in prompt]
    box = f" {[round(v) for v in prompt['box_xyxy']]}" if "box_xyxy" in prompt else ""
    more = f", corrected in {len(prompt['corrections'])} frames" if "corrections" in prompt else ""
    return [f"{' and '.join(kinds)}{box} on frame {prompt['frame']}{more}"]
