"""Mass properties against formulas."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.geometry.rigid import exp_se3
from stages.physics.make import in_frame
from stages.physics.mass import mass_properties, shell_moments, solid_moments
from stages.physics.materials import MATERIALS
from stages.physics.shapes import Shape, open_edges
from tests.physics.made import ball, box, mug

UNKNOWN = MATERIALS["unknown"]


def test_a_solid_box_is_exact_wherever_it_lies():
    a, b, c = 0.04, 0.06, 0.2
    found = solid_moments(box((a, b, c), (3.0, -2.0, 1.0)))
    assert found.content == pytest.approx(a * b * c, rel=1e-9)
    assert np.allclose(found.centre, (3.0, -2.0, 1.0), atol=1e-9)
    assert np.allclose(
        found.inertia, np.diag([b * b + c * c, a * a + c * c, a * a + b * b]) / 12, rtol=1e-9, atol=1e-12
    )


def test_a_box_of_sheet_is_its_six_plates():
    a, b, c = 0.1, 0.1, 0.1
    found = shell_moments(box((a, b, c)))
    assert found.content == pytest.approx(6 * a * a)
    assert np.allclose(found.inertia, np.eye(3) * 5 / 18 * a * a, rtol=1e-9), "a cube of sheet: 5/18 m a2"


def test_a_ball_solid_and_hollow():
    r = 0.05
    solid, shell = solid_moments(ball(r)), shell_moments(ball(r))
    assert solid.content == pytest.approx(4 / 3 * np.pi * r**3, rel=0.015)
    assert np.allclose(solid.inertia, np.eye(3) * 0.4 * r * r, rtol=0.03, atol=1e-6)
    assert np.allclose(shell.inertia, np.eye(3) * 2 / 3 * r * r, rtol=0.03, atol=1e-6)


def test_the_properties_turn_with_the_mesh():
    shape, move = box((0.04, 0.06, 0.2)), exp_se3(np.array([0.3, -0.8, 0.5, 0.1, 0.2, -0.4]))
    there = mass_properties(shape.moved(move), UNKNOWN, "assumed")
    turned = in_frame(mass_properties(shape, UNKNOWN, "assumed"), move)
    assert np.allclose(turned.inertia, there.inertia, rtol=1e-9, atol=1e-12) and np.allclose(
        turned.centre, there.centre
    )
    moments, axes = there.principal
    assert np.allclose(axes @ np.diag(moments) @ axes.T, there.inertia) and np.linalg.det(axes) == pytest.approx(1)


def test_what_is_given_goes_before_what_is_assumed():
    shape = box((0.1, 0.1, 0.1))
    assumed = mass_properties(shape, UNKNOWN, "assumed")
    assert assumed.mass_kg == pytest.approx(UNKNOWN.density * 1e-3) and assumed.how_mass.startswith("assumed")
    by_density = mass_properties(shape, UNKNOWN, "assumed", density_kg_m3=2000)
    assert by_density.mass_kg == pytest.approx(2.0) and by_density.how_mass.startswith("given")
    weighed = mass_properties(shape, UNKNOWN, "assumed", mass_kg=0.5)
    assert weighed.mass_kg == 0.5 and weighed.density_kg_m3 == pytest.approx(500) and weighed.how_mass == "given"
    can = mass_properties(shape, MATERIALS["steel"], "given", wall_m=0.001)
    assert can.model == "shell" and can.mass_kg == pytest.approx(7850 * 6e-2 * 1e-3)


def test_what_has_no_inside_is_refused():
    shape = box((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="look inwards"):
        solid_moments(Shape(shape.vertices, shape.faces[:, ::-1]))
    with pytest.raises(ValueError, match="no volume"):
        solid_moments(Shape(shape.vertices * [1, 1, 0], shape.faces))
    with pytest.raises(ValueError, match="walls of 40 mm"):
        mass_properties(shape, UNKNOWN, "assumed", wall_m=0.04)


def test_open_edges_are_counted():
    shape = mug(0.003)
    assert open_edges(shape.faces) == 0
    assert open_edges(shape.faces[1:]) == 3
    assert open_edges(np.concatenate([shape.faces, shape.faces[:1]])) >= 3, "a face twice"
    assert open_edges(np.zeros((0, 3), np.int64)) > 0
