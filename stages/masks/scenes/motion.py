"""Where the camera was in each frame of a still scene: features with stereo depth, matched to frames already placed, PnP in RANSAC.

Cheap and rough on purpose (half size, one pixel): it predicts where the object will be seen, it is not the pose of record. The scene's
frame is the left camera of the frame that comes first. What features cannot place, or place against what is seen, is placed by its surface
(camera_ties), and by features near where that puts them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.spatial import cKDTree

from stages.core.camera import Rig
from stages.core.dense.view import DenseView, small_view
from stages.core.geometry.rigid import inverse, part_of, rotation_angle, transform
from stages.core.nearest import nearest_of
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.camera_ties import LEAST_GAIN, CameraTies, Placed, denied

FEATURES = 1200
CONTRAST = 0.006
"""SIFT threshold, low: a dull table and a dull object need their weak corners; where there are many, the strongest FEATURES are kept"""
FEATURE_WIDTH = 640
"""px; features are sought at this width at most"""
RATIO = 0.8
"""Lowe's ratio test"""
MIN_INLIERS = 25
REPROJECTION_PX = 2.5
KEPT_FRAMES = 150
"""frames whose features are kept for matching: 150 kB each"""
PARTNERS = 4
NEAR_SHARE = 0.02
"""share of the picture's width within which a feature is sought that a tie of surfaces predicts"""
MOST_STEPS = 3
"""frames in a row that could not be placed, and one, over which the camera is taken to have gone on steadily"""
WEAK = 100
"""features, below which the surfaces are asked too"""
NEAR = 2.0
"""of the object's distance: features farther away tell how the camera turned, hardly where it went"""
SAME_TURN, SAME_PLACE = 0.06, 0.06
"""radians, and share of the object's distance, by which those features may move what the surfaces say"""


NO_POINTS = np.zeros((0, 3))


@dataclass(frozen=True)
class Features:
    """uv (N, 2) px at the rig's size, xyz (N, 3) metres in that left camera, descriptors (N, 128) float32."""

    uv: np.ndarray
    xyz: np.ndarray
    descriptors: np.ndarray


def features(gray: np.ndarray, disparity: np.ndarray, sigma: np.ndarray, rig: Rig) -> Features:
    """SIFT (Lowe 2004) where the disparity is good to a pixel and known to about 2 %."""
    feature_scale = min(1.0, FEATURE_WIDTH / gray.shape[1])
    small = cv2.resize(gray, None, fx=feature_scale, fy=feature_scale, interpolation=cv2.INTER_AREA)
    points, descriptors = cv2.SIFT_create(FEATURES, contrastThreshold=CONTRAST).detectAndCompute(small, None)
    if descriptors is None:
        return Features(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros((0, 128), np.float32))
    uv = (np.array([p.pt for p in points]) + 0.5) / feature_scale - 0.5
    x, y = np.clip(np.rint(uv).astype(int), 0, np.array([gray.shape[1], gray.shape[0]]) - 1).T
    d, s = disparity[y, x], sigma[y, x]
    with np.errstate(invalid="ignore"):
        good = np.isfinite(d) & (s < np.minimum(1.5, 0.02 * d))
    return Features(uv[good], rig.backproject(uv[good], rig.depth_from_disparity(d[good])), descriptors[good])


@dataclass(frozen=True)
class Glimpse:
    """What placing needs of a frame: its features, and all of it in small."""

    features: Features
    view: DenseView

    @staticmethod
    def of(frame: WorkingFrame, rig: Rig) -> Glimpse:
        gray = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
        nothing_known = np.zeros(frame.shape, bool)
        view = small_view(rig, gray, frame.disparity, frame.sigma, nothing_known)
        return Glimpse(features(gray, frame.disparity, frame.sigma, rig), view)


