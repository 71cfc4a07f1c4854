"""Refinement of texture, exposure and poses on the painted sphere; the nvdiffrast adapter on a stand-in; refusals."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.core import licences
from stages.core.errors import ConfigError, StageError
from stages.core.geometry.rigid import inverse
from stages.core.render import Caster
from stages.core.texels.views import stereo_views
from stages.core.work import Work
from stages.texture.bake import bake, prepare_shape
from stages.texture.config import TextureConfig
from stages.texture.raycast_renderer import RaycastRenderer
from stages.texture.refine import Shown, held, mip, refine, small_motion
from stages.texture.refine_views import refined
from stages.texture.stage import STAGE
from tests.texture import fake_nvdiffrast, scene

CPU = torch.device("cpu")
CONFIG = TextureConfig(
    size=512, size_fixed=True, face_budget=5000, align_views=False, refine="raycast", refine_steps=40
)


@pytest.fixture(scope="module")
def baked():
    """The sphere blended from 8 pairs whose poses are 0.6 px wrong."""
    vertices, faces = scene.sphere()
    poses = {k: scene.camera(k * 0.785, 0.3 * (k % 3 - 1)) for k in range(8)}
    pictures = scene.Pictures(poses)
    rng = np.random.default_rng(0)
    wrong = {k: small_motion(torch.tensor(rng.normal(0, 3e-4, 6))).numpy() @ p for k, p in poses.items()}
    shape = prepare_shape(vertices, faces, 0.0005, CONFIG)
    views = stereo_views(wrong, scene.RIG, ("left", "right"), {})
    made = bake(shape, views, scene.RIG, pictures, CONFIG, Work())
    return made, pictures


def test_it_shows_left_out_pixels_better_than_the_blend_and_keeps_that(baked) -> None:
    made, pictures = baked
    better = refined(replace(made, figures=dict(made.figures)), scene.RIG, CONFIG, pictures, Work())
    before, after = (better.figures[f"refine_error_{w}_levels"] for w in ("before", "after"))
    assert better.figures["refine_kept"] == 1 and after < 0.85 * before
    assert not np.array_equal(better.mesh.texture, made.mesh.texture) and np.array_equal(
        better.mesh.vertices, made.mesh.vertices
    )


def shown(made, count: int) -> list[Shown]:
    """Views of the sphere, rendered from its own texture: perfect data."""
    out, caster = [], Caster(made.mesh.vertices, made.mesh.faces)
    for view in made.views[:count]:
        hit = caster.view(inverse(view.camera_from_object), scene.RIG)["face"] >= 0
        blank = Shown(scene.RIG, view.camera_from_object, np.zeros((*hit.shape, 3), np.uint8), hit)
        renderer = RaycastRenderer(made.mesh, [blank], CPU)
        uv, _ = renderer.coordinates(0, torch.tensor(view.camera_from_object, dtype=torch.float32))
        colour = renderer.look_up(torch.tensor(made.mesh.texture).float(), uv).numpy()
        blank.picture.reshape(-1, 3)[np.flatnonzero(hit)] = np.rint(colour)
        out.append(blank)
    return out


def test_gains_and_poses_are_found(baked) -> None:
    """One view is a tenth darker and turned by half a pixel."""
    made, _ = baked
    views = shown(made, 6)
    twist = np.array([1e-3, -8e-4, 0, 0, 0, 0])
    turned = small_motion(torch.tensor(twist)).numpy() @ views[2].camera_from_object
    views[2] = replace(views[2], camera_from_object=turned, picture=np.rint(views[2].picture * 0.9).astype(np.uint8))
    result = refine(made.mesh.texture, views, RaycastRenderer(made.mesh, views, CPU), 0, 60, 0)
    gain = np.exp(result.log_gain[2] - np.delete(result.log_gain, 2, 0).mean(0))
    assert result.kept and np.abs(gain - 0.9).max() < 0.04
    moved = result.twist[2] - np.delete(result.twist, 2, 0).mean(0)
    front = [0.0, 0.0, 0.17]  # the sphere's point next to the camera

    def where(t):
        return scene.RIG.project((small_motion(torch.tensor(t)).numpy() @ [*front, 1])[:3])

    shift = [where(t) - scene.RIG.project(front) for t in (twist, moved)]
    assert np.linalg.norm(shift[0]) > 0.4 and np.linalg.norm(shift[0] + shift[1]) < 0.5 * np.linalg.norm(shift[0])


def test_perfect_pictures_leave_the_texture_alone(baked) -> None:
    made, _ = baked
    views = shown(made, 4)
    result = refine(made.mesh.texture, views, RaycastRenderer(made.mesh, views, CPU), 0, 5, 0)
    assert result.before_levels < 0.4 and not result.kept


def test_nvdiffrast_looks_where_ray_casting_looks(baked, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nvdiffrast", fake_nvdiffrast)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", fake_nvdiffrast)
    made, _ = baked
    vertices, faces = scene.sphere(1)
    rng = np.random.default_rng(1)
    mesh = replace(
        made.mesh,
        vertices=vertices,
        faces=faces,
        uv=rng.random((len(faces) * 3, 2)),
        faces_uv=np.arange(len(faces) * 3).reshape(-1, 3),
    )
    pose, rig = inverse(scene.camera(0.4)), scene.RIG.scaled(0.15)
    hit = Caster(vertices, faces).view(inverse(pose), rig)["face"] >= 0
    views = [Shown(rig, pose, np.zeros((*hit.shape, 3), np.uint8), hit)]
    theirs = importlib.import_module("stages.texture.nvdiffrast_renderer").NvdiffrastRenderer(mesh, views, CPU)
    ours, texture = (
        RaycastRenderer(mesh, views, CPU),
        torch.rand((32, 32, 3), generator=torch.Generator().manual_seed(0)),
    )
    found = []
    for renderer in (ours, theirs):
        twist = torch.zeros(6, requires_grad=True)
        uv, seen = renderer.coordinates(0, small_motion(twist) @ torch.tensor(pose, dtype=torch.float32))
        colour = renderer.look_up(texture, uv)
        (colour * torch.linspace(-1, 1, colour.numel()).reshape(colour.shape)).sum().backward()
        found.append((uv.detach(), seen, colour.detach(), twist.grad))
    (uv, seen, colour, slope), (uv2, seen2, colour2, slope2) = found
    same = (uv - uv2).abs().max(1).values < 1e-3
    assert seen.all() and seen2.float().mean() > 0.97 and same.float().mean() > 0.97, (
        "all but pixels on an edge between two faces"
    )
    assert (colour[same] - colour2[same]).abs().max() < 1e-2
    assert torch.nn.functional.cosine_similarity(slope, slope2, dim=0) > 0.98


def test_without_nvdiffrast_the_error_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    module = importlib.import_module("stages.texture.nvdiffrast_renderer")
    with pytest.raises(StageError, match=r"(?s)does not import.*build_cuda_kits.*texture.refine=raycast"):
        module.NvdiffrastRenderer(None, [], CPU)
    with pytest.raises(StageError, match=r"texture.refine=nvdiffrast needs nvdiffrast"):
        STAGE.check({}, TextureConfig(refine="nvdiffrast"))


def test_commercial_use_refuses_nvdiffrast_and_names_the_alternative() -> None:
    assert STAGE.needs_libraries(TextureConfig()) == () and TextureConfig().refine == "none"
    needed = STAGE.needs_libraries(TextureConfig(refine="nvdiffrast"))
    licences.refuse_non_commercial((), STAGE.needs_libraries(TextureConfig(refine="raycast")))
    with pytest.raises(
        ConfigError, match=r"(?s)does not permit library nvdiffrast.*instead of nvdiffrast use texture.refine=raycast"
    ):
        licences.refuse_non_commercial((), needed)


def test_held_pixels_are_blocks_and_the_pyramid_keeps_the_mean() -> None:
    usable = np.ones((64, 80), bool)
    view = Shown(scene.RIG, np.eye(4), np.zeros((64, 80, 3), np.uint8), usable)
    out = held(view, 3).reshape(64, 80)
    assert 0.02 < out.mean() < 0.25 and all(
        len(np.unique(out[r : r + 8, c : c + 8])) == 1 for r in (0, 24) for c in (8, 40)
    )
    texture = torch.rand(16, 16, 3)
    assert torch.allclose(mip(texture, 2).mean((0, 1)), texture.mean((0, 1))) and mip(texture, 2).shape == (4, 4, 3)
