"""Rendered captures: pictures, poses, depth and masks must tell of one and the same scene."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.frames import posed, read_poses
from stages.core.images import read_disparity, read_mask, read_rgb
from tools.capture_rendering.motions import poses
from tools.capture_rendering.objects import SHAPES, shape
from tools.capture_rendering.spec import CASES, RenderSpec
from tools.capture_rendering.write import write_capture
from tools.render_capture import changed

SMALL = {"frames": 3, "width": 240, "height": 136, "noise": 0.5, "turn_deg": 60.0}


@pytest.fixture(scope="module", params=["mug_orbit", "flask_plain_wall"])
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = replace(CASES[request.param], **SMALL, right_gain=1.0)
    return write_capture(tmp_path_factory.mktemp(request.param), spec, workers=2)


def test_depth_and_poses_put_every_pixel_on_the_true_mesh(capture: Path) -> None:
    import trimesh

    rig, mesh = Rig.load(capture / "calibration.json"), trimesh.load(capture / "gt/mesh.ply", process=False)
    for frame, object_from_left in posed(read_poses(capture / "gt/poses.json")).items():
        mask = read_mask(capture / "gt/masks" / f"{frame:06d}.png")
        depth = rig.depth_from_disparity(read_disparity(capture / "gt/disparity" / f"{frame:06d}.png"))
        row, column = np.nonzero(mask)
        assert len(row) > 300
        points = rig.backproject(np.stack([column, row], -1), depth[mask])[::7]
        away = trimesh.proximity.closest_point(mesh, points @ object_from_left[:3, :3].T + object_from_left[:3, 3])[1]
        assert np.percentile(away, 99) < 4e-4  # the disparity is stored in 1/64 px: 0.1 to 0.3 mm here


def test_the_right_picture_shows_what_the_disparity_says(capture: Path) -> None:
    left, right = (read_rgb(capture / side / f"{side}000001.jpg").astype(np.float32) for side in ("left", "right"))
    disparity = read_disparity(capture / "gt/disparity/000001.png")
    v, u = np.mgrid[: left.shape[0], : left.shape[1]].astype(np.float32)
    warped = cv2.remap(right, u - np.nan_to_num(disparity).astype(np.float32), v, cv2.INTER_LINEAR)
    difference = np.abs(warped - left).mean(-1)
    assert np.median(difference[np.isfinite(disparity)]) < 3.0


def test_the_box_holds_the_object_of_frame_0(capture: Path) -> None:
    prompt = json.loads((capture / "prompt.json").read_text())
    x0, y0, x1, y1 = prompt["box_xyxy"]
    row, column = np.nonzero(read_mask(capture / "gt/masks/000000.png"))
    assert prompt["frame"] == 0
    assert x0 < column.min() and column.max() < x1 and y0 < row.min() and row.max() < y1


@pytest.mark.parametrize("motion", ["orbit", "inhand", "both"])
def test_what_moves(motion: str) -> None:
    object_from_left, world_from_left = (
        np.array(p) for p in zip(*poses(RenderSpec(motion=motion, frames=8)), strict=True)
    )
    object_from_world = object_from_left @ np.linalg.inv(world_from_left)

    def still(transforms):
        return bool(np.allclose(transforms, transforms[0]))

    expected = {"orbit": (False, True), "inhand": (True, False), "both": (False, False)}
    assert (still(world_from_left), still(object_from_world)) == expected[motion]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_closed_and_of_the_size_of_things_held_in_a_hand(name: str) -> None:
    import trimesh

    mesh = trimesh.Trimesh(*shape(name), process=False)
    assert mesh.is_watertight and mesh.volume > 0
    assert 0.05 < mesh.extents.max() < 0.25


def test_settings() -> None:
    spec = changed(CASES["mug_orbit"], ["frames=5", "elevation_deg=10,20", "shape=egg"])
    assert (spec.frames, spec.elevation_deg, spec.shape) == (5, (10.0, 20.0), "egg")
    with pytest.raises(ValueError, match="no setting 'framse'"):
        changed(spec, ["framse=3"])
    with pytest.raises(ValueError, match="neither a mesh file"):
        shape("nothing.ply")
