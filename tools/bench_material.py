"""Materials measured: bob and spot, path traced by Mitsuba 3 with known base colour and roughness, through the stage and relit.

    python -m tools.bench_material [--only bob spot] [--shape own true] [--size 512] [--samples 256] [--work FOLDER]

own: shape, texture and materials from the pictures alone, by `twin reconstruct`; true: the true mesh, so that only light and materials are
judged. Needs the extra `oracle` and libllvm19. Pictures and results are kept, so it stops and resumes at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tools.render_materials import Surface, cameras, drawn_light, exposure, extent, render, srgb, write_capture

ROOT = Path(__file__).resolve().parents[1]
OBJECTS = {
    "bob": ("nvdiffrec_bob_cc0/bob_tri.obj", "nvdiffrec_bob_cc0/bob_diffuse.png", (0.25, 0.25), 2),
    "spot": ("nvdiffrec_spot_cc0/spot.obj", "nvdiffrec_spot_cc0/spot_texture.png", (0.6, 0.3), 1),
}
"""OBJ, texture, roughness where the texture is dark and where it is bright, seed of the light"""
UNSEEN_LIGHTS = (11, 12, 13)
RELIT_VIEWS, POINTS = 4, 30_000


@dataclass(frozen=True)
class Obj:
    """vertices (V, 3), uv (T, 2), faces and faces_uv (F, 3)."""

    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    faces_uv: np.ndarray


def read_obj(path: Path) -> Obj:
    """Triangles with texture coordinates; the last line of bob's file is cut off."""
    words = [line.split() for line in path.read_text().splitlines()]

    def table(key, n):
        return np.array([[float(x) for x in w[1 : n + 1]] for w in words if w[:1] == [key]])

    corners = (
        np.array(
            [[[int(i) for i in c.split("/")[:2]] for c in w[1:4]] for w in words if w[:1] == ["f"] and len(w) == 4]
        )
        - 1
    )
    return Obj(table("v", 3), table("vt", 2), corners[..., 0], corners[..., 1])


def surface_of(name: str, data: Path) -> Surface:
    """The object as it is rendered."""
    obj, texture, (dark, bright), _ = OBJECTS[name]
    base = cv2.cvtColor(cv2.imread(str(data / texture)), cv2.COLOR_BGR2RGB)
    grey = cv2.GaussianBlur(cv2.cvtColor(base, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255, None, 2)
    return Surface(data / obj, base, dark + (bright - dark) * np.clip((grey - 0.3) / 0.2, 0, 1))


def solve_own(capture: Path, out: Path, work: Path) -> None:
    """A twin of the pictures alone."""
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(out),
        "--no-prefect",
        "--quiet",
        "posed.metres_per_unit=1",
        "material.method=solved",
        "material.exposure=false",
        "texture.exposure=false",
        "physics.files=off",
    ]
    subprocess.run(
        command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "TWIN_STORE": str(work / "store")}
    )


def solve_true(capture: Path, out: Path, work: Path, surface: Surface) -> None:
    """The same files, made on the true mesh."""
    from stages.base import StageContext, run_stage
    from stages.core.capture import capture_ref
    from stages.core.config import resolve
    from stages.core.material_files import shown_mesh
    from stages.core.meshes import SurfaceMesh, write_ply
    from stages.core.store import ArtifactRef, Store
    from stages.core.twin_frame import TWIN_FROM_OBJECT, turned
    from stages.graph import every_stage
    from stages.package.files import write_obj

    store, obj = Store(work / "store"), read_obj(surface.obj)
    chosen = (
        "posed.metres_per_unit=1",
        "material.method=solved",
        "material.exposure=false",
        "texture.exposure=false",
        "texture.align_views=false",
        "material.align_views=false",
        "posed.check_silhouettes=false",
    )
    configs = resolve({s.name: s.Config for s in every_stage()}, "standard", overrides=chosen).stages
    by_name = {s.name: s for s in every_stage()}
    made = {"capture": capture_ref(capture)}
    made |= run_stage(by_name["posed"], made, configs["posed"], store).refs
    out.mkdir(parents=True, exist_ok=True)
    write_ply(
        out / "true.ply",
        SurfaceMesh(
            turned(obj.vertices, TWIN_FROM_OBJECT),
            obj.faces,
            np.full(obj.vertices.shape, 128, np.uint8),
            np.ones(len(obj.vertices), np.float32),
        ),
    )
    made |= {
        "mesh.ply": ArtifactRef("mesh.ply", out / "true.ply", f"true {surface.obj.name}"),
        "masks_final": made["masks"],
        "poses_refined.json": made["poses.json"],
    }
    seconds = {}
    for name in ("texture", "material"):
        result = run_stage(by_name[name], made, configs[name], store, context=StageContext(threads=2))
        made, seconds[name] = (
            made | result.refs,
            {"seconds": result.manifest["seconds"], "metrics": result.manifest["report"]["metrics"]},
        )
    mesh, maps = shown_mesh(made)
    assert maps is not None
    write_obj(out, mesh, maps.base, roughness=maps.roughness)
    (out / "run.json").write_text(json.dumps({"stages": seconds}))


