"""A bundle adjustment with a rigid stereo rig for pycolmap (Ceres).

Weights: pycolmap treats all pixels alike. So an observation with standard deviation s belongs to a virtual camera whose pixels are s
wide (focal length, centre and position divided by s): its residuals then come in standard deviations, and so does the robust loss.
Standard deviations are put into a few classes a factor 1.41 apart, each class with its own virtual pair of eyes in the rig. The row
of the right eye is not a measurement of its own (the pair is rectified), so the virtual right eyes are made nearly blind for it.
COLMAP's pixel corners do not enter: nothing here reads a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.camera import Rig

CLASS_STEP = np.sqrt(2.0)
ROW_BLINDNESS = 1e-3
"""factor on fy of the right eyes"""
MIN_POINTS = 4
"""a frame with fewer points keeps its pose: they leave it open"""
DENSE_FRAMES = 150
"""up to here a dense Schur complement (6 unknowns a frame) is the fastest"""
COST_TOLERANCE = 1e-4
"""relative change of the cost at which to stop; 1e-6 takes four times the steps and moves poses by less than 0.1 micrometre"""


@dataclass(frozen=True)
class Observations:
    """Observation m: point (M,), frame position (M,) 0..F-1, uvr (M, 3) px with NaN u_right, sigma_px (M,)."""

    point: np.ndarray
    frame: np.ndarray
    uvr: np.ndarray
    sigma_px: np.ndarray


@dataclass(frozen=True)
class Solution:
    """left_from_object (F, 4, 4), xyz (P, 3); cost: mean robust cost per residual, in variances; focal_change: the focal lengths found
    over those given, minus 1 (0 where they were held)."""

    left_from_object: np.ndarray
    xyz: np.ndarray
    cost: float
    iterations: int
    focal_change: float = 0.0


def solve(
    rig: Rig,
    left_from_object: np.ndarray,
    xyz: np.ndarray,
    observations: Observations,
    use_left: np.ndarray,
    use_right: np.ndarray,
    robust_sigmas: float,
    max_iterations: int,
    free_focal: bool = False,
    row_weight: float = ROW_BLINDNESS,
) -> Solution | None:
    """Minimise the robust reprojection error over all poses (the first is held) and points.

    None if the solver failed. `use_left`, `use_right` (M,) bool choose the residuals. Points without any are returned as they came.
    With `free_focal` the focal lengths move too; give observations of one sigma then, so that there is one camera per eye, and
    `row_weight` 1, so that fy is determined. One thread: sums in a fixed order, so that the result does not depend on the machine's cores.
    """
    import pycolmap

    problem, ids = _build(
        rig, left_from_object, xyz, observations, use_left=use_left, use_right=use_right, row_weight=row_weight
    )
    config = pycolmap.BundleAdjustmentConfig()
    for image in problem.images:
        config.add_image(image)
    seen = np.bincount(observations.frame[use_left], minlength=len(left_from_object))
    for k in np.flatnonzero((seen < MIN_POINTS) | (np.arange(len(seen)) == 0)).tolist():
        config.set_constant_rig_from_world_pose(k + 1)
    summary = pycolmap.create_default_ceres_bundle_adjuster(
        _options(len(left_from_object), robust_sigmas, max_iterations, free_focal), config, problem
    ).solve()
    if not summary.is_solution_usable():
        return None
    poses, points = left_from_object.copy(), xyz.copy()
    for k in range(len(poses)):
        poses[k, :3] = problem.frames[k + 1].rig_from_world.matrix()
    for p, i in ids.items():
        points[p] = problem.points3D[i].xyz
    ceres = summary.ceres_summary
    focal = problem.cameras[1].focal_length_x * float(sigma_classes(observations.sigma_px)[1][0]) / rig.fx - 1
    return Solution(
        poses,
        points,
        2 * ceres.final_cost / max(summary.num_residuals, 1),
        ceres.num_successful_steps,
        focal_change=float(focal),
    )


def sigma_classes(sigma_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(class (M,) 0..C-1, sigma of each class (C,) px) in steps of CLASS_STEP; only classes that occur."""
    step = np.rint(np.log(sigma_px) / np.log(CLASS_STEP)).astype(int)
    found, index = np.unique(step, return_inverse=True)
    return index, CLASS_STEP ** found.astype(float)