@dataclass
class SceneMotion:
    """Places frames one after the other; `scene_from_left[frame]` for those that could be placed."""

    rig: Rig
    scene_from_left: dict[int, np.ndarray] = field(default_factory=dict)
    inliers: dict[int, int] = field(default_factory=dict)
    near: dict[int, int] = field(default_factory=dict)
    """of the inliers, how many are about as near as the object; with `ties` only"""
    ties: CameraTies | None = None
    """how frames are placed that features do not place; None = not at all"""
    kept: dict[int, Glimpse] = field(default_factory=dict)

    def add(self, frame: int, found: Glimpse) -> bool:
        """Place a frame; False when too little agrees. The first frame is the scene's origin."""
        if not self.kept:
            self.scene_from_left[frame] = np.eye(4)
            self._keep(frame, found)
            return True
        pose, points = self._by_features(frame, found.features)
        if self.ties is not None and (pose is None or self._denied(frame, found, pose)):
            pose, points = self._by_surface(frame, found)
        if pose is None:
            return False
        if self.ties is not None:
            self.near[frame] = self._near(pose, points)
            pose = self._surer(frame, found, pose) if self.near[frame] < WEAK else pose
        self.scene_from_left[frame], self.inliers[frame] = pose, len(points)
        self._keep(frame, found)
        return True

    def _by_features(self, frame: int, found: Features) -> tuple[np.ndarray | None, np.ndarray]:
        """(scene_from_left, the points (N, 3) that agree)."""
        guess = self.scene_from_left[min(self.kept, key=lambda k: abs(k - frame))]
        known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        pose, points = self._place(found, self.partners(frame, guess), known)
        if pose is not None:
            # a second round against the frames that saw the scene from nearby, whenever they were taken: it closes the loop
            again, more = self._place(found, self.partners(frame, pose), known)
            pose, points = (again, more) if again is not None and len(more) >= len(points) else (pose, points)
        return pose, points

    def _near(self, pose: np.ndarray, points: np.ndarray) -> int:
        """How many of the points (N, 3) are about as near to a camera as the object is."""
        reach = float(np.linalg.norm(self.ties.middle))
        return int((np.linalg.norm(points - pose[:3, 3], axis=1) < NEAR * reach).sum())

    def _denied(self, frame: int, found: Glimpse, pose: np.ndarray) -> bool:
        beside = self._beside(frame)
        return bool(beside) and all(
            denied(found.view, pose, self.kept[k].view, self.scene_from_left[k]) for k in beside
        )

    def _by_surface(self, frame: int, found: Glimpse) -> tuple[np.ndarray | None, np.ndarray]:
        pose = self.ties.place(found.view, [self._placed(k, frame) for k in self._beside(frame)])
        if pose is None:
            return None, NO_POINTS
        xyz, uv = [], []
        for k in self.partners(frame, pose):
            there = transform(self.scene_from_left[k], self.kept[k].features.xyz)
            i, j = matched_near(self.rig, pose, there, self.kept[k].features.descriptors, found.features)
            xyz.append(there[i])
            uv.append(found.features.uv[j])
        better, points = place(np.concatenate(xyz), np.concatenate(uv), self.rig)
        reach = float(np.linalg.norm(self.ties.middle))
        if better is None or rotation_angle(inverse(better) @ pose) > SAME_TURN:
            return pose, NO_POINTS
        moved = np.linalg.norm(transform(better, self.ties.middle[None]) - transform(pose, self.ties.middle[None]))
        return (better, points) if moved < SAME_PLACE * reach else (pose, NO_POINTS)

    @property
    def by_features(self) -> bool:
        """Whether features tell where the cameras are; far ones, on the walls of a room, leave centimetres open."""
        return not self.near or bool(np.median(list(self.near.values())) >= MIN_INLIERS)

    def _surer(self, frame: int, found: Glimpse, pose: np.ndarray) -> np.ndarray:
        """A few features on something that repeats may be wrong by its step."""
        k = self._beside(frame)[0]
        gain = LEAST_GAIN if self.near[frame] >= MIN_INLIERS else 0.0
        better = self.ties.better(found.view, pose, self._placed(k, frame), gain)
        return pose if better is None else better

    def _beside(self, frame: int) -> list[int]:
        """The kept frames next to it, before and after; a walk may end where it began."""
        kept = sorted(self.kept)
        before, after = [k for k in kept if k < frame], [k for k in kept if k > frame]
        beside = [before[-1] if before else kept[-1], after[0] if after else kept[0]]
        return list(dict.fromkeys(sorted(beside, key=lambda k: abs(k - frame))))

    def _placed(self, k: int, frame: int) -> Placed:
        """Kept frame k, beside a frame that is to get its place."""
        return Placed(self.kept[k].view, self.scene_from_left[k], self._as_before(k, frame))

    def _as_before(self, a: int, b: int) -> list[np.ndarray]:
        """What the camera does from kept frame a to frame b, (4, 4) b_from_a each, if it goes on as it did, or comes back."""
        known = sorted((k for k in self.kept if k != a), key=lambda k: abs(k - a))
        if not known or _steps(known[0], a) != abs(known[0] - a):
            return []
        a_from_last = inverse(self.scene_from_left[a]) @ self.scene_from_left[known[0]]
        step = part_of(a_from_last, _steps(a, b) / abs(known[0] - a))
        return [step, inverse(step)]

    @property
    def cameras(self) -> np.ndarray:
        """(N, 3) centres of the placed left cameras, metres, in the scene."""
        return np.array([pose[:3, 3] for pose in self.scene_from_left.values()])

    def points(self) -> np.ndarray:
        """(N, 3) features of the frames that are kept, metres, in the scene."""
        return np.concatenate(
            [np.zeros((0, 3)), *(transform(self.scene_from_left[k], f.features.xyz) for k, f in self.kept.items())]
        )

    def _keep(self, frame: int, found: Glimpse) -> None:
        self.kept[frame] = found
        if len(self.kept) > KEPT_FRAMES:  # thin out evenly: drop the frame whose neighbours are closest to each other
            ids = sorted(self.kept)
            gaps = [ids[i + 1] - ids[i - 1] for i in range(1, len(ids) - 1)]
            del self.kept[ids[1 + int(np.argmin(gaps))]]

    def partners(self, frame: int, pose: np.ndarray, count: int = PARTNERS) -> list[int]:
        """Other kept frames, next to it in time or with the most similar view."""
        others = [k for k in self.kept if k != frame]
        near_in_time = sorted(others, key=lambda k: abs(k - frame))[:2]
        turn = {k: rotation_angle(inverse(self.scene_from_left[k]) @ pose) for k in others}
        return list(dict.fromkeys(near_in_time + sorted(turn, key=turn.get)[:count]))

    def _place(
        self, found: Features, partners: list[int], known: dict[int, tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """`known`: matches with other frames, by frame; those that are new are added."""
        uv, xyz = [], []
        for k in partners:
            kept = self.kept[k].features
            if k not in known:
                known[k] = matched(found.descriptors, kept.descriptors)
            here, there = known[k]
            uv.append(found.uv[here])
            xyz.append(transform(self.scene_from_left[k], kept.xyz[there]))
        return place(np.concatenate(xyz), np.concatenate(uv), self.rig)


def _steps(a: int, b: int) -> int:
    """How many steps of the camera part two frames that are beside one another; a walk that ends where it began is closed by one."""
    return abs(b - a) if abs(b - a) <= MOST_STEPS else 1


def place(xyz: np.ndarray, uv: np.ndarray, rig: Rig) -> tuple[np.ndarray | None, np.ndarray]:
    """(scene_from_left, those that agree) of a camera that sees points (N, 3) metres of the scene at uv (N, 2) px; None, and none of them,
    when too few agree."""
    _, first = np.unique(np.column_stack([xyz, uv]).round(6), axis=0, return_index=True)
    xyz, uv = xyz[np.sort(first)], uv[np.sort(first)]
    if len(uv) < MIN_INLIERS:
        return None, NO_POINTS
    cv2.setRNGSeed(0)
    try:
        ok, rvec, tvec, inlier = cv2.solvePnPRansac(
            xyz, uv, rig.K, None, iterationsCount=300, reprojectionError=REPROJECTION_PX, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:  # some sample of the points lies all in one place: they do not tell where the camera is
        return None, NO_POINTS
    if not ok or inlier is None or len(inlier) < MIN_INLIERS:
        return None, NO_POINTS
    i = inlier.ravel()
    rvec, tvec = cv2.solvePnPRefineLM(xyz[i], uv[i], rig.K, None, rvec, tvec)
    left_from_scene = np.eye(4)
    left_from_scene[:3, :3], left_from_scene[:3, 3] = cv2.Rodrigues(rvec)[0], tvec.ravel()
    return inverse(left_from_scene), xyz[i]


def matched(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices into descriptors (N, 128) and (M, 128) that are each other's nearest and pass the ratio test."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    # SIFT vectors have nearly equal length: the product ranks like the distance
    found = nearest_of(a @ b.T, np.zeros(len(a), np.float32), np.zeros(len(b), np.float32))
    norm = np.linalg.norm(a, axis=1) * 512
    distance = np.sqrt(np.maximum(2 * norm + found.nearest, 0)), np.sqrt(np.maximum(2 * norm + found.second, 0))
    good = np.flatnonzero(found.mutual & (distance[0] < RATIO * distance[1]))
    return good, found.best[good]


def matched_near(
    rig: Rig, scene_from_left: np.ndarray, xyz: np.ndarray, descriptors: np.ndarray, found: Features
) -> tuple[np.ndarray, np.ndarray]:
    """Indices into points (N, 3) of the scene with descriptors (N, 128), and into the features that look most like each of them near where
    that camera must see it."""
    if not len(xyz) or not len(found.uv):
        return np.zeros(0, int), np.zeros(0, int)
    seen = transform(inverse(scene_from_left), xyz)
    uv = np.where(seen[:, 2:] > 0, rig.project(seen), -1e6)
    near = cKDTree(found.uv).query_ball_point(uv, NEAR_SHARE * rig.width)
    pairs = [(i, js[int(np.argmax(found.descriptors[js] @ descriptors[i]))]) for i, js in enumerate(near) if js]
    here, there = np.array(pairs, int).reshape(-1, 2).T
    _, first = np.unique(there, return_index=True)  # one point a feature
    return here[first], there[first]
