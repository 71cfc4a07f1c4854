"""The method without weights: colour, depth and motion. Decides what moves, makes the first mask, follows it in two passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.errors import StageError
from stages.core.geometry.rigid import rotation_angle, transform
from stages.core.parallel import ordered_map
from stages.masks.cut.other_foreground import has_colours_of
from stages.masks.cut.planes import plane_map
from stages.masks.cut.seed import Seed, from_box, from_mask, from_points, sides_filled
from stages.masks.follow.capture_kind import keeps_still, small
from stages.masks.follow.finding import find_by_depth, find_by_motion
from stages.masks.follow.job import FrameMask, Job, Outcome, Ticks
from stages.masks.follow.passes import Followed, Scene, decode, first_pass, second_pass
from stages.masks.frame.working_frame import WorkingFrame, noise_level
from stages.masks.scenes import background as bg
from stages.masks.scenes.camera_path import adjusted
from stages.masks.scenes.camera_ties import CameraTies
from stages.masks.scenes.flow import FlowScene
from stages.masks.scenes.ground_motion import background_homography, motion_llr
from stages.masks.scenes.ground_picture import (
    FRAMES,
    GroundSamples,
    agreed_picture,
    ground_grids,
    ground_samples,
    picture_outside,
)
from stages.masks.scenes.motion import Glimpse, SceneMotion
from stages.masks.scenes.moved import MovedScene
from stages.masks.scenes.moving import MovingScene, cut_again, moving_scene
from stages.masks.scenes.rest import NearFeatures, Region, Watched, near_features
from stages.masks.scenes.still import StillScene
from stages.masks.scenes.support import LOOKED_AT, sure_points
from stages.masks.trust.weakest_cue import judge, usual_areas

PLACED_SHARE = 0.6
"""the camera's path is believed when this share of the frames could be placed"""
SURE_INLIERS = 60
"""features of the median frame, for a path that surfaces helped to place"""
PLACING_ROUNDS = 2
"""how often it is tried again to place frames that were not"""
FILLED = 0.66
"""share of the given box's sides below which the first mask is mentioned"""
SAME_SEED = 0.5
"""share of the first mask that must be in the one cut again before the ground's picture"""
LOOKED_AT_FOR_REST = 100
"""frames in which it is asked whether the object rests"""
ROUGHLY = "the camera could be placed roughly only, so the shape that predicts the outline is rough as well"
CAMERA_STILL = 0.02
"""radians, or share of the object's distance, by which a still camera is placed wrongly at most"""
HULL_OVERLAP = 0.5
"""below this overlap of masks and hull the object does not keep still in the scene"""


