"""The twin in the formats people open: GLB, OBJ with MTL and PNG, PLY, USDZ, and preview pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from stages.base import Inputs, Resources, Stage, StageContext, StageReport
from stages.core.errors import MachineError
from stages.core.glb_draco import INSTALL as DRACO_INSTALL
from stages.core.glb_draco import draco_version
from stages.core.glb_meshopt import INSTALL as MESHOPT_INSTALL
from stages.core.glb_meshopt import meshopt_version
from stages.package.config import PackageConfig
from stages.package.usd_library import INSTALL, usd_version
from stages.package.validators import verdicts, versions_here


class PackageStage(Stage):
    """mesh.ply, `textured` and `physics` -> `twin`: the files of the twin folder that are not copies of other stages' outputs."""

    name = "package"
    version = 5
    needs = Resources(memory_gb=1.0, lower=("preview_px",))
    Config = PackageConfig
    inputs = ("mesh.ply", "textured", "physics")
    inputs_where_made = ("material",)
    outputs = ("twin",)

    def weights_used(self, config: PackageConfig) -> dict[str, str]:
        """What decides the result beside the inputs: whether, and which, usd-core writes the USDZ, and who judges it."""
        packers = {"draco": {"DracoPy": draco_version()}, "meshopt": {"meshopt": meshopt_version()}}
        packer = packers.get(config.mesh_compression, {})
        return {**({"usd-core": usd_version()} if config.usd != "off" else {}), **packer, **versions_here()}

    def check_machine(self, config: PackageConfig) -> None:
        """Raises MachineError when what is asked for cannot be written: USDZ, a compressed mesh."""
        if config.usd == "on" and not usd_version():
            raise MachineError("package.usd=on needs usd-core, which is not installed", INSTALL)
        if config.mesh_compression == "draco" and not draco_version():
            raise MachineError("package.mesh_compression=draco needs DracoPy, which is not installed", DRACO_INSTALL)
        if config.mesh_compression == "meshopt" and not meshopt_version():
            raise MachineError(
                "package.mesh_compression=meshopt needs meshopt, which is not installed", MESHOPT_INSTALL
            )

    def check(self, inputs: Inputs, config: PackageConfig) -> None:
        """Raises MachineError as `check_machine` does."""
        self.check_machine(config)

    def run(self, inputs: Inputs, config: PackageConfig, out: Path, context: StageContext) -> StageReport:
        """Write every format, then pictures."""
        from stages.core.levels import NAMES, read_levels
        from stages.core.material_files import PROBE, shown_mesh
        from stages.core.meshes import read_ply
        from stages.package.files import NVIDIA_NAMES, Look, write_glb, write_level_glb, write_obj, write_plys
        from stages.package.previews import previews
        from stages.package.usdz import write_usdz

        twin = out / "twin"
        twin.mkdir()
        (mesh, maps), source = shown_mesh(inputs), read_ply(inputs["mesh.ply"].path)
        texture, rough = (
            (inputs["textured"].path / "texture.png", None) if maps is None else (maps.base, maps.roughness)
        )
        context.progress(0, 4, "PLY and OBJ")
        write_plys(twin, source)
        shutil.copyfile(inputs["textured"].path / "provenance.png", twin / "provenance.png")
        write_obj(twin, mesh, texture, roughness=rough)
        if config.textured_mesh:
            write_obj(twin, mesh, texture, NVIDIA_NAMES, roughness=rough)
        context.progress(1, 4, "GLB")
        packed = b"" if maps is None else maps.packed.read_bytes()
        look = Look(
            config.glb_image, config.jpeg_quality, config.roughness, config.mesh_compression, surface_map=packed
        )
        doubled = write_glb(twin / "twin.glb", mesh, source, look)
        levels = dict(zip(NAMES, read_levels(inputs["physics"].path / "levels"), strict=False))
        for name, level in levels.items():
            (twin / "lod").mkdir(exist_ok=True)
            write_level_glb(twin / "lod" / f"twin_{name}.glb", level, mesh.texture, source, look=look)
        context.progress(2, 4, "USDZ")
        warnings = []
        if config.usd != "off" and usd_version():
            write_usdz(
                twin / "twin.usdz",
                mesh,
                twin / "twin.png",
                config.roughness,
                surface_map=None if maps is None else maps.packed,
            )
        elif config.usd == "auto":
            warnings.append(f"twin.usdz was not written: usd-core is not installed. To have it: {INSTALL}")
        if maps is not None:
            shutil.copyfile(maps.probe, twin / PROBE)
        if (sim := inputs["physics"].path / "sim").is_dir():
            shutil.copytree(sim, twin / "sim")
        judged = verdicts(twin)
        (twin / "validation.json").write_text(json.dumps([v.record for v in judged], indent=1))
        warnings += [
            f"{v.name} {v.version} found {len(v.says)} issues, such as: {v.says[0]}"
            for v in judged
            if v.passed is False
        ]
        context.progress(3, 4, "pictures")
        pictures = _write_pictures(out, twin, previews(mesh, config.preview_px, context.workers))
        sizes = {f"{p.suffix[1:]}_mb": round(p.stat().st_size / 1e6, 2) for p in sorted(twin.iterdir()) if p.is_file()}
        extent = (mesh.vertices.max(0) - mesh.vertices.min(0)) * 1000
        metrics = {
            "faces": len(mesh.faces),
            **{f"faces_{name}": len(level.faces) for name, level in levels.items()},
            "faces_full_mesh": len(source.faces),
            "vertices_in_glb": doubled,
            "size_mm": " x ".join(f"{e:.1f}" for e in extent),
            **sizes,
            **{f"validator_{v.name}": v.line for v in judged},
        }
        return StageReport(
            "glb, obj, ply" + (", usdz" if (twin / "twin.usdz").exists() else ""),
            "",
            metrics,
            warnings,
            pictures=pictures,
        )


def _write_pictures(out: Path, twin: Path, pictures: dict) -> list[tuple[str, str]]:
    from stages.core.images import thumbnail_jpeg, write_rgb

    for name, image in pictures.items():
        write_rgb(twin / "previews" / f"{name}.jpg", image, 90)
    thumbnail_jpeg(out / "pictures/turntable.jpg", pictures["turntable"], 1280)
    return [("a full turn of the twin", "pictures/turntable.jpg")]


STAGE = PackageStage()
