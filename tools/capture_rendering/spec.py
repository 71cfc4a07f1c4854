"""What a rendered capture is made of, and the captures that docs/benchmarks.md reports."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stages.core.camera import Rig


@dataclass(frozen=True)
class RenderSpec:
    """One capture. Lengths in metres, angles in degrees."""

    shape: str = "box"
    """name in objects.SHAPES, or a mesh file"""
    paint: str = "print"
    """name in paints.PAINTS"""
    motion: str = "orbit"
    """"orbit" (camera goes round), "inhand" (object turns before a still camera) or "both" """
    surrounding: str = "wood"
    """name in paints.SURROUNDINGS, for the table of `orbit` and `both` or the wall of `inhand`"""
    frames: int = 30
    turn_deg: float = 360.0
    """how far the motion goes round in all"""
    elevation_deg: tuple[float, float] = (14.0, 55.0)
    """lowest and highest view from above; of `inhand`, the tilt"""
    swings: float = 2.0
    """how often it sinks and rises on the way"""
    distance_m: float = 0.36
    aim_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """object point that the camera looks at"""
    wall_m: float = 0.75
    """distance of the wall from the camera, `inhand` only"""
    width: int = 960
    height: int = 540
    focal: float = 0.78
    """focal length in picture widths"""
    baseline_m: float = 0.063
    sensor: str = "stereo"
    """"stereo", or "rgbd": a depth camera's colour and depth, registered, in place of the right eye"""
    depth_floor_mm: float = 0.7
    """noise of depth close by, `rgbd` only"""
    depth_at_1m_mm: float = 2.0
    """and at 1 m, growing with the square of the distance"""
    samples: int = 2
    """rays per pixel along each axis"""
    gloss: float = 0.0
    drift: float = 0.06
    """how much the exposure changes over the capture, as a share"""
    right_gain: float = 1.03
    noise: float = 1.5
    """standard deviation of the sensor noise, grey levels"""
    jpeg_quality: int = 92
    seed: int = 0

    def __post_init__(self) -> None:
        if self.motion not in ("orbit", "inhand", "both"):
            raise ValueError(f"motion must be orbit, inhand or both, not {self.motion!r}")
        if self.sensor not in ("stereo", "rgbd"):
            raise ValueError(f"sensor must be stereo or rgbd, not {self.sensor!r}")
        if self.frames < 2 or self.samples < 1:
            raise ValueError("a capture needs at least 2 frames, a pixel at least 1 ray")

    @property
    def rig(self) -> Rig:
        """The principal point lies a little off the centre."""
        f = self.focal * self.width
        return Rig(
            self.width, self.height, f, f, cx=self.width / 2 + 2.7, cy=self.height / 2 - 3.1, baseline_m=self.baseline_m
        )


_WALL = RenderSpec(motion="inhand", surrounding="stone", elevation_deg=(-25.0, 55.0), frames=36)

CASES: dict[str, RenderSpec] = {
    "box_orbit": RenderSpec(),
    "box_plain_table": RenderSpec(surrounding="plain"),
    "mug_orbit": RenderSpec(shape="mug", paint="mottle", surrounding="cloth", gloss=0.08, distance_m=0.30),
    "screwdriver_orbit": RenderSpec(
        shape="screwdriver", paint="tool", surrounding="wood", elevation_deg=(25.0, 60.0), distance_m=0.33
    ),
    "egg_faint_inhand": replace(_WALL, shape="egg", paint="faint", distance_m=0.30),
    "flask_plain_wall": replace(_WALL, shape="flask", surrounding="plain", distance_m=0.34),
    "box_far_orbit": RenderSpec(distance_m=0.9, surrounding="cloth"),
    "box_close_inhand": replace(_WALL, distance_m=0.22),
    "mug_quarter_orbit": RenderSpec(shape="mug", paint="print", turn_deg=90.0, frames=24, swings=1.0, distance_m=0.30),
    "flask_few_orbit": RenderSpec(shape="flask", frames=16, swings=1.0, surrounding="stone", gloss=0.1),
    "box_checker_orbit": RenderSpec(paint="checker", surrounding="tiles"),
    "mug_inhand": replace(_WALL, shape="mug", paint="print", surrounding="wood", distance_m=0.30),
    "box_both_move": RenderSpec(motion="both", frames=36),
}
"""captures of things that no setting was chosen on; meshes from files are rendered with `--shape FILE`"""
