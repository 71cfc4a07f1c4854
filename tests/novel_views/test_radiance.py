"""The radiance field: better than a copy of the nearest picture, its depth right, the same bits twice, its gradient that of its value."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh

from stages.base import StageContext
from stages.core.camera import Rig
from stages.core.camera_service import orbit
from stages.core.config import resolve
from stages.core.errors import ConfigError, StageError
from stages.core.frames import FramePose, write_poses, write_table
from stages.core.images import read_depth, write_mask, write_rgb
from stages.core.meshes import SurfaceMesh, write_ply
from stages.core.store import ArtifactRef
from stages.novel_views.config import NovelViewsConfig
from stages.novel_views.radiance import marching, volume
from stages.novel_views.radiance.carving import box_of_outlines
from stages.novel_views.stage import STAGE

OBJECT = ("masks_final", "poses_refined.json", "mesh.ply")
"""what the stages before leave of an object"""
RADIUS, AWAY, PX, VIEWS = 0.4, 2.0, 56, 23


def _hit(rig: Rig, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(depth along the optical axis of the ball, NaN = beside it; the points) by pixel."""
    v, u = np.mgrid[: rig.height, : rig.width]
    rays = rig.rays(np.stack([u, v], -1)) @ pose[:3, :3].T
    eye = pose[:3, 3]
    a, b, c = (rays**2).sum(-1), rays @ eye, eye @ eye - RADIUS**2
    with np.errstate(invalid="ignore"):
        t = (-b - np.sqrt(b * b - a * c)) / a
    return t, eye + t[..., None] * rays


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """Pictures of a painted ball, whose depth is known exactly; the mesh is only a box about it."""
    out = tmp_path_factory.mktemp("ball")
    rig = Rig(PX, PX, 1.9 * PX, 1.9 * PX, (PX - 1) / 2, (PX - 1) / 2, 0.1)
    rig.save(out / "rig.json")
    poses = orbit(np.zeros(3), AWAY, VIEWS, np.array([0, -1.0, 0]), 0.2, turns=3, climb_rad=0.8)
    rows = []
    for k, pose in enumerate(poses):
        depth, x = _hit(rig, pose)
        inside = np.isfinite(depth)
        colour = 127 + 110 * np.sin(np.nan_to_num(x) * [9.0, 8.0, 7.0])
        write_rgb(out / f"pairs/left/{k:06d}.png", np.where(inside[..., None], colour, 30).astype(np.uint8))
        write_mask(out / f"masks_final/{k:06d}.png", inside)
        rows.append(
            {
                "frame": k,
                "status": "ok",
                "reason": "",
                "left": f"left/{k:06d}.png",
                "right": "",
                "sharpness": 1.0,
                "exposure_ratio": 1.0,
                "row_offset_px": 0.0,
            }
        )
    write_table(out / "frames.parquet", rows)
    write_poses(out / "poses_refined.json", [FramePose(k, p, "ok") for k, p in enumerate(poses)])
    box = trimesh.creation.box((2 * RADIUS,) * 3)
    grey, sure = np.full((len(box.vertices), 3), 99, np.uint8), np.ones(len(box.vertices), np.uint8)
    write_ply(out / "mesh.ply", SurfaceMesh(np.asarray(box.vertices), np.asarray(box.faces), grey, sure))
    return rig, poses, {k: ArtifactRef(k, out / k, k) for k in (*STAGE.inputs, *OBJECT)}


def _learned(inputs, out, threads=2, **settings):
    config = NovelViewsConfig(method="radiance", **settings)
    out.mkdir(exist_ok=True)
    STAGE.check(inputs, config)
    notes = []
    report = STAGE.run(inputs, config, out, StageContext(threads=threads, progress=lambda *a: notes.append(a)))
    return report, notes


@pytest.mark.slow
def test_it_beats_the_nearest_picture_and_its_depth_is_right(ball, tmp_path):
    rig, poses, inputs = ball
    report, notes = _learned(inputs, tmp_path / "out", radiance_steps=450, radiance_samples=8192, score_every=6)
    figures = report.metrics
    assert figures["scored_pictures"] == 4 and figures["learned_pictures"] == VIEWS - 4
    assert (
        figures["psnr_db"] > figures["nearest_copied_db"] + 5
        and figures["psnr_db"] > 22
        and figures["psnr_on_white_db"] > 20
    )
    for score in json.loads((tmp_path / "out/novel_views/scores.json").read_text()):
        k = score["frame"]
        truth, _ = _hit(rig, poses[k])
        depth = read_depth(tmp_path / f"out/novel_views/depth/{k:06d}.tiff")
        both = np.isfinite(truth) & np.isfinite(depth)
        assert both.sum() > 0.9 * np.isfinite(truth).sum() and np.isfinite(depth).sum() < 1.1 * np.isfinite(truth).sum()
        assert np.median(np.abs(depth - truth)[both]) < 0.07 * RADIUS
    done, total, _ = notes[-1]
    assert 450 < done <= total and any("radiance field, step" in note for *_, note in notes)


def test_the_box_of_the_outlines_holds_the_object(ball):
    rig, poses, _ = ball
    low, high = box_of_outlines(rig, poses, [np.isfinite(_hit(rig, p)[0]) for p in poses])
    assert (
        (low < -0.98 * RADIUS).all()
        and (low > -1.3 * RADIUS).all()
        and (high > 0.98 * RADIUS).all()
        and (high < 1.3 * RADIUS).all()
    )


