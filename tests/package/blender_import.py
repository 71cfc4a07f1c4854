"""BLENDER_PYTHON blender_import.py FOLDER OUT.json: each file of a twin as Blender's own importers take it, with their defaults.

Written: {file: {"low", "high": bounds in Blender's world (metres, z up), "faces": [[outward normal, colour or null], ..]}}. Runs in the
Python that has bpy, so nothing of the project is imported.
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np


def main() -> None:
    folder, out = map(Path, sys.argv[1:])
    imports = {
        "twin.obj": bpy.ops.wm.obj_import,
        "twin.ply": bpy.ops.wm.ply_import,
        "twin.glb": bpy.ops.import_scene.gltf,
        "twin.usdz": bpy.ops.wm.usd_import,
    }
    found = {}
    for name, read in imports.items():
        if (folder / name).exists():
            bpy.ops.wm.read_factory_settings(use_empty=True)
            read(filepath=str(folder / name))
            found[name] = measured()
    out.write_text(json.dumps(found))


def measured() -> dict:
    (thing,) = (o for o in bpy.context.scene.objects if o.type == "MESH")
    world = np.array(thing.matrix_world)
    vertices = np.array([v.co for v in thing.data.vertices]) @ world[:3, :3].T + world[:3, 3]
    faces = []
    for polygon in thing.data.polygons:
        normal = world[:3, :3] @ np.array(polygon.normal)
        faces.append([(normal / np.linalg.norm(normal)).tolist(), colour_of(thing.data, polygon)])
    return {"low": vertices.min(0).tolist(), "high": vertices.max(0).tolist(), "faces": faces}


def colour_of(mesh, polygon) -> list[float] | None:
    """0-255: of the picture in the middle of the face, else of the face's first vertex."""
    image = picture_of(mesh)
    if image is not None and mesh.uv_layers.active is not None:
        u, v = np.mean([mesh.uv_layers.active.data[k].uv for k in polygon.loop_indices], axis=0)
        width, height = image.size
        at = 4 * (int(v * height) * width + int(u * width))
        return [round(255 * c) for c in image.pixels[at : at + 3]]
    if mesh.color_attributes:
        return [round(255 * c) for c in mesh.color_attributes[0].data[polygon.vertices[0]].color_srgb[:3]]
    return None


def picture_of(mesh):
    for material in filter(None, mesh.materials):
        for node in material.node_tree.nodes if material.node_tree else ():
            if node.type == "TEX_IMAGE" and node.image:
                return node.image
    return None


main()
