"""The ray caster against a box whose depth and normals are known."""

import numpy as np

from stages.core.camera import Rig
from stages.core.render import Caster, shade, turntable_rig

CORNERS = np.array([[x, y, z] for x in (-0.1, 0.1) for y in (-0.1, 0.1) for z in (-0.1, 0.1)])
FACES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
)


def test_depth_and_normal_of_a_box_seen_from_the_front():
    rig = Rig(64, 64, 80.0, 80.0, 31.5, 31.5, 0.1)
    pose = np.eye(4)
    pose[2, 3] = -0.5
    hit = Caster(CORNERS, FACES).view(pose, rig)
    np.testing.assert_allclose(hit["t"][32, 32], 0.4, atol=1e-6)
    np.testing.assert_allclose(hit["normal"][32, 32], [0, 0, -1], atol=1e-6)
    assert np.isinf(hit["t"][0, 0]) and hit["face"][0, 0] == -1
    assert abs((hit["face"] >= 0).sum() - 40 * 40) <= 80


def test_interpolation_gives_the_position_back():
    rig = Rig(32, 32, 40.0, 40.0, 15.5, 15.5, 0.1)
    pose = np.eye(4)
    pose[:3, 3] = 0.01, 0.02, -0.5
    caster = Caster(CORNERS, FACES)
    hit = caster.view(pose, rig)
    x = caster.interpolate(hit, CORNERS)[16, 16]
    np.testing.assert_allclose(rig.project(x - pose[:3, 3]), [16, 16], atol=1e-3)


def test_turntable_sees_everything_from_four_sides():
    rig, poses = turntable_rig(CORNERS, 96)
    pictures = [shade(CORNERS, FACES, p, rig) for p in poses]
    for pose, picture in zip(poses, pictures, strict=True):
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose[:3, :3]) > 0 and pose[1, 3] < 0  # looks from above: up is -y
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == 255).all() and 0.1 < (picture < 255).any(-1).mean() < 0.9
