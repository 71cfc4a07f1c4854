"""The verdict on twins whose faults are known: a whole one, halves, open ones, ones that do not look like their pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from stages.core.frames import FramePose, write_poses
from stages.core.meshes import SurfaceMesh, write_ply
from stages.core.verdict import DO_NOT_USE, PARTIAL, USABLE, judge, read_facts
from stages.core.verdict.error import expected_error, summary_mm
from stages.core.verdict.shape import directions_unseen, hole_area, rim_of

RADIUS = 0.05
PIXEL_MM = 0.3


def eyes_round(turn_deg: float, count: int = 24, elevation_deg: float = 20.0) -> np.ndarray:
    """Cameras on an arc, y up."""
    a, e = np.radians(np.linspace(0, turn_deg, count, endpoint=turn_deg < 360)), np.radians(elevation_deg)
    return 0.4 * np.stack([np.cos(a) * np.cos(e), np.full(count, np.sin(e)), np.sin(a) * np.cos(e)], 1)


def twin(folder, mesh=None, eyes=None, confidence=0.9, status="ok"):
    """A twin folder of a sphere, or of `mesh`, with cameras at `eyes`."""
    mesh = mesh or trimesh.creation.icosphere(4, RADIUS)
    values = np.broadcast_to(np.float32(confidence), len(mesh.vertices))
    colour = np.full((len(mesh.vertices), 3), 128, np.uint8)
    write_ply(folder / "mesh.ply", SurfaceMesh(np.array(mesh.vertices), np.array(mesh.faces), colour, values))
    rows = []
    for k, eye in enumerate(eyes_round(360) if eyes is None else eyes):
        pose = np.eye(4)
        pose[:3, 3] = eye
        rows.append(FramePose(k, pose, status, 100, 0.3))
    write_poses(folder / "poses.json", rows)
    return folder


def manifests(**changes) -> dict:
    """What the stages reported; `changes` as stage__key."""
    metrics = {
        "surface": {"pixel_on_object_mm": PIXEL_MM},
        "texture": {"mask_covered_share": 0.99, "psnr_db": 30.0, "measured_on": "frames used"},
        "masks": {"trust_median": 0.95},
        "bundle": {"object_frame": "y points down, along the normal of the plane that the object stands on"},
    }
    for key, value in changes.items():
        stage, _, name = key.partition("__")
        metrics[stage][name] = value
    return {s: {"report": {"metrics": m, "frames": {"ok": 24} if s == "masks" else {}}} for s, m in metrics.items()}


def verdict(folder, **changes):
    return judge(read_facts(folder, manifests(**changes)))


def cut(height: float) -> tuple[trimesh.Trimesh, float]:
    """The sphere above `height`, cut along a circle of latitude, and the circle's circumference."""
    ball = trimesh.creation.uv_sphere(RADIUS, count=[64, 128])
    ball.update_faces((ball.vertices[ball.faces, 2] > height).all(1))
    ball.remove_unreferenced_vertices()
    return ball, 2 * np.pi * np.sqrt(RADIUS**2 - ball.vertices[:, 2].min() ** 2)


def test_a_whole_twin_is_usable_with_an_error_in_mm(tmp_path):
    v = verdict(twin(tmp_path))
    assert v.word == USABLE and "closed, 24 of 24 frames posed" in v.line
    assert v.facts.error_median_mm == pytest.approx(
        1000 * np.median(expected_error(np.array([0.9]), PIXEL_MM / 1000)), rel=0.02
    )
    assert 2 < v.facts.error_p95_mm / v.facts.error_median_mm < 10
    assert json.loads(json.dumps(v.record(), allow_nan=False))["word"] == USABLE


def test_pictures_that_disagree_make_it_partial(tmp_path):
    assert verdict(twin(tmp_path), texture__pair_disagreement_ratio=2.0).word == USABLE
    v = verdict(tmp_path, texture__pair_disagreement_ratio=4.0)
    assert v.word == PARTIAL and "some pictures show the object elsewhere than others (4.0 times" in v.line


def test_a_hole_makes_it_partial_and_its_size_is_known(tmp_path):
    ball, ring = cut(-0.04)
    v = verdict(twin(tmp_path, ball))
    assert v.word == PARTIAL and "open" in v.line and not v.whole
    assert v.facts.rim_mm == pytest.approx(1000 * ring, rel=0.01)
    assert hole_area(np.array(ball.vertices), np.array(ball.faces)) == pytest.approx(ring**2 / (4 * np.pi), rel=0.01)