class StereoMethod:
    """Two passes over the video with the expectations of the kind of capture at hand."""

    def segment(self, job: Job) -> Outcome:
        outcome = Outcome(iter(()))
        sampled = job.frames[:: max(1, len(job.frames) // 8)]
        thumbnails = [small(v.rgb) for v in job.views(list(dict.fromkeys([job.prompt.frame, *sampled])))]
        keeps, share = keeps_still(thumbnails, _outside(job, thumbnails[0].shape[:2]))
        still = job.kind == "still_camera" or (job.kind == "auto" and keeps)
        view = job.load(job.prompt.frame)
        seed = self._seed(job, view, thumbnails, still, outcome)
        outcome.seed_mask, outcome.seed_frame = seed.mask, seed.frame
        if job.prompt.box and sides_filled(seed.mask, job.prompt.box) < FILLED:
            outcome.warnings.append(
                "the object found spans less than two thirds of the box: part of it may be missing, or the box is loose"
            )
        ticks = Ticks(job)
        first_seed = seed
        scene = self._scene(job, seed, view, still, ticks, outcome)
        seed = scene.seed
        outcome.seed_mask = seed.mask
        if seed.other is not None:
            outcome.metrics["held_by_share_of_picture"] = round(float(seed.other.mean()), 4)
        hints = {c.frame: c for c in job.prompt.corrections}
        by_flow = isinstance(scene, FlowScene | MovedScene)

        def follow(seed: Seed, scene: Scene, fine: bool, taught: Followed | None = None) -> Followed:
            tick = ticks.named("following the object", 1)
            return first_pass(seed, job.frames, job.views, scene, job.cut, fine, tick, hints, taught)

        followed = follow(seed, scene, by_flow)
        if seed.of_other is not None:
            # side after side of a hand shows: what came late was not known when it would have helped
            followed = follow(seed, scene, by_flow, followed)
        if (
            isinstance(scene, MovingScene)
            and job.kind == "auto"
            and not scene.at_rest
            and _overlap(followed) < HULL_OVERLAP
        ):
            outcome.warnings.append(
                "the object moves in the scene while the camera moves too: followed by colour and optical flow instead"
            )
            seed, outcome.seed_mask = first_seed, first_seed.mask
            scene = FlowScene(seed)
            followed = follow(seed, scene, True)
        outcome.camera_still = isinstance(scene, StillScene)
        self._between(job, scene, followed)
        outcome.metrics |= {
            "kind": scene.description,
            "still_background_share": round(share, 3),
            "prompt_frame": seed.frame,
        }
        if isinstance(scene, MovingScene) and not (scene.at_rest or _surely_placed(scene.motion)):
            seed = replace(seed, doubt=seed.doubt or ROUGHLY)
        outcome.results = self._results(job, scene, followed, seed, ticks)
        return outcome

    def _seed(self, job: Job, view: WorkingFrame, thumbnails: list[np.ndarray], still: bool, outcome: Outcome) -> Seed:
        if job.prompt.mask is not None:
            return from_mask(view, job.prompt.mask, job.rng)
        if job.prompt.points and job.prompt.box is None:
            return from_points(view, job.prompt.points, job.cut, job.rng)
        box, how = job.prompt.box, "the given box"
        if box is None and still:
            box, how = (
                find_by_motion(thumbnails, (view.shape[1], view.shape[0])),
                "what moves before the still background",
            )
        if box is None:
            box, how = find_by_depth(view, job.rng), "the nearest compact thing that stands off the dominant plane"
        if box is None:
            raise StageError(
                "no object could be found automatically: nothing moves before a still background or stands off a plane",
                "give a box round the object on the first frame (--box x0 y0 x1 y1, or prompt.json)",
            )
        outcome.metrics["prompt"] = how
        motion = None if np.isfinite(view.disparity).any() else _seed_motion(job, view, box)
        return from_box(view, box, job.cut, job.rng, job.prompt.points, motion)

    def _scene(self, job: Job, seed: Seed, view: WorkingFrame, still: bool, ticks: Ticks, outcome: Outcome) -> Scene:
        if still:
            scene = _still_scene(job, seed, view)
            outcome.metrics["background_known_share"] = round(scene.background.known_share, 3)
            return scene
        if job.kind == "flow" or seed.near_range is None:
            outcome.warnings.append(
                "the masks follow colour and optical flow only, and nothing can check them: look at them before use"
            )
            return FlowScene(seed)
        motion = _place_cameras(job, seed, view, ticks.named("placing the camera", 0))
        share = sum(f in motion.scene_from_left for f in job.frames) / len(job.frames)
        outcome.metrics["frames_placed_share"] = round(share, 3)
        if share >= PLACED_SHARE and job.kind == "auto" and _keeps_still(motion, view, seed):
            return _still_scene(job, seed, view)

        def points():
            return _sure_points(job, motion)

        placed = share >= PLACED_SHARE or job.kind == "moving_camera"
        scene = moving_scene(seed, view, job.rig, motion, sure_points=points) if placed else None
        watched = _watched(job, scene, view) if scene is not None else None
        at_rest = watched is not None and watched.shape_stays()
        if scene is None or watched is None or not (_surely_placed(motion) or at_rest or job.kind == "moving_camera"):
            outcome.warnings.append(_by_flow_for(share))
            return FlowScene(seed)
        scene.at_rest = at_rest
        scene.ground_samples = _ground_samples(job, scene)
        if scene.ground_samples is not None:
            places = [scene.hull.silhouette(pose, job.rig)[0] for pose in scene.ground_samples.poses]
            scene.ground = agreed_picture(scene.ground_samples, places, job.rig, job.workers)
            scene = self._seen_again(job, view, scene)
        intervals = watched.intervals()
        if len(intervals) < 2:
            return scene
        moved = MovedScene(scene.seed, scene, intervals)
        outcome.metrics["intervals"] = moved.told()
        outcome.rest = {f: k for k, run in enumerate(moved.long_rests()) for f in run}
        return moved

    def _seen_again(self, job: Job, view: WorkingFrame, scene: MovingScene) -> MovingScene:
        """The same with the first mask cut anew before the ground's picture."""
        if job.prompt.mask is not None:
            return scene
        seed = cut_again(scene, view, job.prompt, job.cut)
        again = moving_scene(seed, view, job.rig, scene.motion, scene.support)
        if again is None or (seed.mask & scene.seed.mask).sum() < SAME_SEED * scene.seed.mask.sum():
            return scene
        again.at_rest, again.ground, again.ground_samples = scene.at_rest, scene.ground, scene.ground_samples
        return again

    def _between(self, job: Job, scene: Scene, followed: Followed) -> None:
        if isinstance(scene, MovingScene):
            scene.rebuild(followed.masks, decode)
            _finish_ground(job, scene, followed)
        if isinstance(scene, MovedScene):
            _finish_ground(job, scene.still, followed)
            scene.rebuild(followed.masks, decode, job.load)
        if isinstance(scene, StillScene):
            frames = _sampled(job.frames, scene.seed.frame)
            samples = _samples(job, frames, np.ones(scene.seed.mask.shape, bool))
            masks = [decode(followed.masks[f]) for f in frames]
            use = bg.outside_masks(masks)
            if scene.seed.of_other is not None:
                use &= ~np.stack([has_colours_of(scene.seed.of_other, rgb) for rgb in samples.rgb])
            known = bg.background_from(samples, use, _noise(samples), job.workers)
            scene.background = replace(known, shade=bg.shade_seen(samples, known, masks))

    def _results(self, job: Job, scene: Scene, followed: Followed, seed: Seed, ticks: Ticks) -> Iterator[FrameMask]:
        usual = dict(
            zip(job.frames, usual_areas([int(decode(followed.masks[f]).sum()) for f in job.frames]), strict=True)
        )
        tick = ticks.named("refining the outlines", 2)
        passes = (
            _first_results(followed, job)
            if isinstance(scene, FlowScene)
            else second_pass(
                followed,
                job.frames,
                job.load,
                scene,
                job.cut,
                job.workers,
                {c.frame: c for c in job.prompt.corrections},
            )
        )
        for view, cut in passes:
            verdict = judge(
                cut,
                usual[view.frame],
                job.uncertain_below,
                followed.reasons[view.frame],
                seed.doubt,
                not isinstance(scene, FlowScene),
            )
            tick()
            yield FrameMask(view, cut.mask, verdict.status, verdict.trust, verdict.reason, cut.as_a_whole)


def _keeps_still(motion: SceneMotion, view: WorkingFrame, seed: Seed) -> bool:
    """Whether the camera stays in its place, though much of what it sees does not."""
    near = view.disparity[seed.mask & np.isfinite(view.disparity)]
    distance = float(motion.rig.depth_from_disparity(np.median(near)))
    moves = [np.linalg.norm(pose[:3, 3]) / distance + rotation_angle(pose) for pose in motion.scene_from_left.values()]
    return bool(max(moves) < CAMERA_STILL)


def _by_flow_for(share: float) -> str:
    """Why a capture is followed by colour and flow, of which so large a share of frames was placed."""
    how = f"in {share:.0%} of the frames" if share < PLACED_SHARE else "roughly"
    return f"the camera could be placed {how} only: followed by colour and optical flow instead"


def _surely_placed(motion: SceneMotion) -> bool:
    """Whether features bear out what surfaces tied: along stripes those slide, and a hull carved from there is not the object's."""
    tied = motion.ties is not None and motion.ties.used
    return not tied or bool(np.median(list(motion.inliers.values())) >= SURE_INLIERS)


def _finish_ground(job: Job, scene: MovingScene, followed: Followed) -> None:
    if (samples := scene.ground_samples) is not None:
        scene.ground = picture_outside(
            samples, [decode(followed.masks[f]) for f in samples.frames], job.rig, job.workers
        )
        scene.ground_samples = None


def _watched(job: Job, scene: MovingScene, view: WorkingFrame) -> Watched:
    """Placed frames, or an even choice of them, with what they show of the object."""
    good = scene.seed.mask & np.isfinite(view.disparity) & (view.sigma < 1.5)
    v, u = np.nonzero(good)
    poses = scene.motion.scene_from_left
    x = view.points(u, v, job.rig)
    region = Region.around(transform(poses[view.frame], x), poses[view.frame][:3, 3], scene.support)
    placed = sorted(poses)
    chosen = placed[:: -(-len(placed) // LOOKED_AT_FOR_REST)]

    def near(frame: int) -> tuple[int, NearFeatures]:
        return frame, near_features(job.load(frame), poses[frame], region, job.rig)

    return Watched(dict(ordered_map(near, chosen, job.workers)), poses, region, job.rig)


def _seed_motion(job: Job, view: WorkingFrame, box: tuple[float, float, float, float]) -> np.ndarray | None:
    """(H, W) float32: what moves unlike the background between the prompt frame and its neighbours; None where that says nothing."""
    at = job.frames.index(view.frame)
    inside = np.zeros(view.shape, bool)
    inside[round(box[1]) : round(box[3]) + 1, round(box[0]) : round(box[2]) + 1] = True
    now = cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY)
    found = []
    for other in job.views([job.frames[i] for i in (at - 2, at - 1, at + 1, at + 2) if 0 <= i < len(job.frames)]):
        before = cv2.cvtColor(other.rgb, cv2.COLOR_RGB2GRAY)
        step = background_homography(before, now, ~inside)
        llr = None if step is None else motion_llr(before, now, inside, step)
        if llr is not None:
            found.append(llr)
    return np.mean(found, axis=0).astype(np.float32) if found else None


def _first_results(followed: Followed, job: Job):
    for view in job.views(job.frames):
        yield view, replace(followed.cuts[view.frame], mask=decode(followed.masks[view.frame]))


def _outside(job: Job, shape: tuple[int, int]) -> np.ndarray:
    """Where the background certainly is, on a thumbnail: outside the box, or (without one) the picture's outer sixth."""
    h, w = shape
    out = np.ones(shape, bool)
    if job.prompt.box is not None:
        s = w / job.rig.width
        x0, y0, x1, y1 = (round(b * s) for b in job.prompt.box)
        out[max(0, y0 - 3) : y1 + 4, max(0, x0 - 3) : x1 + 4] = False
    if job.prompt.box is None or out.mean() < 0.1:
        out[:] = True
        out[h // 6 : -(h // 6), w // 6 : -(w // 6)] = False
    return out


def _sampled(frames: list[int], first: int) -> list[int]:
    return list(dict.fromkeys([first, *frames[:: -(-len(frames) // bg.MAX_SAMPLES)]]))


def _samples(job: Job, frames: list[int], where: np.ndarray) -> bg.Samples:
    views = list(job.views(frames))
    gain = np.stack([bg.frame_gain(v.rgb[::3, ::3], views[0].rgb[::3, ::3], where[::3, ::3]) for v in views])
    return bg.Samples(frames, np.stack([v.rgb for v in views]), np.stack([bg.sure_disparity(v) for v in views]), gain)


def _noise(samples: bg.Samples) -> float:
    return max(1.5, noise_level(samples.rgb[0]))


def _still_scene(job: Job, seed: Seed, view: WorkingFrame) -> StillScene:
    kernel = np.ones((15, 15), np.uint8)
    shown = seed.mask if seed.other is None else seed.mask | seed.other
    outside = cv2.dilate(shown.astype(np.uint8), kernel) == 0
    samples = _samples(job, _sampled(job.frames, seed.frame), outside)
    surface = plane_map(seed.planes[0], view.shape) if seed.planes and seed.planes[0].share > 0.5 else None
    use = bg.anchored(samples, outside, _noise(samples)) | bg.behind(
        samples, surface, ~outside, _object_disparity(seed, view), seed.colours
    )
    return StillScene(seed, bg.background_from(samples, use, _noise(samples), job.workers))


def _object_disparity(seed: Seed, view: WorkingFrame) -> np.ndarray:
    """(H, W) px inside the first mask (where there is none, the farthest the object reaches), NaN outside."""
    if seed.near_range is None:
        return np.full(view.shape, np.nan, np.float32)
    inside = np.where(np.isfinite(view.disparity), view.disparity, np.float32(seed.near_range[0]))
    return np.where(seed.mask, inside, np.float32(np.nan))


def _place_cameras(job: Job, seed: Seed, view: WorkingFrame, tick: Callable[[], None]) -> SceneMotion:
    motion, at, waiting = SceneMotion(job.rig, ties=_ties(job.rig, seed, view)), job.frames.index(seed.frame), []

    def found(frame: int) -> tuple[int, Glimpse]:
        return frame, Glimpse.of(job.load(frame), job.rig)

    for frame, glimpse in ordered_map(found, job.frames[at:] + job.frames[:at][::-1], job.workers):
        if not motion.add(frame, glimpse):
            waiting.append(frame)
        tick()
    for _ in range(PLACING_ROUNDS):  # frames placed later may have seen the same side; a walk may end where it began
        waiting = [
            frame for frame, glimpse in ordered_map(found, waiting[::-1], job.workers) if not motion.add(frame, glimpse)
        ]
    helped = motion.ties is not None and motion.ties.used
    if helped and motion.by_features and len(motion.kept) == len(motion.scene_from_left):
        motion.scene_from_left |= adjusted(motion)
    return motion


def _ties(rig: Rig, seed: Seed, view: WorkingFrame) -> CameraTies | None:
    v, u = np.nonzero(seed.mask & np.isfinite(view.disparity))
    if not len(u):
        return None
    return CameraTies(np.median(view.points(u, v, rig), axis=0))


def _sure_points(job: Job, motion: SceneMotion) -> np.ndarray:
    placed = [f for f in job.frames if f in motion.scene_from_left]
    chosen = placed[:: -(-len(placed) // LOOKED_AT)]
    return sure_points(job.views(chosen), motion.scene_from_left, job.rig, np.random.default_rng(0))


def _ground_samples(job: Job, scene: MovingScene) -> GroundSamples | None:
    if scene.support is None:
        return None
    placed = [f for f in job.frames if f in scene.motion.scene_from_left]
    grids = ground_grids(scene.support, scene.hull.centre, scene.motion.cameras, job.rig)
    chosen = placed[:: -(-len(placed) // FRAMES)]
    return ground_samples(grids, ((v, scene.motion.scene_from_left[v.frame]) for v in job.views(chosen)), job.rig)


def _overlap(followed: Followed) -> float:
    overlaps = [c.overlap for c in followed.cuts.values() if np.isfinite(c.overlap)]
    return float(np.median(overlaps)) if overlaps else 0.0
