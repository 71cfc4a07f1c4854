"""The drop in Bullet (zlib licence, through PyBullet), from twin.urdf."""

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
from stages.core.geometry.rigid import quaternion_of

STEP_S, STEPS = 0.001, 20
GRAVITY = 9.81


def drop_all(file: Path) -> list[Drop]:
    """One drop for each pose. Raises ValueError where Bullet does not take the file."""
    import pybullet

    client = pybullet.connect(pybullet.DIRECT)
    try:
        pybullet.setGravity(0, 0, -GRAVITY, physicsClientId=client)
        pybullet.setTimeStep(STEP_S, physicsClientId=client)
        ground = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
        floor = pybullet.createMultiBody(0, ground, physicsClientId=client)
        pybullet.changeDynamics(
            floor, -1, lateralFriction=1.0, restitution=1.0, physicsClientId=client
        )  # products of both count
        try:
            body = pybullet.loadURDF(str(file), flags=pybullet.URDF_USE_INERTIA_FROM_FILE, physicsClientId=client)
        except pybullet.error as e:
            raise ValueError(f"Bullet does not take {file.name}: {e}") from e
        names = [Path(s[4].decode()).name for s in pybullet.getCollisionShapeData(body, -1, physicsClientId=client)]
        points = collider_points(file.parent / "meshes", sorted(set(names)))
        return [_drop(pybullet, client, body, points, pose=name, turn=turn) for name, turn in poses().items()]
    finally:
        pybullet.disconnect(client)


def _drop(bullet, client: int, body: int, points: np.ndarray, pose: str, turn: np.ndarray) -> Drop:
    info = bullet.getDynamicsInfo(body, -1, physicsClientId=client)
    mass, inertia, centre, axes = info[0], np.array(info[2]), np.array(info[3]), _matrix(bullet, info[4])
    place = turn @ centre + [0, 0, HEIGHT_M - (points @ turn.T)[:, 2].min()]
    w, *xyz = quaternion_of(turn @ axes)
    bullet.resetBasePositionAndOrientation(body, place, [*xyz, w], physicsClientId=client)
    bullet.resetBaseVelocity(body, [0, 0, 0], [0, 0, 0], physicsClientId=client)
    start = most = mass * GRAVITY * place[2]
    path, still, seconds, now, origin = [], 0.0, 0.0, turn @ axes, place
    while seconds < LONGEST_S and still < REST_S:
        for _ in range(STEPS):
            bullet.stepSimulation(physicsClientId=client)
        seconds += STEPS * STEP_S
        at, quaternion = bullet.getBasePositionAndOrientation(body, physicsClientId=client)
        speed, spin = (np.array(v) for v in bullet.getBaseVelocity(body, physicsClientId=client))
        now, at = _matrix(bullet, quaternion), np.array(at)
        origin = at - now @ axes.T @ centre
        path.append(np.r_[origin, np.roll(quaternion, 1)])
        most = max(most, mass * (GRAVITY * at[2] + speed @ speed / 2) + (inertia * (now.T @ spin) ** 2).sum() / 2)
        slow = np.linalg.norm(speed) < STILL_M_S and np.linalg.norm(spin) < STILL_RAD_S
        still = still + STEPS * STEP_S if slow and seconds > 0.1 else 0.0
    gain = (most - start) / (mass * GRAVITY * HEIGHT_M)
    fall = Fall(path, seconds, still >= REST_S, float(gain), before=turn, after=now @ axes.T)
    return judged("pybullet", pose, points, fall)


def _matrix(bullet, quaternion) -> np.ndarray:
    return np.array(bullet.getMatrixFromQuaternion(quaternion)).reshape(3, 3)