def test_four_frames_from_one_side_are_not_called_whole_though_the_mesh_is_closed(tmp_path):
    """The case that looked green: half a bottle, closed behind, "20 % never seen"."""
    v = verdict(twin(tmp_path, eyes=eyes_round(27, 4)))
    assert v.word == DO_NOT_USE and "only 4 frames" in v.line and v.facts.missing_share > 0.5
    assert "mostly from one side" in v.line


def test_one_side_filmed_with_many_frames_is_partial(tmp_path):
    """A board before a wall, a relief: what is there is right."""
    v = verdict(twin(tmp_path, eyes=eyes_round(30, 31)))
    assert v.word == PARTIAL and v.facts.missing_share > 0.5 and "mostly from one side" in v.line


@pytest.mark.parametrize(("turn", "least", "most"), [(360, 0.10, 0.15), (180, 0.12, 0.25), (90, 0.3, 0.5)])
def test_directions_unseen(turn, least, most):
    share, middle = directions_unseen(eyes_round(turn), np.zeros(3))
    assert least < share < most
    if turn == 360:
        assert middle[1] < -0.95, "the bottom"


@pytest.mark.parametrize(
    ("change", "word", "words"),
    [
        ({"texture__mask_covered_share": 0.78}, DO_NOT_USE, "where the twin has nothing (22 %)"),
        ({"texture__mask_covered_share": 0.93}, PARTIAL, "where the twin has nothing (7 %)"),
        ({"texture__psnr_db": 20.3}, PARTIAL, "does not look like the pictures (20.3 dB)"),
        ({"texture__psnr_db": 15.0}, DO_NOT_USE, "does not look like the pictures"),
        ({"masks__trust_median": 0.51}, PARTIAL, "little trusted (median 0.51)"),
        ({"masks__trust_median": 0.3}, DO_NOT_USE, "little trusted"),
        ({"surface__pixel_on_object_mm": 8.0}, PARTIAL, "of its size"),
    ],
)
def test_each_sign_of_trouble_counts(tmp_path, change, word, words):
    v = verdict(twin(tmp_path), **change)
    assert v.word == word and words in v.line


def test_uncertain_poses_and_doubtful_masks(tmp_path):
    assert verdict(twin(tmp_path, status="uncertain")).word == DO_NOT_USE
    found = manifests()
    found["masks"]["report"]["frames"] = {"ok": 10, "uncertain": 12, "lost": 2}
    v = judge(read_facts(twin(tmp_path), found))
    assert v.word == PARTIAL and "58 % of the masks are doubtful" in v.line


def test_unseen_surface_counts_by_area(tmp_path):
    ball = trimesh.creation.icosphere(4, RADIUS)
    half = np.where(ball.vertices[:, 0] > 0, 0.9, 0.0)
    v = verdict(twin(tmp_path, ball, confidence=half))
    assert v.facts.unseen_share == pytest.approx(0.5, abs=0.03) and v.word != USABLE
    assert v.facts.error_median_mm == pytest.approx(verdict(twin(tmp_path)).facts.error_median_mm), "of what was seen"


def test_no_mesh_no_verdict(tmp_path):
    assert read_facts(tmp_path, manifests()) is None


def test_nothing_known_of_the_error_says_so(tmp_path):
    facts = replace(read_facts(twin(tmp_path), manifests()), error_median_mm=None, error_p95_mm=None)
    assert "Expected error: unknown" in judge(facts).line
    assert summary_mm(np.zeros(3), np.ones(3), 0.001) is None


def test_error_grows_as_confidence_falls():
    error = expected_error(np.array([0.0, 0.1, 0.3, 0.6, 0.95]), 0.0003)
    assert np.isnan(error[0]) and (np.diff(error[1:]) < 0).all()


def test_a_closed_mesh_has_no_rim():
    ball = trimesh.creation.icosphere(2)
    assert len(rim_of(np.array(ball.vertices), np.array(ball.faces)).segments) == 0
    assert hole_area(np.array(ball.vertices), np.array(ball.faces)) < 1e-12
