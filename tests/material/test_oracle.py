"""Against a renderer of others: what tests/material/scene.py calls the truth is what Mitsuba 3 renders, but for its diffuse part."""

from __future__ import annotations

import numpy as np
import pytest

from stages.material.light import directions
from tests.material.scene import light, shaded


def test_gloss_is_that_of_mitsuba():
    """A black dielectric ball, path traced: gloss alone."""
    mi = pytest.importorskip("mitsuba", reason="mitsuba is not installed")
    mi.set_variant("scalar_rgb")
    from tests.material.scene import grid

    sky = light(directions(64)).reshape(64, 128, 3).astype(np.float32)
    bsdf = {"type": "principled", "base_color": {"type": "rgb", "value": 0.0}, "roughness": 0.45, "specular": 0.5}
    film = {"type": "hdrfilm", "width": 9, "height": 9, "rfilter": {"type": "box"}}
    to_world = mi.ScalarTransform4f().look_at([0, 0, 5], [0, 0, 0], [0, 1, 0])
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 2},
        "light": {"type": "envmap", "bitmap": mi.Bitmap(sky)},
        "ball": {"type": "sphere", "bsdf": bsdf},
        "sensor": {"type": "perspective", "fov": 12, "to_world": to_world, "film": film},
    }
    found = np.array(mi.render(mi.load_dict(scene), spp=1024))
    x = np.tan(np.radians(6)) * (2 * (np.arange(9) + 0.5) / 9 - 1)
    rays = np.stack([*np.meshgrid(x, -x), -np.ones((9, 9))], -1).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    b = 5 * rays[:, 2]
    normal = np.array([0, 0, 5.0]) + rays * (-b - np.sqrt(b * b - 24))[:, None]
    ways, angles = grid(64)
    expected = shaded(normal, -rays, np.zeros((81, 3)), np.full(81, 0.45), ways, light(ways) * angles[:, None]).reshape(
        9, 9, 3
    )
    np.testing.assert_allclose(found[2:7, 2:7], expected[2:7, 2:7], rtol=0.1, atol=0.004)
