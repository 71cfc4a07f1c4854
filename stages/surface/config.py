"""Settings of the surface stage. Lengths "in footprints" are multiples of the size of a pixel on the object, so they fit any scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.config import setting

PARTS = 100
"""of the stage's progress"""


@dataclass(frozen=True)
class SurfaceConfig:
    """How the surface is found and how finely it is meshed."""

    method: Literal["auto", "neural", "fusion", "tsdf"] = "auto"
    """neural: the recovered surface as a neural field, trained with the colours, and the mesh of its zero set; fusion: the grid's mesh;
    tsdf: Open3D's TSDF fusion, a baseline to compare with (extra open3d)"""
    max_views: int = 64
    """stereo pairs used at most, spread over the directions; more cost time in proportion and add little beyond 60 round the object"""
    max_pixels: int = 400_000
    """pixels of a view's crop at most; larger ones are scaled down: bounds memory (about 20 bytes per pixel and view)"""
    coarse_cells: int = 80
    """cells along the box's diagonal for the visual hull: fine enough to have the right topology, coarse enough to have no noise"""
    rounds: int = 3
    """rounds of reading the evidence and moving the surface, coarse to fine (1-4)"""
    voxel_px: float = 2.4
    """voxel of the final mesh, footprints; 2.4 makes about 130,000 vertices of a bottle that fills a third of 1280x720"""
    max_cells: int = 20_000_000
    """cells of the finest grid at most, 80 bytes each; a box with more is meshed with voxels up to 1.8 times larger, and beyond refused"""
    max_vertices: int = 600_000
    """vertices of a mesh at most; a surface that would have more is not that of one object, and refused"""
    smooth: float = 1000.0
    """stiffness of the thin plate against a reading with an error of 3 footprints, for edges of 3 footprints; flat labels need it"""
    hull_rank: int = 3
    """masks that must agree that a place is outside before it is carved (1-4): two bad masks do no harm"""
    find_hidden: bool = True
    """look for what stands before the object: pixels off the mask that are clearly nearer than other frames place the object do not vote;
    false: only what the capture's hidden/ says"""
    mask_margin_px: float = 2.0
    """depth nearer than this to the mask's outline is not used: matching windows straddle two surfaces there"""
    outline_sigma_px: float = 1.5
    """standard deviation of a mask's outline, full-size px"""
    use_depth: bool = True
    """whether the disparity of the pairs votes (off only to measure what it adds)"""
    use_colour: bool = True
    """whether the agreement of colours over all views votes"""
    use_outlines: bool = True
    """whether the masks' outlines vote beyond carving the hull"""
    use_points: bool = True
    """whether bundle-adjusted points vote"""
    use_right: bool = True
    """whether the right pictures take part in the agreement of colours"""
    correct_disparity_bias: bool = True
    """subtract the median difference between matched disparity and bundle-adjusted points (block matching is biased by up to 0.2 px)"""
    least_part: float = 0.02
    """a separate part is kept when its seen area is at least this share of the largest part's; smaller ones are crumbs"""
    mask_band_px: float = 3.0
    """how far from the mask's own outline the mesh's silhouette may move it"""
    complete_disparity: bool = True
    """give the twin the disparity of its surface inside the masks, where a single pair is wrong or silent; false keeps what was matched"""
    hold_out: int = 0
    """leave every n-th frame (0, n, 2n, ..) out, so that `texture.hold_out` measures on frames that nothing has seen; 0 = none"""
    field: Literal["auto", "shape", "pictures", "observations", "lean"] = setting("auto", only_for=("neural",))
    """what the field learns from: pictures: colour and outlines of the pictures, before the rounds, which then begin with its zero set in
    place of the hull; observations: the same and the measured depth with its sigma (see refine_poses); shape: the
    finished surface alone; auto: pictures where no frame has depth, shape where one has; lean: as auto, but where one has no field is
    trained, and the mesh is the grid's own (preview)"""
    refine_poses: bool = setting(False, only_for=("neural",))
    """with `field` observations: move the cameras while the field learns, by the distance and the colour of what they read; for poses that
    come from elsewhere and are off by millimetres: those of bundle adjustment are better than what it can tell"""
    picture_steps: int = setting(1500, only_for=("neural",))
    """training steps on the pictures, 50 ms of one core each"""
    picture_rays: int = setting(1024, only_for=("neural",))
    """rays per step on the pictures, 24 samples each"""
    geometry_steps: int = setting(300, only_for=("neural",))
    """training steps on the signed distance"""
    colour_steps: int = setting(150, only_for=("neural",))
    """training steps with volume-rendered colour after them"""
    batch_points: int = setting(8192, only_for=("neural",))
    """points per step"""
    batch_rays: int = setting(1024, only_for=("neural",))
    """rays per colour step, 8 samples each"""
    colour_weight: float = setting(0.05, only_for=("neural",))
    """pull of rendered colour on the geometry against the distance loss"""
    backend: Literal["auto", "numba", "torch", "triton", "tcnn"] = setting("auto", only_for=("neural",))
    """what trains the field: auto takes the fastest that works here (docs/gpu.md), numba without a CUDA GPU"""
    precision: Literal["auto", "mixed"] = setting("auto", only_for=("neural",))
    """auto: float32, tcnn its own float16; mixed: hidden layers in float16 on a GPU (backends torch and triton)"""
    memory: Literal["fixed", "auto"] = setting("auto", only_for=("neural",))
    """auto: cut a batch that does not fit the GPU's free memory into parts, same result; fixed: refuse, naming the estimate"""
    capture_step: bool = setting(False, only_for=("neural",))
    """replay training steps as CUDA graphs; off until `make gpu-check` has shown on a GPU what it saves"""
    field_log2_entries: int = setting(17, only_for=("neural",))
    """entries per level of the hash grid, as a power of two; a surface in a shell needs few"""

    def __post_init__(self) -> None:
        if not 1 <= self.hull_rank <= 4:
            raise ValueError("hull_rank must be 1 to 4")
        if self.picture_steps < 100 or self.picture_rays < 64:
            raise ValueError("picture_steps must be at least 100, picture_rays 64")
        if not 1 <= self.rounds <= 4:
            raise ValueError("rounds must be 1 to 4")
        if self.max_views < 2 or self.max_pixels < 1000 or self.voxel_px <= 0 or self.smooth <= 0:
            raise ValueError("max_views must be at least 2, max_pixels 1000, voxel_px and smooth positive")
        if self.max_cells < 1_000_000 or self.max_vertices < 10_000:
            raise ValueError("max_cells must be at least 1,000,000 and max_vertices 10,000")
        if not (self.use_depth or self.use_colour or self.use_outlines or self.use_points):
            raise ValueError("at least one of use_depth, use_colour, use_outlines, use_points must be on")
