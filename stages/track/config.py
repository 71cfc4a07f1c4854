"""Settings of `track`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.config import setting


@dataclass(frozen=True)
class TrackConfig:
    """Lengths in px hold for the rectified picture at full size unless said otherwise."""

    method: Literal["auto", "sift", "aliked", "xfeat", "disk", "dedode", "loftr", "roma"] = "auto"
    """How points are found and matched. auto: SIFT, which needs no weights and was the best of those measured (docs/methods/tracking.md).
    loftr and roma match the pictures densely and hand their matches to SIFT's points."""
    matcher: Literal["auto", "mutual", "lightglue"] = setting("auto", only_for=("aliked", "xfeat", "disk"))
    """How the points of two frames are matched. mutual: nearest descriptors; lightglue: the network made for these features (LighterGlue
    for XFeat). auto: mutual, for disk lightglue."""
    scope: Literal["auto", "scene", "object"] = "auto"
    """What moves: "scene" uses points of the whole picture (camera round a still scene), "object" only those inside the mask.
    auto: decided from the data."""
    max_points_inside: int = 1500
    """Key points on the object per frame. More gain little accuracy and cost time with their square."""
    max_points_outside: int = 800
    """Key points off the object per frame; they carry the pose when the scope is the scene."""
    max_width_px: int = 1600
    """Pictures are searched at this width at most; positions are measured at full size afterwards."""
    contrast: float = setting(0.01, only_for=("sift", "loftr", "roma"))
    """SIFT contrast threshold (grey levels / 255). Low, because a dull object needs its weak corners; the strongest of each cell win."""
    ratio: float = setting(0.85, only_for=("sift", "loftr", "roma"))
    """Lowe's ratio test. Loose, because the geometric check follows."""
    max_error_px: float = 3.0
    """An observation farther than this from its prediction does not support a motion (detector scatter is about 0.5 px)."""
    min_inliers: int = 12
    """Fewer agreeing points than this do not make a motion (6 unknowns). The dense surfaces of both frames must bear it out as well."""
    strong_inliers: int = 20
    """Needed where the surfaces cannot be asked (lost mask, no depth), and to join parts of the capture that no neighbours connect."""
    neighbour_gaps: tuple[int, ...] = (1, 2, 3)
    """Each frame is compared with the frames this many places later."""
    keyframe_step_deg: float = 8.0
    """A frame whose view differs by this from every earlier key frame becomes one. SIFT matches well up to three such steps."""
    alike_pairs_per_frame: int = 4
    """Most similar key frames, anywhere in the capture, that a key frame is compared with: loops and relocalisation."""
    track_pairs_per_frame: int = 12
    """Frames with the most similar view that a frame is matched with when tracks are built."""
    track_max_angle_deg: float = 40.0
    """Views that differ by more are not matched: descriptors and windows no longer agree."""
    guided_radius_px: float = 8.0
    """Matches are looked for this near to their prediction, once poses are known; widened to what loops show as drift."""
    min_correlation: float = 0.75
    """Normalised correlation below which an alignment between views, or between the eyes, does not count."""
    max_shift_px: float = 2.5
    """An alignment that moves a point farther has found something else (in px of its pyramid level)."""
    max_shift_predicted_px: float = 4.0
    """The same for a point that was only predicted into a frame; predictions err by up to half a degree of turn."""
    enough_observations: int = 200
    """Frames with fewer observations get more: points of other frames are predicted into them and looked for there."""
    max_observations: int = 400_000
    """Observations kept for bundle adjustment, longest tracks first; bounds its memory and time."""

    def __post_init__(self) -> None:
        if self.min_inliers < 6:
            raise ValueError("min_inliers must be at least 6")
        if not self.neighbour_gaps or min(self.neighbour_gaps) < 1:
            raise ValueError("neighbour_gaps needs at least one gap of 1 or more")
