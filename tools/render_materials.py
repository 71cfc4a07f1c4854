"""Pictures of a mesh with known base colour, roughness and metalness under a drawn environment light, path traced by Mitsuba 3.

    python -m tools.render_materials OBJ TEXTURE --out FOLDER [--views 24] [--size 512] [--samples 256] [--seed 0]

Needs the extra `oracle` (mitsuba) and LLVM (Debian: libllvm19). What lies in FOLDER is a capture of posed pictures, with the truth in gt/.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

FOV_DEG = 34.0
DISTANCE = 3.6
"""of the cameras from the object, in radii of its bounding sphere"""


@dataclass(frozen=True)
class Surface:
    """What is rendered: an OBJ, base colour (H, W, 3) uint8 sRGB, roughness (H, W) 0-1 and metalness 0-1; pictures with row 0 on top."""

    obj: Path
    base: np.ndarray
    roughness: np.ndarray
    metalness: float | np.ndarray = 0.0


def drawn_light(seed: int, height: int = 128) -> np.ndarray:
    """(height, 2 height, 3) float32 lat-long light: a sky over a ground, and three to five lamps of 8 to 25 degrees. Row 0 is up."""
    rng = np.random.default_rng(seed)
    d = directions(height)
    up = 1 / (1 + np.exp(-6 * d[..., 1]))
    light = up[..., None] * rng.uniform(0.25, 0.6, 3) + (1 - up[..., None]) * rng.uniform(0.05, 0.25, 3)
    for _ in range(int(rng.integers(3, 6))):
        at = rng.normal(size=3)
        at[1] = abs(at[1]) - 0.2
        at /= np.linalg.norm(at)
        width = np.radians(rng.uniform(8, 25))
        shape = np.exp((d @ at - 1) / (1 - np.cos(width)))
        light += shape[..., None] * rng.uniform(0.7, 1.0, 3) * rng.uniform(3.0, 9.0)
    return light.astype(np.float32)


def directions(height: int) -> np.ndarray:
    """(height, 2 height, 3) unit vectors of a lat-long picture's pixels, as stages/material/light.py says."""
    theta = np.pi * (np.arange(height) + 0.5) / height
    phi = np.pi * (np.arange(2 * height) + 0.5) / height
    ring = np.sin(theta)[:, None]
    return np.stack(
        [np.sin(phi) * ring, np.broadcast_to(np.cos(theta)[:, None], (height, 2 * height)), -np.cos(phi) * ring], -1
    )


def cameras(count: int, centre: np.ndarray, radius: float, turn: float = 0.0) -> np.ndarray:
    """(count, 4, 4) world_from_camera, OpenGL axes, spread over a sphere round the object (Fibonacci), none straight above or below."""
    k = np.arange(count)
    y = 0.85 * (1 - 2 * (k + 0.5) / count)
    phi = k * np.pi * (3 - np.sqrt(5)) + turn
    ring = np.sqrt(1 - y**2)
    back = np.stack([ring * np.cos(phi), y, ring * np.sin(phi)], 1)
    out = np.tile(np.eye(4), (count, 1, 1))
    for pose, z in zip(out, back, strict=True):
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        pose[:3, :4] = np.stack([x, np.cross(z, x), z, centre + DISTANCE * radius * z], 1)
    return out


