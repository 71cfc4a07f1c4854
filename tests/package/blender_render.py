"""BLENDER_PYTHON blender_render.py ASKED.json OUT: files as Blender's own importers take them, and a picture of each by Cycles on the CPU.

ASKED.json: [{"file", "name", "world_from_camera" (4x4, OpenCV axes), "focal" (in widths of the picture), "size_px"}]. Written into OUT:
NAME.png (colours of the material, unlit, transparent where nothing is) and found.json = {name: {"low", "high" (bounds in Blender's
world, metres, z up), "normal_map": whether the material has one}}. Runs in the Python that has bpy: nothing of the project is imported.
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

READERS = {".glb": "import_scene.gltf", ".usda": "wm.usd_import", ".usdz": "wm.usd_import", ".obj": "wm.obj_import"}


def main() -> None:
    asked, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    found = {}
    for wish in asked:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        group, name = READERS[Path(wish["file"]).suffix].split(".")
        getattr(getattr(bpy.ops, group), name)(filepath=wish["file"])
        found[wish["name"]] = measured()
        render(wish, out / f"{wish['name']}.png")
    (out / "found.json").write_text(json.dumps(found))


def measured() -> dict:
    (thing,) = (o for o in bpy.context.scene.objects if o.type == "MESH")
    world = np.array(thing.matrix_world)
    vertices = np.array([v.co for v in thing.data.vertices]) @ world[:3, :3].T + world[:3, 3]
    nodes = thing.data.materials[0].node_tree.nodes
    show_colours_alone(thing.data.materials[0])
    return {
        "low": vertices.min(0).tolist(),
        "high": vertices.max(0).tolist(),
        "normal_map": any(n.type == "NORMAL_MAP" for n in nodes),
    }


def show_colours_alone(material) -> None:
    """What feeds the base colour, as it is, without light."""
    tree = material.node_tree
    (surface,) = (n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    (output,) = (n for n in tree.nodes if n.type == "OUTPUT_MATERIAL" and n.is_active_output)
    light = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(surface.inputs["Base Color"].links[0].from_socket, light.inputs["Color"])
    tree.links.new(light.outputs["Emission"], output.inputs["Surface"])


def render(wish: dict, path: Path) -> None:
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.matrix_world = Matrix((np.array(wish["world_from_camera"]) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist())
    camera.data.lens, camera.data.clip_start = wish["focal"] * camera.data.sensor_width, 0.01
    scene.camera = camera
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 8, "CPU"
    scene.cycles.use_denoising, scene.cycles.pixel_filter_type = False, "BOX"
    scene.render.resolution_x = scene.render.resolution_y = wish["size_px"]
    scene.render.resolution_percentage, scene.render.film_transparent = 100, True
    scene.view_settings.view_transform, scene.render.image_settings.file_format = "Standard", "PNG"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


main()
