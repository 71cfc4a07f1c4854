"""The rig of a COLMAP model as calibration: its two cameras, and where the right one stands, of rigs.bin or rigs.txt (COLMAP 3.12 on).

Which camera is the left one say the folders of the model's pictures (left/, right/), else the geometry. COLMAP's lengths have no unit: that
of a reconstruction without known distances is arbitrary, so the unit is said, and has to be confirmed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.colmap_files import Lens, binary_cameras, binary_images, text_cameras, text_images
from stages.core.colmap_rigs import ColmapRig, read_rigs
from stages.core.errors import CaptureError
from stages.core.geometry.rigid import inverse
from stages.core.stereo_calibration import Camera, StereoCalibration, picture_size

_ADVICE = "a stereo rig is one rig of two cameras whose pictures lie in left/ and right/; or write calibration.json"


def looks_like(files: tuple[Path, ...]) -> bool:
    """Whether these are cameras, rigs and images of one model."""
    return [f.stem for f in files] == ["cameras", "rigs", "images"]


def read(files: tuple[Path, ...], unit_m: float) -> StereoCalibration:
    """`files`: cameras, rigs, images; `unit_m`: length of the model's unit in metres. Raises CaptureError."""
    cameras_file, rigs_file, images_file = files
    binary = rigs_file.suffix == ".bin"
    lenses = dict(binary_cameras(cameras_file) if binary else text_cameras(cameras_file))
    folders = _folders(binary_images(images_file) if binary else text_images(images_file))
    rig, left, right = _pair(rigs_file, read_rigs(rigs_file), folders)
    if lacking := [c for c in (left, right) if c not in lenses]:
        raise CaptureError(
            f"{rigs_file.name}, rig {rig.number}: camera {lacking[0]} is not in {cameras_file.name}",
            "the files are of different models",
        )
    sizes = {picture_size(*lenses[c][1:3], f"{cameras_file.name}, camera {c}") for c in (left, right)}
    if len(sizes) != 1:
        raise CaptureError(
            f"{cameras_file.name}: the two cameras have pictures of different sizes {sorted(sizes)}",
            "calibrate at one size",
        )
    right_from_left = rig.cameras[right] @ inverse(rig.cameras[left])
    right_from_left[:3, 3] *= unit_m
    note = (
        ""
        if unit_m != 1.0
        else (
            f"{rigs_file.name} holds lengths without a unit; one is taken as {unit_m:g} m, which makes the baseline "
            f"{1e3 * np.linalg.norm(right_from_left[:3, 3]):.1f} mm: measure it, or set rectify.calibration_unit"
        )
    )
    source = f"{cameras_file.name} + {rigs_file.name}"
    return StereoCalibration(
        _camera(lenses[left]),
        _camera(lenses[right]),
        right_from_left,
        sizes.pop(),
        source=source,
        kind="COLMAP rig",
        note=note,
    )


def _folders(images) -> dict[str, set[int]]:
    """{"left", "right": ids of the cameras whose pictures lie in a folder of that name, or below one}."""
    found: dict[str, set[int]] = {"left": set(), "right": set()}
    for _, name, camera, _ in images:
        for side in set(Path(name).parts[:-1]) & set(found):
            found[side].add(camera)
    return found


def _pair(path: Path, rigs: list[ColmapRig], folders: dict[str, set[int]]) -> tuple[ColmapRig, int, int]:
    """The rig, its left and its right camera. Raises CaptureError where it is not clear which they are."""
    if any(len(ids) > 1 for ids in folders.values()) or (folders["left"] & folders["right"]):
        raise CaptureError(
            f"{path.name}: the pictures of left/ and right/ are not of one camera each "
            f"(left {sorted(folders['left'])}, right {sorted(folders['right'])})",
            "give all pictures of a folder one camera (--ImageReader.single_camera_per_folder 1)",
        )
    named = [ids for side in ("left", "right") for ids in folders[side]]
    fitting = [r for r in rigs if set(named) <= set(r.cameras) and (len(named) == 2 or len(r.cameras) == 2)]
    if len(fitting) != 1 or len(named) == 1:
        rows = "; ".join(
            f"rig {r.number}: cameras {sorted(r.cameras)}"
            + (f", without a place {list(r.unplaced)}" if r.unplaced else "")
            for r in rigs[:5]
        )
        raise CaptureError(
            f"{path.name} holds no rig of one left and one right camera (found {rows or 'none'})", _ADVICE
        )
    rig = fitting[0]
    left, right = named or sorted(rig.cameras)
    across = (rig.cameras[right] @ inverse(rig.cameras[left]))[0, 3]
    if not named and across > 0:  # what stands on the right has its origin on the left
        left, right = right, left
    return rig, left, right


def _camera(lens: Lens) -> Camera:
    """Pixel centres are at integers here, at halves in COLMAP."""
    K, _, _, model, distortion = lens
    K = K.copy()
    K[:2, 2] -= 0.5
    return Camera(K, np.array(distortion, float), model == "fisheye")