def test_the_same_bits_for_any_number_of_threads(ball, tmp_path):
    for threads in (1, 2):
        _learned(ball[2], tmp_path / str(threads), threads, radiance_steps=60, radiance_samples=4096, score_every=12)
    one, two = (sorted(p for p in (tmp_path / t / "novel_views").rglob("*") if p.is_file()) for t in ("1", "2"))
    assert [p.name for p in one] == [p.name for p in two] and any(p.suffix == ".tiff" for p in one)
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def test_nonsense_is_refused(ball, tmp_path):
    for wrong, told in (
        ("novel_views.radiance_steps=3", "50 to 200000"),
        ("novel_views.radiance_samples=7", "1024 to"),
        ("novel_views.blended=2", "no effect"),
    ):
        with pytest.raises(ConfigError, match=told):
            resolve({"novel_views": NovelViewsConfig}, overrides=("novel_views.method=radiance", wrong), packaged=False)
    with pytest.raises(ConfigError, match=r"radiance_steps has no effect with novel_views.method=image_based"):
        resolve({"novel_views": NovelViewsConfig}, overrides=("novel_views.radiance_steps=600",), packaged=False)
    few = tmp_path / "poses.json"
    write_poses(few, [FramePose(k, p, "ok") for k, p in enumerate(ball[1][:3])])
    inputs = ball[2] | {"poses_refined.json": ArtifactRef("poses_refined.json", few, "few")}
    with pytest.raises(StageError, match="2 pictures are left to learn from"):
        _learned(inputs, tmp_path / "out", radiance_steps=50, score_every=3, radiance_samples=1024)


def _composed(output, at, rgb, start, count, behind):
    n, step = len(count), np.float32(0.02)
    colour, opacity, depth = np.empty((n, 3), np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    volume.compose(
        output,
        at,
        np.arange(len(output), dtype=np.float32),
        rgb,
        start,
        count,
        0,
        n,
        step,
        behind,
        colour,
        opacity,
        depth,
    )
    return colour, opacity, depth


def test_the_gradient_is_that_of_the_colour():
    rng = np.random.default_rng(1)
    count = np.array([7, 0, 12], np.int32)
    start, n = np.cumsum(count) - count, int(count.sum())
    output, at = rng.normal(3, 1, n).astype(np.float32), rng.random((n, 3)).astype(np.float32)
    rgb, behind = rng.random((n, 3)).astype(np.float32), rng.random((3, 3)).astype(np.float32)
    pull = rng.normal(size=(3, 3)).astype(np.float32)
    colour, opacity, depth = _composed(output, at, rgb, start, count, behind)
    assert (colour[1] == behind[1]).all() and opacity[1] == 0 and np.isnan(depth[1]) and 0 < opacity[0] < 1
    d_output, d_rgb = np.empty(n, np.float32), np.empty((n, 3), np.float32)
    volume.compose_backward(
        output, at, rgb, start, count, 0, 3, np.float32(0.02), behind, colour, pull, d_output, d_rgb
    )

    def value(o, c):
        return float((_composed(o, at, c, start, count, behind)[0].astype(float) * pull).sum())

    for i in range(n):
        e = np.zeros(n, np.float32)
        e[i] = 0.02
        assert d_output[i] == pytest.approx((value(output + e, rgb) - value(output - e, rgb)) / 0.04, abs=2e-4)
        e3 = np.zeros((n, 3), np.float32)
        e3[i, 1] = 0.05
        assert d_rgb[i, 1] == pytest.approx((value(output, rgb + e3) - value(output, rgb - e3)) / 0.1, abs=2e-4)


def _marched(density, eye, ray, contracted=False, step=1 / 128):
    gap = np.zeros(density.shape, np.uint8)
    marching.chessboard_gap(density, gap, 40)
    at, along = np.empty((4000, 3), np.float32), np.empty(4000, np.float32)
    eye, ray = np.array([eye], np.float32), np.array([ray], np.float32)
    counts = marching.march(
        eye,
        ray,
        np.full(1, 0.5, np.float32),
        np.float32(step),
        np.float32(0.01),
        contracted,
        density,
        gap,
        0,
        1,
        4000,
        at,
        along,
    )
    return at[: counts[0]], along[: counts[0]]


def test_a_march_asks_where_something_can_be_and_stops_where_nothing_passes():
    density = np.zeros((128,) * 3, np.float32)
    density[40:48, 60:68, 60:68] = 1e-3
    density[80:120, 60:68, 60:68] = 1e4
    at, along = _marched(density, (-1, 0.5, 0.5), (1, 0, 0))
    assert (np.abs(at[:, 1:] - 0.5) < 1e-5).all() and np.allclose(at[:, 0], along - 1, atol=1e-5)
    cells = np.floor(at[:, 0] * 128).astype(int)
    assert (cells[:8] == np.arange(40, 48)).all() and cells[8] == 80 and 12 <= len(cells) <= 20


def test_a_contracted_march_goes_far_by_even_steps_of_the_cube():
    density = np.ones((128,) * 3, np.float32) * 1e-3
    at, along = _marched(density, (0.2, -0.3, 0.1), (0.0, 0.6, 0.8), contracted=True)
    lengths = np.linalg.norm(np.diff(at, axis=0), axis=1)
    assert along[-1] > 25 and (at > 0).all() and (at < 1).all()
    assert np.allclose(lengths[:20], 1 / 128, rtol=0.02) and (lengths < 1.6 / 128).all()
