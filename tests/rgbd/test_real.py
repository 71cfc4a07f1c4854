"""Two real depth cameras' captures: what is said of them before work, and poses that agree with depth and pictures."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from stages.base import StageContext, run_stage
from stages.core.capture import capture_ref
from stages.core.config import resolve
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.store import Store
from stages.graph import every_stage, rgbd_stages
from stages.rgbd.config import RgbdConfig
from stages.rgbd.look import look_at

TABLE, TOY = [606.0, 606.0, 320.0, 240.0], [616.8676, 617.0631, 319.5701, 233.0649]


@pytest.mark.shared
def test_a_still_camera_and_few_pictures_right_round_are_told_of_the_turntable_route(shared_dir):
    found = look_at(shared_dir / "rgbd/turntable_toy", RgbdConfig(intrinsics=TOY))
    assert found.refused is None and any("--route turntable" in w and "these 6 pictures" in w for w in found.odd)
    assert look_at(shared_dir / "rgbd/rgbd_table", RgbdConfig(intrinsics=TABLE)).verdict == "fine", (
        "the camera moves round"
    )


@pytest.mark.shared
def test_a_hand_held_depth_camera_is_posed_better_than_by_the_tags_behind(shared_dir, tmp_path):
    """The poses that came with it rest on a tag board half a metre behind the object; depth and pictures tell whose are better."""
    source, capture = shared_dir / "rgbd/rgbd_table", tmp_path / "table"
    frames = list(range(0, 25, 3))
    for name, end in (("rgb", "jpg"), ("depth", "png")):
        (capture / name).mkdir(parents=True)
        for k in frames:
            shutil.copyfile(source / name / f"{k:06d}.{end}", capture / name / f"{k:06d}.{end}")
    (capture / "prompt.json").write_text(json.dumps({"frame": 0, "box_xyxy": [193, 242, 340, 370]}))
    configs = resolve(
        {s.name: s.Config for s in every_stage()}, "preview", overrides=(f"rgbd.intrinsics={json.dumps(TABLE)}",)
    ).stages
    refs = {"capture": capture_ref(capture)}
    for stage in rgbd_stages()[:4]:
        refs |= run_stage(stage, refs, configs[stage.name], Store(tmp_path / "store"), StageContext(threads=2)).refs
    rows = read_poses(refs["poses.json"].path)
    assert [r.status for r in rows] == ["ok"] * len(frames)
    ours = {frames[k]: pose for k, pose in posed(rows).items()}
    tags = {
        f["frame"]: np.array(f["object_from_left"])
        for f in json.loads((source / "camera_poses_from_tags.json").read_text())["frames"]
    }
    pairs = [(0, 9), (9, 18), (3, 12), (12, 24), (0, 24)]
    turned = [rotation_angle(inverse(_between(tags, *p)) @ _between(ours, *p)) for p in pairs]
    assert np.degrees(np.median(turned)) < 1.5
    by_ours, by_tags = (np.mean([_agreement(source, poses, *p) for p in pairs], axis=0) for poses in (ours, tags))
    assert by_ours[0] < 0.006 and by_ours[0] < 0.75 * by_tags[0] and by_ours[1] > 0.96 > by_tags[1]


def _between(poses, a: int, b: int) -> np.ndarray:
    return inverse(poses[a]) @ poses[b]


def _agreement(source, poses, a: int, b: int) -> tuple[float, float]:
    """Median difference of depth (m), and correlation of grey levels, of frame b drawn into frame a."""
    depth = [
        cv2.imread(str(source / f"depth/{k:06d}.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000 for k in (a, b)
    ]
    grey = [cv2.imread(str(source / f"rgb/{k:06d}.jpg"), cv2.IMREAD_GRAYSCALE).astype(np.float32) for k in (a, b)]
    f, _, cx, cy = TABLE
    v, u = np.mgrid[0:480:3, 0:640:3]
    z = depth[1][::3, ::3]
    near = (z > 0.2) & (z < 1.6)
    moved = transform(_between(poses, a, b), np.stack([(u - cx) / f * z, (v - cy) / f * z, z], -1)[near])
    at = [(f * moved[:, k] / moved[:, 2] + c).astype(np.float32)[:, None] for k, c in ((0, cx), (1, cy))]
    there = cv2.remap(depth[0], *at, cv2.INTER_NEAREST, borderValue=0).ravel()
    shade = cv2.remap(grey[0], *at, cv2.INTER_LINEAR, borderValue=-1).ravel()
    same = (there > 0.2) & (np.abs(there - moved[:, 2]) < 0.06) & (shade >= 0)
    alike = np.corrcoef(shade[same], grey[1][::3, ::3][near][same])[0, 1]
    return float(np.median(np.abs(there - moved[:, 2])[same])), float(alike)
