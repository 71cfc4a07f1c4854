"""Camera and object both move, or a hand turns the object while the camera goes on round it (a scan in two stages).

The background places the camera and tells what the ground looks like. Following goes frame by frame as where nothing is known, but before
that ground; then each run of frames in which the object rests gets a hull of its own, which predicts its outline as in a still scene.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stages.core.frames import frame_ranges
from stages.core.geometry.rigid import inverse
from stages.masks.cut.evidence import prior_llr
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.frame_cut import FrameCut
from stages.masks.cut.outline import jaccard, signed_distance
from stages.masks.cut.seed import Seed, disparity_range
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.flow import FlowScene
from stages.masks.scenes.ground_picture import GroundPicture
from stages.masks.scenes.motion import SceneMotion
from stages.masks.scenes.moving import PLANE_SEEN, MovingScene, moving_scene, seen_share
from stages.masks.scenes.support import GroundGrid, Support

SAME_PLACE = 0.4
"""overlap with where it rested from which it is still about there"""
ABOUT = 0.25
"""how far it may reach beyond, as a share of its size"""
LEAST_FRAMES = 4
"""frames of rest from which on a hull says more than the frame before"""


NO_HULL = "the object is moved in this frame: a second look tells no more"


@dataclass
class MovedScene:
    """`intervals`: runs of placed frames in each of which the object rests; `still`: the scene as it was at the seed's frame."""

    seed: Seed
    still: MovingScene
    intervals: list[list[int]]
    description: str = "moving camera, the object is moved too"
    may_leap: bool = True
    _flow: FlowScene = field(init=False)
    _hulls: dict[int, MovingScene] = field(default_factory=dict)
    """scene of the interval of each frame"""

    def __post_init__(self) -> None:
        self._flow = FlowScene(self.seed)
        self._hulls |= dict.fromkeys(next((i for i in self.intervals if self.seed.frame in i), []), self.still)

    def start(self, view: WorkingFrame, mask: np.ndarray) -> None:
        """(Re)start from a frame whose mask is known."""
        self._flow.start(view, mask)

    def expect(self, view: WorkingFrame, previous: FrameCut | None, second_pass: bool = False) -> Expectation:
        """From the hull of the frame's interval where there is one, else from the frame before; both before the ground."""
        scene = self._hulls.get(view.frame)
        if second_pass:
            return Expectation(lost=NO_HULL) if scene is None else scene.expect(view, previous, True)
        by_flow = self._flow.expect(view, previous)
        if scene is not None:
            return scene.expect(view, previous)
        pose = self.still.motion.scene_from_left.get(view.frame)
        if pose is None or by_flow.predicted is None:
            return by_flow
        expected = self._about_where_it_was(by_flow, view.frame)
        distance = signed_distance(expected.predicted)
        surfaces = [s for s in self.still.surfaces(pose, view.shape) if seen_share(view, s, distance) > PLANE_SEEN]
        return self.still.before_the_ground(
            view, pose, distance, replace(expected, surfaces=surfaces or expected.surfaces)
        )

    def learn(self, view: WorkingFrame, cut: FrameCut) -> None:
        """Remember the frame for the next ones."""
        self._flow.learn(view, cut)
        if view.frame in self._hulls:
            self.still.learn(view, cut)

    def _about_where_it_was(self, expected: Expectation, frame: int) -> Expectation:
        """While a hand turns it the object stays about where it rested: what lies far from there, or at another distance, is not it."""
        pose = self.still.motion.scene_from_left.get(frame)
        was, near_range = (None, None) if pose is None else self.still.hull.silhouette(pose, self.still.rig)
        if (
            was is None
            or near_range is None
            or expected.predicted is None
            or jaccard(was, expected.predicted) < SAME_PLACE
        ):
            return expected
        size = float(np.sqrt(was.sum()))
        bound = np.minimum(prior_llr(signed_distance(was) + ABOUT * size, 0.05 * size, 0.0, 8.0), 0)
        slack = ABOUT * (near_range[1] - near_range[0]) + 0.03 * near_range[1]
        return replace(
            expected, prior=expected.prior + bound, near_range=(near_range[0] - slack, near_range[1] + slack)
        )

    def rebuild(self, masks: Mapping[int, bytes], decode, load: Callable[[int], WorkingFrame]) -> None:
        """A hull for every interval that is long enough, from the first pass's masks."""
        self._hulls.clear()
        for frames in self.long_rests():
            shown = [f for f in frames if f in masks and decode(masks[f]).any()]
            if not shown:
                continue
            middle = self.seed.frame if self.seed.frame in shown else shown[len(shown) // 2]
            if (scene := self._at(load(middle), decode(masks[middle]))) is not None:
                scene.rebuild({f: masks[f] for f in shown}, decode)
                self._hulls |= dict.fromkeys(shown, scene)

    def _at(self, view: WorkingFrame, mask: np.ndarray) -> MovingScene | None:
        """The scene as it is at this frame, in its camera, the hull begun with its mask."""
        left_from_scene = inverse(self.still.motion.scene_from_left[view.frame])
        motion = SceneMotion(
            self.still.rig, {f: left_from_scene @ pose for f, pose in self.still.motion.scene_from_left.items()}
        )
        seed = replace(
            self.seed,
            frame=view.frame,
            mask=mask,
            near_range=disparity_range(view, mask) or self.seed.near_range,
            planes=[],
        )
        support = self.still.support and _support_seen_from(self.still.support, left_from_scene)
        scene = moving_scene(seed, view, self.still.rig, motion, support, certain=view.frame == self.seed.frame)
        if scene is None:
            return None
        scene.planes = [_plane_seen_from(p, left_from_scene) for p in self.still.planes]
        scene.scatter_px = list(self.still.scatter_px)
        scene.ground = self.still.ground and _ground_seen_from(self.still.ground, left_from_scene)
        return scene

    def long_rests(self) -> list[list[int]]:
        """The runs that are long enough for a hull."""
        return [i for i in self.intervals if len(i) >= LEAST_FRAMES]

    def told(self) -> str:
        """What the report says of the intervals."""
        rests = [frame_ranges(i) for i in self.long_rests()]
        return f"the object is moved during the capture; it rests in frames {'; '.join(rests) or 'none'}"


def _plane_seen_from(plane: tuple[np.ndarray, float], b_from_a: np.ndarray) -> tuple[np.ndarray, float]:
    normal = b_from_a[:3, :3] @ plane[0]
    return normal, float(plane[1] + normal @ b_from_a[:3, 3])


def _support_seen_from(support: Support, b_from_a: np.ndarray) -> Support:
    normal, offset = _plane_seen_from((support.normal, support.offset), b_from_a)
    return replace(support, normal=normal, offset=offset)


def _ground_seen_from(ground: GroundPicture, b_from_a: np.ndarray) -> GroundPicture:
    turn, shift = b_from_a[:3, :3], b_from_a[:3, 3]

    def moved(g):
        return GroundGrid(turn @ g.origin + shift, turn @ g.across, turn @ g.along, g.size)

    return replace(ground, layers=[(moved(grid), picture) for grid, picture in ground.layers])
