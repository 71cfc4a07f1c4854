"""Masks, depth and prompt follow the pictures into the rectified view."""

import json

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.images import read_disparity, read_mask
from stages.rectify.geometry import rectifying
from tests.rectify.raw_capture import LEFT_TURN, _maps, calibration_for, make_raw, write_prompt


def test_given_masks_and_depth_of_a_rectified_capture(synthetic_capture, capture, rectify):
    rig = Rig.load(capture / "calibration.json")
    for folder in ("masks", "depth"):
        (capture / folder).mkdir()
    for k in range(8):
        (capture / f"masks/{k:06d}.png").write_bytes((synthetic_capture / f"gt/masks/{k:06d}.png").read_bytes())
        z = rig.depth_from_disparity(read_disparity(synthetic_capture / f"gt/disparity/{k:06d}.png"))
        cv2.imwrite(str(capture / f"depth/{k:06d}.png"), np.nan_to_num(np.rint(z * 1000)).astype(np.uint16))
    made = rectify(capture)
    assert json.loads((made.out / "given/given.json").read_text()) == {"masks": True, "depth": True}
    assert (
        read_mask(made.out / "given/masks/000003.png") == read_mask(synthetic_capture / "gt/masks/000003.png")
    ).all()
    found, true = (
        read_disparity(made.out / "given/disparity/000003.png"),
        read_disparity(synthetic_capture / "gt/disparity/000003.png"),
    )
    assert np.nanmedian(np.abs(found / true - 1)) < 0.002 and (np.isfinite(found) == np.isfinite(true)).all()


def test_what_stands_before_the_object_is_given_beside_the_masks(synthetic_capture, capture, rectify):
    for folder in ("masks", "hidden"):
        (capture / folder).mkdir()
    for k in range(8):
        (capture / f"masks/{k:06d}.png").write_bytes((synthetic_capture / f"gt/masks/{k:06d}.png").read_bytes())
    true = read_mask(synthetic_capture / "gt/masks/000002.png")
    cv2.imwrite(str(capture / "hidden/000002.png"), np.where(true, 1, 0).astype(np.uint8))  # anything above 0 says it
    made = rectify(capture)
    assert json.loads((made.out / "given/given.json").read_text())["hidden"] is True
    assert (read_mask(made.out / "given/hidden/000002.png") == true).all()
    assert [p.name for p in (made.out / "given/hidden").iterdir()] == ["000002.png"]


def test_disparity_as_given_depth(synthetic_capture, capture, rectify):
    (capture / "depth").mkdir()
    (capture / "depth/depth.json").write_text(json.dumps({"kind": "disparity", "per_unit": 64}))
    (capture / "depth/000001.png").write_bytes((synthetic_capture / "gt/disparity/000001.png").read_bytes())
    made = rectify(capture)
    found, true = (read_disparity(p / "disparity/000001.png") for p in (made.out / "given", synthetic_capture / "gt"))
    np.testing.assert_allclose(found, true)
    assert any("depth/ has nothing for frames 0, 2-7" in w for w in made.report.warnings)


def test_masks_and_depth_of_a_raw_capture_are_rectified(synthetic_capture, rectify, tmp_path):
    """A plane at constant distance from the baseline's rectified camera, amid what is seen: its disparity must come out constant."""
    raw, c = make_raw(synthetic_capture, tmp_path / "raw", frames=2)
    rig, z = Rig.load(synthetic_capture / "calibration.json"), 0.322
    geometry = rectifying(c)
    u, v = np.meshgrid(np.arange(rig.width, dtype=float), np.arange(rig.height, dtype=float))
    rays = geometry.left.points(np.stack([u.ravel(), v.ravel()], 1), np.eye(3))
    raw_z = z * (np.c_[rays, np.ones(len(rays))] @ geometry.left.rectified_from_raw[:, 2]).reshape(u.shape)
    for folder in ("masks", "depth"):
        (raw / folder).mkdir()
    for k in range(2):
        cv2.imwrite(str(raw / f"depth/{k:06d}.png"), np.rint(raw_z * 10000).astype(np.uint16))
        true = cv2.imread(str(synthetic_capture / f"gt/masks/{k:06d}.png"), 0)
        cv2.imwrite(
            str(raw / f"masks/{k:06d}.png"), cv2.remap(true, *_maps(rig, c.left, cv2.Rodrigues(LEFT_TURN)[0]), 0)
        )
    (raw / "depth/depth.json").write_text(json.dumps({"kind": "depth", "per_unit": 10000}))
    made = rectify(raw)
    out_rig = Rig.load(made.out / "rig.json")
    disparity = read_disparity(made.out / "given/disparity/000000.png")
    assert (
        np.nanmax(np.abs(disparity - out_rig.fx * out_rig.baseline_m / z)) < 0.06
        and np.isfinite(disparity).mean() > 0.98
    )
    area = [
        read_mask(p).sum() for p in (made.out / "given/masks/000000.png", synthetic_capture / "gt/masks/000000.png")
    ]
    assert area[0] * (rig.fx / out_rig.fx) ** 2 == pytest.approx(area[1], rel=0.06)


def test_box_hull_holds_every_raw_pixel_of_the_box(synthetic_capture, rectify, tmp_path):
    raw, c = make_raw(synthetic_capture, tmp_path / "raw", frames=2)
    box = [120.0, 60.0, 300.0, 250.0]
    write_prompt(raw, box)
    made = rectify(raw)
    mapped = json.loads((made.out / "prompt.json").read_text())
    geometry, rig = rectifying(c), Rig.load(made.out / "rig.json")
    rng = np.random.default_rng(0)
    inside = geometry.left.points(rng.uniform(box[:2], box[2:], (500, 2)), rig.K)
    x0, y0, x1, y1 = mapped["box_xyxy"]
    assert ((inside >= [x0 - 0.1, y0 - 0.1]) & (inside <= [x1 + 0.1, y1 + 0.1])).all()
    assert (x1 - x0) * (y1 - y0) < 1.15 * 180 * 190


def test_points_and_no_prompt(capture, rectify):
    (capture / "prompt.json").write_text(json.dumps({"frame": 1, "points": [[200, 150, 1], [10, 10, 0]]}))
    made = rectify(capture)
    assert json.loads((made.out / "prompt.json").read_text()) == {
        "frame": 1,
        "points": [[200.0, 150.0, 1], [10.0, 10.0, 0]],
    }
    (capture / "prompt.json").unlink()
    made = rectify(capture)
    assert json.loads((made.out / "prompt.json").read_text()) == {} and any(
        "no prompt" in w for w in made.report.warnings
    )


@pytest.mark.parametrize(
    "files, message",
    [
        ({"masks/000001.png": (200, 150)}, r"masks/000001\.png is 200x150 px; the left pictures are 400x300"),
        ({"masks/000099.png": (400, 300)}, "none of the 1 files of masks/ belongs"),
    ],
)
def test_foreign_masks_are_refused(capture, rectify, files, message):
    (capture / "masks").mkdir()
    for name, (w, h) in files.items():
        cv2.imwrite(str(capture / name), np.zeros((h, w), np.uint8))
    with pytest.raises(CaptureError, match=message):
        rectify(capture)


def test_geometry_of_the_helper_is_consistent(synthetic_capture):
    rig = Rig.load(synthetic_capture / "calibration.json")
    c = calibration_for(rig)
    assert c.baseline_m == pytest.approx(rig.baseline_m) and not c.rectified