def render(
    surface: Surface, light: np.ndarray, poses: np.ndarray, size: int, samples: int, depth: int = 5
) -> np.ndarray:
    """(N, size, size, 4) float32 linear light and coverage."""
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")

    def picture(a, raw):
        return {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(a)), "raw": raw}

    metal = surface.metalness
    metallic = metal if isinstance(metal, float) else picture(np.float32(metal)[..., None], True)
    bsdf = {
        "type": "principled",
        "base_color": picture(surface.base, False),
        "specular": 0.5,
        "roughness": picture(np.float32(surface.roughness)[..., None], True),
        "metallic": metallic,
    }
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": depth, "hide_emitters": True},
        "light": {"type": "envmap", "bitmap": mi.Bitmap(np.ascontiguousarray(light, dtype=np.float32))},
        "shape": {"type": "obj", "filename": str(surface.obj), "bsdf": {"type": "twosided", "bsdf": bsdf}},
    }
    loaded = mi.load_dict(scene)
    film = {"type": "hdrfilm", "width": size, "height": size, "pixel_format": "rgba", "rfilter": {"type": "box"}}
    out = []
    for k, pose in enumerate(poses):
        # Mitsuba's cameras look along +z with x to the left
        to_world = mi.ScalarTransform4f((pose @ np.diag([-1.0, 1.0, -1.0, 1.0])).tolist())
        sensor = mi.load_dict(
            {
                "type": "perspective",
                "fov": FOV_DEG,
                "to_world": to_world,
                "film": film,
                "near_clip": 0.01,
                "far_clip": 1000.0,
            }
        )
        out.append(np.array(mi.render(loaded, sensor=sensor, spp=samples, seed=k)))
    return np.stack(out)


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light as uint8 sRGB; more than 1 is cut off, as in a camera."""
    x = np.clip(linear, 0, 1)
    return np.rint(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)).astype(np.uint8)


def extent(obj: Path) -> tuple[np.ndarray, float]:
    """Middle of the box of an OBJ's vertices, and their largest distance from it."""
    v = np.array([line.split()[1:4] for line in obj.read_text().splitlines() if line.startswith("v ")], float)
    centre = (v.min(0) + v.max(0)) / 2
    return centre, float(np.linalg.norm(v - centre, axis=1).max())


def exposure(pictures: np.ndarray) -> float:
    """Factor that brings the 99th percentile of the object to 0.8."""
    return 0.8 / float(np.percentile(pictures[pictures[..., 3] > 0.99][:, :3], 99))


def write_capture(folder: Path, surface: Surface, seed: int, views: int, size: int, samples: int) -> float:
    """Pictures and transforms_train.json into `folder`, truth into gt/. Returns the exposure."""
    poses = cameras(views, *extent(surface.obj))
    light = drawn_light(seed)
    pictures = render(surface, light, poses, size, samples=samples)
    gain = exposure(pictures)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "gt").mkdir(exist_ok=True)
    frames = []
    for k, (picture, pose) in enumerate(zip(pictures, poses, strict=True)):
        cover = np.clip(picture[..., 3:], 0, 1)
        rgba = np.concatenate(
            [srgb(gain * picture[..., :3] / np.maximum(cover, 1e-3)), np.rint(255 * cover).astype(np.uint8)], -1
        )
        cv2.imwrite(str(folder / f"images/{k:03d}.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        frames.append({"file_path": f"images/{k:03d}", "transform_matrix": pose.tolist()})
    (folder / "transforms_train.json").write_text(
        json.dumps({"camera_angle_x": float(np.radians(FOV_DEG)), "frames": frames})
    )
    np.savez_compressed(
        folder / "gt/truth.npz",
        light=light * gain,
        base=surface.base,
        roughness=np.float32(surface.roughness),
        metalness=np.float32(surface.metalness),
    )
    return gain


def main() -> None:
    """The capture of one OBJ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("obj", type=Path)
    parser.add_argument("texture", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in (("views", 24), ("size", 512), ("samples", 256), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--roughness",
        type=float,
        nargs=2,
        default=(0.25, 0.25),
        help="where the texture is dark, and where it is bright",
    )
    args = parser.parse_args()
    base = cv2.cvtColor(cv2.imread(str(args.texture)), cv2.COLOR_BGR2RGB)
    grey = cv2.GaussianBlur(cv2.cvtColor(base, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255, None, 2)
    low, high = args.roughness
    surface = Surface(args.obj, base, low + (high - low) * np.clip((grey - 0.3) / 0.2, 0, 1))
    exposure = write_capture(args.out, surface, args.seed, args.views, size=args.size, samples=args.samples)
    print(f"exposure {exposure:.3f}")


if __name__ == "__main__":
    main()
