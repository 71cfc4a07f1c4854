"""What the rounds of a surface are: by its settings, by whether there is depth, by whether a field has learned the shape before."""

from __future__ import annotations

from stages.surface.config import SurfaceConfig
from stages.surface.shape.rounds import Round


def schedule_rounds(config: SurfaceConfig, by_depth: bool = True) -> list[Round]:
    """Rounds from coarse to fine: half-size pictures and wide sweeps first, full size and a narrow sweep last. Without depth the first mesh
    is the visual hull, which is farther off: two rounds more, with wider sweeps over smaller pictures."""
    plan = [
        Round(0.5, 1.2, 10, 2.5, voxel=6.0),
        Round(0.5, 0.9, 8, 2.0, voxel=4.5),
        Round(1.0, 0.3, 8, 1.5, voxel=2.4),
        Round(1.0, 0.25, 6, 1.2, voxel=2.4),
    ][: config.rounds]
    last = plan[-1]
    wide = [] if by_depth else [Round(0.25, 3.0, 12, 6.0, voxel=8.0), Round(0.5, 2.0, 12, 3.5, voxel=6.0)]
    return [*wide, *plan[:-1], Round(last.scale, last.step, last.steps, last.spacing, voxel=config.voxel_px)]


def learns_from_pictures(config: SurfaceConfig, by_depth: bool) -> bool:
    """Whether the field learns from the pictures before the rounds."""
    return config.field in ("pictures", "observations") or (config.field in ("auto", "lean") and not by_depth)


def needs_no_field(config: SurfaceConfig, by_depth: bool) -> bool:
    """Whether the grid's own mesh will do."""
    return config.field == "lean" and by_depth


def rounds_of_learned(config: SurfaceConfig) -> list[Round]:
    """The last round alone: what was learned lies within a few footprints of the surface."""
    return schedule_rounds(config)[-1:]
