"""MJCF (MuJoCo), URDF (ROS, PyBullet, Drake, Isaac) and SDF (Gazebo) of one asset: the same numbers, relative paths.

Engines with one coefficient of friction get the dynamic one: a grasp that holds with it holds. Restitution goes where a format has a place.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np

from stages.physics.asset import MESHES, TEXTURE, SimAsset, inertia_entries, numbers

SPINNING_M, ROLLING_M = 0.002, 0.0005
"""metres: contact on a desk is no point; without it what is round rolls for ever"""


def write_mjcf(path: Path, asset: SimAsset) -> None:
    """One body with a free joint, for <include> or MjSpec.attach; `scene.xml` beside it adds ground and light."""
    top = Xml.Element("mujoco", model=asset.name)
    Xml.SubElement(top, "compiler", meshdir=MESHES, texturedir=MESHES)
    given = Xml.SubElement(top, "asset")
    Xml.SubElement(given, "texture", name="twin", type="2d", file=TEXTURE)
    Xml.SubElement(given, "material", name="twin", texture="twin", specular="0", shininess="0")
    Xml.SubElement(given, "mesh", name="visual", file="visual.obj", inertia="shell")
    for stem, _ in asset.active:
        Xml.SubElement(given, "mesh", name=stem, file=f"{stem}.obj", inertia="convex")
    body = Xml.SubElement(Xml.SubElement(top, "worldbody"), "body", name=asset.name)
    Xml.SubElement(body, "freejoint", name=f"{asset.name}_free")
    mass, i = asset.mass, asset.mass.inertia
    Xml.SubElement(
        body,
        "inertial",
        pos=numbers(mass.centre),
        mass=numbers(mass.mass_kg),
        fullinertia=numbers([i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]]),
    )
    Xml.SubElement(
        body,
        "geom",
        name="visual",
        type="mesh",
        mesh="visual",
        material="twin",
        contype="0",
        conaffinity="0",
        group="2",
    )
    for stem, _ in asset.active:
        Xml.SubElement(
            body,
            "geom",
            name=stem,
            type="mesh",
            mesh=stem,
            group="3",
            condim="6",
            friction=numbers([asset.material.dynamic_friction, SPINNING_M, ROLLING_M]),
        )
    _write(path, top)


def write_scene(path: Path, asset: SimAsset, model: str) -> None:
    """MJCF with ground and light round `model`: `python -m mujoco.viewer --mjcf=scene.xml`."""
    top = Xml.Element("mujoco", model=f"{asset.name}_scene")
    Xml.SubElement(top, "include", file=model)
    world = Xml.SubElement(top, "worldbody")
    Xml.SubElement(world, "light", pos="0 0 2", dir="0 0 -1", directional="true")
    Xml.SubElement(world, "geom", name="ground", type="plane", size="1 1 0.1", condim="6", rgba="0.8 0.8 0.8 1")
    _write(path, top)


def write_urdf(path: Path, asset: SimAsset) -> None:
    """One link. The element <mujoco> tells MuJoCo's compiler to keep folders and visuals; others pass over it."""
    top = Xml.Element("robot", name=asset.name)
    Xml.SubElement(
        Xml.SubElement(top, "mujoco"), "compiler", strippath="false", discardvisual="false", fusestatic="false"
    )
    link = Xml.SubElement(top, "link", name=asset.name)
    inertial = Xml.SubElement(link, "inertial")
    Xml.SubElement(inertial, "origin", xyz=numbers(asset.mass.centre), rpy="0 0 0")
    Xml.SubElement(inertial, "mass", value=numbers(asset.mass.mass_kg))
    Xml.SubElement(inertial, "inertia", inertia_entries(asset.mass.inertia))
    _urdf_mesh(Xml.SubElement(link, "visual", name="visual"), "visual")
    for stem, _ in asset.active:
        _urdf_mesh(Xml.SubElement(link, "collision", name=stem), stem)
    contact = Xml.SubElement(link, "contact")  # PyBullet's
    Xml.SubElement(contact, "lateral_friction", value=numbers(asset.material.dynamic_friction))
    Xml.SubElement(contact, "rolling_friction", value=numbers(ROLLING_M))
    Xml.SubElement(contact, "spinning_friction", value=numbers(SPINNING_M))
    Xml.SubElement(contact, "restitution", value=numbers(asset.material.restitution))
    _write(path, top)


def write_sdf(path: Path, asset: SimAsset) -> None:
    """SDFormat 1.9."""
    top = Xml.Element("sdf", version="1.9")
    link = Xml.SubElement(Xml.SubElement(top, "model", name=asset.name), "link", name="link")
    inertial = Xml.SubElement(link, "inertial")
    Xml.SubElement(inertial, "pose").text = f"{numbers(asset.mass.centre)} 0 0 0"
    Xml.SubElement(inertial, "mass").text = numbers(asset.mass.mass_kg)
    inertia = Xml.SubElement(inertial, "inertia")
    for key, value in inertia_entries(asset.mass.inertia).items():
        Xml.SubElement(inertia, key).text = value
    _sdf_mesh(Xml.SubElement(link, "visual", name="visual"), "visual")
    for stem, _ in asset.active:
        collision = Xml.SubElement(link, "collision", name=stem)
        _sdf_mesh(collision, stem)
        surface = Xml.SubElement(collision, "surface")
        friction = Xml.SubElement(Xml.SubElement(surface, "friction"), "ode")
        for axis in ("mu", "mu2"):
            Xml.SubElement(friction, axis).text = numbers(asset.material.dynamic_friction)
        Xml.SubElement(Xml.SubElement(surface, "bounce"), "restitution_coefficient").text = numbers(
            asset.material.restitution
        )
    _write(path, top)


def read_inertial(urdf: Path) -> tuple[float, np.ndarray, np.ndarray]:
    """(mass kg, centre (3,) m, inertia (3, 3) kg m2) of a URDF written here."""
    found = Xml.parse(urdf).getroot().find("link/inertial")
    if found is None:
        raise ValueError(f"{urdf} has no inertial")

    def value(path, key):
        return next(e.attrib[key] for e in found.iter(path))

    i = {k: float(value("inertia", k)) for k in ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")}
    inertia = np.array([[i["ixx"], i["ixy"], i["ixz"]], [i["ixy"], i["iyy"], i["iyz"]], [i["ixz"], i["iyz"], i["izz"]]])
    return float(value("mass", "value")), np.array(value("origin", "xyz").split(), float), inertia


def _urdf_mesh(parent: Xml.Element, stem: str) -> None:
    Xml.SubElement(parent, "origin", xyz="0 0 0", rpy="0 0 0")
    Xml.SubElement(Xml.SubElement(parent, "geometry"), "mesh", filename=f"{MESHES}/{stem}.obj")


def _sdf_mesh(parent: Xml.Element, stem: str) -> None:
    Xml.SubElement(Xml.SubElement(Xml.SubElement(parent, "geometry"), "mesh"), "uri").text = f"{MESHES}/{stem}.obj"


def _write(path: Path, top: Xml.Element) -> None:
    Xml.indent(top)
    path.write_text('<?xml version="1.0"?>\n' + Xml.tostring(top, encoding="unicode") + "\n", encoding="utf-8")
