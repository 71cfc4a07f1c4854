"""Matchers without key points of their own: LoFTR and RoMa, and what the stage makes of their correspondences."""

from __future__ import annotations

import numpy as np
import pytest

from stages.track.learned.dense import Correspondences, carried, join
from tests.track import wall_scene
from tests.track.learned_kit import picture, tracked

torch = pytest.importorskip("torch")


def test_loftr_places_follow_the_pixel_convention():
    """Untrained, so what it matches means nothing; but in picture a its points are the corners of cells of 8 px."""
    kornia = pytest.importorskip("kornia.feature")
    import copy

    from stages.track.learned.loftr import Loftr

    config = copy.deepcopy(kornia.loftr.loftr.default_cfg)
    config["match_coarse"] |= {"thr": 0.0, "border_rm": 0}
    torch.manual_seed(0)
    found = Loftr(kornia.LoFTR(pretrained=None, config=config), width_px=96)(picture(144, 192), picture(144, 192, 1))
    assert len(found.uv_a) > 0 and found.step_px == 16
    assert np.allclose((found.uv_a + 0.5) % 16, 0, atol=1e-6)


def test_dense_correspondences_bring_the_key_points_together():
    """A slanted flow with 15 % nonsense among the correspondences: points that have a partner find it, others find none."""
    rng = np.random.default_rng(0)
    uv_a = rng.uniform(20, 480, (300, 2))

    def move(uv):
        return uv @ np.array([[1.04, 0.03], [-0.05, 0.97]]).T + [6.0, -9.0]

    uv_b = np.concatenate([move(uv_a[:200]) + rng.normal(0, 0.3, (200, 2)), rng.uniform(0, 500, (60, 2))])
    v, u = np.mgrid[8:500:8, 8:500:8]
    grid = np.column_stack([u.ravel(), v.ravel()]).astype(float)
    there = move(grid) + rng.normal(0, 0.4, grid.shape)
    there[rng.random(len(grid)) < 0.15] += rng.uniform(30, 90)
    pairs = join(Correspondences(grid, there, np.ones(len(grid)), 8.0), uv_a, uv_b)
    right = pairs[:, 0] == pairs[:, 1]
    assert right.sum() > 180 and (~right).sum() < 12
    assert np.isnan(carried(grid[:50], there[:50], np.array([[400.0, 400.0]]), 16.0)).all()


def test_whole_stage_with_a_dense_matcher(wall, weights, tmp_path, monkeypatch):
    """The true flow with noise stands for LoFTR's network: its correspondences reach tracks and poses through SIFT's points."""
    pytest.importorskip("onnx")
    pytest.importorskip("kornia")
    from stages.track.learned import loftr
    from tests.track.toy_networks import register

    (weights / "nothing.safetensors").write_bytes(b"not read")
    register(weights, loftr_outdoor=weights / "nothing.safetensors")
    rng, seen = np.random.default_rng(0), []

    def network(a: np.ndarray, b: np.ndarray) -> Correspondences:
        first, second = (next(k for k, p in enumerate(shown) if (p == x).all()) for x in (a, b))
        seen.append((first, second))
        v, u = np.mgrid[4:256:8, 4:320:8]
        uv = np.column_stack([u.ravel(), v.ravel()]).astype(float)
        return Correspondences(
            uv, wall_scene.flow(first, second, uv) + rng.normal(0, 0.5, uv.shape), np.ones(len(uv)), 8.0
        )

    from stages.core.images import read_rgb

    shown = [read_rgb(wall["pairs"].path / f"left/{k:06d}.jpg") for k in range(4)]
    monkeypatch.setattr(loftr.Loftr, "load", classmethod(lambda cls, path, device: network))
    figures = tracked(wall, tmp_path / "out", method="loftr", threads=1)
    assert figures["pair_inliers_median"] > 200 and set(seen) >= {(0, 1), (1, 2), (2, 3)}


def test_roma_warp_becomes_places():
    """A network that answers with a known shift, symmetric as RoMa is: (1, H, 2 W, 4) over the outer edges."""
    from stages.track.learned.roma import Roma

    class Shift:
        def match(self, a, b):
            h, w = 60, 80
            y, x = torch.meshgrid(
                (torch.arange(h) + 0.5) / h * 2 - 1, (torch.arange(w) + 0.5) / w * 2 - 1, indexing="ij"
            )
            moved = x + 2 * 10 / a.size[0]
            there, back = torch.stack([x, y, moved, y], -1), torch.stack([x - 2 * 10 / a.size[0], y, x, y], -1)
            certainty = (moved.abs() < 1).float()
            return torch.cat([there, back], 1)[None], torch.cat([certainty, certainty], 1)[None]

    found = Roma(Shift())(picture(240, 320), picture(240, 320))
    assert np.allclose(found.uv_b - found.uv_a, [10, 0], atol=1e-3) and found.step_px == 24
    assert found.uv_a[:, 0].max() < 310 and np.allclose(found.uv_a[0], [3.5 * 4 - 0.5, 3.5 * 4 - 0.5])
