"""The score of a rotation stage: steps and flatness that are known by construction."""

import numpy as np
import pytest
import trimesh

from stages.core.camera import Rig
from stages.core.frames import FramePose, write_poses
from stages.core.geometry.rigid import exp_se3
from stages.core.images import write_mask
from stages.core.turntable import turntable_scores

RIG = Rig(640, 480, 800, 800, 319.5, 239.5, 0.06)


@pytest.fixture
def twin(tmp_path):
    """Writes a twin of a square board 0.5 m away whose height ripples by `ripple_mm` (peak) and that turns by `step` degrees a frame."""

    def write(ripple_mm: float, step: float):
        side = np.linspace(-0.125, 0.125, 251)
        x, y = np.meshgrid(side, side)
        z = 0.5 + ripple_mm / 1000 * np.sin(x / 0.003)
        index = np.arange(x.size).reshape(x.shape)
        a, b, c, d = (i.ravel() for i in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
        faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
        trimesh.Trimesh(np.stack([x, y, z], -1).reshape(-1, 3), faces, process=False).export(tmp_path / "mesh.ply")
        turns = [exp_se3(np.array([0, 0, np.radians(step * k), 0, 0, 0])) for k in range(5)]
        write_poses(tmp_path / "poses.json", [FramePose(k, turn, "ok") for k, turn in enumerate(turns)])
        mask = np.zeros((480, 640), bool)
        mask[45:435, 125:515] = True
        write_mask(tmp_path / "masks/000000.png", mask)
        RIG.save(tmp_path / "rig.json")
        return turntable_scores(tmp_path, 1.0)

    return write


def test_true_steps_and_a_flat_board_have_no_error(twin):
    scores = twin(0.0, 1.0)
    assert scores["frames_posed"] == 5 and scores["rotation_error_max_deg"] < 1e-6 and scores["rim_rms_mm"] < 1e-3


def test_short_steps_and_a_rippled_board_are_measured(twin):
    scores = twin(1.0, 0.99)
    assert scores["rotation_error_max_deg"] == pytest.approx(0.04, abs=1e-6)
    assert scores["rim_rms_mm"] == pytest.approx(1 / np.sqrt(2), rel=0.08)