def _build(
    rig: Rig,
    poses: np.ndarray,
    xyz: np.ndarray,
    obs: Observations,
    use_left: np.ndarray,
    use_right: np.ndarray,
    row_weight: float,
):
    """The reconstruction for pycolmap, and {point: its id there}. Frame k has the id k + 1."""
    import pycolmap

    classes, sigmas = sigma_classes(obs.sigma_px)
    problem = pycolmap.Reconstruction()
    sensors = _add_rig(problem, rig, sigmas, row_weight)
    members: dict[tuple[int, int, int], list[int]] = {}
    for eye, use in enumerate((use_left, use_right)):
        for m in np.flatnonzero(use).tolist():
            members.setdefault((int(obs.frame[m]), eye, int(classes[m])), []).append(m)
    images: dict[int, list] = {}
    tracks: dict[int, Any] = {}
    for number, ((frame, eye, kind), rows) in enumerate(sorted(members.items()), 1):
        pixels = obs.uvr[rows][:, [2 if eye else 0, 1]] / sigmas[kind] * [1.0, row_weight if eye else 1.0]
        images.setdefault(frame, []).append(
            pycolmap.Image(
                name=str(number),
                image_id=number,
                camera_id=sensors[eye][kind],
                frame_id=frame + 1,
                points2D=pycolmap.Point2DList([pycolmap.Point2D(p) for p in pixels]),
            )
        )
        for i, p in enumerate(obs.point[rows].tolist()):
            tracks.setdefault(p, pycolmap.Track()).add_element(number, i)
    for k in range(len(poses)):
        _add_frame(problem, k + 1, poses[k], images.get(k, []))
    return problem, {p: problem.add_point3D(xyz[p], tracks[p]) for p in sorted(tracks)}


def _add_frame(problem, frame_id: int, left_from_object: np.ndarray, images: list) -> None:
    import pycolmap

    frame = pycolmap.Frame(frame_id=frame_id, rig_id=1)
    frame.rig_from_world = pycolmap.Rigid3d(left_from_object[:3])
    for image in images:
        frame.add_data_id(image.data_id)
    problem.add_frame(frame)
    for image in images:
        problem.add_image(image)
    problem.register_frame(frame_id)


def _add_rig(problem, rig: Rig, sigmas: np.ndarray, row_weight: float) -> tuple[list[int], list[int]]:
    """Camera ids of the left and of the right eye per class of sigma; the first left one is the rig's reference."""
    import pycolmap

    eyes: tuple[list[int], list[int]] = ([], [])
    colmap_rig = pycolmap.Rig(rig_id=1)
    for eye in (0, 1):
        row = row_weight if eye else 1.0
        for s in sigmas:
            camera = pycolmap.Camera(
                model="PINHOLE",
                width=rig.width,
                height=rig.height,
                camera_id=len(problem.cameras) + 1,
                params=[rig.fx / s, row * rig.fy / s, rig.cx / s, row * rig.cy / s],
            )
            problem.add_camera(camera)
            eyes[eye].append(camera.camera_id)
            if camera.camera_id == 1:
                colmap_rig.add_ref_sensor(camera.sensor_id)
            else:
                colmap_rig.add_sensor(
                    camera.sensor_id, pycolmap.Rigid3d(rig.right_from_left[:3] if eye else np.eye(4)[:3])
                )
    problem.add_rig(colmap_rig)
    return eyes


def _options(frames: int, robust_sigmas: float, max_iterations: int, free_focal: bool):
    import pycolmap

    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = free_focal
    options.refine_principal_point = False
    options.refine_extra_params = False
    options.refine_sensor_from_rig = False
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = robust_sigmas
    # chosen here, because pycolmap would count the virtual cameras
    options.ceres.auto_select_solver_type = False
    solver = options.ceres.solver_options
    kinds = type(solver.linear_solver_type)
    solver.linear_solver_type = kinds.DENSE_SCHUR if frames <= DENSE_FRAMES else kinds.SPARSE_SCHUR
    solver.max_num_iterations = max_iterations
    solver.num_threads = 1
    solver.function_tolerance = COST_TOLERANCE
    solver.gradient_tolerance = 1e-12
    solver.parameter_tolerance = 1e-10
    return options
