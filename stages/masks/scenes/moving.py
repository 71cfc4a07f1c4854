"""The camera moves round a still scene: the object's hull, carved by the masks so far, predicts its outline in every placed frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform
from stages.masks.cut.colour_model import UNIFORM, histogram
from stages.masks.cut.evidence import background_log_density, prior_llr
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.frame_cut import FrameCut, cut_frame
from stages.masks.cut.hints import hinted
from stages.masks.cut.other_foreground import reaching_in, seen_outside
from stages.masks.cut.outline import CutSettings, Window, signed_distance
from stages.masks.cut.planes import as_surfaces, fit_planes, plane_in_space
from stages.masks.cut.seed import Seed, disparity_range
from stages.masks.frame.prompt import Prompt
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.background import calmed, frame_gain
from stages.masks.scenes.ground_picture import GroundPicture, GroundSamples
from stages.masks.scenes.hull import Hull
from stages.masks.scenes.motion import SceneMotion
from stages.masks.scenes.support import Support, support_plane, turning_axis

FIRST_VOXELS, FINAL_VOXELS = 2_500_000, 1_500_000
UNSEEN_DEPTH = 1.5
"""how far the unseen side may lie behind the seen one, in extents of what is seen: a box seen from its end is longer than it is wide"""
RARELY_SEEN = 0.25
"""share of the frames that must have had a voxel of the finished hull inside their picture"""
MAX_BEHIND = 0.05
"""a plane of which more of the object than this lies behind is not its support"""
UNPLACED = "the camera could not be placed in this frame: outlined without a prediction"
OUTSIDE, OUTSIDE_AT_REST = 5.0, 10.0
"""log-likelihood ratio against the object outside the finished hull; where its own surface shows that it rests nothing outweighs it"""
HIDDEN, HIDDEN_SIGMAS, HIDDEN_LEAST_SIGMA_PX = 12.0, 2.0, 0.5
"""log-likelihood ratio against the object where the disparity is nearer than the hull's front by twice so many standard deviations"""
CLEAR = 0.5
"""share of the placed frames that nothing may reach into, for these alone to carve the hull"""
PLANE_SEEN = 0.15
"""a plane is used in a frame where this share of the disparities round the object lies on it (it may not be part of the still scene)"""

GROUND_GAP_PX, GROUND_SEEN_PX, RING_STEP = 4, 300, 3
"""what lies so far outside the predicted outline, and so many pixels of it, tells how well the ground's picture fits this frame; where
there are many, one of so many rows and columns is looked at"""


