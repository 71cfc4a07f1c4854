"""A picture that is turned or mirrored is named with its repair; the field of view is found from silhouettes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from stages.core.camera import Rig
from stages.core.camera_service import VIEWS, canonical_views, focal_of
from stages.core.render import Caster
from stages.posed import findings
from stages.posed.agreement import REPAIRS, Silhouette, proposed_repair, small
from stages.posed.formats import read
from stages.posed.masks import mask_of, read_picture

TRUE_FOV = 0.9
INVERSE = {"turn by 90 degrees": "turn by 270 degrees", "turn by 270 degrees": "turn by 90 degrees"}


@pytest.fixture(scope="module")
def rendered() -> list[Silhouette]:
    """Six views of a lopsided object, 240 px, by a lens of 0.9 rad."""
    parts = [
        trimesh.creation.box((1.2, 0.5, 0.7)),
        trimesh.creation.icosphere(3, 0.35),
        trimesh.creation.box((0.2, 0.7, 0.25)),
    ]
    for part, shift in zip(parts, ((0, 0, 0), (0.5, 0.3, 0.15), (-0.45, 0.4, -0.2)), strict=True):
        part.apply_translation(shift)
    mesh = trimesh.util.concatenate(parts)
    caster, out = Caster(mesh.vertices, mesh.faces), []
    for c in canonical_views(240, 240, 2.6, focal_of(TRUE_FOV, 240)):
        rig = Rig(c.width, c.height, c.K[0, 0], c.K[1, 1], c.K[0, 2], c.K[1, 2], 1.0)
        out.append(
            Silhouette(c.name, np.isfinite(caster.view(c.world_from_camera, rig)["t"]), c.K, c.world_from_camera)
        )
    return out


def _fault(views, index, what):
    bad = list(views)
    bad[index] = replace(views[index], mask=np.ascontiguousarray(REPAIRS[what](views[index].mask)))
    return bad


def test_cameras_that_are_right(rendered):
    found = findings.check(rendered)
    assert found.repair is None and found.fov_deg is None and found.agreement.mean() > 0.95 and found.warnings() == []


@pytest.mark.parametrize("index", [1, 4])
def test_single_faults_are_named(rendered, index):
    what = list(REPAIRS)[1 + index]
    found = findings.check(_fault(rendered, index, what))
    assert (found.repair.name, found.repair.what) == (list(VIEWS)[index], INVERSE.get(what, what))
    assert list(VIEWS)[index] in found.warnings()[0] and "apply_repair" in found.warnings()[0]


@pytest.mark.parametrize("wrong", [0.8, 1.15])
def test_the_field_of_view_is_found(rendered, wrong):
    found = findings.check([v.with_focal(wrong) for v in rendered])
    assert found.fov_deg == pytest.approx(np.degrees(TRUE_FOV), rel=0.02)


def test_faults_of_the_shoe(shared_dir):
    """Its front is nearly its own mirror image, and its field of view is wrong in the file: the hardest of the 42."""
    views = []
    for c in read(shared_dir / "multiview/shoe_nvdiffrec").cameras:
        mask, _ = mask_of(c, *read_picture(c.picture), "auto")
        views.append(small(Silhouette(c.name, mask, c.K, c.world_from_camera)))
    intact = findings.check(views)
    assert intact.repair is None and intact.fov_deg == pytest.approx(np.degrees(1.05), rel=0.02)
    found = proposed_repair(_fault(views, 0, "turn by 90 degrees"), focal_factors=(1.0, intact.focal_factor))
    assert (found.name, found.what) == (views[0].name, "turn by 270 degrees")
