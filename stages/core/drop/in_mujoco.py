"""The drop in MuJoCo (Apache-2.0), from twin.xml or twin.urdf."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.drop.result import (
    HEIGHT_M,
    LONGEST_S,
    REST_S,
    STILL_M_S,
    STILL_RAD_S,
    Drop,
    Fall,
    collider_points,
    judged,
    poses,
)

STEP_S, STEPS = 0.001, 20


def drop_all(file: Path) -> list[Drop]:
    """One drop for each pose. Raises ValueError where MuJoCo does not take the file."""
    model, points = load(file)
    return [_drop(model, points, name, turn) for name, turn in poses().items()]


def load(file: Path):
    """(compiled model with ground and a free joint, (N, 3) vertices of the colliders)."""
    import mujoco

    spec = mujoco.MjSpec.from_file(str(file))
    spec.option.timestep = STEP_S
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    spec.worldbody.add_geom(name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], condim=6)
    body = spec.worldbody.first_body()
    if not list(body.joints):  # a URDF's root is welded to the world
        body.add_freejoint()
    model = spec.compile()
    used = sorted({mesh.file for mesh in spec.meshes if mesh.name != "visual" and "visual" not in mesh.file})
    base = file.parent / "meshes"
    return model, collider_points(base, [Path(f).name for f in used])


def _drop(model, points: np.ndarray, pose: str, turn: np.ndarray) -> Drop:
    import mujoco

    data = mujoco.MjData(model)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, turn.ravel())
    data.qpos[:7] = [0, 0, HEIGHT_M - (points @ turn.T)[:, 2].min(), *quaternion]
    mujoco.mj_forward(model, data)
    start, most, path, still = sum(data.energy), sum(data.energy), [data.qpos[:7].copy()], 0.0
    while data.time < LONGEST_S and still < REST_S and np.isfinite(data.qpos).all():
        mujoco.mj_step(model, data, STEPS)
        most = max(most, sum(data.energy))
        path.append(data.qpos[:7].copy())
        slow = np.linalg.norm(data.qvel[:3]) < STILL_M_S and np.linalg.norm(data.qvel[3:6]) < STILL_RAD_S
        still = still + STEPS * STEP_S if slow and data.time > 0.1 else 0.0
    after = np.zeros(9)
    mujoco.mju_quat2Mat(after, data.qpos[3:7])
    gain = (most - start) / (model.body_mass[1] * 9.81 * HEIGHT_M)
    fall = Fall(path, data.time, still >= REST_S, float(gain), before=turn, after=after.reshape(3, 3))
    return judged("mujoco", pose, points, fall)