@dataclass
class MovingScene:
    """Expectations from the hull; `planes` are (normal, offset) in the scene's frame, the scene being the seed frame's left camera."""

    seed: Seed
    rig: Rig
    motion: SceneMotion
    hull: Hull
    planes: list[tuple[np.ndarray, float]]
    scatter_px: list[float]
    description: str = "moving camera, still scene"
    may_leap: bool = False
    support: Support | None = None
    ground: GroundPicture | None = None
    ground_samples: GroundSamples | None = None
    """kept until the first pass's masks tell what of them is ground"""
    of_seed: np.ndarray | None = None
    """(N, 3) points of the object in the scene that the seed's mask shows"""
    intruded: set[int] = field(default_factory=set)
    """frames in which something reaches before the object: their masks lack what it hides, and do not carve"""
    at_rest: bool = False
    """whether the object's own surface shows that it rests, and that the cameras are placed well"""

    def start(self, view: WorkingFrame, mask: np.ndarray) -> None:
        """Nothing to prepare."""

    def expect(self, view: WorkingFrame, previous: FrameCut | None, second_pass: bool = False) -> Expectation:
        """From the camera's place; `previous` serves only where the frame could not be placed."""
        pose = self.motion.scene_from_left.get(view.frame)
        if pose is None:
            return self._nearby(view)
        predicted, near_range = self.hull.silhouette(pose, self.rig)
        if near_range is None or predicted.sum() < 30:
            return Expectation(lost="the object is outside the picture")
        distance = signed_distance(predicted)
        voxel_px = self.hull.edge_m * near_range[1] / self.rig.baseline_m
        if second_pass:
            prior = prior_llr(distance, 0.7 * voxel_px + 1.5, 1.5, OUTSIDE_AT_REST if self.at_rest else OUTSIDE)
            if self.at_rest:
                hidden = self._hidden(view, pose)
                prior -= hidden
                predicted = predicted & (hidden < 0.5 * HIDDEN)
        else:
            prior = prior_llr(distance + voxel_px, 2 * voxel_px + 2, 0.3, 6.0)
        margin = 0.05 * (near_range[1] - near_range[0]) + 1.0
        surfaces = [s for s in self.surfaces(pose, view.shape) if seen_share(view, s, distance) > PLANE_SEEN]
        return self.before_the_ground(
            view,
            pose,
            distance,
            Expectation(
                prior=prior,
                anchor=distance > 0,
                predicted=predicted,
                near_range=(near_range[0] - margin, near_range[1] + margin),
                surfaces=surfaces,
                intruder=_intruder(view, distance, surfaces),
            ),
        )

    def _hidden(self, view: WorkingFrame, pose: np.ndarray) -> np.ndarray:
        """(H, W) float32: how strongly the depth says that something, such as a hand, stands before the object."""
        nearer = (view.disparity - self.hull.front(pose, self.rig)) / np.maximum(view.sigma, HIDDEN_LEAST_SIGMA_PX)
        return np.where(nearer > 0, HIDDEN * np.clip(nearer / HIDDEN_SIGMAS - 1, 0, 1), 0).astype(np.float32)

    def before_the_ground(
        self, view: WorkingFrame, pose: np.ndarray, distance: np.ndarray, expected: Expectation
    ) -> Expectation:
        """The same with the ground's own picture, as far as it is known, in this frame's place, exposure and sharpness."""
        if self.ground is None:
            return expected
        s = Window.around(distance > 0, round(0.05 * max(view.shape))).slices
        rgb, sigma = np.full((*view.shape, 3), np.nan, np.float32), np.full(view.shape, np.nan, np.float32)
        rgb[s], sigma[s] = self.ground.seen_from(pose, self.rig, s)
        known = np.isfinite(rgb[s][..., 0])
        outside = known & (distance[s] < -GROUND_GAP_PX)
        if outside.sum() < GROUND_SEEN_PX:
            return expected
        step = RING_STEP if outside.sum() > 2 * RING_STEP**2 * GROUND_SEEN_PX else 1
        ring = np.zeros_like(known)
        ring[::step, ::step] = outside[::step, ::step]
        gain = frame_gain(view.rgb[s], rgb[s], ring)
        seen = np.zeros(rgb.shape, np.float32)  # outside the window nobody looks
        seen[s], sigma[s] = calmed(view.rgb[s] / gain.astype(np.float32), rgb[s], sigma[s], ring)
        strange = np.zeros_like(outside)
        density = background_log_density(seen[s][outside], rgb[s][outside], sigma[s][outside], self.ground.shade)
        strange[outside] = density < np.log(UNIFORM)
        strange = reaching_in(strange, ~known, distance[s])
        if strange.any():
            self.intruded.add(view.frame)
        # what has the ground's colour is ground unless the other frames' hull speaks against it, which they do twice as strongly then
        prior = expected.prior.copy()
        prior[s] += np.where(known, np.maximum(prior[s], 0), 0)
        return replace(
            expected,
            prior=prior,
            background=rgb,
            background_sigma=sigma,
            background_shade=self.ground.shade,
            gain=gain,
            seen=seen,
            intruder=_joined(expected.intruder, view.rgb[s], strange),
        )

    def _nearby(self, view: WorkingFrame) -> Expectation:
        """For a frame that could not be placed: a thing off this frame's planes, about where the frames next to it see the object."""
        v, u = np.nonzero(np.isfinite(view.disparity))
        found = fit_planes(u, v, view.disparity[v, u], view.sigma[v, u], np.random.default_rng(view.frame))
        surfaces = as_surfaces(found, view.shape)
        placed = sorted(self.motion.scene_from_left, key=lambda f: abs(f - view.frame))[:2]
        seen = [self.hull.silhouette(self.motion.scene_from_left[f], self.rig) for f in placed]
        region = np.logical_or.reduce([mask for mask, _ in seen])
        ranges = [near for _, near in seen if near is not None] or [self.seed.near_range]
        near_range = (0.95 * min(r[0] for r in ranges), 1.08 * max(r[1] for r in ranges))
        if not region.any():
            return Expectation(near_range=near_range, surfaces=surfaces, doubt=UNPLACED)
        distance, size = signed_distance(region), float(np.sqrt(region.sum()))
        prior = prior_llr(distance + 0.1 * size, 0.1 * size, 0.0, 4.0)
        return Expectation(prior=prior, anchor=distance > 0, near_range=near_range, surfaces=surfaces, doubt=UNPLACED)

    def learn(self, view: WorkingFrame, cut: FrameCut) -> None:
        """Carve the hull with a new mask."""
        pose = self.motion.scene_from_left.get(view.frame)
        if pose is not None and cut.mask.any() and view.frame not in self.intruded:
            self.hull.vote(cut.mask, pose, self.rig)

    def rebuild(self, masks: dict[int, bytes], decode) -> None:
        """Carve a finer hull in the bounds of the old one, with the masks of the first pass; `decode` turns a stored mask into an array."""
        low, high = self.hull.bounds()
        hull = Hull.box(low, high, FINAL_VOXELS)
        hull.keep(_in_front(hull.centres, self.planes))
        placed = sorted(set(masks) & set(self.motion.scene_from_left))
        clear = [f for f in placed if f not in self.intruded]
        placed = clear if len(clear) >= CLEAR * len(placed) else placed
        # 120 views carve as well as 2,000; the prompt frame is always among them
        chosen = dict.fromkeys([self.seed.frame, *placed[:: max(1, len(placed) // 120)]])
        for i, frame in enumerate(chosen):
            mask = decode(masks[frame])
            if mask.any():
                hull.vote(mask, self.motion.scene_from_left[frame], self.rig)
            if i in (4, 12, 30):
                hull.keep(hull.against < np.maximum(4, 0.5 * hull.seen))  # hopeless already: spare the time
        # what lies outside most pictures nobody could carve away; the object does not
        hull.keep(hull.seen >= RARELY_SEEN * hull.seen.max(initial=0))
        hull.keep(hull.pieces_with(self.of_seed))
        self.hull = hull

    def surfaces(self, pose: np.ndarray, shape: tuple[int, int]) -> list[tuple[np.ndarray, float]]:
        """Expected disparity (H, W) and scatter, px, of every plane in a left camera."""
        return [(self._plane_disparity(p, pose, shape), q) for p, q in zip(self.planes, self.scatter_px, strict=True)]

    def _plane_disparity(
        self, plane: tuple[np.ndarray, float], scene_from_left: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray:
        """(H, W) px: n . (R x + t) = h with x = z ray gives 1 / z = (R^T n) . ray / (h - n . t)."""
        n, h = plane
        left = scene_from_left[:3, :3].T @ n
        offset = h - n @ scene_from_left[:3, 3]
        u, v = (np.arange(shape[1]) - self.rig.cx) / self.rig.fx, (np.arange(shape[0]) - self.rig.cy) / self.rig.fy
        inverse_depth = (left[0] * u[None] + left[1] * v[:, None] + left[2]) / offset
        return np.where(inverse_depth > 1e-3, inverse_depth * self.rig.fx * self.rig.baseline_m, np.nan).astype(
            np.float32
        )


def _intruder(view: WorkingFrame, distance: np.ndarray, surfaces: list[tuple[np.ndarray, float]]) -> np.ndarray | None:
    """Colour counts of what reaches from the picture's border to the predicted outline; `distance` (H, W) px, positive inside of it."""
    return _joined(None, view.rgb, seen_outside(view, distance > -GROUND_GAP_PX, surfaces))


def _joined(counts: np.ndarray | None, rgb: np.ndarray, where: np.ndarray) -> np.ndarray | None:
    """Colour counts with those of the pixels `where` (h, w) bool."""
    if not where.any():
        return counts
    here = histogram(rgb[where].astype(np.float32))
    return here if counts is None else counts + here


def moving_scene(
    seed: Seed,
    view: WorkingFrame,
    rig: Rig,
    motion: SceneMotion,
    support: Support | None = None,
    sure_points: Callable[[], np.ndarray] | None = None,
    certain: bool = True,
) -> MovingScene | None:
    """Start the hull from the seed's cone; None without enough depth on the object.

    `support` is looked for where it is not given, among the features and, where these tell nothing, the `sure_points` of the frames.
    `certain`: the seed's mask alone may carve.
    """
    good = seed.mask & np.isfinite(view.disparity) & (view.sigma < 1.5)
    if good.sum() < 100 or seed.near_range is None:
        return None
    v, u = np.nonzero(good)
    d = view.disparity[good]
    keep = (d > seed.near_range[0]) & (d < seed.near_range[1])
    scene_from_left = motion.scene_from_left[seed.frame]
    x = transform(scene_from_left, rig.backproject(np.stack([u[keep], v[keep]], 1), rig.depth_from_disparity(d[keep])))
    planes = [plane_in_space(p, rig.fx, rig.baseline_m, rig.cx, rig.cy, rig.fy) for p in seed.planes]
    support = support or _support(seed, rig, motion, x, sure_points)
    behind = [float(np.mean(x @ n > h + 0.003)) for n, h in planes]
    trusted = [p for p, share in zip(planes, behind, strict=True) if share < MAX_BEHIND]
    scatter = [max(q.sigma_px, 0.3) for q, share in zip(seed.planes, behind, strict=True) if share < MAX_BEHIND]
    if support is not None:
        distance = float(np.median(x[:, 2]))
        trusted, scatter = (
            [(support.normal, support.offset)],
            [max(support.rms_m * rig.fx * rig.baseline_m / distance**2, 0.3)],
        )
    hull = Hull.box(*_room(x, seed.mask, rig), FIRST_VOXELS)  # the scene's frame is this camera's
    hull.keep(_in_front(hull.centres, trusted))
    if certain:
        hull.vote(seed.mask, scene_from_left, rig, certain=True)
        hull.keep(hull.certain == 0)
    return MovingScene(seed, rig, motion, hull, trusted, scatter, support=support, of_seed=x)


def _support(
    seed: Seed, rig: Rig, motion: SceneMotion, of_object: np.ndarray, sure_points: Callable[[], np.ndarray] | None
) -> Support | None:
    scene_from_left = motion.scene_from_left[seed.frame]

    def look(points, axis=None):
        return support_plane(
            _beside(seed.mask, points, scene_from_left, rig), motion.cameras, of_object, np.random.default_rng(0), axis
        )

    if (found := look(motion.points())) is not None or sure_points is None:
        return found
    axis = turning_axis([motion.scene_from_left[f] for f in sorted(motion.scene_from_left)])
    return None if axis is None else look(sure_points(), axis)


def _beside(mask: np.ndarray, points: np.ndarray, scene_from_left: np.ndarray, rig: Rig) -> np.ndarray:
    """The (N, 3) points of the scene that the seed's frame does not see in the mask: a flat object would pass for what it stands on."""
    in_left = transform(inverse(scene_from_left), points)
    uv = np.rint(rig.project(np.where(in_left[:, 2:] > 0, in_left, 1.0))).astype(int)
    x, y = np.clip(uv, 0, (rig.width - 1, rig.height - 1)).T
    inside = (in_left[:, 2] > 0) & (x == uv[:, 0]) & (y == uv[:, 1]) & mask[y, x]
    return points[~inside]


def cut_again(scene: MovingScene, view: WorkingFrame, prompt: Prompt, cut: CutSettings) -> Seed:
    """The seed with its mask cut before the ground's picture, within the prompt's box (without one, near the mask)."""
    seed = scene.seed
    if prompt.box is not None:
        prior = np.full(view.shape, -50, np.float32)
        x0, y0, x1, y1 = (max(0, round(b)) for b in prompt.box)
        prior[y0 : y1 + 1, x0 : x1 + 1] = 0
    else:
        size = float(np.sqrt(seed.mask.sum()))
        prior = np.minimum(prior_llr(signed_distance(seed.mask) + 0.1 * size, 0.05 * size, 0.0, 6.0), 0)
    pose = scene.motion.scene_from_left[seed.frame]
    expected = Expectation(
        prior=prior, anchor=seed.mask, near_range=seed.near_range, surfaces=scene.surfaces(pose, view.shape)
    )
    expected = hinted(
        scene.before_the_ground(view, pose, signed_distance(prior > -1), expected),
        replace(prompt, box=None),
        view.shape,
    )
    mask = cut_frame(view, expected, seed.colours, cut, fine=True).mask
    ring = Window.around(mask if mask.any() else seed.mask, round(0.3 * float(np.sqrt(seed.mask.sum())))).slices
    picture, inside = view.rgb[ring].astype(np.float32), mask[ring]
    return replace(
        seed,
        mask=mask,
        of_object=histogram(picture[inside]),
        of_background=histogram(picture[~inside]),
        near_range=disparity_range(view, mask) or seed.near_range,
    )


def _room(x: np.ndarray, mask: np.ndarray, rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a box in the seed's camera that holds the object: the cone of its mask from before what is seen of it, (N, 3) points,
    to well behind. A mask that the picture's border cuts may go on beyond it."""
    low, high = np.percentile(x, 1, axis=0), np.percentile(x, 99, axis=0)
    extent = float(np.max(high - low))
    near, far = low[2] - 0.12 * extent, high[2] + UNSEEN_DEPTH * extent
    row, column = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    corners = np.array([[column[0] - 2, row[0] - 2], [column[-1] + 2, row[-1] + 2]], float)
    rays = rig.rays(corners)[:, :2]
    cut = np.array([[column[0] == 0, row[0] == 0], [column[-1] == rig.width - 1, row[-1] == rig.height - 1]])
    beyond = np.where(cut, extent, 0.0)
    first, last = (
        np.minimum(rays[0] * near, rays[0] * far) - beyond[0],
        np.maximum(rays[1] * near, rays[1] * far) + beyond[1],
    )
    return np.array([*first, near]), np.array([*last, far])


def seen_share(view: WorkingFrame, surface: tuple[np.ndarray, float], distance: np.ndarray) -> float:
    """Share of the disparities in a ring round the predicted outline that lie on the surface."""
    d, s, e, near = view.disparity[::3, ::3], view.sigma[::3, ::3], surface[0][::3, ::3], distance[::3, ::3]
    ring = (near < -3) & (near > -0.1 * view.shape[1]) & np.isfinite(d)
    on_it = ring & (np.abs(d - np.nan_to_num(e, nan=-1e3)) < 3 * np.hypot(s, surface[1]))
    return float(on_it.sum() / max(1, ring.sum()))


def _in_front(x: np.ndarray, planes: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """(N,) bool: on the camera's side of every plane (the origin has n . x = 0 < h)."""
    out = np.ones(len(x), bool)
    for n, h in planes:
        out &= x @ n.astype(np.float32) < h
    return out