def look_up(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear, uv origin bottom-left."""
    height, width = image.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    return cv2.remap(
        np.float32(image), np.float32(x)[None], np.float32(y)[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )[0]


def linear(levels: np.ndarray) -> np.ndarray:
    """uint8 sRGB as linear light."""
    x = np.asarray(levels, float) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of grey levels."""
    return float(-10 * np.log10((((a.astype(float) - b) / 255) ** 2).mean()))


def judge_maps(twin: Path, surface: Surface) -> tuple[float, float, np.ndarray]:
    """(PSNR of base colours as grey levels after one scale per channel, dB; mean roughness error; the scales) at points all over the twin
    beside the nearest ones of the true mesh."""
    import trimesh

    ours, truth = read_obj(twin / "twin.obj"), read_obj(surface.obj)
    points, face = trimesh.sample.sample_surface(
        trimesh.Trimesh(ours.vertices, ours.faces, process=False), POINTS, seed=0
    )

    def at(obj, face, points):
        return (
            obj.uv[obj.faces_uv[face]]
            * trimesh.triangles.points_to_barycentric(obj.vertices[obj.faces[face]], points)[..., None]
        ).sum(1)

    near, _, face_true = trimesh.proximity.closest_point(
        trimesh.Trimesh(truth.vertices, truth.faces, process=False), points
    )
    uv, uv_true = at(ours, face, points), at(truth, face_true, near)
    base = look_up(linear(cv2.imread(str(twin / "twin.png"))[..., ::-1]), uv)
    base_true = look_up(linear(surface.base), uv_true)
    rough = look_up(cv2.imread(str(twin / "twin_roughness.png"), 0), uv) / 255
    scale = (base * base_true).sum(0) / (base**2).sum(0)
    return (
        psnr(srgb(base * scale), srgb(base_true)),
        float(np.abs(rough - look_up(surface.roughness, uv_true)).mean()),
        scale,
    )


def judge_relit(
    twin: Path, surface: Surface, scale: np.ndarray, size: int, samples: int, texture: Path | None = None
) -> list[float]:
    """PSNR under each unseen light, both path traced, inside both outlines; `texture`: instead of the base colours, matt."""
    base = srgb(linear(cv2.imread(str(texture or twin / "twin.png"))[..., ::-1]) * scale)
    rough = cv2.imread(str(twin / "twin_roughness.png"), 0).astype(np.float32) / 255
    ours = Surface(twin / "twin.obj", base, np.full_like(rough, 0.9) if texture else rough)
    poses, out = cameras(RELIT_VIEWS, *extent(surface.obj), turn=0.7), []
    for seed in UNSEEN_LIGHTS:
        truth, found = (render(s, drawn_light(seed), poses, size, samples=samples) for s in (surface, ours))
        gain, both = exposure(truth), (truth[..., 3] > 0.99) & (found[..., 3] > 0.99)
        out.append(psnr(srgb(gain * found[both][:, :3]), srgb(gain * truth[both][:, :3])))
    return out


def measure(name: str, shape: str, args: argparse.Namespace) -> None:
    """Rows of one object."""
    surface, work = surface_of(name, args.data / "posed"), args.work / f"{name}_{args.size}_{args.samples}"
    capture, out = work / "capture", work / f"twin_{shape}"
    if not (capture / "gt/truth.npz").is_file():
        write_capture(capture, surface, OBJECTS[name][3], args.views, size=args.size, samples=args.samples)
    if not (out / "run.json").is_file():
        solve_own(capture, out, work) if shape == "own" else solve_true(capture, out, work, surface)
    told = json.loads((out / "run.json").read_text())["stages"]["material"]
    base, rough, scale = judge_maps(out, surface)
    what = f"{name}, {shape} shape"
    print(f"| {what}: base colour after one scale per channel, dB; the scales | {base:.1f}; {np.round(scale, 2)} |")
    print(f"| {what}: mean error of roughness | {rough:.3f} |", flush=True)
    relit = judge_relit(out, surface, scale, args.size // 2, samples=args.samples)
    print(f"| {what}: relit under three unseen lights, dB | {', '.join(f'{x:.1f}' for x in relit)} |")
    print(f"| {what}: seconds of the stage | {told['seconds']:.0f} |", flush=True)


def main() -> None:
    """Rows of a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=tuple(OBJECTS), default=tuple(OBJECTS))
    parser.add_argument("--shape", nargs="*", choices=("own", "true"), default=("own", "true"))
    for option, default in (("views", 24), ("size", 512), ("samples", 256)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--work", type=Path, default=ROOT / "build/material")
    args = parser.parse_args()
    print("| what | measured |\n|---|---|")
    started = time.monotonic()
    for name in args.only:
        for shape in args.shape:
            measure(name, shape, args)
    print(f"| all, minutes | {(time.monotonic() - started) / 60:.0f} |")


if __name__ == "__main__":
    main()
